//! Dense layers on int8: the product with its epilogue, tile by tile.

use super::integer::{Right, Shifted, fits_i32, product};
use super::operand::{Int8, ZeroPoint};
use super::sink::{CodeSink, FloatSink, Out};
use crate::epilogue::{FloatOutput, Requantize};
use crate::error::{KernelError, Result};
use crate::isa::Isa;
use crate::quant::Code;

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
    let (a, b) = (a.into(), b.into());
    let (m, n) = (a.rows(), b.n());
    output.check(m, n)?;
    check_depth(a, a_zero, b, b_zero)?;
    let mut shifted = Shifted::default();
    let product = product(isa, a, b, a_zero, b_zero, &mut shifted)?;
    let out = Out::new(out, m, n, stride)?;
    product.run(&FloatSink { isa, out, output, columns: n });
    Ok(())
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
    let (a, b) = (a.into(), b.into());
    let (m, n) = (a.rows(), b.n());
    output.check::<C>(n)?;
    check_depth(a, a_zero, b, b_zero)?;
    let mut shifted = Shifted::default();
    let product = product(isa, a, b, a_zero, b_zero, &mut shifted)?;
    let out = Out::new(out, m, n, stride)?;
    product.run(&CodeSink { isa, out, output });
    Ok(())
}

/// Epilogues take int32 sums: refuses what could be beyond.
fn check_depth(
    a: Int8<'_>,
    a_zero: ZeroPoint<'_>,
    b: Right<'_>,
    b_zero: ZeroPoint<'_>,
) -> Result<()> {
    let reach = a_zero.reach(a.is_unsigned()) * b_zero.reach(b.is_unsigned());
    if fits_i32(b.k(), reach) {
        return Ok(());
    }
    Err(KernelError::Overflow(format!(
        "a sum of {} products may be beyond int32; the longest safe one is {}",
        b.k(),
        i64::from(i32::MAX) / reach
    )))
}
