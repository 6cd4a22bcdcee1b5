//! The loops around a micro-kernel: threads, blocks of rows, tiles.
//!
//! A block of rows of A is packed so that it stays in L2; each group of B's columns is then used for
//! all rows of the block while it is in L1.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::left::{self, Source};
use super::microkernel::{Kernel, MAX_TILE_COLUMNS, MAX_TILE_ROWS, Tile, TileFn};
use super::operand::ZeroPoint;
use super::packed::PackedI8;
use super::sink::{Block, Sink};
use crate::aligned::AlignedBytes;
use crate::threads;

/// Multiply-adds below which another thread costs more than it saves.
const GRAIN: usize = 1 << 21;
/// Bytes of packed A that are to stay in L2, with room for a stream of B.
const LEFT_BYTES: usize = 256 << 10;

/// `(a - za) * (b - zb)`, with zero points of what is packed: shifted as the values are.
pub(super) struct Product<'a> {
    pub(super) kernel: &'static Kernel,
    pub(super) a: Source,
    pub(super) b: &'a PackedI8,
    pub(super) a_zero: ZeroPoint<'a>,
    pub(super) b_zero: ZeroPoint<'a>,
}

/// Memory that a thread keeps from call to call.
#[derive(Default)]
struct Scratch {
    left: AlignedBytes,
    rows: Vec<i32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// A tile's results, on a cache line.
#[repr(align(64))]
struct Sums(MaybeUninit<[i32; MAX_TILE_ROWS * MAX_TILE_COLUMNS]>);

impl Product<'_> {
    fn rows(&self) -> usize {
        self.a.bytes.rows
    }

    /// Runs the whole product, in int32, wrapping.
    pub(super) fn run<S: Sink>(&self, sink: &S) {
        let (m, n) = (self.rows(), self.b.n());
        if m == 0 || n == 0 {
            return;
        }
        let tasks = threads::tasks_for(m * n, self.b.k(), GRAIN);
        let (tall, wide) = (self.kernel.rows(), self.kernel.columns().next_multiple_of(64));
        let whole = if m.div_ceil(tall) >= n.div_ceil(wide) {
            let rows = m.div_ceil(tasks).next_multiple_of(tall).min(m);
            threads::for_each(m.div_ceil(rows), |task| {
                self.run_part(task * rows..((task + 1) * rows).min(m), 0..n, sink);
            });
            true
        } else {
            let columns = n.div_ceil(tasks).next_multiple_of(wide).min(n);
            threads::for_each(n.div_ceil(columns), |task| {
                self.run_part(0..m, task * columns..((task + 1) * columns).min(n), sink);
            });
            columns == n
        };
        if !whole {
            // SAFETY: every task has ended; the rows are the result's own.
            unsafe { sink.rows_done(0..m) };
        }
    }

    /// Some rows and columns, on this thread.
    fn run_part<S: Sink>(&self, rows: Range<usize>, columns: Range<usize>, sink: &S) {
        SCRATCH.with_borrow_mut(|scratch| {
            let stride = left::stride(self.kernel.left, self.b.k());
            let tall = self.kernel.rows();
            let most = (LEFT_BYTES / stride / tall * tall).max(tall);
            let blocks = rows.len().div_ceil(most);
            let per_block = rows.len().div_ceil(blocks).next_multiple_of(tall);
            for first in rows.clone().step_by(per_block) {
                let block = first..(first + per_block).min(rows.end);
                self.run_block(block.clone(), columns.clone(), stride, scratch, sink);
                if columns.len() == self.b.n() {
                    // SAFETY: these rows are this task's own, and finished.
                    unsafe { sink.rows_done(block) };
                }
            }
        });
    }

    /// A block of rows whose packed form stays in cache.
    fn run_block<S: Sink>(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        stride: usize,
        scratch: &mut Scratch,
        sink: &S,
    ) {
        let k = self.b.k();
        scratch.left.resize_scratch(rows.len() * stride);
        // SAFETY: the rows are within A, and so are all of its columns.
        unsafe { self.a.pack(rows.clone(), 0..k, &mut scratch.left) };
        self.row_terms(rows.clone(), stride, scratch);
        let simple = self.a_zero.single().is_some() && self.b_zero.single().is_some();

        let mut column = columns.start;
        while column < columns.end {
            let (units, tiles) = self.tiles(rows.len(), columns.end - column);
            let wide = (units * self.kernel.unit).min(columns.end - column);
            let mut start = [0_i32; MAX_TILE_COLUMNS];
            if simple {
                self.column_terms(column, &mut start[..units * self.kernel.unit]);
            }
            let mut row = rows.start;
            for tall in even_parts(rows.len(), tiles.len()) {
                let block = Block { row, column, rows: tall, columns: wide };
                let index = row - rows.start;
                let left = &scratch.left[index * stride..];
                let row_start = &scratch.rows[index..index + tall];
                self.run_tile(tiles[tall - 1], units, block, left, stride, &start, row_start, sink);
                row += tall;
            }
            column += wide;
        }
    }

    #[inline(always)]
    fn run_tile<S: Sink>(
        &self,
        tile_fn: TileFn,
        units: usize,
        block: Block,
        left: &[u8],
        stride: usize,
        start: &[i32; MAX_TILE_COLUMNS],
        row_terms: &[i32],
        sink: &S,
    ) {
        let columns = units * self.kernel.unit;
        let simple = self.a_zero.single().is_some() && self.b_zero.single().is_some();
        let zeros = [0_i32; MAX_TILE_ROWS];
        let mut tile = Tile {
            a: left.as_ptr(),
            a_stride: stride,
            groups: self.b.groups(),
            b: self.b.at(block.column, 0),
            panel_stride: self.b.panel_stride(),
            start: start.as_ptr(),
            row_start: if simple { row_terms.as_ptr() } else { zeros.as_ptr() },
            c: std::ptr::null_mut(),
            c_stride: 0,
        };
        if simple
            && block.columns == columns
            && let Some((c, c_stride)) = sink.direct(block.row, block.column)
        {
            (tile.c, tile.c_stride) = (c, c_stride);
            // SAFETY: the left rows are packed, the columns exist in B, and the block is within the
            // sink's buffer and this task's own.
            unsafe { tile_fn(&tile) };
            return;
        }
        let mut sums = Sums(MaybeUninit::uninit());
        (tile.c, tile.c_stride) = (sums.0.as_mut_ptr().cast(), columns);
        // SAFETY: as above; no tile is larger than `sums`, and the kernel writes every element of
        // the part that is read.
        let sums = unsafe {
            tile_fn(&tile);
            std::slice::from_raw_parts_mut(sums.0.as_mut_ptr().cast::<i32>(), block.rows * columns)
        };
        if !simple {
            self.correct(block, row_terms, sums, columns);
        }
        // SAFETY: the block is within the result and this task's own.
        unsafe { sink.put(block, sums, columns) };
    }

    /// The tiles to use for so many rows and columns, and how many units they are wide.
    fn tiles(&self, rows: usize, columns: usize) -> (usize, &'static [TileFn]) {
        let kernel = self.kernel;
        let units = columns.div_ceil(kernel.unit);
        if rows <= kernel.narrow.len() && units >= kernel.narrow_units {
            return (kernel.narrow_units, kernel.narrow);
        }
        let units = units.min(kernel.tiles.len());
        (units, kernel.tiles[units - 1])
    }

    /// What each row adds: `-zb * (sum of the row - k * za)`, or the sum alone where either zero
    /// point is not one for all.
    fn row_terms(&self, rows: Range<usize>, stride: usize, scratch: &mut Scratch) {
        let k = self.b.k();
        scratch.rows.clear();
        scratch.rows.resize(rows.len(), 0);
        if self.b_zero.single() == Some(0) {
            return;
        }
        let packed = scratch.left.chunks_exact(stride);
        for (term, row) in scratch.rows.iter_mut().zip(packed) {
            let sum = left::row_sum(self.kernel.left, row, k);
            *term = match (self.a_zero.single(), self.b_zero.single()) {
                (Some(za), Some(zb)) => {
                    sum.wrapping_sub((k as i32).wrapping_mul(za)).wrapping_mul(zb).wrapping_neg()
                }
                _ => sum,
            };
        }
    }

    /// What each column starts from: `-za * (sum of the column)`.
    fn column_terms(&self, column: usize, start: &mut [i32]) {
        let za = self.a_zero.single().unwrap_or(0);
        if za != 0 {
            for (start, &sum) in start.iter_mut().zip(&self.b.sums()[column..]) {
                *start = (sum as i32).wrapping_mul(za).wrapping_neg();
            }
        }
    }

    /// Takes zero points of their own for rows or columns from the plain sums of a tile.
    fn correct(&self, block: Block, row_sums: &[i32], sums: &mut [i32], stride: usize) {
        let k = self.b.k() as i32;
        for (index, sums) in sums.chunks_mut(stride).take(block.rows).enumerate() {
            let za = self.a_zero.get(block.row + index);
            let row = row_sums[index].wrapping_sub(k.wrapping_mul(za));
            let columns = &self.b.sums()[block.column..];
            for (at, (sum, &column)) in sums[..block.columns].iter_mut().zip(columns).enumerate() {
                let zb = self.b_zero.get(block.column + at);
                *sum = sum
                    .wrapping_sub(za.wrapping_mul(column as i32))
                    .wrapping_sub(zb.wrapping_mul(row));
            }
        }
    }
}

/// `total` in as few parts of at most `most` as will do, which differ by one at most.
fn even_parts(total: usize, most: usize) -> impl Iterator<Item = usize> {
    let parts = total.div_ceil(most);
    (0..parts).map(move |part| total / parts + usize::from(part < total % parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_even_and_complete() {
        for total in 0..40 {
            for most in 1..8 {
                let parts: Vec<_> = even_parts(total, most).collect();
                assert_eq!(parts.iter().sum::<usize>(), total);
                assert!(parts.iter().all(|&part| part >= 1 && part <= most));
                assert_eq!(parts.len(), total.div_ceil(most));
            }
        }
    }
}
