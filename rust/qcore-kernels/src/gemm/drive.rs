//! The loops around a micro-kernel: threads, blocks of rows, strips of columns, tiles.
//!
//! A kernel that takes bytes reads the rows of A where they lie; for the others a block of them is
//! packed so that it stays in cache. Each strip of B is used for all rows of the block while it is
//! in the first or second cache; a B that is not packed is packed strip by strip, there and then.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::left::{self, Rows, Source};
use super::limits::STRIP_BYTES;
use super::masked::{self, MaskedI8};
use super::microkernel::{Kernel, Left, MAX_TILE_COLUMNS, MAX_TILE_ROWS, PANEL, Tile, TileFn};
use super::operand::{Bytes, ZeroPoint};
use super::packed::PackedI8;
use super::relayout::relay;
use super::sink::{Block, Sink};
use crate::aligned::AlignedBytes;
use crate::error::Result;
use crate::interrupt::Pace;
use crate::isa::Isa;
use crate::{memory, threads};

/// Multiply-adds between two looks at whether to stop.
const STEPS: usize = 1 << 23;

/// The right operand as the drivers take it.
#[derive(Clone, Copy)]
pub(super) enum Columns<'a> {
    /// Packed before.
    Packed(&'a PackedI8),
    /// To be expanded as it is used.
    Masked(&'a MaskedI8),
    /// To be packed as it is used.
    Strips { bytes: Bytes, unsigned: bool },
}

impl Columns<'_> {
    pub(super) fn k(&self) -> usize {
        match self {
            Columns::Packed(b) => b.k(),
            Columns::Masked(b) => b.k(),
            Columns::Strips { bytes, .. } => bytes.rows,
        }
    }

    pub(super) fn n(&self) -> usize {
        match self {
            Columns::Packed(b) => b.n(),
            Columns::Masked(b) => b.n(),
            Columns::Strips { bytes, .. } => bytes.cols,
        }
    }
}

/// `(a - za) * (b - zb)`, with zero points of what is packed: shifted as the values are.
pub(super) struct Product<'a> {
    pub(super) isa: Isa,
    pub(super) kernel: &'static Kernel,
    pub(super) a: Source,
    pub(super) b: Columns<'a>,
    pub(super) a_zero: ZeroPoint<'a>,
    pub(super) b_zero: ZeroPoint<'a>,
}

/// Memory that a thread keeps from call to call.
#[derive(Default)]
struct Scratch {
    left: AlignedBytes,
    rows: Vec<i32>,
    room: Room,
}

/// Room for columns of B that are laid out as they are used.
#[derive(Default)]
struct Room {
    strip: PackedI8,
    /// Of a masked B, before it is laid out for a kernel that takes no fours.
    fours: PackedI8,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Elements of the room for sums on their way to a sink: a quarter of the first cache.
const ROOM: usize = MAX_TILE_ROWS * MAX_TILE_COLUMNS;

/// The sums of some rows, on a cache line.
#[repr(align(64))]
struct Sums(MaybeUninit<[i32; ROOM]>);

/// Rows of A that are ready, and what each adds.
struct Ready<'a> {
    range: Range<usize>,
    rows: Rows,
    terms: &'a [i32],
}

/// Columns of packed B that all rows of a block are multiplied with.
#[derive(Clone, Copy)]
struct Strip<'a> {
    b: &'a PackedI8,
    /// What multiplies it: `b` has the kernel's layout.
    kernel: &'static Kernel,
    /// The column of the product that is column 0 of `b`.
    first: usize,
}

impl Ready<'_> {
    /// The first rows, and the others if there are any.
    fn split(&self, rows: usize) -> (Ready<'_>, Option<Ready<'_>>) {
        let Range { start, end } = self.range;
        let rows = rows.min(end - start);
        let top = Ready { range: start..start + rows, rows: self.rows, terms: &self.terms[..rows] };
        let ptr = self.rows.ptr.wrapping_add(rows * self.rows.stride);
        let rest = || Ready {
            range: start + rows..end,
            rows: Rows { ptr, ..self.rows },
            terms: &self.terms[rows..],
        };
        (top, (start + rows < end).then(rest))
    }
}

impl Product<'_> {
    fn rows(&self) -> usize {
        self.a.bytes.rows
    }

    /// Runs the whole product, in int32, wrapping.
    pub(super) fn run<S: Sink>(&self, sink: &S) -> Result<()> {
        let (m, n) = (self.rows(), self.b.n());
        if m == 0 || n == 0 {
            return Ok(());
        }
        let tasks = threads::tasks_for(m * n, self.b.k(), self.kernel.limits.grain);
        if tasks == 1 {
            return self.run_part(0..m, 0..n, sink);
        }
        let (tall, wide) = (self.kernel.rows(), self.kernel.columns().next_multiple_of(64));
        let whole = if m.div_ceil(tall) >= n.div_ceil(wide) {
            let rows = m.div_ceil(tasks).next_multiple_of(tall).min(m);
            threads::try_for_each(m.div_ceil(rows), |task| {
                self.run_part(task * rows..((task + 1) * rows).min(m), 0..n, sink)
            })?;
            true
        } else {
            let columns = n.div_ceil(tasks).next_multiple_of(wide).min(n);
            threads::try_for_each(n.div_ceil(columns), |task| {
                self.run_part(0..m, task * columns..((task + 1) * columns).min(n), sink)
            })?;
            columns == n
        };
        if !whole {
            // SAFETY: every task has ended; the rows are the result's own.
            unsafe { sink.rows_done(0..m) };
        }
        Ok(())
    }

    /// Some rows and columns, on this thread.
    fn run_part<S: Sink>(&self, rows: Range<usize>, columns: Range<usize>, sink: &S) -> Result<()> {
        memory::with_kept(&SCRATCH, |scratch| {
            let mut pace = Pace::of(STEPS);
            let Scratch { left, rows: terms, room } = scratch;
            let per_block = self.rows_of_a_block(rows.len());
            for first in rows.clone().step_by(per_block) {
                let block = first..(first + per_block).min(rows.end);
                let ready = self.ready(block.clone(), left, terms)?;
                self.run_block(&ready, columns.clone(), room, &mut pace, sink)?;
                if columns.len() == self.b.n() {
                    // SAFETY: these rows are this task's own, and finished.
                    unsafe { sink.rows_done(block) };
                }
            }
            Ok(())
        })
    }

    /// Rows that go together: as many as stay in cache, where they are packed.
    fn rows_of_a_block(&self, rows: usize) -> usize {
        let limits = self.kernel.limits;
        let room = match (self.a.in_place(), self.b) {
            (Some(_), Columns::Strips { .. } | Columns::Masked(_)) => return rows,
            (None, Columns::Strips { .. } | Columns::Masked(_)) => limits.left_bytes_for_strips,
            (_, Columns::Packed(_)) => limits.left_bytes,
        };
        let tall = self.kernel.rows();
        let stride = left::stride(self.kernel.left, self.b.k());
        let most = (room / stride / tall * tall).max(tall);
        rows.div_ceil(rows.div_ceil(most)).next_multiple_of(tall)
    }

    /// Rows of A, packed where the kernel cannot read them in place, and their terms.
    fn ready<'r>(
        &self,
        range: Range<usize>,
        left: &mut AlignedBytes,
        terms: &'r mut Vec<i32>,
    ) -> Result<Ready<'r>> {
        let k = self.b.k();
        terms.clear();
        memory::resize(terms, range.len(), 0)?;
        let summed = self.b_zero.single() != Some(0);
        if let Some(rows) = self.a.in_place() {
            for (row, term) in range.clone().zip(terms.iter_mut()) {
                // SAFETY: the row is within A, and read in place.
                *term = if summed { self.row_term(unsafe { self.a.row_sum(row) }) } else { 0 };
            }
            let ptr = rows.ptr.wrapping_add(range.start * rows.stride);
            return Ok(Ready { range, rows: Rows { ptr, ..rows }, terms });
        }
        let stride = left::stride(self.kernel.left, k);
        left.resize_scratch(memory::size(&[range.len(), stride])?)?;
        // SAFETY: the rows are within A, and so are all of its columns.
        unsafe { self.a.pack(range.clone(), 0..k, left) };
        if summed {
            for (term, row) in terms.iter_mut().zip(left.chunks_exact(stride)) {
                *term = self.row_term(self.a.packed_row_sum(row, k));
            }
        }
        let rows = Rows { ptr: left.as_ptr(), stride, flip: self.a.packed_flip() };
        Ok(Ready { range, rows, terms })
    }

    /// What a row adds: `-zb * (sum of the row - k * za)`, or the sum alone where either zero point is
    /// not one for all.
    fn row_term(&self, sum: i32) -> i32 {
        match (self.a_zero.single(), self.b_zero.single()) {
            (Some(za), Some(zb)) => {
                let rest = sum.wrapping_sub((self.b.k() as i32).wrapping_mul(za));
                rest.wrapping_mul(zb).wrapping_neg()
            }
            _ => sum,
        }
    }

    /// The kernel for so many rows.
    fn kernel_for_rows(&self, rows: usize) -> &'static Kernel {
        match self.kernel.many {
            Some(many) if rows >= self.kernel.limits.many_rows => many,
            _ => self.kernel,
        }
    }

    /// Some rows times some columns, strip by strip.
    fn run_block<S: Sink>(
        &self,
        ready: &Ready<'_>,
        columns: Range<usize>,
        room: &mut Room,
        pace: &mut Pace,
        sink: &S,
    ) -> Result<()> {
        let kernel = self.kernel_for_rows(ready.range.len());
        match self.b {
            Columns::Packed(b) if b.layout() == kernel.layout => {
                self.run_strip(ready, Strip { b, kernel, first: 0 }, columns, pace, sink)?;
            }
            Columns::Packed(b) => {
                let line = b.groups() * kernel.layout.line_bytes() / PANEL;
                let wide = (STRIP_BYTES / line.max(1)).min(MAX_TILE_COLUMNS) / PANEL * PANEL;
                let wide = wide.max(kernel.columns().next_multiple_of(PANEL));
                for first in columns.clone().step_by(wide) {
                    let end = (first + wide).min(columns.end);
                    let panels = first / PANEL..end.div_ceil(PANEL);
                    relay(self.isa, b, panels, kernel.layout, &mut room.strip)?;
                    let strip = Strip { b: &room.strip, kernel, first };
                    self.run_strip(ready, strip, first..end, pace, sink)?;
                }
            }
            Columns::Masked(b) => self.run_masked(ready, kernel, b, columns, room, pace, sink)?,
            Columns::Strips { bytes, unsigned } => {
                let strip = &mut room.strip;
                let summed = self.a_zero.single() != Some(0);
                // Twice a tile's width, for the tiles of few rows.
                let wide = kernel.columns().next_multiple_of(MAX_TILE_COLUMNS);
                for first in columns.clone().step_by(wide) {
                    let end = (first + wide).min(columns.end);
                    strip.fill(kernel, bytes.columns(first..end), unsigned, summed)?;
                    let strip = Strip { b: strip, kernel, first };
                    self.run_strip(ready, strip, first..end, pace, sink)?;
                }
            }
        }
        Ok(())
    }

    /// Some rows times some columns of which not all is stored.
    fn run_masked<S: Sink>(
        &self,
        ready: &Ready<'_>,
        kernel: &'static Kernel,
        b: &MaskedI8,
        columns: Range<usize>,
        room: &mut Room,
        pace: &mut Pace,
        sink: &S,
    ) -> Result<()> {
        let Room { strip, fours } = room;
        // These take A as the VNNI kernels do.
        let fused = masked::fused(self.isa).filter(|_| kernel.left == Left::U8);
        for first in columns.clone().step_by(masked::WIDE * PANEL) {
            let end = (first + masked::WIDE * PANEL).min(columns.end);
            let panels = first / PANEL..end.div_ceil(PANEL);
            let Some(fused) = fused else {
                b.expand(self.isa, panels.clone(), fours)?;
                let b = if fours.layout() == kernel.layout {
                    &*fours
                } else {
                    relay(self.isa, fours, 0..panels.len(), kernel.layout, strip)?;
                    &*strip
                };
                self.run_strip(ready, Strip { b, kernel, first }, first..end, pace, sink)?;
                continue;
            };
            b.reserve(panels, strip)?;
            let (top, rest) = ready.split(masked::TALL);
            let strip = Strip { b: strip, kernel, first };
            self.run_fused(&top, fused, b, strip, first..end, rest.is_some(), sink);
            pace.check(top.range.len() * (end - first) * self.b.k())?;
            if let Some(rest) = rest {
                self.run_strip(&rest, strip, first..end, pace, sink)?;
            }
        }
        Ok(())
    }

    /// Some rows times the columns of a strip.
    fn run_strip<S: Sink>(
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
    fn run_fused<S: Sink>(
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
            let start = self.start(strip, column, units);
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
        let start = self.start(strip, columns.start, units);
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
    fn start(&self, strip: Strip<'_>, column: usize, units: usize) -> [i32; MAX_TILE_COLUMNS] {
        let mut start = [0; MAX_TILE_COLUMNS];
        if self.is_simple() {
            let at = column - strip.first;
            self.column_terms(&strip.b.sums()[at..], &mut start[..units * strip.kernel.unit]);
        }
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
