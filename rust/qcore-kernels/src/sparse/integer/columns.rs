//! Rows of a product with many columns: dot products of four stored values with four rows of `x`.

use std::ops::Range;

use super::{EIGHT, IntegerCsr};
use crate::simd::{Dot4, Dot4Op};
use crate::sparse::indices::Index;
use crate::sparse::value::Int8Value;

/// Rows of a product with `WIDE` columns of `x`.
pub(super) struct Block<'a, V, I, const WIDE: usize> {
    pub(super) a: &'a IntegerCsr<V>,
    pub(super) indices: &'a [I],
    pub(super) rows: Range<usize>,
    pub(super) x: &'a [u8],
    pub(super) zero: i32,
    pub(super) out: &'a mut [i32],
}

impl<V: Int8Value, I: Index, const WIDE: usize> Dot4Op for Block<'_, V, I, WIDE> {
    type Output = ();

    #[inline(always)]
    fn eval<D: Dot4>(self, d: D) {
        let matrix = &self.a.matrix;
        let values = matrix.values();
        assert!(self.x.len() == matrix.cols() * WIDE && values.len() == self.indices.len());
        for (row, out) in self.rows.zip(self.out.chunks_exact_mut(WIDE)) {
            let range = matrix.indptr()[row]..matrix.indptr()[row + 1];
            let start = self.a.row_sums[row].wrapping_mul(-self.zero);
            for first in (0..WIDE).step_by(D::COLUMNS) {
                let mut sums = [d.splat(start); 4];
                let x = self.x.as_ptr().wrapping_add(first);
                let (indices, rest) = self.indices[range.clone()].as_chunks::<4>();
                let (fours, last) = values[range.clone()].as_chunks::<4>();
                for (index, four) in indices.iter().zip(fours) {
                    let rows = I::positions(index);
                    let four = [four[0].byte(), four[1].byte(), four[2].byte(), four[3].byte()];
                    // SAFETY: an index is below the matrix's columns, of which x has a row each.
                    unsafe { step::<D, V, WIDE>(d, &mut sums, x, rows, four) };
                }
                if let Some(&any) = rest.first() {
                    let (mut rows, mut four) = ([any.position(); 4], [0; 4]);
                    for (at, (&index, value)) in rest.iter().zip(last).enumerate() {
                        rows[at] = index.position();
                        four[at] = value.byte();
                    }
                    // SAFETY: as above.
                    unsafe { step::<D, V, WIDE>(d, &mut sums, x, rows, four) };
                }
                // SAFETY: a row of `out` has WIDE elements.
                unsafe { d.store(out.as_mut_ptr().add(first), sums) };
            }
        }
    }
}

/// Rows of a product with [`EIGHT`] columns of `x`.
pub(super) struct EightBlock<'a, V, I> {
    pub(super) a: &'a IntegerCsr<V>,
    pub(super) indices: &'a [I],
    pub(super) rows: Range<usize>,
    pub(super) x: &'a [u8],
    pub(super) zero: i32,
    pub(super) out: &'a mut [i32],
}

impl<V: Int8Value, I: Index> Dot4Op for EightBlock<'_, V, I> {
    type Output = ();

    #[inline(always)]
    fn eval<D: Dot4>(self, d: D) {
        let matrix = &self.a.matrix;
        let values = matrix.values();
        assert!(self.x.len() == matrix.cols() * EIGHT && values.len() == self.indices.len());
        let (x, unsigned) = (self.x.as_ptr(), V::MIN < 0);
        for (row, out) in self.rows.zip(self.out.chunks_exact_mut(EIGHT)) {
            let range = matrix.indptr()[row]..matrix.indptr()[row + 1];
            let mut sums = d.splat(self.a.row_sums[row].wrapping_mul(-self.zero));
            let (indices, rest) = self.indices[range.clone()].as_chunks::<4>();
            let (fours, last) = values[range].as_chunks::<4>();
            for (index, four) in indices.iter().zip(fours) {
                let rows = I::positions(index);
                let four = [four[0].byte(), four[1].byte(), four[2].byte(), four[3].byte()];
                // SAFETY: an index is below the matrix's columns, of which x has a row each.
                unsafe { sums = d.dot_eight(sums, eights(x, rows), four, unsigned) };
            }
            if let Some(&any) = rest.first() {
                let (mut rows, mut four) = ([any.position(); 4], [0; 4]);
                for (at, (&index, value)) in rest.iter().zip(last).enumerate() {
                    rows[at] = index.position();
                    four[at] = value.byte();
                }
                // SAFETY: as above.
                unsafe { sums = d.dot_eight(sums, eights(x, rows), four, unsigned) };
            }
            // SAFETY: a row of `out` has EIGHT elements.
            unsafe { d.store_eight(out.as_mut_ptr(), sums) };
        }
    }
}

/// Where four rows of eight columns lie.
///
/// # Safety
/// `x` has the rows.
#[inline(always)]
unsafe fn eights(x: *const u8, rows: [usize; 4]) -> [*const u8; 4] {
    // SAFETY: by the caller's promise.
    unsafe {
        [
            x.add(rows[0] * EIGHT),
            x.add(rows[1] * EIGHT),
            x.add(rows[2] * EIGHT),
            x.add(rows[3] * EIGHT),
        ]
    }
}

/// Adds four rows of `x`, each times one of four values, to the sums of [`Dot4::COLUMNS`] columns.
///
/// # Safety
/// `x` is valid for reading that many columns of each of the rows.
#[inline(always)]
unsafe fn step<D: Dot4, V: Int8Value, const WIDE: usize>(
    d: D,
    sums: &mut [D::I32; 4],
    x: *const u8,
    rows: [usize; 4],
    values: [u8; 4],
) {
    let value = d.splat(i32::from_le_bytes(values));
    // SAFETY: by the caller's promise.
    let columns = unsafe {
        d.interleave([
            x.add(rows[0] * WIDE),
            x.add(rows[1] * WIDE),
            x.add(rows[2] * WIDE),
            x.add(rows[3] * WIDE),
        ])
    };
    for at in 0..4 {
        sums[at] = if V::MIN < 0 {
            d.dot_data(sums[at], columns[at], value)
        } else {
            d.dot(sums[at], value, columns[at])
        };
    }
}
