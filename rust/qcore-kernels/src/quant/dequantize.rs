//! Codes to floats: `(code - zero_point) * scale`.

use std::sync::{Mutex, PoisonError};

use super::code::Code;
use super::layout::Params;
use crate::error::{KernelError, Result};
use crate::isa::{self, Isa};
use crate::simd::{Simd, SimdOp, dispatch};
use crate::threads;

const GRAIN: usize = 1 << 18;

/// Decodes `codes` into `out`, on the instruction set in force.
pub fn dequantize<C: Code>(codes: &[C], params: Params<'_>, out: &mut [f32]) -> Result<()> {
    dequantize_with(isa::active()?, codes, params, out)
}

/// Decodes `codes` into `out`, on the given instruction set.
pub fn dequantize_with<C: Code>(
    isa: Isa,
    codes: &[C],
    params: Params<'_>,
    out: &mut [f32],
) -> Result<()> {
    params.check(codes.len())?;
    if out.len() != codes.len() {
        let (found, wanted) = (out.len(), codes.len());
        return Err(KernelError::Shape(format!("out has {found} elements, codes have {wanted}")));
    }
    let total = codes.len();
    let runs = params.layout.run_count(total);
    let tasks = threads::tasks_for(runs, total / runs.max(1), GRAIN);
    let per_task = runs.div_ceil(tasks.max(1)).max(1);
    let mut parts = Vec::with_capacity(tasks);
    let mut rest = out;
    let mut first = 0;
    while first < runs {
        let last = (first + per_task).min(runs);
        let start = params.layout.run(first, total).start;
        let end = if last == runs { total } else { params.layout.run(last, total).start };
        let (part, tail) = rest.split_at_mut(end - start);
        rest = tail;
        parts.push((first..last, start, Mutex::new(part)));
        first = last;
    }
    threads::for_each(parts.len(), |index| {
        let (range, offset, part) = &parts[index];
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        for index in range.clone() {
            let run = params.layout.run(index, total);
            let codes = &codes[run.start..run.start + run.len];
            let out = &mut part[run.start - offset..][..run.len];
            if run.each {
                for (index, (code, out)) in codes.iter().zip(out).enumerate() {
                    *out = (code.to_i32() - params.zero(index)) as f32 * params.scale[index];
                }
            } else {
                let (scale, zero) = (params.scale[run.scale], params.zero(run.scale));
                dispatch(isa, Dequantize { codes, out, scale, zero });
            }
        }
    });
    Ok(())
}

/// One run of codes with one scale.
struct Dequantize<'a, C> {
    codes: &'a [C],
    out: &'a mut [f32],
    scale: f32,
    zero: i32,
}

impl<C: Code> SimdOp for Dequantize<'_, C> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let (scale, zero) = (s.splat_f32(self.scale), s.splat_i32(self.zero));
        let body = self.codes.len() / S::LANES * S::LANES;
        for start in (0..body).step_by(S::LANES) {
            // SAFETY: start + LANES <= body <= codes.len() == out.len().
            unsafe {
                let code = C::load(s, self.codes.as_ptr().add(start));
                let real = s.mul(s.to_f32(s.sub_i32(code, zero)), scale);
                s.store_f32(self.out.as_mut_ptr().add(start), real);
            }
        }
        for (code, out) in self.codes[body..].iter().zip(&mut self.out[body..]) {
            *out = (code.to_i32() - self.zero) as f32 * self.scale;
        }
    }
}
