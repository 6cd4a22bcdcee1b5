//! Threads and blocks: which task computes what.

use std::ops::Range;

use super::lanes::Lanes;
use super::out::Out;
use super::scratch::{Number, Scratch};
use crate::error::Result;
use crate::{memory, threads};

/// Rows of a block at most: its sums stay in the second cache.
pub(super) const BLOCK_ROWS: usize = 256;

/// Stored values of a block, so far as its rows allow: there are blocks enough for every thread,
/// however the values are spread over the rows.
pub(super) const BLOCK_VALUES: usize = 1 << 16;

/// Stored values of a block of a product with one column, at most.
const MOST_VALUES: usize = 1 << 22;

/// Stored values times columns below which a thread of its own costs more than it saves.
const GRAIN: usize = 1 << 18;

/// The rows of a matrix cut into blocks of about as many values.
pub(super) fn row_blocks(
    indptr: &[usize],
    values: usize,
    rows: usize,
) -> Result<Vec<Range<usize>>> {
    let last = indptr.len() - 1;
    let mut blocks = Vec::new();
    let mut start = 0;
    while start < last {
        let limit = indptr[start].saturating_add(values);
        let end = indptr[start + 1..].partition_point(|&at| at <= limit) + start;
        let end = end.clamp(start + 1, (start + rows).min(last));
        memory::push(&mut blocks, start..end)?;
        start = end;
    }
    Ok(blocks)
}

/// Computes a product block by block: `compute(block, lanes, sums)` fills the sums of the rows of
/// a block, `lanes.width` for each, and `convert` makes results of them.
pub(super) fn product<X: Number + Default + Sync, S: Number, T: Copy + Send>(
    blocks: &[Range<usize>],
    values: usize,
    lanes: &[Lanes<X>],
    out: Out<T>,
    compute: impl Fn(usize, &Lanes<X>, &mut [S]) + Sync + Send,
    convert: impl Fn(S) -> T + Sync + Send,
) -> Result<()> {
    let task = |index: usize| {
        // All lanes of a block one after the other: its values are still in the cache.
        let (lanes, block) = (&lanes[index % lanes.len()], index / lanes.len());
        let rows = blocks[block].clone();
        let mut sums = Scratch::new(memory::size(&[rows.len(), lanes.width])?)?;
        compute(block, lanes, &mut sums);
        // SAFETY: blocks and lanes are parts of the result that do not overlap.
        unsafe { out.put(rows, lanes.columns.clone(), &sums, lanes.width, &convert) };
        Ok(())
    };
    let tasks = memory::size(&[blocks.len(), lanes.len()])?;
    let width = lanes.iter().map(|lanes| lanes.width).sum::<usize>();
    if values.saturating_mul(width) < GRAIN {
        return (0..tasks).try_for_each(task);
    }
    threads::try_for_each(tasks, task)
}

/// Into how many tasks a product of so many values with one column is split.
pub(super) fn vector_tasks(values: usize) -> usize {
    threads::tasks_for(values, 1, GRAIN / 8)
}

/// Computes a product with one column: `compute(rows, sums)` fills `rows.len()` sums.
pub(super) fn vector_product<A: Copy + Send>(
    indptr: &[usize],
    out: Out<A>,
    compute: impl Fn(Range<usize>, &mut [A]) + Sync + Send,
) -> Result<()> {
    let values = indptr[indptr.len() - 1];
    let tasks = vector_tasks(values);
    if tasks <= 1 && values <= MOST_VALUES {
        let rows = 0..indptr.len() - 1;
        // SAFETY: one task writes all.
        compute(rows.clone(), unsafe { out.vector(rows) });
        return Ok(());
    }
    // Few enough values for a look at whether to stop after each.
    let most = values.div_ceil(4 * tasks).min(MOST_VALUES);
    let blocks = row_blocks(indptr, most, indptr.len())?;
    threads::try_for_each(blocks.len(), |index| {
        let rows = blocks[index].clone();
        // SAFETY: the blocks are rows of their own.
        compute(rows.clone(), unsafe { out.vector(rows) });
        Ok(())
    })
}
