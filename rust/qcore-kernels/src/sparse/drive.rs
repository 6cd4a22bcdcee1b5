//! Threads and blocks: which task computes what.

use std::ops::Range;

use super::lanes::Lanes;
use super::out::Out;
use crate::threads;

/// Rows of a block at most: its sums stay in the first or second cache.
const BLOCK_ROWS: usize = 256;

/// Stored values of a block, so far as its rows allow: there are blocks enough for every thread,
/// however the values are spread over the rows.
const BLOCK_VALUES: usize = 1 << 15;

/// Stored values times columns below which a thread of its own costs more than it saves.
const GRAIN: usize = 1 << 18;

/// The rows of a matrix cut into blocks of about as many values.
pub(super) fn row_blocks(indptr: &[usize], values: usize, rows: usize) -> Vec<Range<usize>> {
    let last = indptr.len() - 1;
    let mut blocks = Vec::new();
    let mut start = 0;
    while start < last {
        let limit = indptr[start] + values;
        let end = indptr[start + 1..].partition_point(|&at| at <= limit) + start;
        let end = end.clamp(start + 1, (start + rows).min(last));
        blocks.push(start..end);
        start = end;
    }
    blocks
}

/// Computes a product block by block: `compute(rows, lanes, sums)` fills `rows.len() * lanes.width`
/// sums, row after row.
pub(super) fn product<X: Copy + Default + Sync, A: Copy + Default + Send>(
    indptr: &[usize],
    lanes: &[Lanes<X>],
    out: Out<A>,
    compute: impl Fn(Range<usize>, &Lanes<X>, &mut [A]) + Sync + Send,
) {
    let blocks = row_blocks(indptr, BLOCK_VALUES, BLOCK_ROWS);
    let task = |index: usize| {
        let (lanes, rows) = (&lanes[index / blocks.len()], &blocks[index % blocks.len()]);
        let mut sums = vec![A::default(); rows.len() * lanes.width];
        compute(rows.clone(), lanes, &mut sums);
        // SAFETY: blocks and lanes are parts of the result that do not overlap.
        unsafe { out.put(rows.clone(), lanes.columns.clone(), &sums, lanes.width) };
    };
    let tasks = blocks.len() * lanes.len();
    let values = indptr[indptr.len() - 1];
    let work = values * lanes.iter().map(|lanes| lanes.width).sum::<usize>();
    if work < GRAIN { (0..tasks).for_each(task) } else { threads::for_each(tasks, task) }
}

/// Computes a product with one column: `compute(rows, sums)` fills `rows.len()` sums.
pub(super) fn vector_product<A: Copy + Send>(
    indptr: &[usize],
    out: Out<A>,
    compute: impl Fn(Range<usize>, &mut [A]) + Sync + Send,
) {
    let values = indptr[indptr.len() - 1];
    let tasks = threads::tasks_for(values, 1, GRAIN / 8);
    if tasks <= 1 {
        let rows = 0..indptr.len() - 1;
        // SAFETY: one task writes all.
        compute(rows.clone(), unsafe { out.vector(rows) });
        return;
    }
    let blocks = row_blocks(indptr, values.div_ceil(4 * tasks), indptr.len());
    threads::for_each(blocks.len(), |index| {
        let rows = blocks[index].clone();
        // SAFETY: the blocks are rows of their own.
        compute(rows.clone(), unsafe { out.vector(rows) });
    });
}
