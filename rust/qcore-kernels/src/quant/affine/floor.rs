//! The floor form: `Q(x) = floor((x - offset) / scale)`.

use super::quantize::Counts;
use crate::error::{KernelError, Result};
use crate::interrupt;
use crate::isa::{self, Isa};
use crate::quant::code::Code;
use crate::quant::element::Element;
use crate::quant::layout::Layout;
use crate::quant::split::map_parts;
use crate::simd::{Scalar, Simd, SimdOp, dispatch};

/// Elements between two looks at whether to stop.
const AT_ONCE: usize = 1 << 16;

/// The step and the offset; both are float32 where values compute in float32.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Form {
    scale: f64,
    offset: f64,
}

/// Quantizes `x` with one step and one offset, saturating to `min..=max`; NaN gets code 0. On the
/// instruction set in force.
pub fn floor_quantize<T: Element, C: Code>(
    x: &[T],
    scale: f64,
    offset: f64,
    min: i32,
    max: i32,
    out: &mut [C],
) -> Result<Counts> {
    floor_quantize_with(isa::active()?, x, scale, offset, min, max, out)
}

/// [`floor_quantize`] on the given instruction set.
pub fn floor_quantize_with<T: Element, C: Code>(
    isa: Isa,
    x: &[T],
    scale: f64,
    offset: f64,
    min: i32,
    max: i32,
    out: &mut [C],
) -> Result<Counts> {
    if out.len() != x.len() || min < C::MIN || max > C::MAX || min > max {
        return Err(KernelError::Shape("out does not fit x or the codes".to_owned()));
    }
    let form = Form { scale, offset };
    let mut counts = Counts::default();
    map_parts(
        Layout::Tensor,
        out,
        |part, out| {
            let mut counts = Counts::default();
            let x = &x[part.elements.clone()];
            for (x, out) in x.chunks(AT_ONCE).zip(out.chunks_mut(AT_ONCE)) {
                interrupt::check()?;
                counts.add(dispatch(isa, FloorQuantize { x, form, min, max, out }));
            }
            Ok(counts)
        },
        |found| counts.add(found),
    )?;
    Ok(counts)
}

struct FloorQuantize<'a, T, C> {
    x: &'a [T],
    form: Form,
    min: i32,
    max: i32,
    out: &'a mut [C],
}

impl<T: Element, C: Code> SimdOp for FloorQuantize<'_, T, C> {
    type Output = Counts;

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> Counts {
        let Self { x, form, min, max, out } = self;
        let mut counts = Counts::default();
        if T::WIDE {
            for (x, out) in x.iter().zip(out) {
                *out = C::from_i32(cell_wide(x.to_f64(), form, min, max, &mut counts));
            }
            return counts;
        }
        let body = x.len() / S::LANES * S::LANES;
        for start in (0..body).step_by(S::LANES) {
            // SAFETY: start + LANES <= body <= the length of x and out alike.
            unsafe {
                let v = T::load(s, x.as_ptr().add(start));
                let codes = cells(s, v, form, min, max, &mut counts);
                C::store(s, out.as_mut_ptr().add(start), codes);
            }
        }
        for index in body..x.len() {
            let code = cells(Scalar, x[index].to_f32(), form, min, max, &mut counts);
            out[index] = C::from_i32(code);
        }
        counts
    }
}

/// The cells that float32 values lie in.
#[inline(always)]
fn cells<S: Simd>(s: S, x: S::F32, form: Form, min: i32, max: i32, counts: &mut Counts) -> S::I32 {
    let (scale, offset) = (s.splat_f32(form.scale as f32), s.splat_f32(form.offset as f32));
    let number = s.eq(x, x);
    let cell = s.floor(s.div(s.sub(x, offset), scale));
    let cell = s.select(number, cell, s.splat_f32(0.0));
    let clamped = s.min(s.max(cell, s.splat_f32(min as f32)), s.splat_f32(max as f32));
    counts.nan += S::LANES - s.count(number);
    counts.clipped += S::LANES - s.count(s.eq(cell, clamped));
    s.to_i32(clamped)
}

/// The cell that a float64 value lies in.
#[inline(always)]
fn cell_wide(x: f64, form: Form, min: i32, max: i32, counts: &mut Counts) -> i32 {
    let cell = if x.is_nan() { 0.0 } else { ((x - form.offset) / form.scale).floor() };
    let clamped = cell.clamp(f64::from(min), f64::from(max));
    counts.nan += usize::from(x.is_nan());
    counts.clipped += usize::from(cell != clamped);
    clamped as i32
}

/// Decodes the floor form: `(code + shift) * scale + offset`, where `shift` is 0.5 for the centre of
/// the cell and 0 for its edge; in float64, rounded once to the type of `out`. On the instruction
/// set in force.
pub fn floor_dequantize<C: Code, T: Element>(
    codes: &[C],
    scale: f64,
    offset: f64,
    shift: f64,
    out: &mut [T],
) -> Result<()> {
    floor_dequantize_with(isa::active()?, codes, scale, offset, shift, out)
}

/// [`floor_dequantize`] on the given instruction set.
pub fn floor_dequantize_with<C: Code, T: Element>(
    isa: Isa,
    codes: &[C],
    scale: f64,
    offset: f64,
    shift: f64,
    out: &mut [T],
) -> Result<()> {
    if out.len() != codes.len() {
        return Err(KernelError::Shape("out does not have the length of codes".to_owned()));
    }
    let form = Form { scale, offset };
    map_parts(
        Layout::Tensor,
        out,
        |part, out| {
            let codes = &codes[part.elements.clone()];
            for (codes, out) in codes.chunks(AT_ONCE).zip(out.chunks_mut(AT_ONCE)) {
                interrupt::check()?;
                dispatch(isa, FloorDequantize { codes, form, shift, out });
            }
            Ok(())
        },
        |()| (),
    )
}

struct FloorDequantize<'a, C, T> {
    codes: &'a [C],
    form: Form,
    shift: f64,
    out: &'a mut [T],
}

impl<C: Code, T: Element> SimdOp for FloorDequantize<'_, C, T> {
    type Output = ();

    // Plain float64: the compiler makes vectors of it, and one rounding is exact enough for 16 bits.
    #[inline(always)]
    fn eval<S: Simd>(self, _simd: S) {
        let Form { scale, offset } = self.form;
        for (code, out) in self.codes.iter().zip(self.out) {
            *out = T::from_f64((f64::from(code.to_i32()) + self.shift) * scale + offset);
        }
    }
}
