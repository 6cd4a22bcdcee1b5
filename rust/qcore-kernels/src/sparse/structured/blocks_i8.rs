//! Exact products of int8 and uint8 matrices of blocks.

use super::blocks::Blocks;
use super::product::Structured;
use super::quads::Quads;
use crate::error::Result;
use crate::isa::{self, Isa};
use crate::made::Made;
use crate::sparse::float::check_inner;
use crate::sparse::integer::{IntegerCsr, Moved, Sum, check_zero, multiply_integer_with};
use crate::sparse::out::{Order, Out};
use crate::sparse::value::Int8Value;
use crate::view::MatRef;

/// A matrix of blocks of integers with what its products need to know of it, made by the first of them.
#[derive(Debug)]
pub struct BlocksInteger<V> {
    matrix: Blocks<V>,
    /// For products with several columns.
    quads: Made<Quads>,
    /// For those with one, and for those that may be beyond int32.
    csr: Made<IntegerCsr<V>>,
    transposed: Made<Self>,
    /// The greatest sum of the magnitudes of a row.
    reach: i64,
}

impl<V: Int8Value> BlocksInteger<V> {
    /// A matrix ready for products.
    #[must_use]
    pub fn new(matrix: Blocks<V>) -> Self {
        let mut reach = 0;
        let (height, rows) = (matrix.height(), matrix.rows());
        // Rows without a block may be more than can be counted.
        let stored = matrix.indptr().windows(2).enumerate().filter(|(_, pair)| pair[0] < pair[1]);
        for row in stored.flat_map(|(above, _)| (above * height..rows).take(height)) {
            let mut sum = 0;
            matrix.for_row(row, |_, value| sum += i64::from(value.into()).abs());
            reach = reach.max(sum);
        }
        let (quads, csr, transposed) = (Made::new(), Made::new(), Made::new());
        Self { matrix, quads, csr, transposed, reach }
    }

    /// The matrix.
    #[must_use]
    pub fn matrix(&self) -> &Blocks<V> {
        &self.matrix
    }

    /// Bytes in memory, with what products so far laid out.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        let csr = self.csr.get().map_or(0, |csr| csr.matrix().nbytes());
        self.matrix.nbytes() + self.quads.get().map_or(0, Quads::nbytes) + csr
    }

    /// `out = self @ (x - x_zero)`, or `(x - x_zero) @ self` if `left`, row-major, on the instruction
    /// set in force.
    pub fn multiply<X: Int8Value, T: Sum>(
        &self,
        x: MatRef<'_, X>,
        x_zero: i32,
        left: bool,
        out: &mut [T],
    ) -> Result<()> {
        let isa = isa::active()?;
        if left {
            let transposed = || Ok(Self::new(self.matrix.transposed()?));
            let a = self.transposed.get_or_make(transposed)?;
            return a.multiply_with(isa, x.transposed(), x_zero, Order::Columns, out);
        }
        self.multiply_with(isa, x, x_zero, Order::Rows, out)
    }

    /// Whether int32 holds every result for certain.
    #[must_use]
    pub fn fits_i32<X: Int8Value>(&self, x_zero: i32) -> bool {
        let distance = i64::from((X::MAX - x_zero).max(x_zero - X::MIN));
        self.reach.checked_mul(distance).is_some_and(|most| most <= i64::from(i32::MAX))
    }

    /// `out = self @ (x - x_zero)`, exact; an error where a result does not fit.
    pub fn multiply_with<X: Int8Value, T: Sum>(
        &self,
        isa: Isa,
        x: MatRef<'_, X>,
        x_zero: i32,
        order: Order,
        out: &mut [T],
    ) -> Result<()> {
        check_inner(self.matrix.cols(), x.rows())?;
        check_zero::<X>(x_zero)?;
        if x.cols() == 1 || !self.fits_i32::<X>(x_zero) {
            let csr = self.csr.get_or_make(|| IntegerCsr::new(self.matrix.to_csr()?))?;
            return multiply_integer_with(isa, csr, x, x_zero, order, out);
        }
        let out = Out::new(out, self.matrix.rows(), x.cols(), order)?;
        let x = Moved::new::<V, X>(isa, x, x_zero)?;
        let quads = self.quads.get_or_make(|| Quads::new(&self.matrix))?;
        quads.multiply::<V, T>(isa, &x, out, T::from_i32)
    }
}

impl<V: Int8Value> From<Blocks<V>> for BlocksInteger<V> {
    fn from(matrix: Blocks<V>) -> Self {
        Self::new(matrix)
    }
}

impl<V: Int8Value> From<Blocks<V>> for std::sync::Arc<BlocksInteger<V>> {
    fn from(matrix: Blocks<V>) -> Self {
        Self::new(matrix.into())
    }
}
