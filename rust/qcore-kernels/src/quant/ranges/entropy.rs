//! The threshold that keeps most of a distribution's information.
//!
//! For each threshold the values within it, with what is beyond put into the outermost bins, are
//! compared with the same values after they were merged into as many bins as there are codes; the
//! threshold of the least Kullback-Leibler divergence wins. Bins, smoothing and order follow ONNX
//! Runtime's calibrator with 16 bins a code, so that thresholds agree with it.
//!
//! Migacz, *8-bit Inference with `TensorRT`*, GTC 2017.

use super::histogram::Spectrum;
use crate::error::Result;
use crate::interrupt::Pace;

/// Bins for each code, and what an empty bin is taken to hold.
const BINS_A_CODE: usize = 16;
const LEAST: f64 = 1e-4;

/// The threshold for codes that span `span` steps.
pub(super) fn entropy_threshold(seen: &Spectrum, span: u32) -> Result<f64> {
    let absmax = seen.absmax();
    if absmax == 0.0 || !absmax.is_finite() {
        return Ok(absmax);
    }
    let codes = (span as usize).div_ceil(2).next_power_of_two().clamp(2, 1024);
    // So few values are no distribution, as those of a convolution's output are: whatever lies between
    // them, a threshold that cuts the far ones off looks like the one that keeps the most.
    if seen.total() <= (codes * BINS_A_CODE) as f64 {
        return Ok(absmax);
    }
    let counts = even_bins(seen, absmax, codes * BINS_A_CODE);
    let middle = counts.len() / 2;
    let mut sums = vec![0.0];
    for &count in &counts {
        sums.push(sums[sums.len() - 1] + count);
    }
    let (mut least, mut found) = (f64::INFINITY, middle);
    let mut pace = Pace::new();
    for half in codes / 2..=middle {
        pace.check(half)?;
        let (start, end) = (middle - half, (middle + half + 1).min(counts.len()));
        let lost = divergence(&counts, &sums, start, end, codes);
        if lost < least {
            (least, found) = (lost, half);
        }
    }
    let edge = (middle + found + 1).min(counts.len());
    Ok(absmax * (edge as f64 / middle as f64 - 1.0))
}

/// Counts in `bins` bins of one width from -absmax to absmax. A bin of the spectrum that lies across
/// an edge is shared in proportion, in whole counts.
fn even_bins(seen: &Spectrum, absmax: f64, bins: usize) -> Vec<f64> {
    let mut below = vec![0.0]; // how many values lie below each edge
    let (mut next, mut passed) = (0, 0.0);
    for index in 1..bins {
        let edge = absmax * (2.0 * index as f64 / bins as f64 - 1.0);
        while next < seen.bins.len() && seen.bins[next].high < edge {
            passed += seen.bins[next].count;
            next += 1;
        }
        let across = seen.bins.get(next).filter(|bin| bin.low < edge);
        let part = across.map_or(0.0, |bin| bin.count * (edge - bin.low) / (bin.high - bin.low));
        below.push((passed + part).round_ties_even());
    }
    below.push(seen.total());
    below.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// How much the distribution `start..end` loses when it is merged into `codes` bins.
fn divergence(counts: &[f64], sums: &[f64], start: usize, end: usize, codes: usize) -> f64 {
    let kept = &counts[start..end];
    let mut p = kept.to_vec();
    p[0] += sums[start];
    let last = p.len() - 1;
    p[last] += sums[counts.len()] - sums[end];
    let width = p.len() / codes;
    #[expect(clippy::disallowed_methods, reason = "no more than the bins of a histogram")]
    let mut q = vec![0.0; p.len()];
    for code in 0..codes {
        let from = code * width;
        let to = if code + 1 == codes { p.len() } else { from + width };
        let filled = p[from..from + width].iter().filter(|&&count| count != 0.0).count();
        if filled > 0 {
            // Whole counts, as there.
            let each = ((sums[start + to] - sums[start + from]) / filled as f64).floor();
            q[from..from + width].fill(each);
        }
    }
    match (smooth(&p), smooth(&q)) {
        (Some(p), Some(q)) => f64::from(kullback_leibler(&p, &q)),
        _ => f64::INFINITY,
    }
}

/// Gives empty bins a little of what the others have; None if all are empty.
///
/// In float32, as there, and so is what follows: the divergence is so flat that the least of it
/// depends on its rounding.
fn smooth(counts: &[f64]) -> Option<Vec<f32>> {
    let empty = counts.iter().filter(|&&count| count == 0.0).count();
    if empty == counts.len() {
        return None;
    }
    let off = (LEAST * empty as f64 / (counts.len() - empty) as f64) as f32;
    let give = |&count: &f64| if count == 0.0 { LEAST as f32 } else { count as f32 - off };
    Some(counts.iter().map(give).collect())
}

/// The divergence of `q` from `p`, each scaled to sum to 1.
fn kullback_leibler(p: &[f32], q: &[f32]) -> f32 {
    let (all, merged) = (pairwise_sum(p), pairwise_sum(q));
    let lost = |(&p, &q): (&f32, &f32)| {
        let (p, q) = (f64::from(p / all), f64::from(q / merged));
        (p * (p / q).ln()) as f32
    };
    pairwise_sum(&p.iter().zip(q).map(lost).collect::<Vec<_>>())
}

/// The sum in NumPy's order: halves down to 128 values, each in eight rows.
fn pairwise_sum(values: &[f32]) -> f32 {
    if values.len() > 128 {
        let half = values.len() / 2;
        let half = half - half % 8;
        return pairwise_sum(&values[..half]) + pairwise_sum(&values[half..]);
    }
    if values.len() < 8 {
        return values.iter().fold(0.0, |sum, value| sum + value);
    }
    let mut rows = [0.0; 8];
    rows.copy_from_slice(&values[..8]);
    let chunks = values[8..].chunks_exact(8);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (row, value) in rows.iter_mut().zip(chunk) {
            *row += value;
        }
    }
    let [a, b, c, d, e, f, g, h] = rows;
    let sum = ((a + b) + (c + d)) + ((e + f) + (g + h));
    rest.iter().fold(sum, |sum, value| sum + value)
}
