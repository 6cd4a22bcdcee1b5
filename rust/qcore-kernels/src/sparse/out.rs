//! Where finished blocks of a product go.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::error::{KernelError, Result};
use crate::simd::transpose;

/// In which order a product is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Row after row: `A @ X`.
    Rows,
    /// Column after column: `X @ A` in rows, computed as its transpose.
    Columns,
}

/// Rows of a tile that is transposed.
const TILE: usize = 16;

/// The most columns of a block.
const WIDEST: usize = 64;

/// A caller's buffer for an (m, n) result.
#[derive(Debug, Clone, Copy)]
pub struct Out<T> {
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
    pub(super) unsafe fn put<S: Copy>(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        block: &[S],
        width: usize,
        convert: impl Fn(S) -> T,
    ) {
        debug_assert!(width <= WIDEST && block.len() >= rows.len() * width);
        let start = rows.start * self.row_stride + columns.start * self.col_stride;
        let start = self.ptr.wrapping_add(start);
        if self.col_stride == 1 {
            for (row, values) in block.chunks_exact(width).take(rows.len()).enumerate() {
                let out = start.wrapping_add(row * self.row_stride);
                // SAFETY: within the result, and this task's own, by the caller's promise.
                let out = unsafe { std::slice::from_raw_parts_mut(out, columns.len()) };
                for (out, &value) in out.iter_mut().zip(values) {
                    *out = convert(value);
                }
            }
            return;
        }
        // Tiles of 16 rows are converted into a room of their own, and transposed from there.
        let mut room = [const { MaybeUninit::<T>::uninit() }; TILE * WIDEST];
        for (tile, block) in block[..rows.len() * width].chunks(TILE * width).enumerate() {
            for (room, &value) in room.iter_mut().zip(block) {
                room.write(convert(value));
            }
            let (length, to) = (block.len() / width, start.wrapping_add(tile * TILE));
            // SAFETY: the room has the elements of `length` rows; rows of a column lie side by side in
            // the result; the rest as above.
            unsafe {
                let from = room.as_ptr().cast::<T>();
                transpose(from, width, to, self.col_stride, length, columns.len());
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
