//! Exact products of int8 and uint8.
//!
//! | file | what it does |
//! |---|---|
//! | here | the matrix, and which way a product goes |
//! | `moved` | the dense operand of dot products |
//! | `columns` | rows of a product with many columns |
//! | `vector` | products with one column |

mod columns;
mod moved;
mod vector;

use self::columns::{Block, EightBlock};
pub(super) use self::moved::Moved;
use self::vector::{scatter, vector};
use super::csr::Csr;
use super::drive::{self, BLOCK_ROWS, BLOCK_VALUES, row_blocks};
use super::float::check_inner;
use super::indices::with_indices;
use super::lanes::Lanes;
use super::out::{Order, Out};
use super::value::Int8Value;
use crate::error::{KernelError, Result};
use crate::interrupt::Pace;
use crate::isa::{self, Isa};
use crate::made::Made;
use crate::memory;
use crate::simd::{columns_of, dispatch_dot};
use crate::view::MatRef;

/// Columns of `x` that are multiplied together.
pub(super) const WIDTH: usize = 64;

/// The same where there are no more and vectors are no wider.
const HALF: usize = 32;
const QUARTER: usize = 16;

/// The same where an instruction set has a way of its own for as few.
const EIGHT: usize = 8;

/// Rows whose sums stay in the first cache.
const SCATTERED: usize = 1 << 13;

/// A matrix of integers with what its products need to know of it.
#[derive(Debug, Clone)]
pub struct IntegerCsr<V> {
    matrix: Csr<V>,
    /// The sum of each row, modulo 2^32.
    row_sums: Vec<i32>,
    /// The greatest sum of the magnitudes of a row.
    reach: i64,
    /// The transpose, for products with one column; made by the first of them.
    columns: Made<Csr<V>>,
}

/// What an exact product is given in: i32, or i64, which holds every result.
pub trait Sum: Copy + Default + Send + Sync {
    /// A sum that int32 holds.
    fn from_i32(value: i32) -> Self;
    /// A sum of any size, if it fits.
    fn from_i64(value: i64) -> Option<Self>;
}

impl Sum for i32 {
    fn from_i32(value: i32) -> Self {
        value
    }

    fn from_i64(value: i64) -> Option<Self> {
        value.try_into().ok()
    }
}

impl Sum for i64 {
    fn from_i32(value: i32) -> Self {
        value.into()
    }

    fn from_i64(value: i64) -> Option<Self> {
        Some(value)
    }
}

impl<V: Int8Value> IntegerCsr<V> {
    /// A matrix ready for products.
    pub fn new(matrix: Csr<V>) -> Result<Self> {
        let mut reach = 0;
        let row_sums = (0..matrix.rows()).map(|row| {
            let values = &matrix.values()[matrix.indptr()[row]..matrix.indptr()[row + 1]];
            let value = |&value: &V| -> i64 { i64::from(value.into()) };
            reach = reach.max(values.iter().map(|v| value(v).abs()).sum());
            values.iter().map(value).sum::<i64>() as i32
        });
        let row_sums = memory::collected(row_sums)?;
        Ok(Self { matrix, row_sums, reach, columns: Made::new() })
    }

    /// The matrix.
    #[must_use]
    pub fn matrix(&self) -> &Csr<V> {
        &self.matrix
    }

    /// Whether int32 holds every result for certain.
    #[must_use]
    pub fn fits_i32<X: Int8Value>(&self, x_zero: i32) -> bool {
        let distance = i64::from((X::MAX - x_zero).max(x_zero - X::MIN));
        self.reach.checked_mul(distance).is_some_and(|most| most <= i64::from(i32::MAX))
    }
}

/// Whether the zero point is a value of x's type.
pub(super) fn check_zero<X: Int8Value>(x_zero: i32) -> Result<()> {
    if (X::MIN..=X::MAX).contains(&x_zero) {
        return Ok(());
    }
    let (low, high) = (X::MIN, X::MAX);
    Err(KernelError::Value(format!("x_zero_point is {x_zero}; it must be {low} to {high}")))
}

/// [`multiply_integer_with`] on the instruction set in force.
pub fn multiply_integer<V: Int8Value, X: Int8Value, T: Sum>(
    a: &IntegerCsr<V>,
    x: MatRef<'_, X>,
    x_zero: i32,
    order: Order,
    out: &mut [T],
) -> Result<()> {
    multiply_integer_with(isa::active()?, a, x, x_zero, order, out)
}

/// `out = a @ (x - x_zero)`, exact; an error where a result does not fit.
pub fn multiply_integer_with<V: Int8Value, X: Int8Value, T: Sum>(
    isa: Isa,
    a: &IntegerCsr<V>,
    x: MatRef<'_, X>,
    x_zero: i32,
    order: Order,
    out: &mut [T],
) -> Result<()> {
    let matrix = &a.matrix;
    check_inner(matrix.cols(), x.rows())?;
    check_zero::<X>(x_zero)?;
    let (m, n) = (matrix.rows(), x.cols());
    let target = Out::new(out, m, n, order)?;
    if !a.fits_i32::<X>(x_zero) {
        return wide(a, x, x_zero, target);
    }
    if n == 1 {
        let x: Vec<i32> =
            memory::collected((0..x.rows()).map(|row| x.get(row, 0).into() - x_zero))?;
        if m <= SCATTERED && drive::vector_tasks(matrix.nnz()) == 1 {
            let columns = a.columns.get_or_make(|| matrix.transposed())?;
            // SAFETY: the only task writes all.
            return scatter(columns, &x, unsafe { target.vector(0..m) });
        }
        return drive::vector_product(matrix.indptr(), target, |rows, out| {
            vector(matrix, rows, &x, out);
        });
    }
    let Moved { lanes, zero } = Moved::in_widths::<V, X>(isa, x, x_zero, widths(isa, n))?;
    // They are multiplied so fast that threads would wait for the last of larger ones.
    let blocks = row_blocks(matrix.indptr(), BLOCK_VALUES / 2, BLOCK_ROWS)?;
    let compute = |block: usize, lanes: &Lanes<u8>, out: &mut [i32]| {
        let (rows, x) = (blocks[block].clone(), lanes.as_slice());
        with_indices!(matrix.indices(), |indices| {
            match lanes.width {
                EIGHT => dispatch_dot(isa, EightBlock { a, indices, rows, x, zero, out }),
                QUARTER => {
                    dispatch_dot(isa, Block::<_, _, QUARTER> { a, indices, rows, x, zero, out });
                }
                HALF => dispatch_dot(isa, Block::<_, _, HALF> { a, indices, rows, x, zero, out }),
                _ => dispatch_dot(isa, Block::<_, _, WIDTH> { a, indices, rows, x, zero, out }),
            }
        });
    };
    drive::product(&blocks, matrix.nnz(), &lanes, target, compute, T::from_i32)
}

/// The widths of blocks of columns, of which there are `n`: no wider than they must be.
fn widths(isa: Isa, n: usize) -> &'static [usize] {
    match columns_of(isa) {
        // Twice eight columns take less than half of 64.
        (_, true) if n <= 2 * EIGHT => &[EIGHT],
        (columns, _) if columns <= QUARTER => &[QUARTER, HALF, WIDTH],
        (columns, _) if columns <= HALF => &[HALF, WIDTH],
        _ => &[WIDTH],
    }
}

/// The product where sums may be beyond int32.
fn wide<V: Int8Value, X: Int8Value, T: Sum>(
    a: &IntegerCsr<V>,
    x: MatRef<'_, X>,
    x_zero: i32,
    out: Out<T>,
) -> Result<()> {
    let mut pace = Pace::new();
    for row in 0..a.matrix.rows() {
        for column in 0..x.cols() {
            pace.check(a.matrix.indptr()[row + 1] - a.matrix.indptr()[row])?;
            let products = a.matrix.row(row).map(|(at, value)| {
                let (value, x): (i32, i32) = (value.into(), x.get(at, column).into());
                i64::from(value) * i64::from(x - x_zero)
            });
            let sum: i64 = products.sum();
            let Some(value) = T::from_i64(sum) else {
                return Err(KernelError::Overflow(format!(
                    "out[{row}, {column}] is {sum}, beyond int32; out_dtype=np.int64 holds it"
                )));
            };
            // SAFETY: the element is within the result, and this is the only task.
            unsafe { out.put(row..row + 1, column..column + 1, &[value], 1, |value| value) };
        }
    }
    Ok(())
}
