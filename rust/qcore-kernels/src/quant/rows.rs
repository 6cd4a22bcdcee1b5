//! Dynamic quantization: int8 codes with a scale of each row's own, found as the data come by.

use super::quantize::{Counts, Steps, quantize_run};
use super::range::range_run;
use crate::error::{KernelError, Result};
use crate::isa::{self, Isa};
use crate::simd::{Simd, SimdOp, dispatch};

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
    if row == 0
        || !x.len().is_multiple_of(row)
        || scale.len() != x.len() / row
        || out.len() != x.len()
    {
        return Err(KernelError::Shape(format!("{} values are not rows of {row}", x.len())));
    }
    match dispatch(isa, Rows { x, row, out, scale }) {
        None => Ok(()),
        Some(index) => Err(KernelError::Value(format!("x has a NaN in row {index}"))),
    }
}

struct Rows<'a> {
    x: &'a [f32],
    row: usize,
    out: &'a mut [i8],
    scale: &'a mut [f32],
}

impl SimdOp for Rows<'_> {
    /// The first row that has a NaN.
    type Output = Option<usize>;

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> Option<usize> {
        let rows = self.x.chunks_exact(self.row).zip(self.out.chunks_exact_mut(self.row));
        for (index, ((x, out), scale)) in rows.zip(self.scale).enumerate() {
            let range = range_run(s, x);
            if range.nan > 0 {
                return Some(index);
            }
            let step = (range.absmax() / 127.5) as f32;
            // A scale of 0 or a subnormal one cannot divide: such a row is all zeros.
            *scale = if step.is_normal() { step } else { 1.0 };
            let steps = Steps { scale: *scale, zero: 0, min: -128, max: 127 };
            let _: Counts = quantize_run(s, x, steps, out, false);
        }
        None
    }
}
