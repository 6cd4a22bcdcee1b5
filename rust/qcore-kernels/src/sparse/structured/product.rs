//! What structured matrices have in common, and the products of those of floats.

use std::sync::Arc;

use super::bands::FloatBands;
use crate::error::{KernelError, Result};
use crate::isa::{self, Isa};
use crate::made::Made;
use crate::sparse::csr::Csr;
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
    fn transposed(&self) -> Self::Transposed;

    /// The values that are not zero.
    #[must_use]
    fn to_csr(&self) -> Csr<V> {
        let (mut indptr, mut columns, mut values) = (vec![0_i64], Vec::new(), Vec::new());
        for row in 0..self.rows() {
            self.for_row(row, |column, value| {
                if !value.is_zero() {
                    columns.push(column as i64);
                    values.push(value);
                }
            });
            indptr.push(values.len() as i64);
        }
        Csr::new(self.rows(), self.cols(), &indptr, &columns, values)
            .expect("columns ascend and are within the matrix")
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
        for row in 0..rows {
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

    fn transposed(&self) -> Self {
        Csr::transposed(self)
    }
}

/// A structured matrix of floats with what its products need to know of it, made by the first of them.
#[derive(Debug)]
pub struct StructuredFloat<A> {
    matrix: A,
    bands: Made<Arc<FloatBands>>,
    transposed: Made<FloatBands>,
}

impl<A: Structured<f32>> StructuredFloat<A> {
    /// A matrix ready for products.
    #[must_use]
    pub fn new(matrix: A) -> Self {
        Self { matrix, bands: Made::new(), transposed: Made::new() }
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
            let bands = || Ok(FloatBands::new(&self.matrix.transposed()));
            let bands = self.transposed.get_or_make(bands)?;
            return bands.multiply(isa, x.transposed(), Order::Columns, out);
        }
        self.bands()?.multiply(isa, x, Order::Rows, out)
    }

    /// As it is laid out for products.
    pub fn bands(&self) -> Result<&Arc<FloatBands>> {
        self.bands.get_or_make(|| Ok(Arc::new(FloatBands::new(&self.matrix))))
    }
}
