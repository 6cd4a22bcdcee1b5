//! Dynamic quantization: int8 codes with a scale of each row's own, found as the data come by.

use super::fake::fake_run;
use super::quantize::{Counts, Steps, quantize_run};
use crate::error::{KernelError, Result};
use crate::isa::{self, Isa};
use crate::quant::layout::{Layout, Params, Run};
use crate::quant::ranges::{largest_size, range_run};
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
    quantize_rows_i8_from(isa, 0, x, row, out, scale)
}

/// [`quantize_rows_i8_with`] of rows of which the first is the caller's row `first`.
pub fn quantize_rows_i8_from(
    isa: Isa,
    first: usize,
    x: &[f32],
    row: usize,
    out: &mut [i8],
    scale: &mut [f32],
) -> Result<()> {
    check_rows(x, row, out.len())?;
    if scale.len() != x.len() / row {
        return Err(KernelError::Shape(format!("{} scales are not one a row", scale.len())));
    }
    told(first, dispatch(isa, Rows { x, row, out, scale }))
}

/// What [`quantize_rows_i8`] decodes to, in one pass: for calibration, that layers are fitted to
/// the very integers that will run. On the instruction set in force.
pub fn fake_quantize_rows(x: &[f32], row: usize, out: &mut [f32]) -> Result<()> {
    fake_quantize_rows_with(isa::active()?, x, row, out)
}

/// [`fake_quantize_rows`] on the given instruction set.
pub fn fake_quantize_rows_with(isa: Isa, x: &[f32], row: usize, out: &mut [f32]) -> Result<()> {
    check_rows(x, row, out.len())?;
    told(0, dispatch(isa, FakeRows { x, row, out }))
}

fn check_rows(x: &[f32], row: usize, out: usize) -> Result<()> {
    if row == 0 || !x.len().is_multiple_of(row) || out != x.len() {
        return Err(KernelError::Shape(format!("{} values are not rows of {row}", x.len())));
    }
    Ok(())
}

/// The error of a row that has a NaN, where there is one; rows are counted from `first` on.
fn told(first: usize, row: Option<usize>) -> Result<()> {
    match row {
        None => Ok(()),
        Some(index) => Err(KernelError::Value(format!("x has a NaN in row {}", first + index))),
    }
}

const LOW: i32 = -128;
const HIGH: i32 = 127;

/// The scale of a row; none where it has a NaN.
#[inline(always)]
fn row_scale<S: Simd>(s: S, x: &[f32]) -> Option<f32> {
    let most = if let Some(most) = largest_size(s, x) {
        f64::from(most)
    } else {
        let range = range_run(s, x);
        if range.nan > 0 {
            return None;
        }
        range.absmax()
    };
    let step = (most / 127.5) as f32;
    // A scale of 0 or a subnormal one cannot divide: such a row is all zeros.
    Some(if step.is_normal() { step } else { 1.0 })
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
            let Some(step) = row_scale(s, x) else { return Some(index) };
            *scale = step;
            let steps = Steps { scale: step, zero: 0, min: LOW, max: HIGH };
            let _: Counts = quantize_run(s, x, steps, out, false);
        }
        None
    }
}

struct FakeRows<'a> {
    x: &'a [f32],
    row: usize,
    out: &'a mut [f32],
}

impl SimdOp for FakeRows<'_> {
    /// The first row that has a NaN.
    type Output = Option<usize>;

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> Option<usize> {
        let rows = self.x.chunks_exact(self.row).zip(self.out.chunks_exact_mut(self.row));
        for (index, (x, out)) in rows.enumerate() {
            let Some(step) = row_scale(s, x) else { return Some(index) };
            let params = Params {
                layout: Layout::Tensor,
                scale: &[step],
                zero_point: &[],
                min: LOW,
                max: HIGH,
            };
            let run = Run { start: 0, len: self.row, scale: 0, each: false };
            fake_run(s, x, &params, run, out, None);
        }
        None
    }
}
