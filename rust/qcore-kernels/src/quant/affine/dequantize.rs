//! Codes to floats: `(code - zero_point) * scale`.

use super::quantize::STREAM_FROM;
use crate::error::{KernelError, Result};
use crate::interrupt::Pace;
use crate::isa::{self, Isa};
use crate::quant::code::Code;
use crate::quant::element::Element;
use crate::quant::layout::{Params, Run};
use crate::quant::split::map_parts;
use crate::simd::{Simd, SimdOp, dispatch};

/// Decodes `codes` into `out`, on the instruction set in force.
pub fn dequantize<C: Code, T: Element>(
    codes: &[C],
    params: Params<'_>,
    out: &mut [T],
) -> Result<()> {
    dequantize_with(isa::active()?, codes, params, out)
}

/// Decodes `codes` into `out`, on the given instruction set; in float64 for a float64 `out`, else in
/// float32, rounded to the type of `out`.
pub fn dequantize_with<C: Code, T: Element>(
    isa: Isa,
    codes: &[C],
    params: Params<'_>,
    out: &mut [T],
) -> Result<()> {
    params.check(codes.len())?;
    if out.len() != codes.len() {
        let (found, wanted) = (out.len(), codes.len());
        return Err(KernelError::Shape(format!("out has {found} elements, codes have {wanted}")));
    }
    let total = codes.len();
    let stream = size_of_val(out) >= 4 * STREAM_FROM;
    map_parts(
        params.layout,
        out,
        |part, out| {
            let codes = &codes[part.elements.clone()];
            let runs = part.runs.clone().map(|run| params.layout.run(run, total));
            let start = part.elements.start;
            dispatch(isa, Dequantize { codes, out, params, runs, start, stream });
            Ok(())
        },
        |()| (),
    )
}

/// Consecutive runs; the first element of `codes` and `out` is element `start` of the whole.
struct Dequantize<'a, C, T, R> {
    codes: &'a [C],
    out: &'a mut [T],
    params: Params<'a>,
    runs: R,
    start: usize,
    stream: bool,
}

impl<C: Code, T: Element, R: Iterator<Item = Run>> SimdOp for Dequantize<'_, C, T, R> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let mut pace = Pace::new();
        for run in self.runs {
            if pace.stops(run.len) {
                break;
            }
            let range = run.start - self.start..run.start - self.start + run.len;
            let (codes, out) = (&self.codes[range.clone()], &mut self.out[range]);
            if T::WIDE {
                for (index, (&code, out)) in codes.iter().zip(out).enumerate() {
                    let index = if run.each { index } else { run.scale };
                    let level = f64::from(code.to_i32() - self.params.zero(index));
                    *out = T::from_f64(level * f64::from(self.params.scale[index]));
                }
            } else if run.each {
                dequantize_each(s, codes, &self.params, out);
            } else {
                let (scale, zero) = (self.params.scale[run.scale], self.params.zero(run.scale));
                dequantize_run(s, codes, scale, zero, out, self.stream);
            }
        }
    }
}

/// One run with one scale.
#[inline(always)]
fn dequantize_run<S: Simd, C: Code, T: Element>(
    s: S,
    codes: &[C],
    scale: f32,
    zero: i32,
    out: &mut [T],
    stream: bool,
) {
    let (scales, zeros) = (s.splat_f32(scale), s.splat_i32(zero));
    // Streaming stores want aligned addresses: what lies before goes element by element.
    let head = if stream { out.as_ptr().align_offset(64).min(codes.len()) } else { 0 };
    let body = head + (codes.len() - head) / S::LANES * S::LANES;
    let (from, to) = (codes.as_ptr(), out.as_mut_ptr());
    for start in (head..body).step_by(S::LANES) {
        // SAFETY: start + LANES <= body <= the length of codes and out alike; aligned, as head is,
        // where it streams.
        unsafe {
            let code = C::load(s, from.add(start));
            let real = s.mul(s.to_f32(s.sub_i32(code, zeros)), scales);
            if stream {
                T::stream(s, to.add(start), real);
            } else {
                T::store(s, to.add(start), real);
            }
        }
    }
    for index in (0..head).chain(body..codes.len()) {
        out[index] = T::from_f32((codes[index].to_i32() - zero) as f32 * scale);
    }
    if stream {
        s.fence();
    }
}

/// One run in which each element has a scale of its own.
#[inline(always)]
fn dequantize_each<S: Simd, C: Code, T: Element>(
    s: S,
    codes: &[C],
    params: &Params<'_>,
    out: &mut [T],
) {
    let body = codes.len() / S::LANES * S::LANES;
    let mut zero = s.splat_i32(0);
    for start in (0..body).step_by(S::LANES) {
        // SAFETY: start + LANES <= body <= the length of codes, out, scale, and zero_point if any.
        unsafe {
            if !params.zero_point.is_empty() {
                zero = s.load_i32(params.zero_point.as_ptr().add(start));
            }
            let scale = s.load_f32(params.scale.as_ptr().add(start));
            let code = C::load(s, codes.as_ptr().add(start));
            let real = s.mul(s.to_f32(s.sub_i32(code, zero)), scale);
            T::store(s, out.as_mut_ptr().add(start), real);
        }
    }
    for index in body..codes.len() {
        let level = codes[index].to_i32() - params.zero(index);
        out[index] = T::from_f32(level as f32 * params.scale[index]);
    }
}
