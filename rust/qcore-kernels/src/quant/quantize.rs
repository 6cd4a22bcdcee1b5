//! Floats to codes: `saturate(rint(x / scale) + zero_point)`.
//!
//! Clamping happens in float, before the conversion: a float beyond int32 converts to garbage.
//! Scales divide: multiplying by the reciprocal gives another result on some ties.

use std::sync::{Mutex, PoisonError};

use super::code::Code;
use super::element::{Element, for_f32_blocks};
use super::layout::Params;
use crate::error::{KernelError, Result};
use crate::isa::{self, Isa};
use crate::simd::{Simd, SimdOp, dispatch};
use crate::threads;

/// What quantization met on its way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Values beyond the codes' range, infinities included.
    pub clipped: usize,
    /// NaN values; their code is that of 0.
    pub nan: usize,
}

impl Counts {
    fn add(&mut self, other: Counts) {
        self.clipped += other.clipped;
        self.nan += other.nan;
    }
}

/// Elements below which another thread costs more than it saves.
const GRAIN: usize = 1 << 18;

/// Quantizes `x` into `out`, on the instruction set in force.
pub fn quantize<T: Element, C: Code>(x: &[T], params: Params<'_>, out: &mut [C]) -> Result<Counts> {
    quantize_with(isa::active()?, x, params, out)
}

/// Quantizes `x` into `out`, on the given instruction set.
pub fn quantize_with<T: Element, C: Code>(
    isa: Isa,
    x: &[T],
    params: Params<'_>,
    out: &mut [C],
) -> Result<Counts> {
    params.check(x.len())?;
    if out.len() != x.len() {
        let (found, wanted) = (out.len(), x.len());
        return Err(KernelError::Shape(format!("out has {found} elements, x has {wanted}")));
    }
    if params.min < C::MIN || params.max > C::MAX {
        return Err(KernelError::Value("codes do not fit the type of out".to_owned()));
    }
    let total = x.len();
    let runs = params.layout.run_count(total);
    let tasks = threads::tasks_for(runs, total / runs.max(1), GRAIN);
    let per_task = runs.div_ceil(tasks.max(1)).max(1);

    // Each task owns the part of `out` that its runs cover.
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
    let counts = Mutex::new(Counts::default());
    threads::for_each(parts.len(), |index| {
        let (range, offset, part) = &parts[index];
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sum = Counts::default();
        for index in range.clone() {
            let run = params.layout.run(index, total);
            let x = &x[run.start..run.start + run.len];
            let out = &mut part[run.start - offset..][..run.len];
            sum.add(if run.each {
                quantize_each(x, &params, out)
            } else if T::WIDE {
                quantize_wide(x, &params, run.scale, out)
            } else {
                quantize_narrow(isa, x, &params, run.scale, out)
            });
        }
        counts.lock().unwrap_or_else(PoisonError::into_inner).add(sum);
    });
    Ok(counts.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn quantize_narrow<T: Element, C: Code>(
    isa: Isa,
    x: &[T],
    params: &Params<'_>,
    index: usize,
    out: &mut [C],
) -> Counts {
    let zero = params.zero(index);
    let mut counts = Counts::default();
    for_f32_blocks(x, |at, x| {
        let out = &mut out[at..at + x.len()];
        let (scale, min, max) = (params.scale[index], params.min, params.max);
        counts.add(dispatch(isa, Quantize { x, out, scale, zero, min, max }));
    });
    counts
}

/// One run of float32 with one scale.
struct Quantize<'a, C> {
    x: &'a [f32],
    out: &'a mut [C],
    scale: f32,
    zero: i32,
    min: i32,
    max: i32,
}

impl<C: Code> SimdOp for Quantize<'_, C> {
    type Output = Counts;

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> Counts {
        // The codes' range, before the zero point is added.
        let low = (self.min - self.zero) as f32;
        let high = (self.max - self.zero) as f32;
        let (scale, zero) = (s.splat_f32(self.scale), s.splat_i32(self.zero));
        let (lows, highs, zeros) = (s.splat_f32(low), s.splat_f32(high), s.splat_f32(0.0));
        let step = 4 * S::LANES;
        let body = self.x.len() / step * step;
        let (mut ordered, mut kept) = (0, 0);
        for start in (0..body).step_by(step) {
            let mut codes = [zero; 4];
            for (part, code) in codes.iter_mut().enumerate() {
                // SAFETY: start + step <= body <= x.len().
                let x = unsafe { s.load_f32(self.x.as_ptr().add(start + part * S::LANES)) };
                let number = s.eq(x, x);
                let level = s.select(number, s.round(s.div(x, scale)), zeros);
                let clamped = s.min(s.max(level, lows), highs);
                ordered += s.count(number);
                kept += s.count(s.eq(level, clamped));
                *code = s.add_i32(s.to_i32(clamped), zero);
            }
            // SAFETY: start + step <= body <= x.len() == out.len().
            unsafe { C::store4(s, self.out.as_mut_ptr().add(start), codes) };
        }
        let mut counts = Counts { clipped: body - kept, nan: body - ordered };
        for (x, out) in self.x[body..].iter().zip(&mut self.out[body..]) {
            let level = if x.is_nan() { 0.0 } else { (x / self.scale).round_ties_even() };
            let clamped = level.clamp(low, high);
            counts.nan += x.is_nan() as usize;
            counts.clipped += (level != clamped) as usize;
            *out = C::from_i32(clamped as i32 + self.zero);
        }
        counts
    }
}

/// One run of float64 with one scale.
fn quantize_wide<T: Element, C: Code>(
    x: &[T],
    params: &Params<'_>,
    index: usize,
    out: &mut [C],
) -> Counts {
    let mut counts = Counts::default();
    for (x, out) in x.iter().zip(out) {
        *out = one_wide(x.to_f64(), params, index, &mut counts);
    }
    counts
}

/// One run in which each element has a scale of its own.
fn quantize_each<T: Element, C: Code>(x: &[T], params: &Params<'_>, out: &mut [C]) -> Counts {
    let mut counts = Counts::default();
    if T::WIDE {
        for (index, (x, out)) in x.iter().zip(out).enumerate() {
            *out = one_wide(x.to_f64(), params, index, &mut counts);
        }
        return counts;
    }
    for_f32_blocks(x, |at, x| {
        for (index, &x) in x.iter().enumerate() {
            let index = at + index;
            let zero = params.zero(index);
            let level = if x.is_nan() { 0.0 } else { (x / params.scale[index]).round_ties_even() };
            let clamped = level.clamp((params.min - zero) as f32, (params.max - zero) as f32);
            counts.nan += x.is_nan() as usize;
            counts.clipped += (level != clamped) as usize;
            out[index] = C::from_i32(clamped as i32 + zero);
        }
    });
    counts
}

#[inline]
fn one_wide<C: Code>(x: f64, params: &Params<'_>, index: usize, counts: &mut Counts) -> C {
    let zero = params.zero(index);
    let scale = params.scale[index] as f64;
    let level = if x.is_nan() { 0.0 } else { (x / scale).round_ties_even() };
    let clamped = level.clamp((params.min - zero) as f64, (params.max - zero) as f64);
    counts.nan += x.is_nan() as usize;
    counts.clipped += (level != clamped) as usize;
    C::from_i32(clamped as i32 + zero)
}
