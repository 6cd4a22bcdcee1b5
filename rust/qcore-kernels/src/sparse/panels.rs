//! Float32 matrices laid out for products with many columns.
//!
//! The matrix is cut into panels of columns, so narrow that the rows of the dense operand that one
//! panel multiplies stay in the first cache, and into blocks of rows. The values of a block follow each
//! other panel after panel, in each of them row after row: they are read once, in order, while the sums
//! of the block's rows go from one panel to the next.

use std::ops::Range;

use super::csr::Csr;
use super::drive::{BLOCK_ROWS, BLOCK_VALUES, row_blocks};
use super::indices::Index;
use crate::error::Result;
use crate::interrupt;
use crate::memory;
use crate::simd::{Simd, SimdOp};

/// The least columns of a panel for 32 columns of the dense operand, and for 8: 24 KB of it.
const NARROWEST: [usize; 2] = [192, 768];

/// The most columns of a panel: their places are 16-bit offsets in units of [`UNIT`] bytes.
const WIDEST: usize = (1 << 16) / UNIT - 1;

/// Bytes of the narrowest row of the dense operand.
const UNIT: usize = 32;

/// Values that a row should have in a panel: what is gained by a smaller one is lost at its ends.
const ROW_VALUES: usize = 32;

/// Values of a row in a panel with which the layout is not worth its while.
const TOO_FEW: usize = 4;

/// How many values ahead of the multiplication they are fetched: the latency of memory.
const AHEAD: usize = 512;

/// A matrix in panels.
#[derive(Debug, Clone)]
pub(super) struct Panels {
    /// Columns of a panel.
    columns: usize,
    /// How many there are.
    count: usize,
    pub(super) blocks: Vec<Range<usize>>,
    /// Where the values of each block start.
    starts: Vec<usize>,
    /// How many values each row of each panel of each block has.
    counts: Vec<u16>,
    /// The column of each value in its panel, times [`UNIT`].
    offsets: Vec<u16>,
    values: Vec<f32>,
}

impl Panels {
    /// The matrix in panels for `few` columns of the dense operand or for many, unless it has too few
    /// values for them.
    pub(super) fn new(matrix: &Csr<f32>, few: bool) -> Result<Option<Self>> {
        let (rows, cols, nnz) = (matrix.rows(), matrix.cols(), matrix.nnz());
        if nnz == 0 {
            return Ok(None);
        }
        // For so many values in a row of a panel.
        let for_values = |values: usize| values.saturating_mul(rows).saturating_mul(cols) / nnz;
        if for_values(TOO_FEW) > WIDEST {
            return Ok(None);
        }
        let columns =
            for_values(ROW_VALUES).next_multiple_of(16).clamp(NARROWEST[usize::from(few)], WIDEST);
        let count = cols.div_ceil(columns);
        let blocks = row_blocks(matrix.indptr(), 2 * BLOCK_VALUES, BLOCK_ROWS)?;
        let mut made = Self {
            columns,
            count,
            starts: memory::collected(blocks.iter().map(|rows| matrix.indptr()[rows.start]))?,
            blocks: Vec::new(),
            counts: memory::filled(0, memory::size(&[rows, count])?)?,
            offsets: memory::filled(0, nnz)?,
            values: memory::filled(0.0, nnz)?,
        };
        for rows in &blocks {
            interrupt::check()?;
            made.fill(matrix, rows.clone())?;
        }
        made.blocks = blocks;
        Ok(Some(made))
    }

    /// Lays out a block of rows.
    fn fill(&mut self, matrix: &Csr<f32>, rows: Range<usize>) -> Result<()> {
        let counts = &mut self.counts[rows.start * self.count..rows.end * self.count];
        for (at, row) in rows.clone().enumerate() {
            for (column, _) in matrix.row(row) {
                counts[column / self.columns * rows.len() + at] += 1;
            }
        }
        let mut next = matrix.indptr()[rows.start];
        let mut places: Vec<usize> = memory::with_capacity(counts.len())?;
        for &count in &*counts {
            places.push(next);
            next += usize::from(count);
        }
        for (at, row) in rows.clone().enumerate() {
            for (column, value) in matrix.row(row) {
                let place = &mut places[column / self.columns * rows.len() + at];
                self.offsets[*place] = (column % self.columns * UNIT) as u16;
                self.values[*place] = value;
                *place += 1;
            }
        }
        Ok(())
    }

    /// Bytes in memory.
    pub(super) fn nbytes(&self) -> usize {
        size_of_val(&self.counts[..])
            + size_of_val(&self.offsets[..])
            + size_of_val(&self.values[..])
    }
}

/// The sums of a block with `WIDTH` columns of `x`.
pub(super) struct PanelBlock<'a, const WIDTH: usize> {
    pub(super) a: &'a Panels,
    pub(super) block: usize,
    pub(super) cols: usize,
    pub(super) x: &'a [f32],
    pub(super) out: &'a mut [f32],
}

impl<const WIDTH: usize> SimdOp for PanelBlock<'_, WIDTH> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        // Sums enough for the latency of a fused multiplication, registers enough for the sums.
        match WIDTH / S::LANES {
            1 => self.run::<S, 1, 4>(s),
            2 => self.run::<S, 2, 2>(s),
            4 => self.run::<S, 4, 2>(s),
            _ => self.run::<S, 8, 1>(s),
        }
    }
}

impl<const WIDTH: usize> PanelBlock<'_, WIDTH> {
    #[inline(always)]
    fn run<S: Simd, const VECTORS: usize, const SETS: usize>(self, s: S) {
        let Self { a, block, cols, x, out } = self;
        let rows = &a.blocks[block];
        let counts = &a.counts[rows.start * a.count..rows.end * a.count];
        assert!(x.len() == cols * WIDTH && out.len() == rows.len() * WIDTH);
        let mut at = a.starts[block];
        for (panel, counts) in counts.chunks_exact(rows.len()).enumerate() {
            let x = x[panel * a.columns * WIDTH..].as_ptr();
            for (&count, out) in counts.iter().zip(out.chunks_exact_mut(WIDTH)) {
                let mut sums = [[s.splat_f32(0.0); VECTORS]; SETS];
                let end = at + usize::from(count);
                let (offsets, values) = (&a.offsets[at..end], &a.values[at..end]);
                at = end;
                if panel > 0 && count == 0 {
                    continue;
                }
                let (fours, rest) = offsets.as_chunks::<4>();
                let (four_values, last) = values.as_chunks::<4>();
                for (four, values) in fours.iter().zip(four_values) {
                    s.prefetch(four.as_ptr().wrapping_add(AHEAD));
                    s.prefetch(values.as_ptr().wrapping_add(AHEAD));
                    let offsets = u16::positions(four);
                    for entry in 0..4 {
                        let sums = &mut sums[entry % SETS];
                        // SAFETY: an offset is that of a column of this panel, and x has WIDTH
                        // floats for each.
                        unsafe {
                            add_row::<S, VECTORS, WIDTH>(s, sums, x, offsets[entry], values[entry]);
                        }
                    }
                }
                for (&offset, &value) in rest.iter().zip(last) {
                    // SAFETY: as above.
                    unsafe {
                        add_row::<S, VECTORS, WIDTH>(s, &mut sums[0], x, offset.position(), value);
                    }
                }
                for vector in 0..VECTORS {
                    let mut total = sums[0][vector];
                    for set in &sums[1..] {
                        total = s.add(total, set[vector]);
                    }
                    let out = &mut out[vector * S::LANES..];
                    // SAFETY: a row of `out` has WIDTH floats.
                    unsafe {
                        // Panels are added up: a sum of them all would lose what is small beside it.
                        if panel > 0 {
                            total = s.add(s.load_f32(out.as_ptr()), total);
                        }
                        s.store_f32(out.as_mut_ptr(), total);
                    }
                }
            }
        }
    }
}

/// Adds a row of `x` times a value to sums. `offset` is in bytes of rows of 8 floats.
///
/// # Safety
/// `x` is valid for reading `WIDTH` floats from there on.
#[inline(always)]
unsafe fn add_row<S: Simd, const VECTORS: usize, const WIDTH: usize>(
    s: S,
    sums: &mut [S::F32; VECTORS],
    x: *const f32,
    offset: usize,
    value: f32,
) {
    let value = s.splat_f32(value);
    // SAFETY: by the caller's promise; rows are aligned for floats.
    let x = unsafe { x.byte_add(offset * (WIDTH * size_of::<f32>() / UNIT)) };
    for (vector, sum) in sums.iter_mut().enumerate() {
        // SAFETY: by the caller's promise.
        *sum = s.mul_add(value, unsafe { s.load_f32(x.add(vector * S::LANES)) }, *sum);
    }
}
