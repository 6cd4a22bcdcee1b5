//! Products longer than int32 can hold: parts of K summed in int64.

use std::ops::Range;

use super::drive::Product;
use super::left;
use super::microkernel::{DEPTH, MAX_TILE_COLUMNS, MAX_TILE_ROWS, Tile};
use super::operand::ZeroPoint;
use super::packed::PackedI8;
use crate::aligned::AlignedBytes;
use crate::error::Result;
use crate::interrupt;

/// The longest sum of 255 · (−128) that int32 holds, in whole depth groups.
const CHUNK: usize = 65_792;

impl Product<'_> {
    /// Calls `put(row, column, value)` for each element of some rows of the exact product.
    pub(super) fn run_wide(
        &self,
        b: &PackedI8,
        range: Range<usize>,
        mut put: impl FnMut(usize, usize, i64),
    ) -> Result<()> {
        let n = b.n();
        let kernel = self.kernel;
        let mut sums = [0_i64; MAX_TILE_ROWS * MAX_TILE_COLUMNS];
        for row in range.clone().step_by(kernel.rows()) {
            let rows = kernel.rows().min(range.end - row);
            let row_sums = self.wide_row_sums(b.k(), row, rows)?;
            for column in (0..n).step_by(kernel.columns()) {
                let columns = kernel.columns().min(n - column);
                let units = columns.div_ceil(kernel.unit);
                interrupt::check()?;
                self.wide_tile(b, row, rows, column, units, &mut sums)?;
                let wide = units * kernel.unit;
                for index in 0..rows {
                    for at in 0..columns {
                        let za = i64::from(self.a_zero.get(row + index));
                        let zb = i64::from(self.b_zero.get(column + at));
                        let rest = row_sums[index] - b.k() as i64 * za;
                        let value = sums[index * wide + at] - za * b.sums()[column + at];
                        put(row + index, column + at, value - zb * rest);
                    }
                }
            }
        }
        Ok(())
    }

    /// The plain sums of a tile.
    fn wide_tile(
        &self,
        b: &PackedI8,
        row: usize,
        rows: usize,
        column: usize,
        units: usize,
        sums: &mut [i64],
    ) -> Result<()> {
        let (k, kernel) = (b.k(), self.kernel);
        let columns = units * kernel.unit;
        let zeros = [0_i32; MAX_TILE_COLUMNS];
        let mut left = AlignedBytes::default();
        sums[..rows * columns].fill(0);
        for first in (0..k).step_by(CHUNK) {
            let length = CHUNK.min(k - first);
            let stride = left::stride(kernel.left, length);
            left.resize_scratch(rows * stride + left::SLACK)?;
            let mut part = [0_i32; MAX_TILE_ROWS * MAX_TILE_COLUMNS];
            // SAFETY: the rows and this part of K are within A.
            unsafe { self.a.pack(row..row + rows, first..first + length, &mut left) };
            let tile = Tile {
                a: left.as_ptr(),
                a_stride: stride,
                flip: self.a.packed_flip(),
                groups: length.div_ceil(DEPTH),
                b: b.at(column, first / DEPTH),
                panel_stride: b.panel_stride(),
                start: zeros.as_ptr(),
                row_start: zeros.as_ptr(),
                c: part.as_mut_ptr(),
                c_stride: columns,
            };
            // SAFETY: the rows are packed, the columns and groups exist in B, and no tile is larger
            // than `part`.
            unsafe { kernel.tiles[units - 1][rows - 1](&tile) };
            for (sum, &part) in sums.iter_mut().zip(&part[..rows * columns]) {
                *sum += i64::from(part);
            }
        }
        Ok(())
    }

    /// The sums of some packed rows, where a zero point of B needs them.
    fn wide_row_sums(&self, k: usize, row: usize, rows: usize) -> Result<[i64; MAX_TILE_ROWS]> {
        let mut sums = [0; MAX_TILE_ROWS];
        if matches!(self.b_zero, ZeroPoint::One(0)) {
            return Ok(sums);
        }
        let kind = self.kernel.left;
        let mut left = AlignedBytes::default();
        for first in (0..k).step_by(CHUNK) {
            let length = CHUNK.min(k - first);
            let stride = left::stride(kind, length);
            left.resize_scratch(rows * stride + left::SLACK)?;
            // SAFETY: the rows and this part of K are within A.
            unsafe { self.a.pack(row..row + rows, first..first + length, &mut left) };
            for (sum, row) in sums.iter_mut().zip(left.chunks_exact(stride)) {
                *sum += i64::from(self.a.packed_row_sum(row, length));
            }
        }
        Ok(sums)
    }
}
