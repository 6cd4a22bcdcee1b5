//! Shapes that stretch over one another, as NumPy and ONNX have it.

use crate::error::{KernelError, Result};
use crate::memory;
use crate::threads;

/// The most axes that a tensor may have here.
pub const MAX_RANK: usize = 8;

/// Elements below which a thread of its own costs more than it saves.
const GRAIN: usize = 1 << 16;

/// The shape that shapes stretch to: axes meet from the last on, and are equal or 1.
pub fn broadcast_shape(shapes: &[&[usize]]) -> Result<Vec<usize>> {
    let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
    let mut out = memory::filled(1, rank)?;
    for shape in shapes {
        for (axis, &size) in shape.iter().rev().enumerate() {
            let target = &mut out[rank - 1 - axis];
            if *target == 1 {
                *target = size;
            } else if size != 1 && size != *target {
                return Err(KernelError::Shape(format!("shapes {shapes:?} do not broadcast")));
            }
        }
    }
    Ok(out)
}

/// Where the elements of `N` operands lie that stretch over one shape: its axes, those joined that
/// every operand walks through alike.
#[derive(Debug, Clone, Copy)]
pub struct Broadcast<const N: usize> {
    rank: usize,
    /// The last axis first.
    sizes: [usize; MAX_RANK],
    strides: [[usize; N]; MAX_RANK],
}

/// Elements that follow one another in the result, and lie at equal steps in each operand.
#[derive(Debug, Clone, Copy)]
pub struct Run<const N: usize> {
    /// The first element in the result.
    pub start: usize,
    /// How many.
    pub len: usize,
    /// The first element in each operand.
    pub offsets: [usize; N],
    /// From an element to the next in each operand; 0 where one serves for all.
    pub steps: [usize; N],
}

impl<const N: usize> Broadcast<N> {
    /// Operands of these row-major shapes over the shape `out`.
    pub fn new(shapes: [&[usize]; N], out: &[usize]) -> Result<Self> {
        let misfit =
            || KernelError::Shape(format!("shapes {shapes:?} do not broadcast to {out:?}"));
        let mut strides = [[0; MAX_RANK]; N];
        for (strides, shape) in strides.iter_mut().zip(shapes) {
            if shape.len() > out.len() || out.len() > MAX_RANK {
                return Err(misfit());
            }
            let mut step = 1_usize;
            for (axis, &own) in shape.iter().enumerate().rev() {
                let place = axis + out.len() - shape.len();
                if own != 1 && own != out[place] {
                    return Err(misfit());
                }
                strides[place] = if own == 1 { 0 } else { step };
                step = step.checked_mul(own).ok_or_else(misfit)?;
            }
        }
        Self::with_strides(out, std::array::from_fn(|operand| &strides[operand][..out.len()]))
    }

    /// Operands with these strides, in elements, along the axes of the shape `out`.
    pub fn with_strides(out: &[usize], strides: [&[usize]; N]) -> Result<Self> {
        if out.len() > MAX_RANK || strides.iter().any(|strides| strides.len() != out.len()) {
            return Err(KernelError::Shape(format!(
                "strides {strides:?} of shape {out:?}: each axis has one, and there are at most \
                 {MAX_RANK}"
            )));
        }
        let mut whole = Self { rank: 0, sizes: [1; MAX_RANK], strides: [[0; N]; MAX_RANK] };
        for axis in (0..out.len()).rev() {
            whole.push(out[axis], std::array::from_fn(|operand| strides[operand][axis]));
        }
        Ok(whole)
    }

    /// The place of the last element of an operand; None if there are no elements, or it is beyond
    /// all addresses.
    fn last(&self, operand: usize) -> Option<usize> {
        (0..self.rank).try_fold(0_usize, |last, axis| {
            let steps = self.sizes[axis].checked_sub(1)?;
            last.checked_add(steps.checked_mul(self.strides[axis][operand])?)
        })
    }

    /// Whether an operand is laid out as the row-major result.
    pub(super) fn is_whole(&self, operand: usize) -> bool {
        let mut step = 1;
        (0..self.rank).all(|axis| {
            let same = self.strides[axis][operand] == step;
            step *= self.sizes[axis];
            same
        })
    }

    /// Refuses an operand of `len` elements that has not all those that are read.
    pub(super) fn check(&self, operand: usize, name: &str, len: usize) -> Result<()> {
        let empty = self.sizes[..self.rank].contains(&0);
        if empty || self.last(operand).is_some_and(|last| last < len) {
            return Ok(());
        }
        Err(KernelError::Shape(format!("{name} has {len} elements, too few for its shape")))
    }

    /// Adds an axis outside of those that are there, or lengthens the last.
    fn push(&mut self, size: usize, strides: [usize; N]) {
        if size == 1 {
            return;
        }
        if self.rank > 0 {
            let last = self.rank - 1;
            let (length, inner) = (self.sizes[last], self.strides[last]);
            if (0..N).all(|operand| strides[operand] == inner[operand] * length) {
                self.sizes[last] = length * size;
                return;
            }
        }
        self.sizes[self.rank] = size;
        self.strides[self.rank] = strides;
        self.rank += 1;
    }

    /// Calls `visit` for the runs of the elements from `start` on, `count` of them.
    pub fn runs(&self, start: usize, count: usize, mut visit: impl FnMut(Run<N>)) {
        if count == 0 {
            return;
        }
        let (inner, steps) = (self.sizes[0], self.strides[0]);
        let mut row = start / inner;
        let mut column = start % inner;
        let mut at = start;
        let end = start + count;
        while at < end {
            let len = (inner - column).min(end - at);
            let mut offsets = [0; N];
            let mut rest = row;
            for axis in 1..self.rank {
                let index = rest % self.sizes[axis];
                rest /= self.sizes[axis];
                for (offset, stride) in offsets.iter_mut().zip(self.strides[axis]) {
                    *offset += index * stride;
                }
            }
            for (offset, step) in offsets.iter_mut().zip(steps) {
                *offset += column * step;
            }
            visit(Run { start: at, len, offsets, steps });
            at += len;
            row += 1;
            column = 0;
        }
    }
}

/// A row-major tensor of the shape: its data, and how many elements it must have.
pub(super) fn check_operand(name: &str, found: usize, shape: &[usize]) -> Result<()> {
    let wanted = shape.iter().try_fold(1_usize, |size, &axis| size.checked_mul(axis));
    if wanted == Some(found) {
        return Ok(());
    }
    Err(KernelError::Shape(format!("{name} has {found} elements, which is not shape {shape:?}")))
}

/// `out = f(a, b)` for elements of any types, broadcast.
pub fn map_pairs<A: Copy + Sync, B: Copy + Sync, R: Send>(
    a: (&[A], &[usize]),
    b: (&[B], &[usize]),
    out: (&mut [R], &[usize]),
    f: impl Fn(A, B) -> R + Sync + Send,
) -> Result<()> {
    check_operand("a", a.0.len(), a.1)?;
    check_operand("b", b.0.len(), b.1)?;
    check_operand("out", out.0.len(), out.1)?;
    let walk = Broadcast::new([a.1, b.1], out.1)?;
    let (out, len) = (out.0, a.0.len().max(b.0.len()));
    let tasks = threads::tasks_for(len, 1, GRAIN);
    let chunk = threads::share(out.len(), tasks, 1);
    threads::for_each_chunk(out, chunk, |start, out| {
        walk.runs(start, out.len(), |run| {
            let [x, y] = run.offsets;
            let part = &mut out[run.start - start..][..run.len];
            // Slices, where there is an element for each: the compiler makes vectors of these loops.
            match run.steps {
                [0, 1] => {
                    let a = a.0[x];
                    part.iter_mut().zip(&b.0[y..]).for_each(|(out, &b)| *out = f(a, b));
                }
                [1, 0] => {
                    let b = b.0[y];
                    part.iter_mut().zip(&a.0[x..]).for_each(|(out, &a)| *out = f(a, b));
                }
                [0, 0] => part.fill_with(|| f(a.0[x], b.0[y])),
                _ => {
                    let pairs = a.0[x..].iter().zip(&b.0[y..]);
                    part.iter_mut().zip(pairs).for_each(|(out, (&a, &b))| *out = f(a, b));
                }
            }
        });
    });
    Ok(())
}

/// `out = f(a, b, c)` for elements of any types, broadcast.
pub fn map_triples<A: Copy + Sync, B: Copy + Sync, C: Copy + Sync, R: Send>(
    a: (&[A], &[usize]),
    b: (&[B], &[usize]),
    c: (&[C], &[usize]),
    out: (&mut [R], &[usize]),
    f: impl Fn(A, B, C) -> R + Sync + Send,
) -> Result<()> {
    check_operand("a", a.0.len(), a.1)?;
    check_operand("b", b.0.len(), b.1)?;
    check_operand("c", c.0.len(), c.1)?;
    check_operand("out", out.0.len(), out.1)?;
    let walk = Broadcast::new([a.1, b.1, c.1], out.1)?;
    let out = out.0;
    let tasks = threads::tasks_for(out.len(), 1, GRAIN);
    let chunk = threads::share(out.len(), tasks, 1);
    threads::for_each_chunk(out, chunk, |start, out| {
        walk.runs(start, out.len(), |run| {
            let ([x, y, z], [dx, dy, dz]) = (run.offsets, run.steps);
            for (index, out) in out[run.start - start..][..run.len].iter_mut().enumerate() {
                *out = f(a.0[x + index * dx], b.0[y + index * dy], c.0[z + index * dz]);
            }
        });
    });
    Ok(())
}
