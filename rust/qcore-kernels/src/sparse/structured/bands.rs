//! Float32 matrices laid out in bands of rows that share their columns.
//!
//! A band's rows take each row of the dense operand from the first cache to registers once. The matrix
//! is cut into panels of at most 256 columns, so that a column takes a byte, and into chunks of rows.
//! The values of a chunk follow each other panel after panel, in each of them band after band, in each
//! of these column after column: they are read once, in order, while the sums of the chunk's rows go
//! from one panel to the next.

use std::ops::Range;

use super::panels::Chunk;
use super::product::Structured;
use crate::error::Result;
use crate::interrupt::{self, Pace};
use crate::isa::Isa;
use crate::memory;
use crate::simd::dispatch;
use crate::sparse::drive::{self, BLOCK_ROWS, BLOCK_VALUES};
use crate::sparse::float::{check_inner, narrow};
use crate::sparse::lanes::Lanes;
use crate::sparse::out::{Order, Out};
use crate::sparse::value::Value;
use crate::view::MatRef;

/// The most rows of a band: their sums, and a row of the dense operand, stay in registers.
pub(super) const TALLEST: usize = 4;

/// The least columns of a panel: 24 KB of a dense operand of 64 columns.
const NARROWEST: usize = 96;

/// The most columns of a panel: a byte tells them apart.
const WIDEST: usize = 256;

/// Columns that a band should have in a panel: what is gained by fewer is lost at the ends.
const BAND_COLUMNS: usize = 48;

/// A float32 matrix in bands.
#[derive(Debug, Clone)]
pub struct FloatBands {
    cols: usize,
    stored: usize,
    /// Columns of a panel.
    pub(super) panel: usize,
    /// Where each band starts, and the last one ends: rows.
    pub(super) rows: Vec<usize>,
    /// Bands of each chunk.
    pub(super) chunks: Vec<Range<usize>>,
    /// Where the columns and the values of each chunk start.
    pub(super) starts: Vec<(usize, usize)>,
    /// How many columns each band of each panel of each chunk has.
    pub(super) counts: Vec<u16>,
    /// The columns in their panels.
    pub(super) columns: Vec<u8>,
    /// For each of these one value for each row of the band.
    pub(super) values: Vec<f32>,
}

/// The columns that a band stores, and for each the values of its rows.
type Band = (Vec<usize>, Vec<f32>);

impl FloatBands {
    /// Lays out a matrix.
    pub fn new(a: &impl Structured<f32>) -> Result<Self> {
        let cols = a.cols();
        let starts = band_starts(a.rows(), a.shared_rows())?;
        let mut pace = Pace::new();
        let mut bands: Vec<Band> = memory::with_capacity(starts.len() - 1)?;
        for band in starts.windows(2) {
            let tall = band[1] - band[0];
            let columns = columns_of(a, band[0])?;
            let mut values = memory::filled(0.0, memory::size(&[columns.len(), tall])?)?;
            pace.check(values.len())?;
            for at in 0..tall {
                let mut next = at;
                a.for_row(band[0] + at, |_, value| {
                    values[next] = value;
                    next += tall;
                });
            }
            bands.push((columns, values));
        }
        let stored: usize = bands.iter().map(|band| band.1.len()).sum();
        let columns: usize = bands.iter().map(|band| band.0.len()).sum();
        let wanted = (BAND_COLUMNS * bands.len()).saturating_mul(cols) / columns.max(1);
        let panel = wanted.next_multiple_of(16).clamp(NARROWEST, WIDEST);
        let mut made = Self {
            cols,
            stored,
            panel,
            rows: starts,
            chunks: Vec::new(),
            starts: Vec::new(),
            counts: Vec::new(),
            columns: memory::with_capacity(columns)?,
            values: memory::with_capacity(stored)?,
        };
        let chunks = made.cut(&bands)?;
        for chunk in &chunks {
            made.push(&bands[chunk.clone()], &mut pace)?;
        }
        made.chunks = chunks;
        Ok(made)
    }

    /// Whether a matrix has values enough for its bands and panels: each of them takes two bytes.
    pub(super) fn suits(a: &impl Structured<f32>) -> bool {
        let counts = (a.rows().div_ceil(TALLEST)).saturating_mul(a.cols().div_ceil(WIDEST));
        let worth = a.stored_values().saturating_add(a.rows()).saturating_mul(16);
        counts <= worth.max(1 << 20)
    }

    /// Chunks of about as many values, of few rows.
    fn cut(&self, bands: &[Band]) -> Result<Vec<Range<usize>>> {
        let mut chunks = Vec::new();
        let (mut first, mut values) = (0, 0);
        for (band, (_, more)) in bands.iter().enumerate() {
            let rows = self.rows[band + 1] - self.rows[first];
            if band > first && (rows > BLOCK_ROWS || values + more.len() > 2 * BLOCK_VALUES) {
                memory::push(&mut chunks, first..band)?;
                (first, values) = (band, 0);
            }
            values += more.len();
        }
        if first < bands.len() {
            memory::push(&mut chunks, first..bands.len())?;
        }
        Ok(chunks)
    }

    /// Lays out the bands of a chunk.
    fn push(&mut self, bands: &[Band], pace: &mut Pace) -> Result<()> {
        memory::push(&mut self.starts, (self.columns.len(), self.values.len()))?;
        let mut next = memory::filled(0, bands.len())?;
        let more = memory::size(&[bands.len(), self.panels()])?;
        memory::reserve(&mut self.counts, more)?;
        for panel in 0..self.panels() {
            pace.check(bands.len())?;
            let first = panel * self.panel;
            for ((columns, values), next) in bands.iter().zip(&mut next) {
                let tall = values.len() / columns.len().max(1);
                let end = columns.partition_point(|&column| column < first + self.panel);
                self.counts.push((end - *next) as u16);
                self.columns.extend(columns[*next..end].iter().map(|&c| (c - first) as u8));
                memory::extend(&mut self.values, &values[*next * tall..end * tall])?;
                *next = end;
            }
        }
        Ok(())
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows[self.rows.len() - 1]
    }

    /// Number of columns.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// How many values are laid out.
    #[must_use]
    pub fn stored(&self) -> usize {
        self.stored
    }

    /// The matrix, row-major.
    pub fn to_dense(&self) -> Result<Vec<f32>> {
        let mut dense = memory::filled(0.0, memory::size(&[self.rows(), self.cols])?)?;
        self.for_each(|row, column, value| dense[row * self.cols + column] = value);
        Ok(dense)
    }

    /// Calls back for all that is laid out: row, column and value.
    fn for_each(&self, mut each: impl FnMut(usize, usize, f32)) {
        let (mut columns, mut values) = (self.columns.iter(), self.values.iter());
        let mut counts = self.counts.iter();
        for chunk in &self.chunks {
            for panel in 0..self.panels() {
                for (band, &count) in chunk.clone().zip(counts.by_ref()) {
                    for &column in columns.by_ref().take(count.into()) {
                        let column = panel * self.panel + usize::from(column);
                        for row in self.rows[band]..self.rows[band + 1] {
                            each(row, column, *values.next().expect("one each"));
                        }
                    }
                }
            }
        }
    }

    /// Computes the columns of a product again in which `x` has an infinity or a NaN: the zeros of a
    /// band times it would reach rows that do not store the place.
    fn without_zeros(&self, x: MatRef<'_, f32>, lanes: &[Lanes<f32>], out: Out<f32>) -> Result<()> {
        for lanes in lanes.iter().filter(|lanes| !is_finite(lanes.as_slice())) {
            for column in lanes.columns.clone() {
                if (0..x.rows()).all(|row| x.get(row, column).is_finite()) {
                    continue;
                }
                interrupt::check()?;
                let mut sums = memory::filled(0.0_f32, self.rows())?;
                self.for_each(|row, inner, value| {
                    if value != 0.0 {
                        sums[row] += value * x.get(inner, column);
                    }
                });
                for (row, sum) in sums.into_iter().enumerate() {
                    // SAFETY: the element is within the result, and no task is left.
                    unsafe { out.put(row..row + 1, column..column + 1, &[sum], 1, |sum| sum) };
                }
            }
        }
        Ok(())
    }

    /// Bytes in memory.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        size_of_val(&self.rows[..])
            + size_of_val(&self.chunks[..])
            + size_of_val(&self.starts[..])
            + size_of_val(&self.counts[..])
            + self.columns.len()
            + size_of_val(&self.values[..])
    }

    pub(super) fn panels(&self) -> usize {
        self.cols.div_ceil(self.panel)
    }

    /// `out = self @ x`.
    pub fn multiply(
        &self,
        isa: Isa,
        x: MatRef<'_, f32>,
        order: Order,
        out: &mut [f32],
    ) -> Result<()> {
        check_inner(self.cols, x.rows())?;
        let out = Out::new(out, self.rows(), x.cols(), order)?;
        let widths: &[usize] = if isa.includes(Isa::Avx512) {
            &[8, 16, 32, 64]
        } else if isa.includes(Isa::Avx2) {
            &[8, 16]
        } else {
            &[8]
        };
        let lanes = Lanes::blocks(x, widths)?;
        let blocks = self.chunks.iter().map(|bands| self.rows[bands.start]..self.rows[bands.end]);
        let blocks = memory::collected(blocks)?;
        let compute = |index, lanes: &Lanes<f32>, out: &mut [f32]| {
            let (a, x) = (self, lanes.as_slice());
            match lanes.width {
                8 => dispatch(narrow(isa), Chunk::<8> { a, index, x, out }),
                16 => dispatch(isa, Chunk::<16> { a, index, x, out }),
                32 => dispatch(isa, Chunk::<32> { a, index, x, out }),
                _ => dispatch(isa, Chunk::<64> { a, index, x, out }),
            }
        };
        drive::product(&blocks, self.stored, &lanes, out, compute, |sum| sum)?;
        self.without_zeros(x, &lanes, out)
    }
}

/// Whether no value is an infinity or a NaN.
fn is_finite(values: &[f32]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    // All bits, not the first that is odd: this compiles to vectors.
    values.iter().fold(true, |finite, value| finite & (value.to_bits() & EXPONENT != EXPONENT))
}

/// The columns that a row stores.
pub(super) fn columns_of<V: Value>(a: &impl Structured<V>, row: usize) -> Result<Vec<usize>> {
    let mut count = 0;
    a.for_row(row, |_, _| count += 1);
    let mut columns = memory::with_capacity(count)?;
    a.for_row(row, |column, _| columns.push(column));
    Ok(columns)
}

/// Where bands start: each `shared` rows in as few as there can be.
pub(super) fn band_starts(rows: usize, shared: usize) -> Result<Vec<usize>> {
    let mut starts = memory::with_capacity(memory::sum(&[rows / TALLEST, 1])?)?;
    memory::push(&mut starts, 0)?;
    let mut pace = Pace::new();
    let mut row = 0;
    while row < rows {
        let end = (row - row % shared).saturating_add(shared).min(rows);
        row += (end - row).min(TALLEST);
        pace.check(1)?;
        memory::push(&mut starts, row)?;
    }
    Ok(starts)
}
