//! The floor form: `Q(x) = floor((x - offset) / scale)`.

use super::code::Code;
use super::element::Element;
use super::quantize::Counts;
use crate::error::{KernelError, Result};

/// Quantizes `x` with one step and one offset, saturating to `min..=max`; NaN gets the code of the
/// offset.
pub fn floor_quantize<T: Element, C: Code>(
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
    let mut counts = Counts::default();
    for (x, out) in x.iter().zip(out) {
        let x = x.to_f64();
        let level = if T::WIDE {
            ((x - offset) / scale).floor()
        } else {
            (((x as f32) - offset as f32) / scale as f32).floor() as f64
        };
        let level = if level.is_nan() { 0.0 } else { level };
        let clamped = level.clamp(min as f64, max as f64);
        counts.nan += x.is_nan() as usize;
        counts.clipped += (level != clamped) as usize;
        *out = C::from_i32(clamped as i32);
    }
    Ok(counts)
}

/// Decodes the floor form: `(code + shift) * scale + offset`, where `shift` is 0.5 for the centre of
/// the cell and 0 for its edge.
pub fn floor_dequantize<C: Code>(
    codes: &[C],
    scale: f64,
    offset: f64,
    shift: f64,
    out: &mut [f32],
) -> Result<()> {
    if out.len() != codes.len() {
        return Err(KernelError::Shape("out does not have the length of codes".to_owned()));
    }
    for (code, out) in codes.iter().zip(out) {
        *out = ((code.to_i32() as f64 + shift) * scale + offset) as f32;
    }
    Ok(())
}
