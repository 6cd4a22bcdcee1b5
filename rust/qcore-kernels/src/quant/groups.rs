//! Codes of groups with a scale of each group's own, found and used while the values are in the
//! cache: what `ranges` and `quantize` do in two passes and for every case.

use half::f16;

use super::layout::Layout;
use super::split::map_parts;
use crate::error::{KernelError, Result};
use crate::interrupt::Pace;
use crate::isa::{self, Isa};
use crate::memory;
use crate::simd::{Simd, SimdOp, dispatch};

/// How symmetric codes of groups are made.
#[derive(Debug, Clone, Copy)]
pub struct Grouped {
    /// Elements of a row.
    pub row: usize,
    /// Elements of a group; the last of a row may have fewer.
    pub group: usize,
    /// A scale is the greatest magnitude divided by this: the greatest code, at most 127.
    pub greatest: f32,
    /// Whether scales are rounded to float16 before they are used.
    pub half: bool,
}

/// Quantizes groups, on the instruction set in force; returns their scales.
///
/// None where a group is out of the ordinary: a value that is not finite, or a scale that is not a
/// normal number of its type. Then `out` holds nothing of use.
pub fn quantize_groups(x: &[f32], how: Grouped, out: &mut [i8]) -> Result<Option<Vec<f32>>> {
    quantize_groups_with(isa::active()?, x, how, out)
}

/// [`quantize_groups`] on the given instruction set.
pub fn quantize_groups_with(
    isa: Isa,
    x: &[f32],
    how: Grouped,
    out: &mut [i8],
) -> Result<Option<Vec<f32>>> {
    let layout = Layout::Groups { row: how.row, group: how.group };
    layout.check(x.len())?;
    if out.len() != x.len() {
        let (found, wanted) = (out.len(), x.len());
        return Err(KernelError::Shape(format!("out has {found} elements, x has {wanted}")));
    }
    if !(1.0..=127.0).contains(&how.greatest) {
        let found = how.greatest;
        return Err(KernelError::Value(format!("greatest is {found}; it must be 1 to 127")));
    }
    let mut scales = Some(memory::with_capacity(layout.scales(x.len()))?);
    map_parts(
        layout,
        out,
        |part, out| {
            let x = &x[part.elements.clone()];
            let start = part.elements.start % how.row;
            dispatch(isa, Groups { x, how, start, out })
        },
        |found: Option<Vec<f32>>| match (found, &mut scales) {
            (Some(found), Some(all)) => all.extend(found),
            _ => scales = None,
        },
    )?;
    Ok(scales)
}

/// Consecutive groups; the first begins at element `start` of its row.
struct Groups<'a> {
    x: &'a [f32],
    how: Grouped,
    start: usize,
    out: &'a mut [i8],
}

impl SimdOp for Groups<'_> {
    type Output = Result<Option<Vec<f32>>>;

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> Result<Option<Vec<f32>>> {
        let Groups { x, how, start, out } = self;
        let mut scales = memory::with_capacity(x.len() / how.group + 1)?;
        let mut pace = Pace::new();
        let (mut at, mut within) = (0, start);
        while at < x.len() {
            let len = how.group.min(how.row - within).min(x.len() - at);
            let (x, out) = (&x[at..at + len], &mut out[at..at + len]);
            pace.check(len)?;
            let Some(scale) = scale_of(greatest(s, x), how) else { return Ok(None) };
            quantize_group(s, x, scale, out);
            memory::push(&mut scales, scale)?;
            at += len;
            within = if within + len == how.row { 0 } else { within + len };
        }
        Ok(Some(scales))
    }
}

/// The greatest magnitude; not finite if any value is not.
#[inline(always)]
fn greatest<S: Simd>(s: S, x: &[f32]) -> f32 {
    let mut most = s.to_i32(s.splat_f32(0.0));
    let mut chunks = x.chunks_exact(S::LANES);
    for chunk in &mut chunks {
        // SAFETY: a chunk has LANES elements.
        let v = unsafe { s.load_f32(chunk.as_ptr()) };
        // As integers, magnitudes order as the floats do, and NaN lies above infinity.
        most = s.max_i32(most, s.bits_of(s.abs(v)));
    }
    let rest = chunks.remainder().iter().map(|v| v.abs().to_bits() as i32);
    let most = rest.fold(s.reduce_max_i32(most), i32::max);
    f32::from_bits(most as u32)
}

/// The scale for a group with this greatest magnitude, if it is a normal number of its type.
#[inline(always)]
fn scale_of(greatest: f32, how: Grouped) -> Option<f32> {
    let scale = greatest / how.greatest;
    if !how.half {
        return scale.is_normal().then_some(scale);
    }
    let fits = (f16::MIN_POSITIVE.to_f32()..=f16::MAX.to_f32()).contains(&scale);
    fits.then(|| f16::from_f32(scale).to_f32())
}

/// Adding it to a float below 2^22 leaves the nearest integer, half to even, in the low bits.
const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23

/// How close to a tie a product must be for the quotient to be asked; see `quantize`.
const TIE: f32 = 0.5 - 1.0 / 16384.0;

/// The codes of a group: `rint(x / scale)`. No magnitude is beyond the codes: the scale is at least
/// the greatest one divided by the greatest code, but for a rounding far smaller than half a step.
#[inline(always)]
fn quantize_group<S: Simd>(s: S, x: &[f32], scale: f32, out: &mut [i8]) {
    let (step, reciprocal) = (s.splat_f32(scale), s.splat_f32(1.0 / scale));
    let (magic, tie) = (s.splat_f32(MAGIC), s.splat_f32(TIE));
    let unmagic = s.splat_i32(MAGIC.to_bits() as i32);
    let mut from = x.chunks_exact(S::LANES);
    let mut to = out.chunks_exact_mut(S::LANES);
    for (x, out) in (&mut from).zip(&mut to) {
        // SAFETY: both chunks have LANES elements.
        unsafe {
            let x = s.load_f32(x.as_ptr());
            let product = s.mul(x, reciprocal);
            let raised = s.add(product, magic);
            let clear = s.lt(s.abs(s.sub(product, s.sub(raised, magic))), tie);
            let mut codes = s.sub_i32(s.bits_of(raised), unmagic);
            // The reciprocal of a tiny scale is infinite: then nothing is clear.
            if s.count(clear) != S::LANES {
                codes = s.to_i32(s.round(s.div(x, step)));
            }
            s.store_i8(out.as_mut_ptr(), codes);
        }
    }
    for (x, out) in from.remainder().iter().zip(to.into_remainder()) {
        *out = (x / scale).round_ties_even() as i8;
    }
}
