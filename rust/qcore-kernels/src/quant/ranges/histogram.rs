//! Counts of values by the leading bits of their own floats.
//!
//! A bin is sign, exponent and the first thirteen bits of the mantissa of a float32: no range has to be
//! known in advance, and counts add up the same however the values are split or ordered. Only the
//! pages of memory whose bins have values are ever touched.

use std::sync::{Mutex, PoisonError};

use super::range::ranges;
use crate::error::{KernelError, Result};
use crate::interrupt::{self, Pace};
use crate::quant::element::Element;
use crate::quant::layout::Layout;
use crate::{memory, threads};

/// Bits of a float32 that a bin leaves out.
const SHIFT: u32 = 10;
/// How many bins there are.
const BINS: usize = 1 << (32 - SHIFT);
/// Values that are worth a thread of their own, with counts of its own.
const GRAIN: usize = 1 << 20;
/// Values whose range and bins are taken in one go, while they are in the cache.
const CHUNK: usize = 1 << 14;

/// The values seen so far, as counts over bins.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    /// The least finite value; +∞ if there is none.
    pub min: f64,
    /// The greatest finite value; -∞ if there is none.
    pub max: f64,
    /// How many values were NaN.
    pub nan: u64,
    /// How many values were infinite.
    pub infinite: u64,
}

impl Histogram {
    /// Values that [`Histogram::update`] counts in one go, whatever happens meanwhile: a few milliseconds
    /// of them.
    pub const UNDIVIDED: usize = 1 << 21;

    /// A histogram of nothing.
    pub fn new() -> Result<Self> {
        let (min, max) = (f64::INFINITY, f64::NEG_INFINITY);
        Ok(Self { counts: memory::zeroed(BINS)?, min, max, nan: 0, infinite: 0 })
    }

    /// A copy.
    pub fn copied(&self) -> Result<Self> {
        let counts = memory::copied(&self.counts)?;
        Ok(Self { counts, ..*self })
    }

    /// A histogram from the bins that have values, and how many each has.
    pub fn from_bins(bins: &[u32], counts: &[u64], min: f64, max: f64) -> Result<Self> {
        if bins.len() != counts.len() {
            return Err(KernelError::Shape("bins and counts differ in length".to_owned()));
        }
        let mut made = Self { min, max, ..Self::new()? };
        for (&bin, &count) in bins.iter().zip(counts) {
            let Some(slot) = made.counts.get_mut(bin as usize) else {
                return Err(KernelError::Value(format!("bin {bin} is not below {BINS}")));
            };
            *slot = slot.saturating_add(count);
        }
        let ordered = min <= max && min.is_finite() && max.is_finite();
        if made.bins().next().is_some() && !ordered {
            return Err(KernelError::Value(format!(
                "values from {min} to {max}; both ends must be finite and in order"
            )));
        }
        Ok(made)
    }

    /// Counts values; those that are not finite are counted apart. After an error nothing is counted.
    pub fn update<T: Element>(&mut self, x: &[T]) -> Result<()> {
        if x.len() <= Self::UNDIVIDED {
            return interrupt::whole(|| self.update_alone(x, &mut Pace::new()));
        }
        let counted = Self::of(x)?;
        self.merge(&counted);
        Ok(())
    }

    /// The counts of values.
    pub fn of<T: Element>(x: &[T]) -> Result<Self> {
        let mut all = Self::new()?;
        let tasks = threads::tasks_for(x.len(), 1, GRAIN);
        if tasks == 1 {
            all.update_alone(x, &mut Pace::new())?;
            return Ok(all);
        }
        let per_task = x.len().div_ceil(tasks);
        let sum = Mutex::new(all);
        threads::try_for_each(tasks, |task| {
            let start = (task * per_task).min(x.len());
            let mine = &x[start..(start + per_task).min(x.len())];
            let mut counted = Self::new()?;
            counted.update_alone(mine, &mut Pace::new())?;
            // In whatever order: counts add up the same.
            sum.lock().unwrap_or_else(PoisonError::into_inner).merge(&counted);
            Ok(())
        })?;
        Ok(sum.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn update_alone<T: Element>(&mut self, x: &[T], pace: &mut Pace) -> Result<()> {
        for x in x.chunks(CHUNK) {
            pace.check(x.len())?;
            for range in ranges(x, Layout::Tensor)? {
                self.min = self.min.min(range.min);
                self.max = self.max.max(range.max);
                self.nan += range.nan as u64;
                self.infinite += range.infinite as u64;
            }
            for x in x {
                self.counts[bin_of(x.to_f32()) as usize] += 1;
            }
        }
        Ok(())
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.nan += other.nan;
        self.infinite += other.infinite;
    }

    /// The bins of finite values that have any, and how many each has.
    pub fn bins(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.counts
            .iter()
            .enumerate()
            .map(|(bin, &count)| (bin as u32, count))
            .filter(|&(bin, count)| count > 0 && is_finite(bin))
    }

    /// The finite values, ascending, for the methods that choose a range.
    pub fn spectrum(&self) -> Result<Spectrum> {
        Spectrum::new(self.bins(), self.min, self.max)
    }
}

/// The bin of a value.
#[inline(always)]
pub(super) fn bin_of(value: f32) -> u32 {
    value.to_bits() >> SHIFT
}

/// Whether a bin is of finite values.
pub(super) fn is_finite(bin: u32) -> bool {
    f32::from_bits(bin << SHIFT).is_finite()
}

/// The finite values of a histogram, as ascending bins.
#[derive(Debug, Clone, PartialEq)]
pub struct Spectrum {
    /// Where each bin starts; its middle; where it ends; how many values it has.
    pub(super) bins: Vec<Bin>,
    /// The least value; 0 if there is none.
    pub(super) min: f64,
    /// The greatest value; 0 if there is none.
    pub(super) max: f64,
}

/// A bin on the number line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bin {
    pub(super) low: f64,
    pub(super) value: f64,
    pub(super) high: f64,
    pub(super) count: f64,
}

impl Spectrum {
    /// Bins ascend as unsigned numbers or not at all: order comes from their values.
    pub(super) fn new(bins: impl Iterator<Item = (u32, u64)>, min: f64, max: f64) -> Result<Self> {
        let mut bins: Vec<Bin> = memory::collected(bins.map(|(bin, count)| place(bin, count)))?;
        // They come in two ascending stretches, which a stable sort merges.
        bins.sort_by(|a, b| a.value.total_cmp(&b.value));
        if bins.is_empty() {
            return Ok(Self { bins, min: 0.0, max: 0.0 });
        }
        for bin in &mut bins {
            bin.low = bin.low.clamp(min, max);
            bin.high = bin.high.clamp(min, max);
            bin.value = bin.value.clamp(min, max);
        }
        Ok(Self { bins, min, max })
    }

    /// The spectrum of values that are at hand, which may be few.
    pub(super) fn of(mut bins: Vec<u32>, min: f64, max: f64) -> Result<Self> {
        bins.retain(|&bin| is_finite(bin));
        bins.sort_unstable();
        let runs = bins.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u64));
        Self::new(runs, min, max)
    }

    /// How many values there are.
    pub(super) fn total(&self) -> f64 {
        self.bins.iter().map(|bin| bin.count).sum()
    }

    /// The greatest absolute value.
    pub(super) fn absmax(&self) -> f64 {
        self.max.max(-self.min)
    }
}

fn place(bin: u32, count: u64) -> Bin {
    let near = f64::from(f32::from_bits(bin << SHIFT));
    let far = f64::from(f32::from_bits((bin << SHIFT) | ((1 << SHIFT) - 1)));
    let (low, high) = if near <= far { (near, far) } else { (far, near) };
    Bin { low, value: f64::midpoint(low, high), high, count: count as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_and_orders_count_alike() {
        let x: Vec<f32> = (0..50_000).map(|i| ((i * 37 % 1000) as f32 - 500.0).sin()).collect();
        let mut whole = Histogram::new().unwrap();
        whole.update(&x).unwrap();
        let mut merged = Histogram::new().unwrap();
        for part in x.rchunks(777) {
            let mut one = Histogram::new().unwrap();
            one.update(part).unwrap();
            merged.merge(&one);
        }
        assert_eq!(whole.spectrum().unwrap(), merged.spectrum().unwrap());
        assert_eq!(whole.spectrum().unwrap().total(), 50_000.0);
    }

    #[test]
    fn what_is_not_finite_is_counted_apart() {
        let mut seen = Histogram::new().unwrap();
        seen.update(&[f32::NAN, f32::INFINITY, 1.0, -0.0]).unwrap();
        assert_eq!((seen.nan, seen.infinite, seen.min, seen.max), (1, 1, 0.0, 1.0));
        assert_eq!(seen.bins().map(|(_, count)| count).sum::<u64>(), 2);
    }

    #[test]
    fn a_bin_holds_its_values() {
        for value in [1.0_f32, -1.0, 1e-45, 3.9e-3, -7e30, 0.0] {
            let bin = place(bin_of(value), 1);
            assert!(bin.low <= f64::from(value) && f64::from(value) <= bin.high, "{value}");
        }
    }
}
