//! Dense layers on int8: the product with its epilogue, tile by tile. Layers of so many inputs that
//! int32 may not hold their sums go by int64, some rows at a time.

use std::borrow::Cow;

use super::drive::Product;
use super::integer::{Right, Shifted, fits_i32, product};
use super::left::LeftOperand;
use super::operand::{Int8, ZeroPoint};
use super::packed::PackedI8;
use super::packed::relayout::laid_out;
use super::sink::{CodeSink, FloatSink, Out};
use crate::epilogue::{FloatOutput, Requantize, Residual, wide_code_row, wide_float_row};
use crate::error::Result;
use crate::isa::Isa;
use crate::quant::Code;
use crate::{interrupt, memory};

/// float32 results of `activation(f32(acc) * scale + bias)`, where
/// `acc = (a - a_zero) @ (b - b_zero)`; rows of `out` are `stride` elements apart.
pub fn dense_f32_from_i8_with<'a>(
    isa: Isa,
    a: impl Into<Int8<'a>>,
    a_zero: ZeroPoint<'_>,
    b: impl Into<Right<'a>>,
    b_zero: ZeroPoint<'_>,
    output: FloatOutput<'_>,
    out: &mut [f32],
    stride: usize,
) -> Result<()> {
    floats_of(isa, a.into().into(), a_zero, b.into(), b_zero, output, out, stride)
}

/// Codes of `saturate(rint(f32(acc + bias) * multiplier) + zero_point)`, where
/// `acc = (a - a_zero) @ (b - b_zero)`; rows of `out` are `stride` elements apart.
pub fn dense_i8_with<'a, C: Code>(
    isa: Isa,
    a: impl Into<Int8<'a>>,
    a_zero: ZeroPoint<'_>,
    b: impl Into<Right<'a>>,
    b_zero: ZeroPoint<'_>,
    output: Requantize<'_>,
    out: &mut [C],
    stride: usize,
) -> Result<()> {
    codes_of(isa, a.into().into(), a_zero, b.into(), b_zero, output, None, out, stride)
}

/// [`dense_f32_from_i8_with`] of any left operand.
pub(crate) fn floats_of(
    isa: Isa,
    a: LeftOperand<'_>,
    a_zero: ZeroPoint<'_>,
    b: Right<'_>,
    b_zero: ZeroPoint<'_>,
    output: FloatOutput<'_>,
    out: &mut [f32],
    stride: usize,
) -> Result<()> {
    let (m, n) = (a.rows(), b.n());
    output.check(m, n)?;
    let mut shifted = Shifted::default();
    let product = product(isa, a, b, a_zero, b_zero, &mut shifted)?;
    let target = Out::new(out, m, n, stride)?;
    if !is_within_i32(a.is_unsigned(), a_zero, b, b_zero) {
        return wide_rows(&product, b, |row, sums| {
            let out = &mut out[row * stride..][..n];
            wide_float_row(isa, row, sums, &output, out)
        });
    }
    let out = target;
    product.run(&FloatSink { isa, out, output, columns: n })
}

/// [`dense_i8_with`] of any left operand, with what is added to the results.
pub(crate) fn codes_of<C: Code>(
    isa: Isa,
    a: LeftOperand<'_>,
    a_zero: ZeroPoint<'_>,
    b: Right<'_>,
    b_zero: ZeroPoint<'_>,
    output: Requantize<'_>,
    residual: Option<Residual<'_>>,
    out: &mut [C],
    stride: usize,
) -> Result<()> {
    let (m, n) = (a.rows(), b.n());
    output.check::<C>(n)?;
    if let Some(residual) = &residual {
        residual.check(m, n)?;
    }
    let mut shifted = Shifted::default();
    let product = product(isa, a, b, a_zero, b_zero, &mut shifted)?;
    let target = Out::new(out, m, n, stride)?;
    if !is_within_i32(a.is_unsigned(), a_zero, b, b_zero) {
        return wide_rows(&product, b, |row, sums| {
            let residual = residual.map(|residual| residual.from(row, 0));
            wide_code_row(sums, &output, residual, &mut out[row * stride..][..n]);
            Ok(())
        });
    }
    let out = target;
    product.run(&CodeSink { isa, out, output, residual })
}

/// Whether int32 holds every sum for certain.
fn is_within_i32(
    unsigned: bool,
    a_zero: ZeroPoint<'_>,
    b: Right<'_>,
    b_zero: ZeroPoint<'_>,
) -> bool {
    let reach = a_zero.reach(unsigned) * b_zero.reach(b.is_unsigned());
    fits_i32(b.k(), reach)
}

/// Calls `row(index, sums)` for the exact sums of each row.
fn wide_rows(
    product: &Product<'_>,
    b: Right<'_>,
    mut row: impl FnMut(usize, &[i64]) -> Result<()>,
) -> Result<()> {
    let packed = match b {
        Right::Packed(b) => laid_out(product.isa, b)?,
        Right::Masked(b) => Cow::Owned(b.unpacked(product.isa)?),
        Right::Matrix(b) => Cow::Owned(PackedI8::new(product.isa, b)?),
    };
    let b = &*packed;
    let (m, n) = (product.a.bytes.rows, b.n());
    let tall = product.kernel.rows();
    let mut sums = memory::filled(0_i64, memory::size(&[tall.min(m), n])?)?;
    for first in (0..m).step_by(tall) {
        interrupt::check()?;
        let rows = first..(first + tall).min(m);
        product.run_wide(b, rows.clone(), |index, column, sum| {
            sums[(index - first) * n + column] = sum;
        })?;
        for (index, sums) in rows.zip(sums.chunks_exact(n.max(1))) {
            row(index, sums)?;
        }
    }
    Ok(())
}
