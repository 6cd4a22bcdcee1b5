//! Quantize and dequantize in one pass, for training that is to know about quantization.

use super::layout::Params;
use crate::error::{KernelError, Result};
use crate::isa::{self, Isa};
use crate::simd::{Simd, SimdOp, dispatch};

/// Writes what `x` decodes to after quantization, and, where `inside` is given, 1 for each value
/// that did not saturate and 0 for the rest: the mask of the straight-through gradient.
///
/// NaN stays NaN. On the instruction set in force.
pub fn fake_quantize(
    x: &[f32],
    params: Params<'_>,
    out: &mut [f32],
    inside: Option<&mut [f32]>,
) -> Result<()> {
    fake_quantize_with(isa::active()?, x, params, out, inside)
}

/// [`fake_quantize`] on the given instruction set.
pub fn fake_quantize_with(
    isa: Isa,
    x: &[f32],
    params: Params<'_>,
    out: &mut [f32],
    mut inside: Option<&mut [f32]>,
) -> Result<()> {
    params.check(x.len())?;
    if out.len() != x.len() || inside.as_ref().is_some_and(|m| m.len() != x.len()) {
        return Err(KernelError::Shape("out and inside must have x's length".to_owned()));
    }
    for run in params.layout.runs(x.len()) {
        let range = run.start..run.start + run.len;
        for (part, index) in parts(range, run.scale, run.each) {
            let (scale, zero) = (params.scale[index], params.zero(index));
            let (low, high) = ((params.min - zero) as f32, (params.max - zero) as f32);
            let inside = inside.as_mut().map(|m| &mut m[part.clone()]);
            let (x, out) = (&x[part.clone()], &mut out[part]);
            dispatch(isa, Fake { x, out, inside, scale, low, high });
        }
    }
    Ok(())
}

/// A run with one scale as it is; one in which each element has its own, element by element.
fn parts(
    range: std::ops::Range<usize>,
    scale: usize,
    each: bool,
) -> impl Iterator<Item = (std::ops::Range<usize>, usize)> {
    let step = if each { 1 } else { range.len().max(1) };
    let count = if each { range.len() } else { 1 };
    (0..count).map(move |index| {
        let start = range.start + index * step;
        (start..start + step.min(range.end - start), scale + index)
    })
}

struct Fake<'a> {
    x: &'a [f32],
    out: &'a mut [f32],
    inside: Option<&'a mut [f32]>,
    scale: f32,
    low: f32,
    high: f32,
}

impl SimdOp for Fake<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let Fake { x, out, inside, scale, low, high } = self;
        let scales = s.splat_f32(scale);
        let (lows, highs) = (s.splat_f32(low), s.splat_f32(high));
        let (ones, zeros) = (s.splat_f32(1.0), s.splat_f32(0.0));
        let mask = inside.map(<[f32]>::as_mut_ptr);
        let body = x.len() / S::LANES * S::LANES;
        for start in (0..body).step_by(S::LANES) {
            // SAFETY: start + LANES <= body <= the length of x, out and inside alike.
            unsafe {
                let level = s.round(s.div(s.load_f32(x.as_ptr().add(start)), scales));
                // The level is the second operand, which min and max return for NaN.
                let clamped = s.min(highs, s.max(lows, level));
                s.store_f32(out.as_mut_ptr().add(start), s.mul(clamped, scales));
                if let Some(mask) = mask {
                    s.store_f32(mask.add(start), s.select(s.eq(level, clamped), ones, zeros));
                }
            }
        }
        for index in body..x.len() {
            let level = (x[index] / scale).round_ties_even();
            let clamped = level.clamp(low, high);
            out[index] = clamped * scale;
            if let Some(mask) = mask {
                // SAFETY: index < x.len(), which is the length of inside.
                unsafe { *mask.add(index) = (level == clamped) as u8 as f32 };
            }
        }
    }
}
