//! The range that leaves the least squared error, by trial: a hundred thresholds, most of which are
//! given up after a few values.

use super::histogram::Spectrum;
use super::observe::Codes;
use crate::error::Result;
use crate::isa;
use crate::memory;
use crate::simd::{Simd, SimdOp, dispatch};

/// The thresholds that are tried, as shares of the greatest value.
const STEPS: u32 = 100;
/// Sums that run side by side: a fixed number, so that every instruction set adds in one order.
const LANES: usize = 8;
/// Values between two looks at whether a threshold is worse than the best already.
const STRIP: usize = 4 * LANES;
/// What rounds a float64 below 2^51 to an integer, half to even, when added and taken off again.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// The chosen range of a spectrum that has values.
pub(super) fn mse_range(seen: &Spectrum, codes: Codes) -> Result<(f64, f64)> {
    let isa = isa::active()?;
    let points = Points::of(seen)?;
    Ok(if codes.symmetric {
        let far = dispatch(isa, Symmetric { points: &points, absmax: seen.absmax(), codes });
        (seen.min.max(-far), seen.max.min(far))
    } else {
        let (min, max) = (seen.min.min(0.0), seen.max.max(0.0));
        dispatch(isa, Asymmetric { points: &points, min, max, codes })
    })
}

/// Values and how often each is there, the far ones first: they tell soonest that a threshold is too
/// near. Filled up with values that are there 0 times.
struct Points {
    values: Vec<[f64; LANES]>,
    counts: Vec<[f64; LANES]>,
}

impl Points {
    fn of(seen: &Spectrum) -> Result<Self> {
        let bins = &seen.bins;
        let length = bins.len().next_multiple_of(STRIP) / LANES;
        let mut made = Self {
            values: memory::filled([0.0; LANES], length)?,
            counts: memory::filled([0.0; LANES], length)?,
        };
        // From both ends inwards.
        for index in 0..bins.len() {
            let far = if index % 2 == 0 { index / 2 } else { bins.len() - 1 - index / 2 };
            made.values[index / LANES][index % LANES] = bins[far].value;
            made.counts[index / LANES][index % LANES] = bins[far].count;
        }
        Ok(made)
    }

    /// The squared error with levels `low..=high` of a scale; infinite once it is over `bound`.
    #[inline(always)]
    fn error(&self, scale: f64, low: f64, high: f64, bound: f64) -> f64 {
        let inverse = 1.0 / scale;
        if scale.is_nan() || scale <= 0.0 || !inverse.is_finite() {
            return f64::INFINITY;
        }
        let mut sums = [0.0; LANES];
        let parts = STRIP / LANES;
        for (values, counts) in self.values.chunks_exact(parts).zip(self.counts.chunks_exact(parts))
        {
            for (values, counts) in values.iter().zip(counts) {
                for lane in 0..LANES {
                    let level = (values[lane] * inverse + ROUND) - ROUND;
                    let level = if level < low { low } else { level };
                    let level = if level > high { high } else { level };
                    let off = values[lane] - level * scale;
                    sums[lane] += counts[lane] * off * off;
                }
            }
            // Sums only grow, so what is over the bound stays over it.
            if total(&sums) > bound {
                return f64::INFINITY;
            }
        }
        total(&sums)
    }
}

#[inline(always)]
fn total(sums: &[f64; LANES]) -> f64 {
    ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]))
}

fn share(step: u32) -> f64 {
    f64::from(step) / f64::from(STEPS)
}

/// The threshold on both sides of 0; of several that are as good the farthest.
struct Symmetric<'a> {
    points: &'a Points,
    absmax: f64,
    codes: Codes,
}

impl SimdOp for Symmetric<'_> {
    type Output = f64;

    #[inline(always)]
    fn eval<S: Simd>(self, _: S) -> f64 {
        let codes = self.codes;
        let half = f64::from(codes.max - codes.min) / 2.0;
        // Unsigned symmetric codes have their 0 in the middle.
        let zero = if codes.min < 0 { 0 } else { (codes.max - codes.min + 1) / 2 };
        let (low, high) = (f64::from(codes.min - zero), f64::from(codes.max - zero));
        let (mut least, mut found) = (f64::INFINITY, 0.0);
        for step in (1..=STEPS).rev() {
            let far = self.absmax * share(step);
            let error = self.points.error(far / half, low, high, least);
            if error < least {
                (least, found) = (error, far);
            }
        }
        found
    }
}

/// Both ends in turn, until neither moves.
struct Asymmetric<'a> {
    points: &'a Points,
    min: f64,
    max: f64,
    codes: Codes,
}

impl Asymmetric<'_> {
    #[inline(always)]
    fn error(&self, low: f64, high: f64, bound: f64) -> f64 {
        let (least, greatest) = (f64::from(self.codes.min), f64::from(self.codes.max));
        let scale = (high - low) / (greatest - least);
        // As the codes will have it.
        let zero = (least - low / scale).round_ties_even();
        self.points.error(scale, least - zero, greatest - zero, bound)
    }

    /// The best place for one end of the range, the other one staying where it is.
    #[inline(always)]
    fn end(&self, far: f64, other: f64, upper: bool) -> f64 {
        let (mut least, mut found) = (f64::INFINITY, 0.0);
        for step in (1..=STEPS).rev() {
            let end = far * share(step);
            let (low, high) = if upper { (other, end) } else { (end, other) };
            let error = self.error(low, high, least);
            if error < least {
                (least, found) = (error, end);
            }
        }
        found
    }
}

impl SimdOp for Asymmetric<'_> {
    type Output = (f64, f64);

    #[inline(always)]
    fn eval<S: Simd>(self, _: S) -> (f64, f64) {
        let (mut low, mut high) = (self.min, self.max);
        for _ in 0..3 {
            let before = (low, high);
            high = self.end(self.max, low, true);
            low = self.end(self.min, high, false);
            if (low, high) == before {
                break;
            }
        }
        (low, high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::quant::Histogram;

    /// The definition: every threshold, every value, in any order.
    fn plain(seen: &Spectrum, scale: f64, low: f64, high: f64) -> f64 {
        let level = |value: f64| (value / scale).round_ties_even().clamp(low, high);
        let off = |value: f64| value - level(value) * scale;
        seen.bins.iter().map(|bin| bin.count * off(bin.value).powi(2)).sum()
    }

    fn spectrum(x: &[f32]) -> Spectrum {
        let mut seen = Histogram::new().unwrap();
        seen.update(x).unwrap();
        seen.spectrum().unwrap()
    }

    #[test]
    fn no_threshold_is_better_than_the_one_that_is_found() {
        for (len, levels) in [(1, 7), (15, 7), (16, 7), (17, 1), (200, 7), (5000, 127)] {
            let x: Vec<f32> =
                (0..len).map(|i| (((i * 7919 + 13) % 1009) as f32 / 200.0 - 2.5).powi(3)).collect();
            let seen = spectrum(&x);
            let codes = Codes { min: -levels, max: levels, symmetric: true };
            let (low, high) = mse_range(&seen, codes).unwrap();
            let (far, levels) = (high.max(-low), f64::from(levels));
            let found = plain(&seen, far / levels, -levels, levels);
            for step in 1..=STEPS {
                let error = plain(&seen, seen.absmax() * share(step) / levels, -levels, levels);
                assert!(found <= error * (1.0 + 1e-9), "{len} {levels}: {found} at {step} {error}");
            }
        }
    }

    #[test]
    fn every_instruction_set_finds_the_same() {
        let x: Vec<f32> = (0..3000).map(|i| ((i * 31 % 997) as f32 - 300.0) * 0.01).collect();
        let seen = spectrum(&x);
        let points = Points::of(&seen).unwrap();
        let codes = Codes { min: -8, max: 7, symmetric: false };
        let both = |isa| {
            let op = Asymmetric { points: &points, min: seen.min, max: seen.max, codes };
            let one = Symmetric { points: &points, absmax: seen.absmax(), codes };
            (dispatch(isa, op), dispatch(isa, one))
        };
        for isa in Isa::available() {
            assert_eq!(both(isa), both(Isa::Scalar), "{isa}");
        }
    }
}
