//! Int8 blocks laid out for products with many columns: four columns at a time, in bands of rows that
//! share them.

use std::ops::Range;

use super::bands::{band_starts, columns_of};
use super::product::Structured;
use crate::error::Result;
use crate::interrupt::Pace;
use crate::isa::Isa;
use crate::memory;
use crate::simd::{Dot4, Dot4Op, dispatch_dot};
use crate::sparse::drive::{self, BLOCK_ROWS, BLOCK_VALUES};
use crate::sparse::indices::{Index, Indices, with_indices};
use crate::sparse::integer::{Moved, WIDTH};
use crate::sparse::lanes::Lanes;
use crate::sparse::out::Out;
use crate::sparse::value::Int8Value;

/// An integer matrix in bands.
#[derive(Debug, Clone)]
pub(super) struct Quads {
    stored: usize,
    /// Where each band starts, and the last one ends: rows.
    rows: Vec<usize>,
    /// Where each band's fours of columns start, and those of the last one end.
    fours: Vec<usize>,
    /// Where each band's words start.
    words: Vec<usize>,
    /// Four columns after four; those that fill up the last four of a band are any.
    columns: Indices,
    /// For each four columns and each row of the band its four values.
    values: Vec<i32>,
    /// The sum of each row, modulo 2^32.
    sums: Vec<i32>,
    /// Bands of each block.
    blocks: Vec<Range<usize>>,
}

impl Quads {
    pub(super) fn new<V: Int8Value>(a: &impl Structured<V>) -> Result<Self> {
        let rows = band_starts(a.rows(), a.shared_rows())?;
        let mut pace = Pace::new();
        let mut made = Self {
            stored: a.stored_values(),
            fours: memory::filled(0, 1)?,
            words: memory::filled(0, 1)?,
            columns: Indices::for_columns(a.cols(), 0)?,
            values: Vec::new(),
            sums: memory::filled(0, a.rows())?,
            blocks: Vec::new(),
            rows: Vec::new(),
        };
        for band in rows.windows(2) {
            pace.check(made.push(a, band[0]..band[1])?)?;
        }
        made.rows = rows;
        made.cut()?;
        Ok(made)
    }

    /// Lays out a band; returns how many values it has.
    fn push<V: Int8Value>(&mut self, a: &impl Structured<V>, band: Range<usize>) -> Result<usize> {
        let mut columns = columns_of(a, band.start)?;
        let fours = columns.len().div_ceil(4);
        let any = columns.first().copied().unwrap_or(0);
        memory::resize(&mut columns, 4 * fours, any)?;
        for &column in &columns {
            self.columns.push(column)?;
        }
        let start = self.values.len();
        memory::resize(&mut self.values, start + fours * band.len(), 0)?;
        for (at, row) in band.clone().enumerate() {
            let mut next = 0;
            a.for_row(row, |_, value| {
                let word = &mut self.values[start + next / 4 * band.len() + at];
                *word |= i32::from(value.byte()) << (8 * (next % 4));
                self.sums[row] = self.sums[row].wrapping_add(value.into());
                next += 1;
            });
        }
        let before = self.fours[self.fours.len() - 1];
        memory::push(&mut self.fours, before + fours)?;
        memory::push(&mut self.words, self.values.len())?;
        Ok(4 * fours * band.len())
    }

    /// Blocks of about as many values, of few rows.
    fn cut(&mut self) -> Result<()> {
        let mut first = 0;
        for band in 0..self.rows.len() - 1 {
            let rows = self.rows[band + 1] - self.rows[first];
            let values = 4 * (self.words[band + 1] - self.words[first]);
            if band > first && (rows > BLOCK_ROWS || values > BLOCK_VALUES / 2) {
                memory::push(&mut self.blocks, first..band)?;
                first = band;
            }
        }
        if first + 1 < self.rows.len() {
            memory::push(&mut self.blocks, first..self.rows.len() - 1)?;
        }
        Ok(())
    }

    /// Bytes in memory.
    pub(super) fn nbytes(&self) -> usize {
        self.columns.nbytes()
            + size_of_val(&self.values[..])
            + size_of_val(&self.sums[..])
            + 8 * (self.rows.len() + self.fours.len() + self.words.len() + 2 * self.blocks.len())
    }

    /// The product, whose sums int32 holds.
    pub(super) fn multiply<V: Int8Value, T: Copy + Send>(
        &self,
        isa: Isa,
        x: &Moved,
        out: Out<T>,
        convert: impl Fn(i32) -> T + Sync + Send,
    ) -> Result<()> {
        let blocks = self.blocks.iter().map(|bands| self.rows[bands.start]..self.rows[bands.end]);
        let blocks = memory::collected(blocks)?;
        let compute = |block: usize, lanes: &Lanes<u8>, out: &mut [i32]| {
            let (block, x, zero) = (self.blocks[block].clone(), lanes.as_slice(), x.zero);
            let signed = V::MIN < 0;
            with_indices!(&self.columns, |columns| {
                dispatch_dot(isa, Bands { a: self, columns, block, x, zero, signed, out });
            });
        };
        drive::product(&blocks, self.stored, &x.lanes, out, compute, convert)
    }
}

/// Bands of a product with [`WIDTH`] columns of `x`.
struct Bands<'a, I> {
    a: &'a Quads,
    columns: &'a [I],
    block: Range<usize>,
    x: &'a [u8],
    zero: i32,
    signed: bool,
    out: &'a mut [i32],
}

impl<I: Index> Dot4Op for Bands<'_, I> {
    type Output = ();

    #[inline(always)]
    fn eval<D: Dot4>(self, d: D) {
        if self.signed { self.run::<D, true>(d) } else { self.run::<D, false>(d) }
    }
}

impl<I: Index> Bands<'_, I> {
    #[inline(always)]
    fn run<D: Dot4, const SIGNED: bool>(self, d: D) {
        let Self { a, columns, block: bands, x, zero, out, .. } = self;
        let top = a.rows[bands.start];
        for band in bands {
            let (rows, tall) = (a.rows[band] - top, a.rows[band + 1] - a.rows[band]);
            let columns = columns[4 * a.fours[band]..4 * a.fours[band + 1]].as_chunks::<4>().0;
            let values = &a.values[a.words[band]..a.words[band + 1]];
            let sums = &a.sums[a.rows[band]..a.rows[band + 1]];
            let out = &mut out[rows * WIDTH..(rows + tall) * WIDTH];
            match tall {
                1 => multiply::<D, I, 1, SIGNED>(d, columns, values, sums, x, zero, out),
                2 => multiply::<D, I, 2, SIGNED>(d, columns, values, sums, x, zero, out),
                3 => multiply::<D, I, 3, SIGNED>(d, columns, values, sums, x, zero, out),
                _ => multiply::<D, I, 4, SIGNED>(d, columns, values, sums, x, zero, out),
            }
        }
    }
}

/// `TALL` rows.
#[allow(clippy::needless_range_loop, reason = "unrolled whole, so that sums stay in registers")]
#[inline(always)]
fn multiply<D: Dot4, I: Index, const TALL: usize, const SIGNED: bool>(
    d: D,
    columns: &[[I; 4]],
    values: &[i32],
    row_sums: &[i32],
    x: &[u8],
    zero: i32,
    out: &mut [i32],
) {
    assert!(values.len() == columns.len() * TALL && out.len() == TALL * WIDTH);
    for first in (0..WIDTH).step_by(D::COLUMNS) {
        let mut sums = [[d.splat(0); 4]; TALL];
        for row in 0..TALL {
            sums[row] = [d.splat(row_sums[row].wrapping_mul(-zero)); 4];
        }
        for (four, values) in columns.iter().zip(values.as_chunks::<TALL>().0) {
            let at = I::positions(four);
            let x = x.as_ptr().wrapping_add(first);
            // SAFETY: a column is one of the matrix's, of which x has a row of WIDTH bytes each.
            let x = unsafe {
                d.interleave([
                    x.add(at[0] * WIDTH),
                    x.add(at[1] * WIDTH),
                    x.add(at[2] * WIDTH),
                    x.add(at[3] * WIDTH),
                ])
            };
            for row in 0..TALL {
                let value = d.splat(values[row]);
                for part in 0..4 {
                    sums[row][part] = if SIGNED {
                        d.dot_data(sums[row][part], x[part], value)
                    } else {
                        d.dot(sums[row][part], value, x[part])
                    };
                }
            }
        }
        for row in 0..TALL {
            // SAFETY: `out` has WIDTH integers for each row.
            unsafe { d.store(out.as_mut_ptr().add(row * WIDTH + first), sums[row]) };
        }
    }
}
