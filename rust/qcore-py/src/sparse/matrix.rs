//! A CSR matrix of any type of value.

use std::ops::Range;
use std::sync::Arc;

use qcore_kernels::KernelError;
use qcore_kernels::memory;
use qcore_kernels::sparse::{Csr, FloatCsr, IntegerCsr, Value};

/// A matrix of each type of value.
pub(super) enum Matrix {
    F32(Arc<FloatCsr<f32>>),
    F64(FloatCsr<f64>),
    I8(Arc<IntegerCsr<i8>>),
    U8(IntegerCsr<u8>),
}

/// Runs `$body` with `$csr` bound to the matrix, whatever its values.
macro_rules! with_csr {
    ($matrix:expr, |$csr:ident| $body:expr) => {
        match &*$matrix {
            Matrix::F32(matrix) => {
                let $csr = matrix.matrix();
                $body
            }
            Matrix::F64(matrix) => {
                let $csr = matrix.matrix();
                $body
            }
            Matrix::I8(matrix) => {
                let $csr = matrix.matrix();
                $body
            }
            Matrix::U8(matrix) => {
                let $csr = matrix.matrix();
                $body
            }
        }
    };
}
pub(super) use with_csr;

/// Makes a matrix of the type that `$array` has: without the GIL `$body`, with `$given` bound to what
/// `$prepare` makes of the array, which is `$view`.
macro_rules! matrix_of {
    (
        $py:expr, $array:expr, $name:literal, $readonly:ident,
        |$view:ident| $given:ident = $prepare:expr, $body:expr
    ) => {{
        let array: &Bound<'_, PyAny> = $array;
        if let Ok($view) = array.extract::<$readonly<'_, f32>>() {
            let $given = $prepare;
            run($py, LONG, || Matrix::f32($body))
        } else if let Ok($view) = array.extract::<$readonly<'_, f64>>() {
            let $given = $prepare;
            run($py, LONG, || Matrix::f64($body))
        } else if let Ok($view) = array.extract::<$readonly<'_, i8>>() {
            let $given = $prepare;
            run($py, LONG, || Matrix::i8($body))
        } else if let Ok($view) = array.extract::<$readonly<'_, u8>>() {
            let $given = $prepare;
            run($py, LONG, || Matrix::u8($body))
        } else {
            Err(wrong_dtype(array, $name))
        }
    }};
}
pub(super) use matrix_of;

/// What kernels return.
pub(super) type Made<T> = Result<T, KernelError>;

impl Matrix {
    pub(super) fn f32(csr: Made<Csr<f32>>) -> Made<Self> {
        Ok(Matrix::F32(Arc::new(FloatCsr::new(csr?))))
    }

    pub(super) fn f64(csr: Made<Csr<f64>>) -> Made<Self> {
        Ok(Matrix::F64(FloatCsr::new(csr?)))
    }

    pub(super) fn i8(csr: Made<Csr<i8>>) -> Made<Self> {
        Ok(Matrix::I8(Arc::new(IntegerCsr::new(csr?)?)))
    }

    pub(super) fn u8(csr: Made<Csr<u8>>) -> Made<Self> {
        Ok(Matrix::U8(IntegerCsr::new(csr?)?))
    }

    pub(super) fn transposed(&self) -> Made<Self> {
        match self {
            Matrix::F32(csr) => Self::f32(csr.matrix().transposed()),
            Matrix::F64(csr) => Self::f64(csr.matrix().transposed()),
            Matrix::I8(csr) => Self::i8(csr.matrix().transposed()),
            Matrix::U8(csr) => Self::u8(csr.matrix().transposed()),
        }
    }

    pub(super) fn rows_in(&self, rows: Range<usize>) -> Made<Self> {
        match self {
            Matrix::F32(csr) => Self::f32(csr.matrix().rows_in(rows)),
            Matrix::F64(csr) => Self::f64(csr.matrix().rows_in(rows)),
            Matrix::I8(csr) => Self::i8(csr.matrix().rows_in(rows)),
            Matrix::U8(csr) => Self::u8(csr.matrix().rows_in(rows)),
        }
    }
}

/// Indices and offsets of rows, of either width.
#[derive(Clone, Copy)]
pub(super) enum Structure<'a> {
    I32(&'a [i32], &'a [i32]),
    I64(&'a [i64], &'a [i64]),
}

impl Structure<'_> {
    pub(super) fn build<V: Value>(self, rows: usize, cols: usize, values: &[V]) -> Made<Csr<V>> {
        let values = memory::copied(values)?;
        match self {
            Structure::I32(indices, indptr) => Csr::new(rows, cols, indptr, indices, values),
            Structure::I64(indices, indptr) => Csr::new(rows, cols, indptr, indices, values),
        }
    }
}
