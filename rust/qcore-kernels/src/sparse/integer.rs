//! Exact products of int8 and uint8.

use std::ops::Range;

use super::csr::Csr;
use super::drive::{self, BLOCK_ROWS, BLOCK_VALUES, row_blocks};
use super::float::check_inner;
use super::indices::{Index, with_indices};
use super::lanes::Lanes;
use super::out::{Order, Out};
use super::scratch::Scratch;
use super::value::Int8Value;
use crate::error::{KernelError, Result};
use crate::interrupt::Pace;
use crate::isa::{self, Isa};
use crate::made::Made;
use crate::memory;
use crate::simd::{Dot4, Dot4Op, columns_of, dispatch_dot};
use crate::view::MatRef;

/// Columns of `x` that are multiplied together.
pub(super) const WIDTH: usize = 64;

/// The same where there are no more and vectors are no wider.
const HALF: usize = 32;

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

/// The dense operand of dot products, of which one operand is unsigned and the other signed: it has
/// the sign that the matrix has not, moved by 128 where it must be.
pub(super) struct Moved {
    pub(super) lanes: Vec<Lanes<u8>>,
    /// The zero point, moved likewise.
    pub(super) zero: i32,
}

impl Moved {
    /// `x`, of which the code of 0 is `zero`, for a matrix of `V`.
    pub(super) fn new<V: Int8Value, X: Int8Value>(x: MatRef<'_, X>, zero: i32) -> Result<Self> {
        Self::in_widths::<V, X>(x, zero, &[WIDTH])
    }

    /// The same in blocks of one of the ascending widths.
    fn in_widths<V: Int8Value, X: Int8Value>(
        x: MatRef<'_, X>,
        zero: i32,
        widths: &[usize],
    ) -> Result<Self> {
        let flip = if (X::MIN < 0) == (V::MIN < 0) { 0x80 } else { 0 };
        let moved = match (flip, V::MIN < 0) {
            (0, _) => 0,
            (_, true) => 128,
            (_, false) => -128,
        };
        let mut lanes = Lanes::blocks(bytes(x), widths)?;
        if flip != 0 {
            for lanes in &mut lanes {
                lanes.as_mut_slice().iter_mut().for_each(|byte| *byte ^= flip);
            }
        }
        // (x - zero) = (moved x) - (moved zero).
        Ok(Self { lanes, zero: zero + moved })
    }
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
    let Moved { lanes, zero } = Moved::in_widths::<V, X>(x, x_zero, widths(isa, n))?;
    // They are multiplied so fast that threads would wait for the last of larger ones.
    let blocks = row_blocks(matrix.indptr(), BLOCK_VALUES / 2, BLOCK_ROWS)?;
    let compute = |block: usize, lanes: &Lanes<u8>, out: &mut [i32]| {
        let (rows, x) = (blocks[block].clone(), lanes.as_slice());
        with_indices!(matrix.indices(), |indices| {
            match lanes.width {
                EIGHT => dispatch_dot(isa, EightBlock { a, indices, rows, x, zero, out }),
                HALF => dispatch_dot(isa, Block::<_, _, HALF> { a, indices, rows, x, zero, out }),
                _ => dispatch_dot(isa, Block::<_, _, WIDTH> { a, indices, rows, x, zero, out }),
            }
        });
    };
    drive::product(&blocks, matrix.nnz(), &lanes, target, compute, T::from_i32)
}

/// The same bytes, whatever their sign.
fn bytes<X: Int8Value>(x: MatRef<'_, X>) -> MatRef<'_, u8> {
    // SAFETY: every byte is a value of u8.
    unsafe { x.cast() }
}

/// The widths of blocks of columns, of which there are `n`: no wider than they must be.
fn widths(isa: Isa, n: usize) -> &'static [usize] {
    match columns_of(isa) {
        // Twice eight columns take less than half of 64.
        (_, true) if n <= 2 * EIGHT => &[EIGHT],
        (columns, _) if columns <= HALF => &[HALF, WIDTH],
        _ => &[WIDTH],
    }
}

/// Rows of a product with `WIDE` columns of `x`.
struct Block<'a, V, I, const WIDE: usize> {
    a: &'a IntegerCsr<V>,
    indices: &'a [I],
    rows: Range<usize>,
    x: &'a [u8],
    zero: i32,
    out: &'a mut [i32],
}

impl<V: Int8Value, I: Index, const WIDE: usize> Dot4Op for Block<'_, V, I, WIDE> {
    type Output = ();

    #[inline(always)]
    fn eval<D: Dot4>(self, d: D) {
        let matrix = &self.a.matrix;
        let values = matrix.values();
        assert!(self.x.len() == matrix.cols() * WIDE && values.len() == self.indices.len());
        for (row, out) in self.rows.zip(self.out.chunks_exact_mut(WIDE)) {
            let range = matrix.indptr()[row]..matrix.indptr()[row + 1];
            let start = self.a.row_sums[row].wrapping_mul(-self.zero);
            for first in (0..WIDE).step_by(D::COLUMNS) {
                let mut sums = [d.splat(start); 4];
                let x = self.x.as_ptr().wrapping_add(first);
                let (indices, rest) = self.indices[range.clone()].as_chunks::<4>();
                let (fours, last) = values[range.clone()].as_chunks::<4>();
                for (index, four) in indices.iter().zip(fours) {
                    let rows = I::positions(index);
                    let four = [four[0].byte(), four[1].byte(), four[2].byte(), four[3].byte()];
                    // SAFETY: an index is below the matrix's columns, of which x has a row each.
                    unsafe { step::<D, V, WIDE>(d, &mut sums, x, rows, four) };
                }
                if let Some(&any) = rest.first() {
                    let (mut rows, mut four) = ([any.position(); 4], [0; 4]);
                    for (at, (&index, value)) in rest.iter().zip(last).enumerate() {
                        rows[at] = index.position();
                        four[at] = value.byte();
                    }
                    // SAFETY: as above.
                    unsafe { step::<D, V, WIDE>(d, &mut sums, x, rows, four) };
                }
                // SAFETY: a row of `out` has WIDE elements.
                unsafe { d.store(out.as_mut_ptr().add(first), sums) };
            }
        }
    }
}

/// Rows of a product with [`EIGHT`] columns of `x`.
struct EightBlock<'a, V, I> {
    a: &'a IntegerCsr<V>,
    indices: &'a [I],
    rows: Range<usize>,
    x: &'a [u8],
    zero: i32,
    out: &'a mut [i32],
}

impl<V: Int8Value, I: Index> Dot4Op for EightBlock<'_, V, I> {
    type Output = ();

    #[inline(always)]
    fn eval<D: Dot4>(self, d: D) {
        let matrix = &self.a.matrix;
        let values = matrix.values();
        assert!(self.x.len() == matrix.cols() * EIGHT && values.len() == self.indices.len());
        let (x, unsigned) = (self.x.as_ptr(), V::MIN < 0);
        for (row, out) in self.rows.zip(self.out.chunks_exact_mut(EIGHT)) {
            let range = matrix.indptr()[row]..matrix.indptr()[row + 1];
            let mut sums = d.splat(self.a.row_sums[row].wrapping_mul(-self.zero));
            let (indices, rest) = self.indices[range.clone()].as_chunks::<4>();
            let (fours, last) = values[range].as_chunks::<4>();
            for (index, four) in indices.iter().zip(fours) {
                let rows = I::positions(index);
                let four = [four[0].byte(), four[1].byte(), four[2].byte(), four[3].byte()];
                // SAFETY: an index is below the matrix's columns, of which x has a row each.
                unsafe { sums = d.dot_eight(sums, eights(x, rows), four, unsigned) };
            }
            if let Some(&any) = rest.first() {
                let (mut rows, mut four) = ([any.position(); 4], [0; 4]);
                for (at, (&index, value)) in rest.iter().zip(last).enumerate() {
                    rows[at] = index.position();
                    four[at] = value.byte();
                }
                // SAFETY: as above.
                unsafe { sums = d.dot_eight(sums, eights(x, rows), four, unsigned) };
            }
            // SAFETY: a row of `out` has EIGHT elements.
            unsafe { d.store_eight(out.as_mut_ptr(), sums) };
        }
    }
}

/// Where four rows of eight columns lie.
///
/// # Safety
/// `x` has the rows.
#[inline(always)]
unsafe fn eights(x: *const u8, rows: [usize; 4]) -> [*const u8; 4] {
    // SAFETY: by the caller's promise.
    unsafe {
        [
            x.add(rows[0] * EIGHT),
            x.add(rows[1] * EIGHT),
            x.add(rows[2] * EIGHT),
            x.add(rows[3] * EIGHT),
        ]
    }
}

/// Adds four rows of `x`, each times one of four values, to the sums of [`Dot4::COLUMNS`] columns.
///
/// # Safety
/// `x` is valid for reading that many columns of each of the rows.
#[inline(always)]
unsafe fn step<D: Dot4, V: Int8Value, const WIDE: usize>(
    d: D,
    sums: &mut [D::I32; 4],
    x: *const u8,
    rows: [usize; 4],
    values: [u8; 4],
) {
    let value = d.splat(i32::from_le_bytes(values));
    // SAFETY: by the caller's promise.
    let columns = unsafe {
        d.interleave([
            x.add(rows[0] * WIDE),
            x.add(rows[1] * WIDE),
            x.add(rows[2] * WIDE),
            x.add(rows[3] * WIDE),
        ])
    };
    for at in 0..4 {
        sums[at] = if V::MIN < 0 {
            d.dot(sums[at], columns[at], value)
        } else {
            d.dot(sums[at], value, columns[at])
        };
    }
}

/// A product with one column, `x` less its zero point, column of the matrix by column: those that
/// meet a zero, as most do behind a rectifier, cost nothing.
fn scatter<V: Int8Value, T: Sum>(columns: &Csr<V>, x: &[i32], out: &mut [T]) -> Result<()> {
    let mut sums = Scratch::<i32>::new(columns.cols())?;
    let mut pace = Pace::new();
    sums.fill(0);
    let values = columns.values();
    assert!(x.len() == columns.rows() && values.len() == columns.nnz());
    with_indices!(columns.indices(), |indices| {
        for (column, &x) in x.iter().enumerate() {
            if x == 0 {
                continue;
            }
            let range = columns.indptr()[column]..columns.indptr()[column + 1];
            pace.check(range.len())?;
            for (index, &value) in indices[range.clone()].iter().zip(&values[range]) {
                // SAFETY: an index of the transpose is below the matrix's rows, which have a sum each.
                let sum = unsafe { sums.get_unchecked_mut(index.position()) };
                *sum = sum.wrapping_add(value.into().wrapping_mul(x));
            }
        }
    });
    for (out, &sum) in out.iter_mut().zip(&*sums) {
        *out = T::from_i32(sum);
    }
    Ok(())
}

/// Rows of a product with one column, `x` less its zero point.
fn vector<V: Int8Value, T: Sum>(a: &Csr<V>, rows: Range<usize>, x: &[i32], out: &mut [T]) {
    let values = a.values();
    assert!(x.len() == a.cols() && values.len() == a.nnz());
    with_indices!(a.indices(), |indices| {
        for (row, out) in rows.zip(out) {
            let range = a.indptr()[row]..a.indptr()[row + 1];
            let mut sum = 0_i32;
            for (index, &value) in indices[range.clone()].iter().zip(&values[range]) {
                // SAFETY: an index is below the matrix's columns, of which x has one each.
                let x = unsafe { *x.get_unchecked(index.position()) };
                sum = sum.wrapping_add(value.into().wrapping_mul(x));
            }
            *out = T::from_i32(sum);
        }
    });
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
