//! How a range is chosen from the values that were seen: one method an arm, each a function of a
//! spectrum.

use std::sync::{Mutex, PoisonError};

use super::entropy::entropy_threshold;
use super::histogram::{Bin, Histogram, Spectrum, bin_of};
use super::mse::mse_range;
use super::range::ranges;
use crate::error::Result;
use crate::interrupt::{self, Pace};
use crate::quant::element::Element;
use crate::quant::layout::Layout;
use crate::{memory, threads};

/// How a range is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// The least and the greatest value.
    MinMax,
    /// What holds this share of the values, in percent; the rest is cut off at the ends.
    Percentile(f64),
    /// What leaves the least squared error.
    Mse,
    /// What leaves the least Kullback-Leibler divergence.
    Entropy,
}

/// The codes that a range is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codes {
    /// The least code.
    pub min: i32,
    /// The greatest code.
    pub max: i32,
    /// Whether the range is as wide below 0 as above.
    pub symmetric: bool,
}

/// The chosen range of a spectrum: what is beyond it will saturate.
pub fn choose_range(seen: &Spectrum, method: Method, codes: Codes) -> Result<(f64, f64)> {
    if seen.bins.is_empty() {
        return Ok((0.0, 0.0));
    }
    let chosen = match method {
        Method::MinMax => (seen.min, seen.max),
        Method::Percentile(percent) => percentile(seen, percent, codes.symmetric),
        Method::Mse => mse_range(seen, codes)?,
        Method::Entropy => {
            // All codes are for one side of 0 where there is nothing on the other, as behind a ReLU.
            let one_sided = !codes.symmetric && (seen.min >= 0.0 || seen.max <= 0.0);
            let span = (codes.max - codes.min).unsigned_abs() << u32::from(one_sided);
            let threshold = entropy_threshold(seen, span)?;
            (seen.min.max(-threshold), seen.max.min(threshold))
        }
    };
    interrupt::check()?;
    Ok(chosen)
}

/// The chosen range of each scale's elements.
pub fn observe<T: Element>(
    x: &[T],
    layout: Layout,
    method: Method,
    codes: Codes,
) -> Result<Vec<(f64, f64)>> {
    let found = ranges(x, layout)?;
    if let [range] = &found[..] {
        // So many values are counted, not kept.
        let seen = Histogram::of(x)?;
        let seen = Spectrum::new(seen.bins(), range.min, range.max)?;
        return memory::filled(choose_range(&seen, method, codes)?, 1);
    }
    let mut bins = memory::collected(found.iter().map(|_| Vec::new()))?;
    let mut pace = Pace::new();
    for run in layout.runs(x.len()) {
        pace.check(run.len)?;
        for (index, x) in x[run.start..run.start + run.len].iter().enumerate() {
            let bins = &mut bins[if run.each { index } else { run.scale }];
            memory::push(bins, bin_of(x.to_f32()))?;
        }
    }
    let slots = bins.into_iter().map(|bins| Mutex::new((bins, (0.0, 0.0))));
    let slots = memory::collected(slots)?;
    threads::try_for_each(slots.len(), |index| {
        let mut slot = slots[index].lock().unwrap_or_else(PoisonError::into_inner);
        let bins = std::mem::take(&mut slot.0);
        let seen = Spectrum::of(bins, found[index].min, found[index].max)?;
        slot.1 = choose_range(&seen, method, codes)?;
        Ok(())
    })?;
    let chosen =
        slots.into_iter().map(|s| s.into_inner().unwrap_or_else(PoisonError::into_inner).1);
    memory::collected(chosen)
}

/// The ends of the bins within which `percent` of the values lie; of their magnitudes, if symmetric.
fn percentile(seen: &Spectrum, percent: f64, symmetric: bool) -> (f64, f64) {
    let out = seen.total() * (1.0 - percent / 100.0);
    if symmetric {
        let far =
            beyond(farthest(&seen.bins).map(|b| (b.low.abs().max(b.high.abs()), b.count)), out);
        return (seen.min.max(-far), seen.max.min(far));
    }
    let low = beyond(seen.bins.iter().map(|bin| (bin.low, bin.count)), out / 2.0);
    let high = beyond(seen.bins.iter().rev().map(|bin| (bin.high, bin.count)), out / 2.0);
    (low, high)
}

/// Ascending bins by how far they are from 0, the farthest first; of two as far the positive one.
fn farthest(mut bins: &[Bin]) -> impl Iterator<Item = &Bin> {
    std::iter::from_fn(move || {
        let (first, last) = (bins.first()?, bins.last()?);
        let taken = if last.value.abs() >= first.value.abs() {
            bins = &bins[..bins.len() - 1];
            last
        } else {
            bins = &bins[1..];
            first
        };
        Some(taken)
    })
}

/// The first end such that no more than `out` values came before it.
fn beyond(ends: impl Iterator<Item = (f64, f64)>, out: f64) -> f64 {
    let (mut gone, mut last) = (0.0, 0.0);
    for (end, count) in ends {
        last = end;
        gone += count;
        if gone > out {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    const INT8: Codes = Codes { min: -127, max: 127, symmetric: true };

    fn spectrum(x: &[f32]) -> Spectrum {
        let mut seen = crate::quant::Histogram::new().unwrap();
        seen.update(x).unwrap();
        seen.spectrum().unwrap()
    }

    #[test]
    fn one_far_value_is_cut_off() {
        let mut x: Vec<f32> = (0..100_000).map(|i| (i as f32 / 100_000.0) - 0.5).collect();
        x.push(50.0);
        let seen = spectrum(&x);
        assert_eq!(choose_range(&seen, Method::MinMax, INT8).unwrap(), (-0.5, 50.0));
        let (low, high) = choose_range(&seen, Method::Percentile(99.9), INT8).unwrap();
        assert!(low < -0.49 && high > 0.49 && high < 0.51, "{low} {high}");
        // So many values gain more by a finer step than the one loses.
        let few = Codes { min: -7, max: 7, symmetric: true };
        assert!(choose_range(&seen, Method::Mse, few).unwrap().1 < 50.0);
    }

    #[test]
    fn nothing_has_the_range_zero() {
        for method in [Method::MinMax, Method::Percentile(99.0), Method::Mse, Method::Entropy] {
            assert_eq!(choose_range(&spectrum(&[]), method, INT8).unwrap(), (0.0, 0.0));
            assert_eq!(choose_range(&spectrum(&[0.0, 0.0]), method, INT8).unwrap(), (0.0, 0.0));
        }
    }

    #[test]
    fn each_scale_is_as_it_would_be_alone() {
        let x: Vec<f32> = (0..120).map(|i| ((i * 7919 % 101) as f32 - 50.0) * 0.1).collect();
        for method in [Method::MinMax, Method::Percentile(90.0), Method::Mse, Method::Entropy] {
            let found = observe(&x, Layout::Axis { channels: 4, inner: 30 }, method, INT8).unwrap();
            for (x, found) in x.chunks(30).zip(found) {
                assert_eq!(choose_range(&spectrum(x), method, INT8).unwrap(), found);
            }
        }
    }
}
