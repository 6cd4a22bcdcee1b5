//! Ranges of the finite values, and how many values are not finite.

use crate::error::Result;
use crate::interrupt::Pace;
use crate::isa::{self, Isa};
use crate::math::{SIZE, largest_size_bits};
use crate::memory;
use crate::quant::element::Element;
use crate::quant::layout::{Layout, Run};
use crate::quant::split::fold_parts;
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

    /// The greatest absolute value; 0 if there is none.
    #[must_use]
    pub fn absmax(&self) -> f64 {
        self.max.max(-self.min).max(0.0)
    }

    #[inline(always)]
    fn add(&mut self, other: Range) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.nan += other.nan;
        self.infinite += other.infinite;
    }

    #[inline(always)]
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
    let total = x.len();
    let scales = layout.scales(total);
    let mut ranges = memory::filled(Range::EMPTY, scales)?;
    fold_parts(
        layout,
        total,
        |part| {
            let x = &x[part.elements.clone()];
            let runs = part.runs.clone().map(|run| layout.run(run, total));
            // A group is one run: a part holds its own only. Other scales are shared by parts.
            let (first, count) = match layout {
                Layout::Groups { .. } => (part.runs.start, part.runs.len()),
                _ => (0, scales),
            };
            let found = memory::filled(Range::EMPTY, count)?;
            let start = part.elements.start;
            Ok((first, dispatch(isa, Ranges { x, runs, start, first, found })?))
        },
        |(first, found)| {
            for (range, found) in ranges[first..].iter_mut().zip(found) {
                range.add(found);
            }
        },
    )?;
    Ok(ranges)
}

/// Consecutive runs; the first element of `x` is element `start` of the whole, and the first of
/// `found` belongs to scale `first`.
struct Ranges<'a, T, R> {
    x: &'a [T],
    runs: R,
    start: usize,
    first: usize,
    found: Vec<Range>,
}

impl<T: Element, R: Iterator<Item = Run>> SimdOp for Ranges<'_, T, R> {
    type Output = Result<Vec<Range>>;

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) -> Result<Vec<Range>> {
        let Ranges { x, runs, start, first, mut found } = self;
        let mut each: Option<Columns> = None;
        let mut pace = Pace::new();
        for run in runs {
            pace.check(run.len)?;
            let x = &x[run.start - start..][..run.len];
            if T::WIDE {
                for (index, x) in x.iter().enumerate() {
                    let index = if run.each { index } else { run.scale - first };
                    found[index].add_value(x.to_f64());
                }
            } else if run.each {
                if each.is_none() {
                    each = Some(Columns::new(run.len)?);
                }
                if let Some(columns) = &mut each {
                    columns.add(s, x);
                }
            } else {
                found[run.scale - first].add(range_run(s, x));
            }
        }
        if let Some(columns) = each {
            columns.finish(x, &mut found);
        }
        Ok(found)
    }
}

/// The largest size of some floats; none where one is not finite.
#[allow(clippy::needless_range_loop, reason = "loops over indices are unrolled whole")]
#[inline(always)]
pub(in crate::quant) fn largest_size<S: Simd>(s: S, x: &[f32]) -> Option<f32> {
    let size = s.splat_i32(SIZE);
    let mut most = [s.splat_i32(0); 4];
    let body = x.len() / S::LANES * S::LANES;
    let block = x.len() / (4 * S::LANES) * (4 * S::LANES);
    for at in (0..block).step_by(4 * S::LANES) {
        for part in 0..4 {
            // SAFETY: at + 4 * LANES <= block <= x.len().
            let x = unsafe { s.load_f32(x.as_ptr().add(at + part * S::LANES)) };
            most[part] = s.max_i32(most[part], s.and_i32(s.bits_of(x), size));
        }
    }
    for at in (block..body).step_by(S::LANES) {
        // SAFETY: at + LANES <= body <= x.len().
        let x = unsafe { s.load_f32(x.as_ptr().add(at)) };
        most[0] = s.max_i32(most[0], s.and_i32(s.bits_of(x), size));
    }
    let most = s.max_i32(s.max_i32(most[0], most[1]), s.max_i32(most[2], most[3]));
    let most = largest_size_bits(&x[body..], s.reduce_max_i32(most));
    let most = f32::from_bits(most as u32);
    most.is_finite().then_some(most)
}

/// The range of one run of values that compute in float32.
#[inline(always)]
pub(in crate::quant) fn range_run<S: Simd, T: Element>(s: S, x: &[T]) -> Range {
    let block = 4 * S::LANES;
    let body = x.len() / block * block;
    let single = body + (x.len() - body) / S::LANES * S::LANES;
    let (top, bottom) = (s.splat_f32(f32::INFINITY), s.splat_f32(f32::NEG_INFINITY));
    let (mut low, mut high) = ([top; 4], [bottom; 4]);
    // min and max return their second operand for NaN, so NaN leaves the accumulators alone.
    let mut nan = s.lt(top, bottom);
    for start in (0..body).step_by(block) {
        let mut v = [top; 4];
        for part in 0..4 {
            // SAFETY: start + 4 * LANES <= body <= x.len().
            v[part] = unsafe { T::load(s, x.as_ptr().add(start + part * S::LANES)) };
            low[part] = s.min(v[part], low[part]);
            high[part] = s.max(v[part], high[part]);
        }
        let odd = s.or(s.unordered(v[0], v[1]), s.unordered(v[2], v[3]));
        nan = s.or(nan, odd);
    }
    for start in (body..single).step_by(S::LANES) {
        // SAFETY: start + LANES <= single <= x.len().
        let v = unsafe { T::load(s, x.as_ptr().add(start)) };
        low[0] = s.min(v, low[0]);
        high[0] = s.max(v, high[0]);
        nan = s.or(nan, s.unordered(v, v));
    }
    let low = s.reduce_min(s.min(s.min(low[0], low[1]), s.min(low[2], low[3])));
    let high = s.reduce_max(s.max(s.max(high[0], high[1]), s.max(high[2], high[3])));
    let mut range = Range { min: low.into(), max: high.into(), ..Range::EMPTY };
    let finite = low.is_finite() && high.is_finite();
    // Where no vector was read, the accumulators hold their infinite seeds.
    if s.bits(nan) != 0 || (single > 0 && !finite) {
        return x.iter().fold(Range::EMPTY, |mut range, x| {
            range.add_value(x.to_f64());
            range
        });
    }
    for x in &x[single..] {
        range.add_value(x.to_f64());
    }
    range
}

/// Ranges of the columns of a matrix whose rows come one by one.
struct Columns {
    low: Vec<f32>,
    high: Vec<f32>,
    nan: bool,
}

impl Columns {
    fn new(columns: usize) -> Result<Self> {
        let low = memory::filled(f32::INFINITY, columns)?;
        let high = memory::filled(f32::NEG_INFINITY, columns)?;
        Ok(Self { low, high, nan: false })
    }

    #[inline(always)]
    fn add<S: Simd, T: Element>(&mut self, s: S, row: &[T]) {
        let body = row.len() / S::LANES * S::LANES;
        let mut nan = s.lt(s.splat_f32(0.0), s.splat_f32(0.0));
        for start in (0..body).step_by(S::LANES) {
            // SAFETY: start + LANES <= body <= the length of row, low and high alike.
            unsafe {
                let v = T::load(s, row.as_ptr().add(start));
                let (low, high) = (self.low.as_mut_ptr(), self.high.as_mut_ptr());
                s.store_f32(low.add(start), s.min(v, s.load_f32(low.add(start))));
                s.store_f32(high.add(start), s.max(v, s.load_f32(high.add(start))));
                nan = s.or(nan, s.unordered(v, v));
            }
        }
        self.nan |= s.bits(nan) != 0;
        for (index, v) in row.iter().enumerate().skip(body) {
            let v = v.to_f32();
            self.low[index] = if v < self.low[index] { v } else { self.low[index] };
            self.high[index] = if v > self.high[index] { v } else { self.high[index] };
            self.nan |= v.is_nan();
        }
    }

    /// `x` holds the rows that were added; it is read again if anything in it is not finite.
    fn finish<T: Element>(self, x: &[T], found: &mut [Range]) {
        let finite = |values: &[f32]| values.iter().all(|v| v.is_finite());
        if self.nan || !finite(&self.low) || !finite(&self.high) {
            for row in x.chunks_exact(self.low.len()) {
                for (range, x) in found.iter_mut().zip(row) {
                    range.add_value(x.to_f64());
                }
            }
            return;
        }
        for (range, (&low, &high)) in found.iter_mut().zip(self.low.iter().zip(&self.high)) {
            range.add(Range { min: low.into(), max: high.into(), ..Range::EMPTY });
        }
    }
}
