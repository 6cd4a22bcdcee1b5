//! Exact products of int8 and uint8 N:M matrices.

use std::sync::Arc;

use super::n_of_m::NofM;
use super::product::Structured;
use crate::error::Result;
use crate::gemm::{Int8, Integer, MaskedI8, ZeroPoint, matmul_integer_with};
use crate::isa::{self, Isa};
use crate::made::Made;
use crate::memory;
use crate::simd::transpose;
use crate::sparse::float::check_inner;
use crate::sparse::integer::{IntegerCsr, Sum, check_zero, multiply_integer_with};
use crate::sparse::out::Order;
use crate::sparse::value::Int8Value;
use crate::view::MatRef;

/// An N:M matrix of integers with what its products need to know of it, made by the first of them.
#[derive(Debug)]
pub struct NofMInteger<V> {
    matrix: NofM<V>,
    /// As the right operand of a dense product, transposed and not.
    transposed: Made<Arc<MaskedI8>>,
    straight: Made<MaskedI8>,
}

impl<V: Int8Value> NofM<V> {
    fn masked_transpose(&self) -> Result<MaskedI8> {
        let every = (self.m() == 4).then(|| self.n());
        MaskedI8::new(self.cols(), self.rows(), V::MIN == 0, every, |k, n| {
            // The last group is whole, past the last column too.
            let within = k < self.groups() * self.m();
            if within { self.stored(n, k).map(Int8Value::byte) } else { None }
        })
    }

    fn masked(&self) -> Result<MaskedI8> {
        MaskedI8::new(self.rows(), self.cols(), V::MIN == 0, None, |k, n| {
            if k < self.rows() { self.stored(k, n).map(Int8Value::byte) } else { None }
        })
    }
}

impl<V: Int8Value> NofMInteger<V> {
    /// A matrix ready for products.
    #[must_use]
    pub fn new(matrix: NofM<V>) -> Self {
        Self { matrix, transposed: Made::new(), straight: Made::new() }
    }

    /// The matrix.
    #[must_use]
    pub fn matrix(&self) -> &NofM<V> {
        &self.matrix
    }

    /// The transpose, (cols, rows), as the right operand of dense products.
    pub fn transposed(&self) -> Result<&Arc<MaskedI8>> {
        self.transposed.get_or_make(|| Ok(Arc::new(self.matrix.masked_transpose()?)))
    }

    /// [`NofMInteger::multiply_with`] on the instruction set in force.
    pub fn multiply<X: Int8Value, T: Sum + Integer + Default>(
        &self,
        x: MatRef<'_, X>,
        x_zero: i32,
        left: bool,
        out: &mut [T],
    ) -> Result<()> {
        self.multiply_with(isa::active()?, x, x_zero, left, out)
    }

    /// `out = self @ (x - x_zero)`, or `(x - x_zero) @ self` if `left`, row-major, exact; an error where
    /// a result does not fit.
    pub fn multiply_with<X: Int8Value, T: Sum + Integer + Default>(
        &self,
        isa: Isa,
        x: MatRef<'_, X>,
        x_zero: i32,
        left: bool,
        out: &mut [T],
    ) -> Result<()> {
        let matrix = &self.matrix;
        check_zero::<X>(x_zero)?;
        let (inner, found) =
            if left { (matrix.rows(), x.cols()) } else { (matrix.cols(), x.rows()) };
        check_inner(inner, found)?;
        let reach = i64::from((X::MAX - x_zero).max(x_zero - X::MIN));
        let reach = reach * i64::from(V::MAX.max(-V::MIN));
        if inner as i64 > i64::from(i32::MAX) / reach.max(1) {
            return wide(isa, matrix, x, x_zero, left, out);
        }
        let (x_zero, zero) = (ZeroPoint::One(x_zero), ZeroPoint::One(0));
        if left {
            let b = self.straight.get_or_make(|| matrix.masked())?;
            return matmul_integer_with(isa, int8(x), b, x_zero, zero, out);
        }
        // a @ x is the transpose of xᵀ @ aᵀ.
        let b = &**self.transposed()?;
        let (rows, columns) = (matrix.rows(), x.cols());
        let copy;
        let mut a = x.transposed();
        if a.col_stride() != 1 && x.col_stride() == 1 && x.row_stride() >= 0 {
            copy = transposed_copy(x)?;
            a = MatRef::from_slice(&copy, columns, inner)?;
        }
        if columns == 1 {
            return matmul_integer_with(isa, int8(a), b, x_zero, zero, out);
        }
        let mut sums = memory::filled(T::default(), memory::size(&[rows, columns])?)?;
        matmul_integer_with(isa, int8(a), b, x_zero, zero, &mut sums)?;
        if out.len() == sums.len() {
            // SAFETY: both have `rows * columns` elements.
            unsafe { transpose(sums.as_ptr(), rows, out.as_mut_ptr(), columns, columns, rows) };
        } else {
            return crate::sparse::out::Out::new(out, rows, columns, Order::Rows).map(|_| ());
        }
        Ok(())
    }
}

impl<V: Int8Value> From<NofM<V>> for NofMInteger<V> {
    fn from(matrix: NofM<V>) -> Self {
        Self::new(matrix)
    }
}

/// The product where sums may be beyond int32.
fn wide<V: Int8Value, X: Int8Value, T: Sum>(
    isa: Isa,
    matrix: &NofM<V>,
    x: MatRef<'_, X>,
    x_zero: i32,
    left: bool,
    out: &mut [T],
) -> Result<()> {
    let csr = matrix.to_csr()?;
    if left {
        let a = IntegerCsr::new(csr.transposed()?)?;
        return multiply_integer_with(isa, &a, x.transposed(), x_zero, Order::Columns, out);
    }
    multiply_integer_with(isa, &IntegerCsr::new(csr)?, x, x_zero, Order::Rows, out)
}

/// The rows of `x` as columns, in memory too.
fn transposed_copy<X: Int8Value>(x: MatRef<'_, X>) -> Result<Vec<X>> {
    let (rows, cols) = (x.rows(), x.cols());
    let mut copy = memory::filled(X::default(), memory::size(&[rows, cols])?)?;
    // SAFETY: the elements of a row lie side by side, and rows so far from each other; the copy has an
    // element for each.
    unsafe {
        transpose(x.as_ptr(), x.row_stride() as usize, copy.as_mut_ptr(), rows, rows, cols);
    }
    Ok(copy)
}

/// A matrix of either sign.
fn int8<X: Int8Value>(x: MatRef<'_, X>) -> Int8<'_> {
    // SAFETY: every byte is a value of both types.
    unsafe { if X::MIN < 0 { x.cast::<i8>().into() } else { x.cast::<u8>().into() } }
}
