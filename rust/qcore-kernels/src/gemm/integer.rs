//! `matmul_integer`: exact int8 products.

use std::mem::MaybeUninit;

use super::drive::{Columns, Product};
use super::few;
use super::left::{self, LeftOperand, Source};
use super::microkernel::Kernel;
use super::operand::{Int8, ZeroPoint};
use super::packed::PackedI8;
use super::packed::masked::MaskedI8;
use super::packed::relayout::laid_out;
use super::registry::kernel_for;
use super::sink::Out;
use crate::error::{KernelError, Result};
use crate::isa::{self, Isa};
use crate::memory;

/// The right operand: packed before, or packed for this call.
#[derive(Debug, Clone, Copy)]
pub enum Right<'a> {
    /// Laid out before.
    Packed(&'a PackedI8),
    /// Laid out before, without what it does not store.
    Masked(&'a MaskedI8),
    /// A matrix (K, N).
    Matrix(Int8<'a>),
}

impl Right<'_> {
    /// Whether the values are uint8.
    #[must_use]
    pub fn is_unsigned(&self) -> bool {
        match self {
            Right::Packed(b) => b.is_unsigned(),
            Right::Masked(b) => b.is_unsigned(),
            Right::Matrix(b) => b.is_unsigned(),
        }
    }

    /// Rows of the matrix.
    #[must_use]
    pub fn k(&self) -> usize {
        match self {
            Right::Packed(b) => b.k(),
            Right::Masked(b) => b.k(),
            Right::Matrix(b) => b.rows(),
        }
    }

    /// Columns of the matrix.
    #[must_use]
    pub fn n(&self) -> usize {
        match self {
            Right::Packed(b) => b.n(),
            Right::Masked(b) => b.n(),
            Right::Matrix(b) => b.cols(),
        }
    }
}

impl<'a> From<&'a PackedI8> for Right<'a> {
    fn from(packed: &'a PackedI8) -> Self {
        Right::Packed(packed)
    }
}

impl<'a> From<&'a MaskedI8> for Right<'a> {
    fn from(masked: &'a MaskedI8) -> Self {
        Right::Masked(masked)
    }
}

impl<'a, M: Into<Int8<'a>>> From<M> for Right<'a> {
    fn from(matrix: M) -> Self {
        Right::Matrix(matrix.into())
    }
}

/// What an exact product is given in: i32, or i64, which holds every result.
pub trait Integer: Copy + Send + Sync {
    /// A sum that int32 holds.
    fn from_i32(value: i32) -> Self;
    /// A sum of any size, if it fits.
    fn from_i64(value: i64) -> Option<Self>;
    /// Where int32 sums may be written at once, if they may.
    fn as_i32(ptr: *mut Self) -> Option<*mut i32>;
}

impl Integer for i32 {
    fn from_i32(value: i32) -> Self {
        value
    }

    fn from_i64(value: i64) -> Option<Self> {
        Self::try_from(value).ok()
    }

    fn as_i32(ptr: *mut Self) -> Option<*mut i32> {
        Some(ptr)
    }
}

impl Integer for i64 {
    fn from_i32(value: i32) -> Self {
        Self::from(value)
    }

    fn from_i64(value: i64) -> Option<Self> {
        Some(value)
    }

    fn as_i32(_: *mut Self) -> Option<*mut i32> {
        None
    }
}

/// [`matmul_integer_with`] on the instruction set in force.
pub fn matmul_integer<'a, T: Integer>(
    a: impl Into<Int8<'a>>,
    b: impl Into<Right<'a>>,
    a_zero: ZeroPoint<'a>,
    b_zero: ZeroPoint<'a>,
    out: &mut [T],
) -> Result<()> {
    matmul_integer_with(isa::active()?, a, b, a_zero, b_zero, out)
}

/// `out = (a - a_zero) @ (b - b_zero)`, row-major, exact; an error where a result does not fit.
pub fn matmul_integer_with<'a, T: Integer>(
    isa: Isa,
    a: impl Into<Int8<'a>>,
    b: impl Into<Right<'a>>,
    a_zero: ZeroPoint<'a>,
    b_zero: ZeroPoint<'a>,
    out: &mut [T],
) -> Result<()> {
    // SAFETY: the same memory; what is written there are values of T and nothing else.
    let out = unsafe { &mut *(std::ptr::from_mut(out) as *mut [MaybeUninit<T>]) };
    matmul_integer_uninit_with(isa, a, b, a_zero, b_zero, out)
}

/// [`matmul_integer_with`] into memory that holds nothing yet. Unless there is an error, every
/// element is written.
pub fn matmul_integer_uninit_with<'a, T: Integer>(
    isa: Isa,
    a: impl Into<Int8<'a>>,
    b: impl Into<Right<'a>>,
    a_zero: ZeroPoint<'a>,
    b_zero: ZeroPoint<'a>,
    out: &mut [MaybeUninit<T>],
) -> Result<()> {
    let (a, b) = (a.into(), b.into());
    let mut shifted = Shifted::default();
    let product = product(isa, a.into(), b, a_zero, b_zero, &mut shifted)?;
    let (m, n) = (a.rows(), product.b.n());
    if m.checked_mul(n) != Some(out.len()) {
        return Err(KernelError::Shape(format!("out has {} elements, not {m} * {n}", out.len())));
    }
    let reach = a_zero.reach(a.is_unsigned()) * b_zero.reach(b.is_unsigned());
    if fits_i32(product.b.k(), reach) {
        let sink = Out::uninit(out, m, n, n)?;
        return match b {
            Right::Matrix(b) if few::takes(isa, a, b) => few::run(isa, a, b, a_zero, b_zero, &sink),
            _ => product.run(&sink),
        };
    }
    match b {
        Right::Packed(packed) => wide(&product, &*laid_out(isa, packed)?, out),
        Right::Masked(masked) => wide(&product, &masked.unpacked(isa)?, out),
        Right::Matrix(matrix) => wide(&product, &PackedI8::new(isa, matrix)?, out),
    }
}

/// The product where sums may be beyond int32.
fn wide<T: Integer>(product: &Product<'_>, b: &PackedI8, out: &mut [MaybeUninit<T>]) -> Result<()> {
    let n = b.n();
    let mut too_large = None;
    product.run_wide(b, 0..product.a.bytes.rows, |row, column, value| {
        match T::from_i64(value) {
            Some(value) => {
                out[row * n + column].write(value);
            }
            None => {
                too_large.get_or_insert((row, column, value));
            }
        }
    })?;
    too_large.map_or(Ok(()), |(row, column, value)| {
        Err(KernelError::Overflow(format!(
            "out[{row}, {column}] is {value}, beyond int32; out_dtype=np.int64 holds it"
        )))
    })
}

fn check_inner(a: &LeftOperand<'_>, k: usize) -> Result<()> {
    let found = a.bytes.cols;
    if found == k {
        return Ok(());
    }
    Err(KernelError::Shape(format!("a has {found} columns and b has {k} rows")))
}

/// Whether `k` products of at most `reach` sum to an int32 for certain.
pub(super) fn fits_i32(k: usize, reach: i64) -> bool {
    (k as i64).checked_mul(reach).is_some_and(|most| most <= i64::from(i32::MAX))
}

/// Zero points of their own, moved as the packed values are.
#[derive(Default)]
pub(super) struct Shifted {
    a: Vec<i32>,
    b: Vec<i32>,
}

/// Checks operands and says what the drivers need to know of them.
pub(super) fn product<'a>(
    isa: Isa,
    a: LeftOperand<'a>,
    b: Right<'a>,
    a_zero: ZeroPoint<'_>,
    b_zero: ZeroPoint<'_>,
    shifted: &'a mut Shifted,
) -> Result<Product<'a>> {
    let columns = match b {
        Right::Packed(b) => Columns::Packed(b),
        Right::Masked(b) => Columns::Masked(b),
        Right::Matrix(b) => Columns::Strips { bytes: b.bytes(), unsigned: b.is_unsigned() },
    };
    check_inner(&a, columns.k())?;
    a_zero.check("a_zero_point", a.rows(), a.is_unsigned())?;
    b_zero.check("b_zero_point", columns.n(), b.is_unsigned())?;
    let kernel = match kernel_for(isa) {
        Kernel { one: Some(one), .. } if a.rows() == 1 && a.patches.is_none() => one,
        kernel => kernel,
    };
    let a_shift = left::shift(kernel.left, a.is_unsigned());
    let a_zero = shift(a_zero, a_shift, &mut shifted.a)?;
    let b_zero = shift(b_zero, if b.is_unsigned() { -128 } else { 0 }, &mut shifted.b)?;
    let LeftOperand { bytes, unsigned, patches } = a;
    let a = Source { isa, left: kernel.left, bytes, unsigned, patches };
    Ok(Product { isa, kernel, a, b: columns, a_zero, b_zero })
}

fn shift<'a>(zero: ZeroPoint<'_>, by: i32, room: &'a mut Vec<i32>) -> Result<ZeroPoint<'a>> {
    Ok(match zero {
        ZeroPoint::One(zero) => ZeroPoint::One(zero + by),
        ZeroPoint::Each(zeros) => {
            *room = memory::collected(zeros.iter().map(|zero| zero + by))?;
            ZeroPoint::Each(room)
        }
    })
}
