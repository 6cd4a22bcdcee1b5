//! The dense operand, cut into blocks of columns that lie along the lanes of vectors.

use std::ops::Range;

use super::scratch::{Number, Scratch};
use crate::error::Result;
use crate::interrupt::Pace;
use crate::memory;
use crate::simd::transpose;
use crate::view::MatRef;

/// Some columns of the dense operand: for each of its rows, `width` elements side by side. Columns
/// that it does not have are zeros.
pub(super) struct Lanes<T> {
    data: Scratch<T>,
    pub(super) width: usize,
    pub(super) columns: Range<usize>,
}

impl<T: Number + Default> Lanes<T> {
    /// Columns `columns` of `x`.
    pub(super) fn new(x: MatRef<'_, T>, columns: Range<usize>, width: usize) -> Result<Self> {
        debug_assert!(columns.len() <= width && columns.end <= x.cols());
        let mut data = Scratch::new(memory::size(&[x.rows(), width])?)?;
        let mut pace = Pace::new();
        if columns.len() < width {
            data.fill(T::default());
        }
        if let Some(all) = x.as_slice().filter(|all| all.len() == data.len()) {
            data.copy_from_slice(all);
        } else if x.col_stride() == 1 {
            for (row, lanes) in data.chunks_exact_mut(width).enumerate() {
                pace.check(width)?;
                let row = x.row(row).expect("its elements lie side by side");
                lanes[..columns.len()].copy_from_slice(&row[columns.clone()]);
            }
        } else if x.row_stride() == 1 && x.col_stride() >= 0 {
            let stride = x.col_stride() as usize;
            let first = x.as_ptr().wrapping_add(columns.start * stride);
            // SAFETY: each column is `x.rows()` elements side by side, `stride` from the one before;
            // `data` is a buffer of its own with `width` elements for each row of x.
            unsafe {
                transpose(first, stride, data.as_mut_ptr(), width, columns.len(), x.rows());
            }
        } else {
            for (lane, column) in columns.clone().enumerate() {
                for row in 0..x.rows() {
                    pace.check(1)?;
                    data[row * width + lane] = x.get(row, column);
                }
            }
        }
        Ok(Self { data, width, columns })
    }

    /// All columns of `x` in blocks of one of the ascending `widths`: the narrowest that takes all that
    /// is left, else the widest.
    pub(super) fn blocks(x: MatRef<'_, T>, widths: &[usize]) -> Result<Vec<Self>> {
        let mut blocks = Vec::new();
        let mut first = 0;
        while first < x.cols() {
            let rest = x.cols() - first;
            let widest = widths[widths.len() - 1];
            let width = widths.iter().copied().find(|&width| width >= rest).unwrap_or(widest);
            let columns = first..(first + width).min(x.cols());
            first = columns.end;
            memory::push(&mut blocks, Self::new(x, columns, width)?)?;
        }
        Ok(blocks)
    }

    /// The elements, row after row.
    pub(super) fn as_slice(&self) -> &[T] {
        &self.data
    }

    /// The same, to be changed.
    pub(super) fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.data
    }
}
