//! One-dimensional k-means: Lloyd's iterations over sorted values with prefix sums.
//!
//! A step costs `k` binary searches, whatever the number of values. The start is not random: the
//! better of levels spread evenly over the range and over the values' order, so the result is a
//! function of the values alone.

use crate::error::{KernelError, Result};

/// The `k` levels that k-means finds for `values`, ascending. Where `values` contain a zero, one
/// level is exactly zero, so that pruned weights stay pruned. Values must be finite.
///
/// Lloyd, *Least squares quantization in PCM*, IEEE Trans. Inf. Theory 28(2), 1982.
#[must_use]
pub fn kmeans(values: &[f32], k: usize) -> Vec<f32> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    if sorted.is_empty() || k == 0 {
        return vec![0.0; k];
    }
    let sorted = Sorted::new(sorted);
    let starts = [sorted.even_levels(k), sorted.quantile_levels(k)];
    let mut best: Option<(f64, Vec<f64>)> = None;
    for mut levels in starts {
        let error = sorted.lloyd(&mut levels);
        if best.as_ref().is_none_or(|(least, _)| error < *least) {
            best = Some((error, levels));
        }
    }
    let levels = best.map(|(_, levels)| levels).unwrap_or_default();
    levels.into_iter().map(|level| level as f32).collect()
}

/// The code of the level nearest to each value; the lower one on a tie. Levels ascend.
pub fn assign(values: &[f32], levels: &[f32], out: &mut [u8]) -> Result<()> {
    if out.len() != values.len() || !(1..=256).contains(&levels.len()) || !levels.is_sorted() {
        return Err(KernelError::Value(
            "levels are 1 to 256, ascending, for out of x's length".into(),
        ));
    }
    let bounds: Vec<f64> =
        levels.windows(2).map(|pair| f64::midpoint(pair[0] as f64, pair[1] as f64)).collect();
    for (&value, out) in values.iter().zip(out) {
        *out = bounds.partition_point(|&bound| bound < value as f64) as u8;
    }
    Ok(())
}

struct Sorted {
    values: Vec<f32>,
    /// `sum[i]` and `square[i]` are over the first `i` values.
    sum: Vec<f64>,
    square: Vec<f64>,
    has_zero: bool,
}

impl Sorted {
    fn new(values: Vec<f32>) -> Self {
        let mut sum = Vec::with_capacity(values.len() + 1);
        let mut square = Vec::with_capacity(values.len() + 1);
        let (mut total, mut squares) = (0.0, 0.0);
        sum.push(total);
        square.push(squares);
        for &value in &values {
            total += value as f64;
            squares += value as f64 * value as f64;
            sum.push(total);
            square.push(squares);
        }
        let has_zero = values.contains(&0.0);
        Self { values, sum, square, has_zero }
    }

    fn even_levels(&self, k: usize) -> Vec<f64> {
        let (low, high) = (self.values[0] as f64, self.values[self.values.len() - 1] as f64);
        (0..k).map(|i| low + (high - low) * (i as f64 + 0.5) / k as f64).collect()
    }

    fn quantile_levels(&self, k: usize) -> Vec<f64> {
        let len = self.values.len();
        (0..k).map(|i| self.values[(2 * i + 1) * len / (2 * k)] as f64).collect()
    }

    /// Moves the levels to the means of their cells until they rest; returns the squared error.
    fn lloyd(&self, levels: &mut [f64]) -> f64 {
        let zero = self.pin_zero(levels);
        let mut edges = vec![0; levels.len() + 1];
        for _ in 0..1000 {
            self.cells(levels, &mut edges);
            let mut moved = false;
            for index in 0..levels.len() {
                let (from, to) = (edges[index], edges[index + 1]);
                if from == to || Some(index) == zero {
                    continue;
                }
                let mean = (self.sum[to] - self.sum[from]) / (to - from) as f64;
                moved |= mean != levels[index];
                levels[index] = mean;
            }
            if !moved {
                break;
            }
        }
        // What counts is the levels as they are stored.
        for level in levels.iter_mut() {
            *level = *level as f32 as f64;
        }
        self.cells(levels, &mut edges);
        (0..levels.len())
            .map(|index| self.error(edges[index], edges[index + 1], levels[index]))
            .sum()
    }

    /// Puts the level nearest to zero at zero, where the values contain one; returns its index.
    fn pin_zero(&self, levels: &mut [f64]) -> Option<usize> {
        let index = (0..levels.len())
            .filter(|_| self.has_zero)
            .min_by(|&a, &b| levels[a].abs().total_cmp(&levels[b].abs()))?;
        levels[index] = 0.0;
        Some(index)
    }

    /// Where each level's cell starts in the sorted values; ties go to the lower level.
    fn cells(&self, levels: &[f64], edges: &mut [usize]) {
        edges[0] = 0;
        for index in 1..levels.len() {
            let bound = f64::midpoint(levels[index - 1], levels[index]);
            let edge = self.values.partition_point(|&value| value as f64 <= bound);
            edges[index] = edge.max(edges[index - 1]);
        }
        edges[levels.len()] = self.values.len();
    }

    fn error(&self, from: usize, to: usize, level: f64) -> f64 {
        let count = (to - from) as f64;
        let (sum, square) = (self.sum[to] - self.sum[from], self.square[to] - self.square[from]);
        square - 2.0 * level * sum + level * level * count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separate_clusters_are_found() {
        let values = [-1.0, -1.1, -0.9, 0.0, 0.0, 2.0, 2.2, 1.8];
        let levels = kmeans(&values, 3);
        assert!(
            (levels[0] + 1.0).abs() < 1e-6 && levels[1] == 0.0 && (levels[2] - 2.0).abs() < 1e-6
        );
        let mut codes = [9; 8];
        assign(&values, &levels, &mut codes).unwrap();
        assert_eq!(codes, [0, 0, 0, 1, 1, 2, 2, 2]);
    }

    #[test]
    fn zeros_keep_a_level_of_exactly_zero() {
        let mut values: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin() + 0.2).collect();
        values[..700].fill(0.0);
        for k in 1..20 {
            assert!(kmeans(&values, k).contains(&0.0), "k = {k}");
        }
    }

    #[test]
    fn fewer_values_than_levels_come_back_exactly() {
        let values = [0.5, -0.25, 3.0];
        let levels = kmeans(&values, 8);
        let mut codes = [0; 3];
        assign(&values, &levels, &mut codes).unwrap();
        for (value, code) in values.iter().zip(codes) {
            assert_eq!(levels[code as usize], *value);
        }
        assert!(levels.is_sorted());
    }
}
