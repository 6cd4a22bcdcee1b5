//! Where finished blocks of a product go.

use std::ops::Range;

use crate::error::{KernelError, Result};

/// In which order a product is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Row after row: `A @ X`.
    Rows,
    /// Column after column: `X @ A` in rows, computed as its transpose.
    Columns,
}

/// A caller's buffer for an (m, n) result.
#[derive(Debug, Clone, Copy)]
pub(super) struct Out<T> {
    ptr: *mut T,
    row_stride: usize,
    col_stride: usize,
}

// SAFETY: whoever writes through it vouches for parts that do not overlap.
unsafe impl<T: Send> Send for Out<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Out<T> {}

impl<T: Copy> Out<T> {
    pub(super) fn new(out: &mut [T], m: usize, n: usize, order: Order) -> Result<Self> {
        if m.checked_mul(n) != Some(out.len()) {
            return Err(KernelError::Shape(format!(
                "out has {} elements, not {m} * {n}",
                out.len()
            )));
        }
        let (row_stride, col_stride) = match order {
            Order::Rows => (n, 1),
            Order::Columns => (1, m),
        };
        Ok(Self { ptr: out.as_mut_ptr(), row_stride, col_stride })
    }

    /// Writes rows `rows` and columns `columns` from a block whose rows are `width` elements apart.
    ///
    /// # Safety
    /// The rows and columns are within the result, the block has them, and no other task writes them.
    pub(super) unsafe fn put(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        block: &[T],
        width: usize,
    ) {
        let start = self
            .ptr
            .wrapping_add(rows.start * self.row_stride)
            .wrapping_add(columns.start * self.col_stride);
        for (row, values) in block.chunks_exact(width).take(rows.len()).enumerate() {
            for (column, &value) in values[..columns.len()].iter().enumerate() {
                // SAFETY: within the result, and this task's own, by the caller's promise.
                unsafe { *start.add(row * self.row_stride + column * self.col_stride) = value };
            }
        }
    }

    /// Writes rows `rows` of a result of one column.
    ///
    /// # Safety
    /// The rows are within the result, whose other column strides do not matter, and no other task
    /// writes them.
    #[allow(clippy::mut_from_ref, reason = "the caller vouches for the only borrow")]
    pub(super) unsafe fn vector(&self, rows: Range<usize>) -> &mut [T] {
        // SAFETY: rows of one column lie side by side, and are this task's own.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(rows.start), rows.len()) }
    }
}
