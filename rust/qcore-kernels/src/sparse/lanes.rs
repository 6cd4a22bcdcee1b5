//! The dense operand, cut into blocks of columns that lie along the lanes of vectors.

use std::ops::Range;

use crate::aligned::AlignedBytes;
use crate::view::MatRef;

/// Some columns of the dense operand: for each of its rows, `width` elements side by side. Columns
/// that it does not have are zeros.
pub(super) struct Lanes<T> {
    data: AlignedBytes,
    pub(super) width: usize,
    pub(super) columns: Range<usize>,
    element: std::marker::PhantomData<T>,
}

impl<T: Copy + Default> Lanes<T> {
    /// Columns `columns` of `x`, each element changed by `convert`.
    pub(super) fn new<X: Copy>(
        x: MatRef<'_, X>,
        columns: Range<usize>,
        width: usize,
        convert: impl Fn(X) -> T,
    ) -> Self {
        debug_assert!(columns.len() <= width && columns.end <= x.cols());
        let data = AlignedBytes::zeroed(x.rows() * width * size_of::<T>());
        let mut lanes =
            Self { data, width, columns: columns.clone(), element: std::marker::PhantomData };
        let out = lanes.as_mut_slice();
        if x.col_stride() == 1 {
            for (row, lanes) in out.chunks_exact_mut(width).enumerate() {
                let row = x.row(row).expect("its elements lie side by side");
                for (lane, &value) in lanes.iter_mut().zip(&row[columns.clone()]) {
                    *lane = convert(value);
                }
            }
        } else {
            for (lane, column) in columns.enumerate() {
                for row in 0..x.rows() {
                    out[row * width + lane] = convert(x.get(row, column));
                }
            }
        }
        lanes
    }

    /// The elements, row after row.
    pub(super) fn as_slice(&self) -> &[T] {
        let len = self.data.len() / size_of::<T>();
        // SAFETY: the bytes are those of `len` elements, aligned to a cache line, which every bit
        // pattern of zeros and of written elements is a value of.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr().cast(), len) }
    }

    fn as_mut_slice(&mut self) -> &mut [T] {
        let len = self.data.len() / size_of::<T>();
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_mut_ptr().cast(), len) }
    }
}
