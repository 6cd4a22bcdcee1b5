//! What structured matrices have in common, and the products of those of floats.

use std::sync::Arc;

use super::bands::FloatBands;
use crate::error::{KernelError, Result};
use crate::interrupt::Pace;
use crate::isa::{self, Isa};
use crate::made::Made;
use crate::memory;
use crate::sparse::csr::Csr;
use crate::sparse::float::{FloatCsr, multiply_with};
use crate::sparse::out::Order;
use crate::sparse::value::Value;
use crate::view::MatRef;

/// A matrix that gives its stored values row by row.
pub trait Structured<V: Value>: Sync {
    /// What the transposed matrix is.
    type Transposed: Structured<V>;

    /// Number of rows.
    fn rows(&self) -> usize;
    /// Number of columns.
    fn cols(&self) -> usize;
    /// How many values are stored, zeros that fill up the pattern among them.
    fn stored_values(&self) -> usize;
    /// Bytes in memory.
    fn nbytes(&self) -> usize;
    /// From each multiple of this on, so many rows store the same columns.
    fn shared_rows(&self) -> usize {
        1
    }
    /// Calls back for the columns and values of a row, by ascending columns.
    fn for_row(&self, row: usize, each: impl FnMut(usize, V));
    /// Rows and columns exchanged.
    fn transposed(&self) -> Result<Self::Transposed>;

    /// The values that are not zero.
    fn to_csr(&self) -> Result<Csr<V>> {
        let mut indptr = memory::with_capacity(memory::sum(&[self.rows(), 1])?)?;
        indptr.push(0_i64);
        // As many at most.
        let mut columns = memory::with_capacity(self.stored_values())?;
        let mut values = memory::with_capacity(self.stored_values())?;
        let mut pace = Pace::new();
        for row in 0..self.rows() {
            pace.check(columns.len() - indptr[row] as usize)?;
            self.for_row(row, |column, value| {
                if !value.is_zero() {
                    columns.push(column as i64);
                    values.push(value);
                }
            });
            indptr.push(values.len() as i64);
        }
        Csr::new(self.rows(), self.cols(), &indptr, &columns, values)
    }

    /// Writes the matrix into a row-major buffer, zeros included.
    fn to_dense(&self, out: &mut [V]) -> Result<()> {
        let (rows, cols) = (self.rows(), self.cols());
        if rows.checked_mul(cols) != Some(out.len()) {
            let found = out.len();
            return Err(KernelError::Shape(format!(
                "out has {found} elements, not {rows} * {cols}"
            )));
        }
        out.fill(V::default());
        let mut pace = Pace::new();
        for row in (0..rows).take_while(|_| cols > 0) {
            pace.check(cols)?;
            self.for_row(row, |column, value| out[row * cols + column] = value);
        }
        Ok(())
    }
}

impl<V: Value> Structured<V> for Csr<V> {
    type Transposed = Self;

    fn rows(&self) -> usize {
        Csr::rows(self)
    }

    fn cols(&self) -> usize {
        Csr::cols(self)
    }

    fn stored_values(&self) -> usize {
        self.nnz()
    }

    fn nbytes(&self) -> usize {
        Csr::nbytes(self)
    }

    fn for_row(&self, row: usize, mut each: impl FnMut(usize, V)) {
        self.row(row).for_each(|(column, value)| each(column, value));
    }

    fn transposed(&self) -> Result<Self> {
        Csr::transposed(self)
    }
}

/// A matrix of floats as its products read it.
#[derive(Debug, Clone)]
pub enum LaidOut {
    /// In bands.
    Bands(Arc<FloatBands>),
    /// Its values alone: so few, in so many columns, that bands would be larger by far.
    Csr(Arc<FloatCsr<f32>>),
}

impl LaidOut {
    fn new(a: &impl Structured<f32>) -> Result<Self> {
        if FloatBands::suits(a) {
            return Ok(LaidOut::Bands(Arc::new(FloatBands::new(a)?)));
        }
        Ok(LaidOut::Csr(Arc::new(FloatCsr::new(a.to_csr()?))))
    }

    fn multiply(&self, isa: Isa, x: MatRef<'_, f32>, order: Order, out: &mut [f32]) -> Result<()> {
        match self {
            LaidOut::Bands(bands) => bands.multiply(isa, x, order, out),
            LaidOut::Csr(csr) => multiply_with(isa, csr, x, order, out),
        }
    }
}

/// A structured matrix of floats with what its products need to know of it, made by the first of them.
#[derive(Debug)]
pub struct StructuredFloat<A> {
    matrix: A,
    straight: Made<LaidOut>,
    transposed: Made<LaidOut>,
}

impl<A: Structured<f32>> StructuredFloat<A> {
    /// A matrix ready for products.
    #[must_use]
    pub fn new(matrix: A) -> Self {
        Self { matrix, straight: Made::new(), transposed: Made::new() }
    }

    /// The matrix.
    #[must_use]
    pub fn matrix(&self) -> &A {
        &self.matrix
    }

    /// `out = self @ x`, or `x @ self` if `left`, row-major, on the instruction set in force.
    pub fn multiply(&self, x: MatRef<'_, f32>, left: bool, out: &mut [f32]) -> Result<()> {
        self.multiply_with(isa::active()?, x, left, out)
    }

    /// `out = self @ x`, or `x @ self` if `left`, row-major.
    pub fn multiply_with(
        &self,
        isa: Isa,
        x: MatRef<'_, f32>,
        left: bool,
        out: &mut [f32],
    ) -> Result<()> {
        if left {
            // x @ a is the transpose of aᵀ @ xᵀ.
            let transposed = || LaidOut::new(&self.matrix.transposed()?);
            let transposed = self.transposed.get_or_make(transposed)?;
            return transposed.multiply(isa, x.transposed(), Order::Columns, out);
        }
        self.laid_out()?.multiply(isa, x, Order::Rows, out)
    }

    /// As it is laid out for products.
    pub fn laid_out(&self) -> Result<&LaidOut> {
        self.straight.get_or_make(|| LaidOut::new(&self.matrix))
    }
}
