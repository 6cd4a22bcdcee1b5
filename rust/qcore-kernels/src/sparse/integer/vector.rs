//! Products with one column.

use std::ops::Range;

use super::Sum;
use crate::error::Result;
use crate::interrupt::Pace;
use crate::sparse::csr::Csr;
use crate::sparse::indices::{Index, with_indices};
use crate::sparse::scratch::Scratch;
use crate::sparse::value::Int8Value;

/// A product with one column, `x` less its zero point, column of the matrix by column: those that
/// meet a zero, as most do behind a rectifier, cost nothing.
pub(super) fn scatter<V: Int8Value, T: Sum>(
    columns: &Csr<V>,
    x: &[i32],
    out: &mut [T],
) -> Result<()> {
    let mut sums = Scratch::<i32>::new(columns.cols())?;
    let mut pace = Pace::new();
    sums.fill(0);
    let values = columns.values();
    assert!(x.len() == columns.rows() && values.len() == columns.nnz());
    with_indices!(columns.indices(), |indices| {
        for (column, &x) in x.iter().enumerate() {
            if x == 0 {
                continue;
            }
            let range = columns.indptr()[column]..columns.indptr()[column + 1];
            pace.check(range.len())?;
            for (index, &value) in indices[range.clone()].iter().zip(&values[range]) {
                // SAFETY: an index of the transpose is below the matrix's rows, which have a sum each.
                let sum = unsafe { sums.get_unchecked_mut(index.position()) };
                *sum = sum.wrapping_add(value.into().wrapping_mul(x));
            }
        }
    });
    for (out, &sum) in out.iter_mut().zip(&*sums) {
        *out = T::from_i32(sum);
    }
    Ok(())
}

/// Rows of a product with one column, `x` less its zero point.
pub(super) fn vector<V: Int8Value, T: Sum>(
    a: &Csr<V>,
    rows: Range<usize>,
    x: &[i32],
    out: &mut [T],
) {
    let values = a.values();
    assert!(x.len() == a.cols() && values.len() == a.nnz());
    with_indices!(a.indices(), |indices| {
        for (row, out) in rows.zip(out) {
            let range = a.indptr()[row]..a.indptr()[row + 1];
            let mut sum = 0_i32;
            for (index, &value) in indices[range.clone()].iter().zip(&values[range]) {
                // SAFETY: an index is below the matrix's columns, of which x has one each.
                let x = unsafe { *x.get_unchecked(index.position()) };
                sum = sum.wrapping_add(value.into().wrapping_mul(x));
            }
            *out = T::from_i32(sum);
        }
    });
}
