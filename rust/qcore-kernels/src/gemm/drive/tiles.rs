//! The tiles of a strip: the innermost loops over rows and columns.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::Product;
use super::ready::Ready;
use crate::error::Result;
use crate::gemm::microkernel::{Kernel, MAX_TILE_COLUMNS, MAX_TILE_ROWS, PANEL, Tile, TileFn};
use crate::gemm::packed::PackedI8;
use crate::gemm::packed::masked::{self, MaskedI8};
use crate::gemm::sink::{Block, Sink};
use crate::interrupt::Pace;

/// Elements of the room for sums on their way to a sink: a quarter of the first cache.
const ROOM: usize = MAX_TILE_ROWS * MAX_TILE_COLUMNS;

/// The sums of some rows, on a cache line.
#[repr(align(64))]
struct Sums(MaybeUninit<[i32; ROOM]>);

/// Columns of packed B that all rows of a block are multiplied with.
#[derive(Clone, Copy)]
pub(super) struct Strip<'a> {
    pub(super) b: &'a PackedI8,
    /// What multiplies it: `b` has the kernel's layout.
    pub(super) kernel: &'static Kernel,
    /// The column of the product that is column 0 of `b`.
    pub(super) first: usize,
}

impl Product<'_> {
    /// Some rows times the columns of a strip.
    pub(super) fn run_strip<S: Sink>(
        &self,
        ready: &Ready<'_>,
        strip: Strip<'_>,
        columns: Range<usize>,
        pace: &mut Pace,
        sink: &S,
    ) -> Result<()> {
        let mut column = columns.start;
        while column < columns.end {
            column += self.run_tiles(ready, strip, column..columns.end, pace, sink)?;
        }
        Ok(())
    }

    /// The rows of one tile times the columns of a strip, of which the lines come from `b`; with `keep`
    /// they are there for the rows that follow.
    pub(super) fn run_fused<S: Sink>(
        &self,
        ready: &Ready<'_>,
        fused: &masked::MaskedTiles,
        b: &MaskedI8,
        strip: Strip<'_>,
        columns: Range<usize>,
        keep: bool,
        sink: &S,
    ) {
        let tall = ready.range.len();
        let tiles = &fused[tall - 1];
        for column in columns.clone().step_by(tiles.len() * PANEL) {
            let wide = (tiles.len() * PANEL).min(columns.end - column);
            let units = wide.div_ceil(PANEL);
            let start = self.start(strip, column, units, sink);
            let block = Block { row: ready.range.start, column, rows: 0, columns: wide };
            let panels = column / PANEL..column / PANEL + units;
            // SAFETY: as for any tile, and the masked operand has these panels.
            let run = |_, tile: &Tile| unsafe {
                tiles[units - 1][usize::from(keep)](&b.tile(*tile, panels.clone()));
            };
            self.run_rows(run, units, block, std::iter::once(tall), ready, strip, &start, sink);
        }
    }

    /// The first columns of `columns` with all rows; returns how many.
    fn run_tiles<S: Sink>(
        &self,
        ready: &Ready<'_>,
        strip: Strip<'_>,
        columns: Range<usize>,
        pace: &mut Pace,
        sink: &S,
    ) -> Result<usize> {
        let (units, tiles) = tiles_of(strip.kernel, ready.range.len(), columns.len());
        let wide = (units * strip.kernel.unit).min(columns.len());
        let start = self.start(strip, columns.start, units, sink);
        // As many tiles at once as there is room for their sums: to start a sink costs as much as a
        // few rows.
        let at_once = (ROOM / (units * strip.kernel.unit) / tiles.len()).max(1);
        let mut parts = even_parts(ready.range.len(), tiles.len());
        let mut block =
            Block { row: ready.range.start, column: columns.start, rows: 0, columns: wide };
        while block.row < ready.range.end {
            let parts = parts.by_ref().take(at_once);
            // SAFETY: `run_rows` makes the tile for a kernel of this product.
            let run = |tall: usize, tile: &Tile| unsafe { tiles[tall - 1](tile) };
            let rows = self.run_rows(run, units, block, parts, ready, strip, &start, sink);
            block.row += rows;
            pace.check(rows * wide * self.b.k())?;
        }
        Ok(wide)
    }

    /// What the sums of some columns start from.
    fn start<S: Sink>(
        &self,
        strip: Strip<'_>,
        column: usize,
        units: usize,
        sink: &S,
    ) -> [i32; MAX_TILE_COLUMNS] {
        let mut start = [0; MAX_TILE_COLUMNS];
        let columns = &mut start[..units * strip.kernel.unit];
        if self.is_simple() {
            let at = column - strip.first;
            self.column_terms(&strip.b.sums()[at..], columns);
        }
        sink.start(column, columns);
        start
    }

    /// Whether each operand has one zero point.
    fn is_simple(&self) -> bool {
        self.a_zero.single().is_some() && self.b_zero.single().is_some()
    }

    /// The rows `parts` from the block's first on, as wide as a tile; returns how many.
    #[inline(always)]
    fn run_rows<S: Sink>(
        &self,
        run: impl Fn(usize, &Tile),
        units: usize,
        block: Block,
        parts: impl Iterator<Item = usize>,
        ready: &Ready<'_>,
        strip: Strip<'_>,
        start: &[i32; MAX_TILE_COLUMNS],
        sink: &S,
    ) -> usize {
        let columns = units * strip.kernel.unit;
        let index = block.row - ready.range.start;
        let terms = &ready.terms[index..];
        let simple = self.is_simple();
        let direct = if simple && block.columns == columns {
            sink.direct(block.row, block.column)
        } else {
            None
        };
        let mut sums = Sums(MaybeUninit::uninit());
        let (c, c_stride) = direct.unwrap_or((sums.0.as_mut_ptr().cast(), columns));
        let zeros = [0_i32; MAX_TILE_ROWS];
        let mut row = 0;
        for tall in parts {
            let tile = Tile {
                a: ready.rows.ptr.wrapping_add((index + row) * ready.rows.stride),
                a_stride: ready.rows.stride,
                flip: ready.rows.flip,
                groups: strip.b.groups(),
                b: strip.b.at(block.column - strip.first, 0),
                panel_stride: strip.b.panel_stride(),
                start: start.as_ptr(),
                row_start: if simple { terms[row..].as_ptr() } else { zeros.as_ptr() },
                c: c.wrapping_add(row * c_stride),
                c_stride,
            };
            // The rows are ready, the columns exist in B, and the tile's results are within the sink's
            // buffer and this task's own, or within `sums`: so a kernel of this product may run it.
            run(tall, &tile);
            row += tall;
        }
        if direct.is_some() {
            return row;
        }
        let block = Block { rows: row, ..block };
        // SAFETY: the tiles wrote every row of the block.
        let sums = unsafe {
            std::slice::from_raw_parts_mut(sums.0.as_mut_ptr().cast::<i32>(), block.rows * columns)
        };
        if !simple {
            let column_sums = &strip.b.sums()[block.column - strip.first..];
            self.correct(block, terms, column_sums, sums, columns);
        }
        // SAFETY: the block is within the result and this task's own.
        unsafe { sink.put(block, sums, columns) };
        row
    }

    /// What each column starts from: `-za * (sum of the column)`.
    fn column_terms(&self, sums: &[i64], start: &mut [i32]) {
        let za = self.a_zero.single().unwrap_or(0);
        if za != 0 {
            for (start, &sum) in start.iter_mut().zip(sums) {
                *start = (sum as i32).wrapping_mul(za).wrapping_neg();
            }
        }
    }

    /// Takes zero points of their own for rows or columns from the plain sums of a tile.
    fn correct(
        &self,
        block: Block,
        row_sums: &[i32],
        column_sums: &[i64],
        sums: &mut [i32],
        stride: usize,
    ) {
        let k = self.b.k() as i32;
        for (index, sums) in sums.chunks_mut(stride).take(block.rows).enumerate() {
            let za = self.a_zero.get(block.row + index);
            let row = row_sums[index].wrapping_sub(k.wrapping_mul(za));
            for (at, (sum, &column)) in
                sums[..block.columns].iter_mut().zip(column_sums).enumerate()
            {
                let zb = self.b_zero.get(block.column + at);
                *sum = sum
                    .wrapping_sub(za.wrapping_mul(column as i32))
                    .wrapping_sub(zb.wrapping_mul(row));
            }
        }
    }
}

/// The tiles to use for so many rows and columns, and how many units they are wide.
fn tiles_of(kernel: &'static Kernel, rows: usize, columns: usize) -> (usize, &'static [TileFn]) {
    let units = columns.div_ceil(kernel.unit);
    if rows <= kernel.narrow.len() && units >= kernel.narrow_units {
        return (kernel.narrow_units, kernel.narrow);
    }
    let units = units.min(kernel.tiles.len());
    (units, kernel.tiles[units - 1])
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
