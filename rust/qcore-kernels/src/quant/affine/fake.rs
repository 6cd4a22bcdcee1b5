//! Quantize and dequantize in one pass, for training that is to know about quantization.

use crate::error::{KernelError, Result};
use crate::interrupt::{self, Pace};
use crate::isa::{self, Isa};
use crate::quant::layout::{Params, Run};
use crate::simd::{Scalar, Simd, SimdOp, dispatch};

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
    inside: Option<&mut [f32]>,
) -> Result<()> {
    params.check(x.len())?;
    if out.len() != x.len() || inside.as_ref().is_some_and(|m| m.len() != x.len()) {
        return Err(KernelError::Shape("out and inside must have x's length".to_owned()));
    }
    dispatch(isa, Fake { x, params, out, inside });
    interrupt::check()
}

struct Fake<'a> {
    x: &'a [f32],
    params: Params<'a>,
    out: &'a mut [f32],
    inside: Option<&'a mut [f32]>,
}

impl SimdOp for Fake<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(mut self, s: S) {
        let mut pace = Pace::new();
        for run in self.params.layout.runs(self.x.len()) {
            if pace.stops(run.len) {
                break;
            }
            let range = run.start..run.start + run.len;
            let inside = self.inside.as_mut().map(|m| &mut m[range.clone()]);
            fake_run(s, &self.x[range.clone()], &self.params, run, &mut self.out[range], inside);
        }
    }
}

/// One run, whose elements share a scale or have one each.
#[inline(always)]
pub(super) fn fake_run<S: Simd>(
    s: S,
    x: &[f32],
    params: &Params<'_>,
    run: Run,
    out: &mut [f32],
    inside: Option<&mut [f32]>,
) {
    let mask = inside.map(<[f32]>::as_mut_ptr);
    let body = x.len() / S::LANES * S::LANES;
    let mut levels = Levels::new(s, params, run.scale);
    for start in (0..body).step_by(S::LANES) {
        if run.each {
            // SAFETY: start + LANES <= body <= the number of scales.
            unsafe { levels.load(params, start) };
        }
        // SAFETY: start + LANES <= body <= the length of x, out and inside alike.
        unsafe {
            let (real, kept) = levels.fake(s.load_f32(x.as_ptr().add(start)));
            s.store_f32(out.as_mut_ptr().add(start), real);
            if let Some(mask) = mask {
                s.store_f32(mask.add(start), kept);
            }
        }
    }
    for index in body..x.len() {
        let scale = if run.each { index } else { run.scale };
        let (real, kept) = Levels::new(Scalar, params, scale).fake(x[index]);
        out[index] = real;
        if let Some(mask) = mask {
            // SAFETY: index < x.len(), which is the length of inside.
            unsafe { *mask.add(index) = kept };
        }
    }
}

/// Scales and the range of the codes before the zero point is added.
#[derive(Clone, Copy)]
struct Levels<S: Simd> {
    s: S,
    scale: S::F32,
    low: S::F32,
    high: S::F32,
}

impl<S: Simd> Levels<S> {
    #[inline(always)]
    fn new(s: S, params: &Params<'_>, index: usize) -> Self {
        let zero = params.zero(index);
        Self {
            s,
            scale: s.splat_f32(params.scale[index]),
            low: s.splat_f32((params.min - zero) as f32),
            high: s.splat_f32((params.max - zero) as f32),
        }
    }

    /// Takes the scales from `index` on.
    ///
    /// # Safety
    /// There are at least `index + S::LANES` scales.
    #[inline(always)]
    unsafe fn load(&mut self, params: &Params<'_>, index: usize) {
        let s = self.s;
        // SAFETY: the caller vouches for the scales; there are as many zero points, or none.
        unsafe {
            self.scale = s.load_f32(params.scale.as_ptr().add(index));
            if !params.zero_point.is_empty() {
                let zero = s.load_i32(params.zero_point.as_ptr().add(index));
                self.low = s.to_f32(s.sub_i32(s.splat_i32(params.min), zero));
                self.high = s.to_f32(s.sub_i32(s.splat_i32(params.max), zero));
            }
        }
    }

    /// What `x` decodes to, and 1 where it did not saturate.
    #[inline(always)]
    fn fake(self, x: S::F32) -> (S::F32, S::F32) {
        let s = self.s;
        let level = s.round(s.div(x, self.scale));
        // The level is the second operand, which min and max return for NaN.
        let clamped = s.min(self.high, s.max(self.low, level));
        let kept = s.select(s.eq(level, clamped), s.splat_f32(1.0), s.splat_f32(0.0));
        (s.mul(clamped, self.scale), kept)
    }
}
