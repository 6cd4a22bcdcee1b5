//! Codes of a layer's weights that keep its outputs, not its weights: GPTQ and coordinate descent.
//!
//! Both minimise (w - ŵ)ᵀ H (w - ŵ) for each row w of a weight, where H is the second moment of the
//! layer's input. Rows are independent and each is computed in one order, in float64 without fused
//! operations: threads and instruction sets change nothing.

use std::sync::{Mutex, PoisonError};

use crate::error::{KernelError, Result};
use crate::interrupt::Pace;
use crate::isa::{self, Isa};
use crate::simd::{Simd, SimdOp, dispatch};
use crate::{memory, threads};

/// What codes a row may use: levels `low..=high` times the scale of the column's group.
#[derive(Debug, Clone, Copy)]
pub struct Levels<'a> {
    /// (rows, groups): steps, above 0.
    pub scale: &'a [f64],
    /// (rows, groups): the least level, which is the least code less the zero point.
    pub low: &'a [i32],
    /// (rows, groups): the greatest level.
    pub high: &'a [i32],
    /// Columns that share a step.
    pub group: usize,
    /// (rows, columns): which weights are pruned, so that their level is 0 whatever it costs.
    pub pruned: &'a [bool],
}

impl Levels<'_> {
    fn check(&self, rows: usize, columns: usize) -> Result<usize> {
        let groups = columns.div_ceil(self.group.max(1));
        let wanted = memory::size(&[rows, groups])?;
        let lengths = [self.scale.len(), self.low.len(), self.high.len()];
        if rows.checked_mul(columns) != Some(self.pruned.len()) {
            return Err(KernelError::Shape(
                "pruned does not have the length of weights".to_owned(),
            ));
        }
        if self.group == 0 || lengths != [wanted; 3] {
            return Err(KernelError::Shape(format!("scale, low and high need {wanted} elements")));
        }
        Ok(groups)
    }
}

/// Rows that share a pass over the matrix, so that it is read once for all of them.
const TILE: usize = 8;

/// Rounds the columns of `weights` (rows, columns) one after the other in `order`, each time moving
/// the error to the columns that are left; the levels go to `out`.
///
/// `factor` is the upper Cholesky factor of H⁻¹, (columns, columns), with rows and columns in
/// `order` already.
///
/// Frantar, Ashkboos, Hoefler and Alistarh, *GPTQ: Accurate Post-Training Quantization for
/// Generative Pre-trained Transformers*, ICLR 2023.
pub fn gptq(
    weights: &[f64],
    factor: &[f64],
    order: &[usize],
    levels: Levels<'_>,
    out: &mut [i32],
) -> Result<()> {
    let columns = order.len();
    let rows = rows_of(weights.len(), columns)?;
    let groups = levels.check(rows, columns)?;
    if columns.checked_mul(columns) != Some(factor.len()) || out.len() != weights.len() {
        return Err(KernelError::Shape("factor or out does not fit weights".to_owned()));
    }
    if order.iter().any(|&column| column >= columns) {
        return Err(KernelError::Value("order names a column that is not there".to_owned()));
    }
    let isa = isa::active()?;
    each_tile(isa, out, columns, |first, out| {
        let weights = &weights[first * columns..][..out.len()];
        Gptq { weights, factor, order, levels, groups, first, out }
    })
}

struct Gptq<'a> {
    weights: &'a [f64],
    factor: &'a [f64],
    order: &'a [usize],
    levels: Levels<'a>,
    groups: usize,
    first: usize,
    out: &'a mut [i32],
}

impl SimdOp for Gptq<'_> {
    type Output = Result<()>;

    #[inline(always)]
    fn eval<S: Simd>(self, _simd: S) -> Result<()> {
        let Self { weights, factor, order, levels, groups, first, out } = self;
        let columns = order.len();
        let mut left: Vec<Vec<f64>> = memory::with_capacity(TILE)?;
        for row in weights.chunks_exact(columns) {
            left.push(memory::collected(order.iter().map(|&column| row[column]))?);
        }
        let mut pace = Pace::new();
        for (place, &column) in order.iter().enumerate() {
            pace.check(TILE * columns)?;
            let line = &factor[place * columns..][..columns];
            for (row, left) in left.iter_mut().enumerate() {
                let at = (first + row) * groups + column / levels.group;
                let pruned = levels.pruned[(first + row) * columns + column];
                let wanted = if pruned { 0.0 } else { left[place] / levels.scale[at] };
                let level = nearest(wanted, &levels, at);
                out[row * columns + column] = level as i32;
                let error = (left[place] - level * levels.scale[at]) / line[place];
                subtract(&mut left[place + 1..], error, &line[place + 1..]);
            }
        }
        Ok(())
    }
}

/// Improves levels one at a time until none can be, and the steps with them.
///
/// `product` is `target @ hessian` (rows, columns) for the weights that are to be met, `hessian` is
/// H. Each round goes over all columns, then, if `refit`, moves every step to where it is best for
/// its levels. `levels.scale` is where the steps start; `scale` (rows, groups) is where they end.
///
/// The cyclic coordinate descent of Nair and Suggala, *`CDQuant`: Greedy Coordinate Descent for
/// Accurate LLM Quantization*, 2024.
pub fn descend(
    product: &[f64],
    hessian: &[f64],
    levels: Levels<'_>,
    rounds: usize,
    refit: bool,
    scale: &mut [f64],
    codes: &mut [i32],
) -> Result<()> {
    let columns = hessian.len().isqrt();
    let rows = rows_of(product.len(), columns)?;
    let groups = levels.check(rows, columns)?;
    if columns * columns != hessian.len() || codes.len() != product.len() {
        return Err(KernelError::Shape("hessian or codes do not fit product".to_owned()));
    }
    if scale.len() != levels.scale.len() {
        return Err(KernelError::Shape("scale does not have the length of the steps".to_owned()));
    }
    let steps = memory::collected(scale.chunks_mut(groups.max(1) * TILE).map(Mutex::new))?;
    let isa = isa::active()?;
    each_tile(isa, codes, columns, |first, codes| {
        let product = &product[first * columns..][..codes.len()];
        Descend { product, hessian, levels, groups, first, rounds, refit, steps: &steps, codes }
    })
}

struct Descend<'a, 'b> {
    product: &'a [f64],
    hessian: &'a [f64],
    levels: Levels<'a>,
    groups: usize,
    first: usize,
    rounds: usize,
    refit: bool,
    steps: &'a [Mutex<&'b mut [f64]>],
    codes: &'a mut [i32],
}

impl SimdOp for Descend<'_, '_> {
    type Output = Result<()>;

    #[inline(always)]
    fn eval<S: Simd>(self, _simd: S) -> Result<()> {
        let columns = self.hessian.len().isqrt();
        let mut steps =
            self.steps[self.first / TILE].lock().unwrap_or_else(PoisonError::into_inner);
        for (row, codes) in self.codes.chunks_exact_mut(columns).enumerate() {
            let start = (self.first + row) * self.groups;
            let mut line = Line {
                hessian: self.hessian,
                levels: self.levels,
                start,
                pruned: &self.levels.pruned[(self.first + row) * columns..][..columns],
                left: memory::copied(&self.product[row * columns..][..columns])?,
                change: memory::zeroed(columns)?,
                pace: Pace::new(),
                scale: &mut steps[row * self.groups..][..self.groups],
                codes,
            };
            line.scale.copy_from_slice(&self.levels.scale[start..][..self.groups]);
            line.begin()?;
            for _ in 0..self.rounds {
                if self.refit {
                    line.refit()?;
                }
                if !line.sweep()? {
                    break;
                }
            }
            if self.refit {
                line.refit()?;
            }
        }
        Ok(())
    }
}

/// One row: `left` is (target - ŵ) H.
struct Line<'a> {
    hessian: &'a [f64],
    levels: Levels<'a>,
    start: usize,
    pruned: &'a [bool],
    left: Vec<f64>,
    /// Room for the change of `left` for each unit of a step.
    change: Vec<f64>,
    pace: Pace,
    scale: &'a mut [f64],
    codes: &'a mut [i32],
}

impl Line<'_> {
    #[inline(always)]
    fn column(&self, index: usize) -> &[f64] {
        &self.hessian[index * self.codes.len()..][..self.codes.len()]
    }

    #[inline(always)]
    fn begin(&mut self) -> Result<()> {
        for index in 0..self.codes.len() {
            self.pace.check(self.codes.len())?;
            let weight = f64::from(self.codes[index]) * self.scale[index / self.levels.group];
            self.move_by(index, weight);
        }
        Ok(())
    }

    /// Adds to the weight of a column.
    #[inline(always)]
    fn move_by(&mut self, index: usize, weight: f64) {
        if weight != 0.0 {
            let column = &self.hessian[index * self.codes.len()..][..self.codes.len()];
            subtract(&mut self.left, weight, column);
        }
    }

    /// Puts each level where it is best while the others stay; returns whether one moved.
    #[inline(always)]
    fn sweep(&mut self) -> Result<bool> {
        let mut moved = false;
        for index in 0..self.codes.len() {
            self.pace.check(self.codes.len())?;
            let group = index / self.levels.group;
            let (scale, curve) = (self.scale[group], self.column(index)[index]);
            if curve <= 0.0 || self.pruned[index] {
                continue;
            }
            let old = f64::from(self.codes[index]);
            let wanted = old + self.left[index] / (scale * curve);
            let level = nearest(wanted, &self.levels, self.start + group);
            if level != old {
                self.codes[index] = level as i32;
                self.move_by(index, (level - old) * scale);
                moved = true;
            }
        }
        Ok(moved)
    }

    /// Moves each group's step to the least squares solution for its levels.
    #[inline(always)]
    fn refit(&mut self) -> Result<()> {
        let (columns, group) = (self.codes.len(), self.levels.group);
        for index in 0..self.scale.len() {
            let start = index * group;
            let part = start..start.saturating_add(group).min(columns);
            self.change.fill(0.0);
            for column in part.clone() {
                self.pace.check(columns)?;
                let level = f64::from(self.codes[column]);
                if level != 0.0 {
                    let line = &self.hessian[column * columns..][..columns];
                    subtract(&mut self.change, -level, line);
                }
            }
            let (mut gain, mut curve) = (0.0, 0.0);
            for column in part {
                let level = f64::from(self.codes[column]);
                gain += level * self.left[column];
                curve += level * self.change[column];
            }
            let step = self.scale[index] + gain / curve;
            if curve > 0.0 && step > 0.0 && step.is_finite() {
                subtract(&mut self.left, step - self.scale[index], &self.change);
                self.scale[index] = step;
            }
        }
        Ok(())
    }
}

#[inline(always)]
fn nearest(level: f64, levels: &Levels<'_>, at: usize) -> f64 {
    level.round_ties_even().clamp(f64::from(levels.low[at]), f64::from(levels.high[at]))
}

/// `into -= factor * line`.
#[inline(always)]
fn subtract(into: &mut [f64], factor: f64, line: &[f64]) {
    for (into, line) in into.iter_mut().zip(line) {
        *into -= factor * line;
    }
}

fn rows_of(len: usize, columns: usize) -> Result<usize> {
    match len.checked_rem(columns) {
        Some(0) => Ok(len / columns),
        None if len == 0 => Ok(0),
        _ => Err(KernelError::Shape(format!("{len} weights are not rows of {columns}"))),
    }
}

/// Runs an operation for each [`TILE`] rows of `out`, on as many threads as there are.
fn each_tile<'a, O: SimdOp<Output = Result<()>>>(
    isa: Isa,
    out: &'a mut [i32],
    columns: usize,
    make: impl Fn(usize, &'a mut [i32]) -> O + Sync + Send,
) -> Result<()> {
    if columns == 0 {
        return Ok(());
    }
    let tiles = out.chunks_mut(TILE * columns).map(|tile| Mutex::new(Some(tile)));
    let tiles = memory::collected(tiles)?;
    threads::try_for_each(tiles.len(), |tile| {
        let mine = tiles[tile].lock().unwrap_or_else(PoisonError::into_inner).take();
        mine.map_or(Ok(()), |out| dispatch(isa, make(tile * TILE, out)))
    })
}
