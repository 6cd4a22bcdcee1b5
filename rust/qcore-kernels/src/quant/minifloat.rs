//! Floats of 4 to 8 bits with a scale for each group: the code nearest to `x / scale`, ties to even.
//!
//! A code is the format's own bit pattern: a sign, the exponent, the mantissa. What is beyond the
//! greatest value becomes that value, as the OCP formats' saturating conversion has it.

use super::layout::Layout;
use super::split::map_parts;
use crate::error::{KernelError, Result};
use crate::interrupt::Pace;
use crate::isa::{self, Isa};
use crate::simd::{Simd, SimdOp, dispatch};

/// A format: a sign, then `exponent` bits of bias `2^(exponent - 1) - 1`, then `mantissa` bits.
#[derive(Debug, Clone, Copy)]
pub struct Minifloat {
    /// Bits of the exponent, 2 to 5.
    pub exponent: u32,
    /// Bits of the mantissa, 1 to 3.
    pub mantissa: u32,
    /// The bit pattern of the greatest value; what lies above it is not finite.
    pub top: u8,
}

/// Encodes values that are not NaN, on the instruction set in force; returns how many saturated.
///
/// `row` and `group`: elements of a row, and of a group; the last group of a row may have fewer.
pub fn quantize_minifloat(
    x: &[f32],
    format: Minifloat,
    (row, group): (usize, usize),
    scale: &[f32],
    out: &mut [u8],
) -> Result<usize> {
    quantize_minifloat_with(isa::active()?, x, format, (row, group), scale, out)
}

/// [`quantize_minifloat`] on the given instruction set.
pub fn quantize_minifloat_with(
    isa: Isa,
    x: &[f32],
    format: Minifloat,
    (row, group): (usize, usize),
    scale: &[f32],
    out: &mut [u8],
) -> Result<usize> {
    let layout = Layout::Groups { row, group };
    layout.check(x.len())?;
    if out.len() != x.len() || scale.len() != layout.scales(x.len()) {
        let (found, scales, wanted) = (out.len(), scale.len(), x.len());
        return Err(KernelError::Shape(format!(
            "{wanted} elements in rows of {row} and groups of {group} have {found} codes and {scales} \
             scales"
        )));
    }
    if !(2..=5).contains(&format.exponent) || !(1..=3).contains(&format.mantissa) {
        return Err(KernelError::Value(format!("format is {format:?}, which is not known")));
    }
    let mut saturated = 0;
    map_parts(
        layout,
        out,
        |part, out| {
            let (x, scale) = (&x[part.elements.clone()], &scale[part.runs.clone()]);
            let start = part.elements.start % row;
            dispatch(isa, Encode { x, scale, format, row, group, start, out })
        },
        |found| saturated += found,
    )?;
    Ok(saturated)
}

/// Consecutive groups; the first begins at element `start` of its row.
struct Encode<'a> {
    x: &'a [f32],
    scale: &'a [f32],
    format: Minifloat,
    row: usize,
    group: usize,
    start: usize,
    out: &'a mut [u8],
}

impl SimdOp for Encode<'_> {
    type Output = Result<usize>;

    #[inline(always)]
    fn eval<S: Simd>(self, _: S) -> Result<usize> {
        let Self { x, scale, format, row, group, start, out } = self;
        let mut pace = Pace::new();
        let (mut at, mut within, mut saturated) = (0, start, 0);
        for &scale in scale {
            let len = group.min(row - within).min(x.len() - at);
            pace.check(len)?;
            let (x, out) = (&x[at..at + len], &mut out[at..at + len]);
            // The format is known to the compiler in each: shifts by constants.
            saturated += match (format.exponent, format.mantissa) {
                (2, 1) => encode::<2, 1>(x, scale, format.top, out),
                (2, 3) => encode::<2, 3>(x, scale, format.top, out),
                (3, 2) => encode::<3, 2>(x, scale, format.top, out),
                (4, 3) => encode::<4, 3>(x, scale, format.top, out),
                (5, 2) => encode::<5, 2>(x, scale, format.top, out),
                (exponent, mantissa) => {
                    let pairs = x.iter().zip(out);
                    let each = |(x, out): (&f32, &mut u8)| {
                        let (code, over) = code_of(x / scale, exponent, mantissa, format.top);
                        *out = code;
                        usize::from(over)
                    };
                    pairs.map(each).sum()
                }
            };
            at += len;
            within = if within + len == row { 0 } else { within + len };
        }
        Ok(saturated)
    }
}

#[inline(always)]
fn encode<const E: u32, const M: u32>(x: &[f32], scale: f32, top: u8, out: &mut [u8]) -> usize {
    let mut saturated = 0_u32;
    for (x, out) in x.iter().zip(out) {
        let (code, over) = code_of(x / scale, E, M, top);
        *out = code;
        saturated += u32::from(over);
    }
    saturated as usize
}

/// The nearest code, ties to even, and whether the value is beyond the format.
#[inline(always)]
fn code_of(value: f32, exponent: u32, mantissa: u32, top: u8) -> (u8, bool) {
    let bias = (1 << (exponent - 1)) - 1;
    let bits = value.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    // Normal numbers: the mantissa is rounded where it ends, and a carry goes into the exponent.
    let shift = 23 - mantissa;
    let odd = (magnitude >> shift) & 1;
    let normal = (magnitude + ((1 << (shift - 1)) - 1) + odd) >> shift;
    let normal = normal.wrapping_sub((127 - bias) << mantissa);
    // Subnormal ones have one step: that of a float which is large enough to have it too.
    let magic = (127 + 24 - bias - mantissa) << 23;
    let step = (f32::from_bits(magnitude) + f32::from_bits(magic)).to_bits().wrapping_sub(magic);
    let code = if magnitude < (128 - bias) << 23 { step } else { normal };
    let over = code > u32::from(top);
    let code = if over { u32::from(top) } else { code };
    ((code | (bits >> 31) << (exponent + mantissa)) as u8, over)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [Minifloat; 5] = [
        Minifloat { exponent: 2, mantissa: 1, top: 7 },
        Minifloat { exponent: 2, mantissa: 3, top: 31 },
        Minifloat { exponent: 3, mantissa: 2, top: 31 },
        Minifloat { exponent: 4, mantissa: 3, top: 0x7e },
        Minifloat { exponent: 5, mantissa: 2, top: 0x7b },
    ];

    fn value(format: Minifloat, code: u32) -> f64 {
        let mantissa = f64::from(code & ((1 << format.mantissa) - 1));
        let exponent = (code >> format.mantissa) as i32;
        let bias = (1 << (format.exponent - 1)) - 1;
        let unit = 2_f64.powi(exponent.max(1) - bias - format.mantissa as i32);
        let whole = if exponent > 0 { f64::from(1 << format.mantissa) } else { 0.0 };
        (mantissa + whole) * unit
    }

    /// By the definition: the nearest of all values, the even code where two are.
    fn nearest(format: Minifloat, x: f32) -> u8 {
        let size = f64::from(x.abs());
        let codes = 0..=u32::from(format.top);
        let best = codes.min_by(|&a, &b| {
            let (near, far) = ((value(format, a) - size).abs(), (value(format, b) - size).abs());
            near.total_cmp(&far).then((a & 1).cmp(&(b & 1)))
        });
        let sign = u32::from(x.is_sign_negative()) << (format.exponent + format.mantissa);
        (best.unwrap() | sign) as u8
    }

    #[test]
    fn every_code_is_the_nearest_and_ties_are_even() {
        for format in FORMATS {
            let mut x = vec![0.0, -0.0, f32::MIN_POSITIVE, 1e-45, 3e5, -3e5];
            for code in 0..u32::from(format.top) {
                let (low, high) = (value(format, code), value(format, code + 1));
                for part in [0.0, 0.25, 0.4999, 0.5, 0.5001, 0.75] {
                    let between = (low + (high - low) * part) as f32;
                    x.extend([between, -between, between.next_up(), between.next_down()]);
                }
            }
            for isa in Isa::available() {
                for len in [1, 15, 16, 17, 33, x.len()] {
                    let x = &x[..len];
                    let mut out = vec![0; len];
                    quantize_minifloat_with(isa, x, format, (len, len), &[1.0], &mut out).unwrap();
                    for (&x, &code) in x.iter().zip(&out) {
                        assert_eq!(code, nearest(format, x), "{x} {format:?} {isa:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn groups_have_their_scales_and_what_saturates_is_counted() {
        let format = FORMATS[0];
        let x: Vec<f32> = (0..2 * 37).map(|i| (i % 37) as f32 - 9.0).collect();
        let scales: Vec<f32> = (0..2 * 3).map(|i| 2_f32.powi(i)).collect();
        let mut out = vec![0; x.len()];
        let over = quantize_minifloat(&x, format, (37, 16), &scales, &mut out).unwrap();
        let mut beyond = 0;
        for (at, (&x, &code)) in x.iter().zip(&out).enumerate() {
            let share = x / scales[at / 37 * 3 + at % 37 / 16];
            assert_eq!(code, nearest(format, share));
            beyond += usize::from(share.abs() >= 7.0);
        }
        assert_eq!(over, beyond);
        assert!(quantize_minifloat(&x, format, (37, 16), &scales[1..], &mut out).is_err());
        assert!(quantize_minifloat(&x, format, (0, 16), &scales, &mut out).is_err());
    }
}
