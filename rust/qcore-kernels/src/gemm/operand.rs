//! Int8 operands of either signedness, and their zero points.

use std::ops::Range;

use crate::error::{KernelError, Result};
use crate::view::MatRef;

/// A matrix of int8 or uint8.
#[derive(Debug, Clone, Copy)]
pub enum Int8<'a> {
    /// Signed.
    I8(MatRef<'a, i8>),
    /// Unsigned.
    U8(MatRef<'a, u8>),
}

impl<'a> From<MatRef<'a, i8>> for Int8<'a> {
    fn from(matrix: MatRef<'a, i8>) -> Self {
        Int8::I8(matrix)
    }
}

impl<'a> From<MatRef<'a, u8>> for Int8<'a> {
    fn from(matrix: MatRef<'a, u8>) -> Self {
        Int8::U8(matrix)
    }
}

impl Int8<'_> {
    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self {
            Int8::I8(matrix) => matrix.rows(),
            Int8::U8(matrix) => matrix.rows(),
        }
    }

    /// Number of columns.
    #[must_use]
    pub fn cols(&self) -> usize {
        match self {
            Int8::I8(matrix) => matrix.cols(),
            Int8::U8(matrix) => matrix.cols(),
        }
    }

    /// Whether the values are uint8.
    #[must_use]
    pub fn is_unsigned(&self) -> bool {
        matches!(self, Int8::U8(_))
    }

    /// The same bytes, whatever their sign.
    pub(crate) fn bytes(&self) -> Bytes {
        match self {
            Int8::I8(m) => Bytes {
                ptr: m.as_ptr().cast(),
                rows: m.rows(),
                cols: m.cols(),
                row_stride: m.row_stride(),
                col_stride: m.col_stride(),
            },
            Int8::U8(m) => Bytes {
                ptr: m.as_ptr(),
                rows: m.rows(),
                cols: m.cols(),
                row_stride: m.row_stride(),
                col_stride: m.col_stride(),
            },
        }
    }
}

/// The bytes of an [`Int8`] matrix; used only while that is borrowed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes {
    pub(crate) ptr: *const u8,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) row_stride: isize,
    pub(crate) col_stride: isize,
}

// SAFETY: it stands for a MatRef of bytes, which is Send and Sync.
unsafe impl Send for Bytes {}
// SAFETY: as above.
unsafe impl Sync for Bytes {}

impl Bytes {
    /// Some of the columns.
    pub(crate) fn columns(self, columns: Range<usize>) -> Self {
        debug_assert!(columns.end <= self.cols);
        let offset = columns.start as isize * self.col_stride;
        Self { ptr: self.ptr.wrapping_offset(offset), cols: columns.len(), ..self }
    }

    /// The address of an element.
    ///
    /// # Safety
    /// `row < rows` and `col < cols`, and the matrix is still borrowed.
    pub(crate) unsafe fn at(&self, row: usize, col: usize) -> *const u8 {
        let offset = row as isize * self.row_stride + col as isize * self.col_stride;
        // SAFETY: the element exists, by the caller's promise and that of the MatRef.
        unsafe { self.ptr.offset(offset) }
    }
}

/// The value that stands for 0: one for all, or one for each row of A or column of B.
#[derive(Debug, Clone, Copy)]
pub enum ZeroPoint<'a> {
    /// One for all.
    One(i32),
    /// One for each row or column.
    Each(&'a [i32]),
}

impl ZeroPoint<'_> {
    /// The zero point of a row or column.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> i32 {
        match self {
            ZeroPoint::One(zero) => *zero,
            ZeroPoint::Each(zeros) => zeros[index],
        }
    }

    /// The one zero point, where there is one.
    pub(crate) fn single(&self) -> Option<i32> {
        match self {
            ZeroPoint::One(zero) => Some(*zero),
            ZeroPoint::Each(_) => None,
        }
    }

    /// Checks the number of zero points and that they are values of the operand's type.
    pub(crate) fn check(&self, name: &str, wanted: usize, unsigned: bool) -> Result<()> {
        if let ZeroPoint::Each(zeros) = self
            && zeros.len() != wanted
        {
            let found = zeros.len();
            return Err(KernelError::Shape(format!("{name} has {found} elements, not {wanted}")));
        }
        let (low, high) = range(unsigned);
        match self.values().iter().find(|zero| !(low..=high).contains(*zero)) {
            Some(zero) => {
                Err(KernelError::Value(format!("{name} is {zero}; it must be {low} to {high}")))
            }
            None => Ok(()),
        }
    }

    /// The greatest distance from a zero point to a value of the operand's type.
    pub(crate) fn reach(&self, unsigned: bool) -> i64 {
        let (low, high) = range(unsigned);
        let reach = |zero: &i32| i64::from((high - zero).max(zero - low));
        self.values().iter().map(reach).max().unwrap_or(0)
    }

    fn values(&self) -> &[i32] {
        match self {
            ZeroPoint::One(zero) => std::slice::from_ref(zero),
            ZeroPoint::Each(zeros) => zeros,
        }
    }
}

/// The least and the greatest value of a type.
fn range(unsigned: bool) -> (i32, i32) {
    if unsigned { (0, 255) } else { (-128, 127) }
}
