//! Sparse layers: the product, then its epilogue.

use crate::epilogue::{
    Activation, FloatOutput, Requantize, finish_rows_with, float_rows_with, requantize_rows_with,
};
use crate::error::{KernelError, Result};
use crate::gemm::Int8;
use crate::isa::Isa;
use crate::quant::Code;
use crate::sparse::{FloatCsr, IntegerCsr, Order, multiply_integer_with, multiply_with};
use crate::view::MatRef;

/// Floats of `x @ wᵀ`, `x` less its zero point.
pub(super) fn to_float(
    isa: Isa,
    w: &IntegerCsr<i8>,
    x: Int8<'_>,
    zero_point: i32,
    output: FloatOutput<'_>,
    out: &mut [f32],
) -> Result<()> {
    float_rows_with(isa, &sums(isa, w, x, zero_point)?, w.matrix().rows(), output, out)
}

/// Codes of `x @ wᵀ`, `x` less its zero point.
pub(super) fn to_codes<C: Code>(
    isa: Isa,
    w: &IntegerCsr<i8>,
    x: Int8<'_>,
    zero_point: i32,
    output: Requantize<'_>,
    out: &mut [C],
) -> Result<()> {
    requantize_rows_with(isa, &sums(isa, w, x, zero_point)?, w.matrix().rows(), output, out)
}

/// Rows of sums.
fn sums(isa: Isa, w: &IntegerCsr<i8>, x: Int8<'_>, zero_point: i32) -> Result<Vec<i32>> {
    let mut sums = vec![0; x.rows() * w.matrix().rows()];
    match x {
        Int8::I8(x) => {
            multiply_integer_with(isa, w, x.transposed(), zero_point, Order::Columns, &mut sums)?;
        }
        Int8::U8(x) => {
            multiply_integer_with(isa, w, x.transposed(), zero_point, Order::Columns, &mut sums)?;
        }
    }
    Ok(sums)
}

/// `activation(x @ wᵀ + bias)`.
pub(super) fn float(
    isa: Isa,
    w: &FloatCsr<f32>,
    x: &[f32],
    bias: &[f32],
    activation: Activation,
    out: &mut [f32],
) -> Result<()> {
    let rows = out.len().checked_div(w.matrix().rows()).unwrap_or(0);
    if w.matrix().cols() == 0 || x.len() != rows * w.matrix().cols() {
        return Err(KernelError::Shape(format!(
            "x has {} elements; it must be rows of {}",
            x.len(),
            w.matrix().cols()
        )));
    }
    let x = MatRef::from_slice(x, rows, w.matrix().cols())?;
    multiply_with(isa, w, x.transposed(), Order::Columns, out)?;
    finish_rows_with(isa, out, w.matrix().rows(), bias, activation)
}
