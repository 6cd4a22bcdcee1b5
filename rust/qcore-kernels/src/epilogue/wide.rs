//! From sums beyond int32 to a layer's output: the same arithmetic, a row at a time.
//!
//! Such sums come from layers of more inputs than int32 holds for certain. Each is exact in int64 and
//! rounded once, to float32; from there on every step is that of the other sums.

use super::finish::finish_rows_with;
use super::float::FloatOutput;
use super::lanes;
use super::requantize::{Requantize, Residual};
use crate::error::Result;
use crate::isa::Isa;
use crate::quant::Code;

/// Turns the sums of row `index` into floats, softmax included.
pub fn wide_float_row(
    isa: Isa,
    index: usize,
    sums: &[i64],
    output: &FloatOutput<'_>,
    out: &mut [f32],
) -> Result<()> {
    let row_scale = output.row_scale.get(index).copied().unwrap_or(1.0);
    for (column, (out, &sum)) in out.iter_mut().zip(sums).enumerate() {
        let scale = lanes::of_column(output.scale, column, 1.0);
        let bias = lanes::of_column(output.bias, column, -0.0);
        *out = sum as f32 * (row_scale * scale) + bias;
    }
    finish_rows_with(isa, out, out.len(), &[], output.activation)
}

/// Turns the sums of a row into codes; a residual starts where the row does.
pub fn wide_code_row<C: Code>(
    sums: &[i64],
    output: &Requantize<'_>,
    residual: Option<Residual<'_>>,
    out: &mut [C],
) {
    let low = (output.min - output.zero_point) as f32;
    let high = (output.max - output.zero_point) as f32;
    for (column, (out, &sum)) in out.iter_mut().zip(sums).enumerate() {
        let bias = i64::from(lanes::of_column(output.bias, column, 0));
        let mut level = (sum + bias) as f32 * lanes::of_column(output.multiplier, column, 1.0);
        if let Some(residual) = &residual {
            let code = residual.codes[column];
            let code = if residual.signed { i32::from(code as i8) } else { i32::from(code) };
            level += (code - residual.zero_point) as f32 * residual.multiplier;
        }
        let level = level.max(low).min(high).round_ties_even();
        *out = C::from_i32(level as i32 + output.zero_point);
    }
}
