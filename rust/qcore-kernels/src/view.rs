//! Strided matrices whose bounds are checked once, when they are made.

use std::marker::PhantomData;

use crate::error::{KernelError, Result};
use crate::memory;

/// Rows and columns that kernels may fill a matrix up with.
const MARGIN: usize = 256;

/// Bytes that kernels may need for an element.
const WIDEST: usize = 64;

/// Refuses shapes for which the sizes that kernels compute could wrap: views of stride 0 and matrices
/// without elements have any shape.
fn check_shape(rows: usize, cols: usize) -> Result<()> {
    let filled = memory::sum(&[rows, MARGIN]).and_then(|rows| {
        let cols = memory::sum(&[cols, MARGIN])?;
        memory::size(&[rows, cols, WIDEST])
    });
    filled.map(|_| ()).map_err(|_| {
        KernelError::Memory(format!("a {rows} x {cols} matrix is larger than memory can be"))
    })
}

/// A read-only matrix with any strides, in elements; they may be negative or zero.
///
/// Its shape leaves room: `rows * cols`, both filled up to whole tiles, times the bytes of any element
/// does not wrap.
#[derive(Debug, Clone, Copy)]
pub struct MatRef<'a, T> {
    ptr: *const T,
    rows: usize,
    cols: usize,
    row_stride: isize,
    col_stride: isize,
    life: PhantomData<&'a [T]>,
}

// SAFETY: a MatRef is a shared borrow of elements, as &[T] is.
unsafe impl<T: Sync> Send for MatRef<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for MatRef<'_, T> {}

impl<'a, T: Copy> MatRef<'a, T> {
    /// A row-major matrix over a slice of exactly `rows * cols` elements.
    pub fn from_slice(data: &'a [T], rows: usize, cols: usize) -> Result<Self> {
        if rows.checked_mul(cols) != Some(data.len()) {
            return Err(KernelError::Shape(format!(
                "a {rows} x {cols} matrix needs {rows} * {cols} elements, found {}",
                data.len()
            )));
        }
        check_shape(rows, cols)?;
        let (row_stride, col_stride) = (cols as isize, 1);
        Ok(Self { ptr: data.as_ptr(), rows, cols, row_stride, col_stride, life: PhantomData })
    }

    /// A matrix from a pointer to its element (0, 0).
    ///
    /// # Safety
    /// - Every `ptr + i * row_stride + j * col_stride` with `i < rows`, `j < cols` is an aligned,
    ///   initialised element of one allocation, for all of `'a`.
    /// - Nothing writes to these elements during `'a`.
    ///
    /// # Errors
    /// `Memory` for shapes of which sizes would wrap.
    pub unsafe fn from_raw(
        ptr: *const T,
        rows: usize,
        cols: usize,
        row_stride: isize,
        col_stride: isize,
    ) -> Result<Self> {
        check_shape(rows, cols)?;
        Ok(Self { ptr, rows, cols, row_stride, col_stride, life: PhantomData })
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Distance from a row to the next, in elements.
    #[must_use]
    pub fn row_stride(&self) -> isize {
        self.row_stride
    }

    /// Distance from a column to the next, in elements.
    #[must_use]
    pub fn col_stride(&self) -> isize {
        self.col_stride
    }

    /// The same elements as another type.
    ///
    /// # Safety
    /// `U` has the size and the alignment of `T`, and every bit pattern of a `T` is a value of it.
    #[must_use]
    pub(crate) unsafe fn cast<U: Copy>(&self) -> MatRef<'a, U> {
        const { assert!(size_of::<T>() == size_of::<U>()) };
        let Self { ptr, rows, cols, row_stride, col_stride, .. } = *self;
        MatRef { ptr: ptr.cast(), rows, cols, row_stride, col_stride, life: PhantomData }
    }

    /// Pointer to element (0, 0).
    #[must_use]
    pub fn as_ptr(&self) -> *const T {
        self.ptr
    }

    /// The same elements with rows and columns exchanged.
    #[must_use]
    pub fn transposed(&self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..*self
        }
    }

    /// Some of its columns, side by side.
    ///
    /// # Panics
    /// If there are fewer.
    #[must_use]
    pub fn columns(&self, columns: std::ops::Range<usize>) -> Self {
        assert!(columns.start <= columns.end && columns.end <= self.cols, "columns of the matrix");
        let ptr = self.ptr.wrapping_offset(columns.start as isize * self.col_stride);
        Self { ptr, cols: columns.len(), ..*self }
    }

    /// The element in row `i` and column `j`.
    ///
    /// # Panics
    /// If either is out of range.
    #[must_use]
    pub fn get(&self, i: usize, j: usize) -> T {
        assert!(i < self.rows && j < self.cols, "({i}, {j}) is outside the matrix");
        // SAFETY: in range by the line above, so the constructor's promise covers it.
        unsafe { *self.ptr.offset(i as isize * self.row_stride + j as isize * self.col_stride) }
    }

    /// Row `i` as a slice, where its elements lie side by side.
    #[must_use]
    pub fn row(&self, i: usize) -> Option<&'a [T]> {
        if i >= self.rows || (self.col_stride != 1 && self.cols > 1) {
            return None;
        }
        // SAFETY: i is in range and the row's elements are adjacent, so the constructor's promise
        // covers the whole slice.
        Some(unsafe {
            std::slice::from_raw_parts(self.ptr.offset(i as isize * self.row_stride), self.cols)
        })
    }

    /// All elements as one row-major slice, where they lie so.
    #[must_use]
    pub fn as_slice(&self) -> Option<&'a [T]> {
        let adjacent = (self.col_stride == 1 || self.cols <= 1)
            && (self.row_stride == self.cols as isize || self.rows <= 1);
        if self.rows == 0 || self.cols == 0 {
            return Some(&[]);
        }
        // SAFETY: the elements are adjacent and row-major, and the constructor vouches for each.
        adjacent.then(|| unsafe { std::slice::from_raw_parts(self.ptr, self.rows * self.cols) })
    }
}

/// Bytes as signed ones.
#[must_use]
pub fn as_signed(bytes: &[u8]) -> &[i8] {
    // SAFETY: u8 and i8 have the same size and alignment, and every byte is a value of both.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) }
}

/// Bytes as signed ones.
#[must_use]
pub fn as_signed_mut(bytes: &mut [u8]) -> &mut [i8] {
    // SAFETY: u8 and i8 have the same size and alignment, and every byte is a value of both.
    unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transposed_view_reads_the_same_elements() {
        let data: Vec<i32> = (0..6).collect();
        let a = MatRef::from_slice(&data, 2, 3).unwrap();
        let t = a.transposed();
        for i in 0..2 {
            for j in 0..3 {
                assert_eq!(a.get(i, j), t.get(j, i));
            }
        }
        assert_eq!(a.row(1), Some(&data[3..]));
        assert_eq!(t.row(0), None);
        assert_eq!(a.as_slice(), Some(&data[..]));
    }

    #[test]
    fn a_slice_of_another_length_is_refused() {
        assert!(MatRef::from_slice(&[1, 2, 3], 2, 2).is_err());
    }

    #[test]
    fn shapes_of_which_sizes_would_wrap_are_refused() {
        let one = [1_i8];
        for (rows, cols) in [(1 << 59, 2), (2, 1 << 60), (usize::MAX, 1), (1 << 31, 1 << 31)] {
            // SAFETY: every element is the one.
            let view = unsafe { MatRef::from_raw(one.as_ptr(), rows, cols, 0, 0) };
            assert!(matches!(view, Err(KernelError::Memory(_))), "{rows} x {cols}");
        }
        for (rows, cols) in [(1 << 61, 0), (0, usize::MAX)] {
            let empty = MatRef::<i8>::from_slice(&[], rows, cols);
            assert!(matches!(empty, Err(KernelError::Memory(_))), "{rows} x {cols}");
        }
        assert!(MatRef::<i8>::from_slice(&[], 1 << 40, 0).is_ok());
    }
}
