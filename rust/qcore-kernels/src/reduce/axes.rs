//! Reductions of a tensor over any of its axes.

use super::row::{Join, Largest, Plain, Product, Size, Smallest, Square, Sum, Term, reduce_row};
use crate::elementwise::MAX_RANK;
use crate::error::{KernelError, Result};
use crate::isa::{self, Isa};
use crate::math::MAX_LANES;
use crate::simd::{Simd, SimdOp, dispatch};
use crate::threads;

/// What becomes of the elements of the axes that are taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// Their mean.
    Mean,
    /// The largest; NaN if there is one.
    Max,
    /// The smallest; NaN if there is one.
    Min,
    /// Their product.
    Prod,
    /// The sum of their sizes.
    L1,
    /// The root of the sum of their squares.
    L2,
    /// The sum of their squares.
    SumSquare,
}

/// Elements below which a thread of its own costs more than it saves.
const GRAIN: usize = 1 << 17;
/// Rows that are joined before they join the whole.
const PANEL: usize = 256;
/// Vectors of outputs that are computed at once.
const VECTORS: usize = 4;

/// [`reduce_f32_with`] on the instruction set in force.
pub fn reduce_f32(
    kind: Reduction,
    x: &[f32],
    shape: &[usize],
    axes: &[usize],
    out: &mut [f32],
) -> Result<()> {
    reduce_f32_with(isa::active()?, kind, x, shape, axes, out)
}

/// Reduces `axes` of a row-major tensor; `out` has an element for each place of the other axes.
pub fn reduce_f32_with(
    isa: Isa,
    kind: Reduction,
    x: &[f32],
    shape: &[usize],
    axes: &[usize],
    out: &mut [f32],
) -> Result<()> {
    let walk = Walk::new(shape, axes)?;
    let size = shape.iter().try_fold(1_usize, |size, &axis| size.checked_mul(axis));
    if size != Some(x.len()) || out.len() != walk.outputs() {
        return Err(KernelError::Shape(format!(
            "x has {} elements and out {}: not shape {shape:?} and that without axes {axes:?}",
            x.len(),
            out.len()
        )));
    }
    // The last axis kept: outputs lie side by side and are computed in vectors.
    let inner = if walk.along { 1 } else { walk.kept.sizes[0] };
    let per_output = x.len().checked_div(out.len()).unwrap_or(0).max(1);
    let tasks = threads::tasks_for(out.len(), per_output, GRAIN);
    let chunk = threads::share(out.len(), tasks, per_output);
    // Whole vectors where rows are long, else whole rows.
    let chunk = if inner >= 16 * MAX_LANES { chunk.next_multiple_of(MAX_LANES) } else { chunk };
    threads::for_each_chunk(out, chunk, |start, out| {
        dispatch(isa, Reduce { kind, x, walk: &walk, start, out });
    });
    Ok(())
}

/// Some axes: sizes and strides, the last first.
#[derive(Debug, Clone, Copy)]
struct Axes {
    rank: usize,
    sizes: [usize; MAX_RANK],
    strides: [usize; MAX_RANK],
}

impl Axes {
    fn none() -> Self {
        Self { rank: 0, sizes: [1; MAX_RANK], strides: [0; MAX_RANK] }
    }

    /// Adds an axis outside of the others; an axis that follows on the last lengthens it.
    fn push(&mut self, size: usize, stride: usize) {
        if size == 1 {
            return;
        }
        if self.rank > 0 && stride == self.sizes[self.rank - 1] * self.strides[self.rank - 1] {
            self.sizes[self.rank - 1] *= size;
            return;
        }
        (self.sizes[self.rank], self.strides[self.rank]) = (size, stride);
        self.rank += 1;
    }

    fn count(&self) -> usize {
        self.sizes[..self.rank].iter().product()
    }

    /// Where the place lies whose axes from `first` on are at `index`.
    #[inline(always)]
    fn offset(&self, first: usize, index: usize) -> usize {
        let (mut rest, mut offset) = (index, 0);
        for axis in first..self.rank {
            offset += rest % self.sizes[axis] * self.strides[axis];
            rest /= self.sizes[axis];
        }
        offset
    }
}

/// The axes that stay and those that go.
#[derive(Debug)]
struct Walk {
    kept: Axes,
    gone: Axes,
    /// Whether the last axis goes.
    along: bool,
    empty: bool,
}

impl Walk {
    fn new(shape: &[usize], axes: &[usize]) -> Result<Self> {
        if shape.len() > MAX_RANK || axes.iter().any(|&axis| axis >= shape.len()) {
            return Err(KernelError::Shape(format!(
                "axes {axes:?} of shape {shape:?}; there may be {MAX_RANK} axes, and each must exist"
            )));
        }
        let (mut kept, mut gone) = (Axes::none(), Axes::none());
        let mut stride = 1;
        let mut along = None;
        for axis in (0..shape.len()).rev() {
            let goes = axes.contains(&axis);
            let side = if goes { &mut gone } else { &mut kept };
            side.push(shape[axis], stride);
            if shape[axis] != 1 && along.is_none() {
                along = Some(goes);
            }
            stride *= shape[axis].max(1);
        }
        Ok(Self { kept, gone, along: along.unwrap_or(true), empty: shape.contains(&0) })
    }

    fn outputs(&self) -> usize {
        self.kept.count()
    }
}

/// The outputs from `start` on.
struct Reduce<'a> {
    kind: Reduction,
    x: &'a [f32],
    walk: &'a Walk,
    start: usize,
    out: &'a mut [f32],
}

impl SimdOp for Reduce<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(mut self, s: S) {
        match self.kind {
            Reduction::Sum | Reduction::Mean => self.run(s, Plain, Sum),
            Reduction::Max => self.run(s, Plain, Largest),
            Reduction::Min => self.run(s, Plain, Smallest),
            Reduction::Prod => self.run(s, Plain, Product),
            Reduction::L1 => self.run(s, Size, Sum),
            Reduction::L2 | Reduction::SumSquare => self.run(s, Square, Sum),
        }
        let count = self.walk.gone.count() as f32;
        match self.kind {
            Reduction::Mean => self.out.iter_mut().for_each(|sum| *sum /= count),
            Reduction::L2 => self.out.iter_mut().for_each(|sum| *sum = sum.sqrt()),
            _ => {}
        }
    }
}

impl Reduce<'_> {
    #[inline(always)]
    fn run<S: Simd, T: Term, J: Join>(&mut self, s: S, term: T, join: J) {
        if self.walk.empty {
            self.out.fill(J::NOTHING);
        } else if self.walk.along {
            self.along(s, term, join);
        } else {
            self.across(s, term, join);
        }
    }

    /// Rows that become one element each.
    #[inline(always)]
    fn along<S: Simd, T: Term, J: Join>(&mut self, s: S, term: T, join: J) {
        let Walk { kept, gone, .. } = self.walk;
        let length = gone.sizes[0];
        let rows = gone.count() / length;
        for (index, out) in self.out.iter_mut().enumerate() {
            let place = kept.offset(0, self.start + index);
            for row in 0..rows {
                let first = place + gone.offset(1, row);
                let part = reduce_row(s, &self.x[first..first + length], term, join);
                *out = if row == 0 { part } else { J::join_one(*out, part) };
            }
        }
    }

    /// Outputs side by side, joined row by row.
    #[allow(clippy::needless_range_loop, reason = "loops over indices are unrolled whole")]
    #[inline(always)]
    fn across<S: Simd, T: Term, J: Join>(&mut self, s: S, term: T, _: J) {
        let Walk { kept, gone, .. } = self.walk;
        let (inner, rows) = (kept.sizes[0], gone.count());
        let mut done = 0;
        while done < self.out.len() {
            let (row, column) = ((self.start + done) / inner, (self.start + done) % inner);
            let left = (inner - column).min(self.out.len() - done);
            let place = kept.offset(1, row) + column;
            let mut at = 0;
            while at < left {
                let wide = VECTORS * S::LANES;
                if left - at >= wide {
                    let mut whole = [s.splat_f32(J::NOTHING); VECTORS];
                    for first in (0..rows).step_by(PANEL) {
                        let mut part = [s.splat_f32(J::NOTHING); VECTORS];
                        for row in first..(first + PANEL).min(rows) {
                            let from = &self.x[place + at + gone.offset(0, row)..][..wide];
                            for vector in 0..VECTORS {
                                // SAFETY: the slice has VECTORS * LANES elements.
                                let x = unsafe { s.load_f32(from.as_ptr().add(vector * S::LANES)) };
                                part[vector] = J::join(s, part[vector], term.of(s, x));
                            }
                        }
                        for vector in 0..VECTORS {
                            whole[vector] = if first == 0 {
                                part[vector]
                            } else {
                                J::join(s, whole[vector], part[vector])
                            };
                        }
                    }
                    let to = &mut self.out[done + at..][..wide];
                    for vector in 0..VECTORS {
                        // SAFETY: the slice has VECTORS * LANES elements.
                        unsafe {
                            s.store_f32(to.as_mut_ptr().add(vector * S::LANES), whole[vector]);
                        };
                    }
                    at += wide;
                    continue;
                }
                // Fewer than those vectors: one by one, through a room where they fill none.
                let count = S::LANES.min(left - at);
                let mut whole = s.splat_f32(J::NOTHING);
                let mut room = [0.0_f32; MAX_LANES];
                for first in (0..rows).step_by(PANEL) {
                    let mut part = s.splat_f32(J::NOTHING);
                    for row in first..(first + PANEL).min(rows) {
                        let from = &self.x[place + at + gone.offset(0, row)..][..count];
                        room[..count].copy_from_slice(from);
                        // SAFETY: the room has MAX_LANES elements.
                        let x = unsafe { s.load_f32(room.as_ptr()) };
                        part = J::join(s, part, term.of(s, x));
                    }
                    whole = if first == 0 { part } else { J::join(s, whole, part) };
                }
                // SAFETY: the room has MAX_LANES elements.
                unsafe { s.store_f32(room.as_mut_ptr(), whole) };
                self.out[done + at..][..count].copy_from_slice(&room[..count]);
                at += count;
            }
            done += left;
        }
    }
}
