//! Dynamic quantization: int8 codes with a scale of each row's own, found as the data come by.

use super::layout::{Layout, Params};
use super::{quantize_with, ranges_with};
use crate::error::{KernelError, Result};
use crate::isa::{self, Isa};

/// Symmetric full-range int8 codes of each row: `scale = absmax / 127.5`, on the instruction set in
/// force.
pub fn quantize_rows_i8(x: &[f32], row: usize, out: &mut [i8], scale: &mut [f32]) -> Result<()> {
    quantize_rows_i8_with(isa::active()?, x, row, out, scale)
}

/// [`quantize_rows_i8`] on the given instruction set.
pub fn quantize_rows_i8_with(
    isa: Isa,
    x: &[f32],
    row: usize,
    out: &mut [i8],
    scale: &mut [f32],
) -> Result<()> {
    if row == 0 || !x.len().is_multiple_of(row) || scale.len() != x.len() / row {
        return Err(KernelError::Shape(format!("{} values are not rows of {row}", x.len())));
    }
    for (index, (x, out)) in x.chunks_exact(row).zip(out.chunks_exact_mut(row)).enumerate() {
        let range = ranges_with(isa, x, Layout::Tensor)?[0];
        if range.nan > 0 {
            return Err(KernelError::Value(format!("x has a NaN in row {index}")));
        }
        let absmax = range.max.max(-range.min).max(0.0);
        let step = (absmax / 127.5) as f32;
        // A scale of 0 or a subnormal one cannot divide: such a row is all zeros.
        let step = if step.is_normal() { step } else { 1.0 };
        scale[index] = step;
        let params =
            Params { layout: Layout::Tensor, scale: &[step], zero_point: &[], min: -128, max: 127 };
        quantize_with(isa, x, params, out)?;
    }
    Ok(())
}
