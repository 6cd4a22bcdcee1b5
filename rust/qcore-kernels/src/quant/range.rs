//! Ranges of the finite values, and where the values that are not finite are.

use super::element::{Element, for_f32_blocks};
use super::layout::Layout;
use crate::error::Result;
use crate::isa::{self, Isa};
use crate::simd::{Simd, SimdOp, dispatch};

/// The finite values of one scale's elements.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// The least finite value; +∞ if there is none.
    pub min: f64,
    /// The greatest finite value; -∞ if there is none.
    pub max: f64,
    /// How many values are NaN.
    pub nan: usize,
    /// How many values are infinite.
    pub infinite: usize,
}

impl Range {
    const EMPTY: Range = Range { min: f64::INFINITY, max: f64::NEG_INFINITY, nan: 0, infinite: 0 };

    fn add(&mut self, other: Range) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.nan += other.nan;
        self.infinite += other.infinite;
    }

    fn add_value(&mut self, value: f64) {
        if value.is_finite() {
            self.min = self.min.min(value);
            self.max = self.max.max(value);
        } else if value.is_nan() {
            self.nan += 1;
        } else {
            self.infinite += 1;
        }
    }
}

/// The range of each scale's elements, on the instruction set in force.
pub fn ranges<T: Element>(x: &[T], layout: Layout) -> Result<Vec<Range>> {
    ranges_with(isa::active()?, x, layout)
}

/// The range of each scale's elements, on the given instruction set.
pub fn ranges_with<T: Element>(isa: Isa, x: &[T], layout: Layout) -> Result<Vec<Range>> {
    layout.check(x.len())?;
    let mut ranges = vec![Range::EMPTY; layout.scales(x.len())];
    for run in layout.runs(x.len()) {
        let x = &x[run.start..run.start + run.len];
        if run.each {
            for (range, x) in ranges.iter_mut().zip(x) {
                range.add_value(x.to_f64());
            }
        } else if T::WIDE {
            for x in x {
                ranges[run.scale].add_value(x.to_f64());
            }
        } else {
            for_f32_blocks(x, |_, x| ranges[run.scale].add(dispatch(isa, RangeOf { x })));
        }
    }
    Ok(ranges)
}

struct RangeOf<'a> {
    x: &'a [f32],
}

impl SimdOp for RangeOf<'_> {
    type Output = Range;

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> Range {
        let x = self.x;
        let infinity = s.splat_f32(f32::INFINITY);
        let (mut low, mut high) = (infinity, s.splat_f32(f32::NEG_INFINITY));
        let body = x.len() / S::LANES * S::LANES;
        let mut finite = 0;
        for start in (0..body).step_by(S::LANES) {
            // SAFETY: start + LANES <= body <= x.len().
            let v = unsafe { s.load_f32(x.as_ptr().add(start)) };
            let ok = s.lt(s.abs(v), infinity);
            finite += s.count(ok);
            low = s.min(s.select(ok, v, low), low);
            high = s.max(s.select(ok, v, high), high);
        }
        let mut range = Range::EMPTY;
        let mut lanes = [0.0_f32; 16];
        for v in [low, high] {
            // SAFETY: no vector has more than 16 lanes.
            unsafe { s.store_f32(lanes.as_mut_ptr(), v) };
            // The seeds are infinite and would be counted: leave them out.
            for &lane in lanes[..S::LANES].iter().filter(|lane| lane.is_finite()) {
                range.add_value(lane as f64);
            }
        }
        if finite < body {
            range.nan = x[..body].iter().filter(|x| x.is_nan()).count();
            range.infinite = body - finite - range.nan;
        }
        for &x in &x[body..] {
            range.add_value(x as f64);
        }
        range
    }
}
