//! One-dimensional k-means: the best cells by dynamic programming, then Lloyd's iterations.
//!
//! In one dimension the best cells are intervals of the sorted values, so the best `k` follow from
//! the best `k - 1` of every prefix; prefix sums give the cost of an interval at once, and the cuts
//! move right with the prefix, so each is sought only between its neighbours'. Up to [`POINTS`]
//! values that is exact; more are first put together in as many equal parts, and the result is
//! refined on all values. Nothing is random and nothing depends on threads.

mod sorted;

use self::sorted::{order, sorted};
use super::layout::Layout;
use super::split::map_parts;
use crate::error::{KernelError, Result};
use crate::interrupt::{self, Pace};
use crate::memory;

/// The `k` levels that k-means finds for `values`, ascending. Where `values` contain a zero, one
/// level is exactly zero, so that pruned weights stay pruned. Values must be finite. `weights` are
/// how much the squared error of each value counts, at least 0; all alike without them.
///
/// Wang and Song, *Ckmeans.1d.dp: Optimal k-means Clustering in One Dimension by Dynamic Programming*,
/// The R Journal 3(2), 2011. Lloyd, *Least squares quantization in PCM*, IEEE Trans. Inf. Theory
/// 28(2), 1982.
pub fn kmeans(values: &[f32], weights: Option<&[f64]>, k: usize) -> Result<Vec<f32>> {
    if weights.is_some_and(|weights| weights.len() != values.len()) {
        return Err(KernelError::Shape("weights must have the length of values".to_owned()));
    }
    if values.is_empty() || k == 0 {
        return memory::filled(0.0, k);
    }
    let sorted = match weights {
        None => Sorted::new(sorted(values)?, |_| 1.0)?,
        Some(weights) => {
            let order = order(values)?;
            let sorted = memory::collected(order.iter().map(|&at| values[at]))?;
            // A little for all, so that no cell weighs nothing.
            let least = weights.iter().sum::<f64>() / values.len() as f64 * 1e-9 + 1e-300;
            Sorted::new(sorted, |index| weights[order[index]] + least)?
        }
    };
    let mut levels = sorted.best_levels(k)?;
    sorted.refine(&mut levels)?;
    memory::collected(levels.into_iter().map(|level| level as f32))
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
    map_parts(
        Layout::Tensor,
        out,
        |part, out| {
            let mut pace = Pace::new();
            for (&value, out) in values[part.elements.clone()].iter().zip(out) {
                pace.check(8)?;
                *out = bounds.partition_point(|&bound| bound < value as f64) as u8;
            }
            Ok(())
        },
        |()| (),
    )
}

/// The most points that the best cells are sought for.
const POINTS: usize = 1 << 13;

/// Sums over prefixes of sorted values: `count[i]`, which is their weight, `sum[i]`, `square[i]` belong to the first `i`
/// points. Values are taken relative to one in their midst, so that squares do not cancel.
struct Prefixes {
    count: Vec<f64>,
    sum: Vec<f64>,
    square: Vec<f64>,
}

impl Prefixes {
    /// The squared error of the points `from..to` around their mean.
    #[inline]
    fn cost(&self, from: usize, to: usize) -> f64 {
        let count = self.count[to] - self.count[from];
        let sum = self.sum[to] - self.sum[from];
        (self.square[to] - self.square[from] - sum * sum / count).max(0.0)
    }
}

struct Sorted {
    values: Vec<f32>,
    middle: f64,
    /// How much the first `i` values weigh together.
    weight: Vec<f64>,
    /// `sum[i]` is over the first `i` values, each less `middle` and times its weight.
    sum: Vec<f64>,
    square: Vec<f64>,
    has_zero: bool,
}

impl Sorted {
    fn new(values: Vec<f32>, weight_of: impl Fn(usize) -> f64) -> Result<Self> {
        let middle = f64::from(values[values.len() / 2]);
        let prefix = || -> Result<Vec<f64>> {
            let mut prefix = memory::with_capacity(memory::sum(&[values.len(), 1])?)?;
            prefix.push(0.0);
            Ok(prefix)
        };
        let (mut weight, mut sum, mut square) = (prefix()?, prefix()?, prefix()?);
        let mut pace = Pace::new();
        let (mut weights, mut total, mut squares) = (0.0, 0.0, 0.0);
        for (index, &value) in values.iter().enumerate() {
            pace.check(1)?;
            let off = f64::from(value) - middle;
            let share = weight_of(index);
            weights += share;
            total += share * off;
            squares += share * off * off;
            weight.push(weights);
            sum.push(total);
            square.push(squares);
        }
        let has_zero = values.contains(&0.0);
        Ok(Self { values, middle, weight, sum, square, has_zero })
    }

    /// The means of the best `k` cells; the last is repeated where there are fewer values.
    fn best_levels(&self, k: usize) -> Result<Vec<f64>> {
        let len = self.values.len();
        let points = len.min(POINTS);
        let start = |point: usize| (point as u128 * len as u128 / points as u128) as usize;
        let at = |sums: &[f64]| memory::collected((0..=points).map(|point| sums[start(point)]));
        let (count, sum, square) = (at(&self.weight)?, at(&self.sum)?, at(&self.square)?);
        let prefixes = Prefixes { count, sum, square };
        let cuts = best_cuts(&prefixes, points, k.min(points))?;
        let mean = |cut: &[usize]| self.mean(start(cut[0]), start(cut[1]));
        let mut levels: Vec<f64> = memory::collected(cuts.windows(2).map(mean))?;
        let last = levels[levels.len() - 1];
        memory::resize(&mut levels, k, last)?;
        Ok(levels)
    }

    fn mean(&self, from: usize, to: usize) -> f64 {
        if self.values[from] == self.values[to - 1] {
            return f64::from(self.values[from]); // exact, where a sum would round
        }
        self.middle + (self.sum[to] - self.sum[from]) / (self.weight[to] - self.weight[from])
    }

    /// Moves the levels to the means of their cells until they rest. Where values contain a zero, the
    /// level nearest to it is put there and stays.
    fn refine(&self, levels: &mut [f64]) -> Result<()> {
        if self.has_zero
            && let Some(nearest) = levels.iter_mut().min_by(|a, b| a.abs().total_cmp(&b.abs()))
        {
            *nearest = 0.0;
        }
        let mut edges = memory::filled(0, levels.len() + 1)?;
        for _ in 0..ROUNDS {
            interrupt::check()?;
            self.cells(levels, &mut edges);
            let mut moved = false;
            for (level, edge) in levels.iter_mut().zip(edges.windows(2)) {
                let pinned = self.has_zero && *level == 0.0;
                if edge[0] == edge[1] || pinned {
                    continue;
                }
                let mean = self.mean(edge[0], edge[1]);
                moved |= mean != *level;
                *level = mean;
            }
            // A level without a cell stays where it is, while its neighbours may pass it.
            levels.sort_unstable_by(f64::total_cmp);
            if !moved {
                break;
            }
        }
        Ok(())
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
}

/// The most rounds of refinement; the cells hardly ever move that long.
const ROUNDS: usize = 1000;

/// Where the best `k` cells of all points begin, and where the last ends.
fn best_cuts(prefixes: &Prefixes, points: usize, k: usize) -> Result<Vec<usize>> {
    // best[j]: the least error of the first j points in as many cells as were placed so far.
    let all = |to| if to == 0 { 0.0 } else { prefixes.cost(0, to) };
    let mut best: Vec<f64> = memory::collected((0..=points).map(all))?;
    let mut begins = memory::with_capacity(k)?;
    begins.push(memory::zeroed::<u32>(points + 1)?);
    for cells in 1..k {
        interrupt::check()?;
        let mut next = memory::filled(f64::INFINITY, points + 1)?;
        let mut begin = memory::zeroed::<u32>(points + 1)?;
        let mut layer = Layer { prefixes, best: &best, next: &mut next, begin: &mut begin };
        layer.fill(cells + 1, points, cells, points);
        best = next;
        begins.push(begin);
    }
    let mut cuts = memory::with_capacity(k + 1)?;
    cuts.push(points);
    for begin in begins.iter().rev() {
        cuts.push(begin[cuts[cuts.len() - 1]] as usize);
    }
    cuts.reverse();
    Ok(cuts)
}

/// One more cell than `best` has, for every prefix.
struct Layer<'a> {
    prefixes: &'a Prefixes,
    best: &'a [f64],
    next: &'a mut [f64],
    begin: &'a mut [u32],
}

impl Layer<'_> {
    /// Finds the last cell's begin for the prefixes `first..=last`; it lies in `low..=high`.
    fn fill(&mut self, first: usize, last: usize, low: usize, high: usize) {
        if first > last {
            return;
        }
        let to = usize::midpoint(first, last);
        let (mut found, mut at) = (f64::INFINITY, low);
        for from in low..=high.min(to - 1) {
            let cost = self.best[from] + self.prefixes.cost(from, to);
            if cost < found {
                (found, at) = (cost, from);
            }
        }
        self.next[to] = found;
        self.begin[to] = at as u32;
        self.fill(first, to - 1, low, at);
        self.fill(to + 1, last, at, high);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separate_clusters_are_found() {
        let values = [-1.0, -1.1, -0.9, 0.0, 0.0, 2.0, 2.2, 1.8];
        let levels = kmeans(&values, None, 3).unwrap();
        assert!(
            (levels[0] + 1.0).abs() < 1e-6 && levels[1] == 0.0 && (levels[2] - 2.0).abs() < 1e-6
        );
        let mut codes = [9; 8];
        assign(&values, &levels, &mut codes).unwrap();
        assert_eq!(codes, [0, 0, 0, 1, 1, 2, 2, 2]);
    }

    #[test]
    fn a_weight_is_as_good_as_repeating_the_value() {
        let values: Vec<f32> = (0..60).map(|i| (i as f32 * 1.7).sin() + 2.0).collect();
        let weights: Vec<f64> = (0..60).map(|i| f64::from(i % 3 + 1)).collect();
        let repeated: Vec<f32> = (0..60).flat_map(|i| vec![values[i]; i % 3 + 1]).collect();
        for k in [1, 2, 5, 16] {
            let weighted = kmeans(&values, Some(&weights), k).unwrap();
            let wanted = kmeans(&repeated, None, k).unwrap();
            for (found, wanted) in weighted.iter().zip(&wanted) {
                assert!((found - wanted).abs() < 1e-5, "{weighted:?} {wanted:?}");
            }
        }
    }

    #[test]
    fn zeros_keep_a_level_of_exactly_zero() {
        let mut values: Vec<f32> = (0..1000).map(|i| (i as f32 * 0.37).sin() + 0.2).collect();
        values[..700].fill(0.0);
        for k in 1..20 {
            assert!(kmeans(&values, None, k).unwrap().contains(&0.0), "k = {k}");
        }
    }

    #[test]
    fn fewer_values_than_levels_come_back_exactly() {
        let values = [0.5, -0.25, 3.0];
        let levels = kmeans(&values, None, 8).unwrap();
        let mut codes = [0; 3];
        assign(&values, &levels, &mut codes).unwrap();
        for (value, code) in values.iter().zip(codes) {
            assert_eq!(levels[code as usize], *value);
        }
        assert!(levels.is_sorted());
    }
}
