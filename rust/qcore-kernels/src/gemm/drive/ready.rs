//! The rows of A that a block of the product takes: packed where the kernel cannot read them in place.

use std::ops::Range;

use super::Product;
use crate::aligned::AlignedBytes;
use crate::error::Result;
use crate::gemm::left::{self, Rows};
use crate::memory;

/// Rows of A that are ready, and what each adds.
pub(super) struct Ready<'a> {
    pub(super) range: Range<usize>,
    pub(super) rows: Rows,
    pub(super) terms: &'a [i32],
}

impl Ready<'_> {
    /// The first rows, and the others if there are any.
    pub(super) fn split(&self, rows: usize) -> (Ready<'_>, Option<Ready<'_>>) {
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
    /// Rows of A, packed where the kernel cannot read them in place, and their terms.
    pub(super) fn ready<'r>(
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
        left.resize_scratch(memory::sum(&[memory::size(&[range.len(), stride])?, left::SLACK])?)?;
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
}
