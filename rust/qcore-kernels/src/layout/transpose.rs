//! Axes exchanged.

use crate::elementwise::MAX_RANK;
use crate::error::{KernelError, Result};
use crate::simd;
use crate::threads;

/// Elements below which a thread of its own costs more than it saves.
const GRAIN: usize = 1 << 16;
/// Elements of a slab from which on it is split.
const LARGE: usize = 1 << 22;
/// Rows and columns that are exchanged at once: as many cache lines of each stay in the first cache.
const BLOCK: usize = 16;

/// Copies a row-major tensor with its axes in another order: axis `i` of `out` is axis `order[i]` of
/// `x`.
pub fn transpose<T: Copy + Send + Sync>(
    x: &[T],
    shape: &[usize],
    order: &[usize],
    out: &mut [T],
) -> Result<()> {
    let walk = Walk::new(shape, order)?;
    let size = shape.iter().try_fold(1_usize, |size, &axis| size.checked_mul(axis));
    if size != Some(x.len()) || out.len() != x.len() {
        return Err(KernelError::Shape(format!(
            "x has {} elements and out {}; shape {shape:?} has another number",
            x.len(),
            out.len()
        )));
    }
    if x.is_empty() {
        return Ok(());
    }
    // A slab is what lies within all axes but the last two of the result.
    let slab = walk.rows * walk.columns;
    let slabs = x.len() / slab;
    let tasks = threads::tasks_for(x.len(), 1, GRAIN);
    if slabs >= tasks && slab <= LARGE {
        threads::for_each_chunk(out, threads::share(slabs, tasks, slab) * slab, |start, out| {
            for (index, out) in out.chunks_exact_mut(slab).enumerate() {
                walk.slab(x, start / slab + index, 0, out);
            }
        });
        return Ok(());
    }
    for (index, out) in out.chunks_exact_mut(slab).enumerate() {
        let rows = threads::share(walk.rows, tasks, walk.columns).next_multiple_of(BLOCK);
        threads::for_each_chunk(out, rows * walk.columns, |start, out| {
            walk.slab(x, index, start / walk.columns, out);
        });
    }
    Ok(())
}

/// The axes of the result, those joined that stay side by side, the last two apart from the others.
struct Walk {
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
    rank: usize,
    /// The other axes, the last first.
    sizes: [usize; MAX_RANK],
    strides: [usize; MAX_RANK],
}

impl Walk {
    fn new(shape: &[usize], order: &[usize]) -> Result<Self> {
        let rank = shape.len();
        let whole = order.len() == rank && (0..rank).all(|axis| order.contains(&axis));
        if !whole || rank > MAX_RANK {
            return Err(KernelError::Value(format!(
                "order is {order:?}; it must hold each axis of shape {shape:?} once, at most \
                 {MAX_RANK}"
            )));
        }
        let mut strides = [1_usize; MAX_RANK];
        for axis in (1..rank).rev() {
            strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
        }
        // From the last axis of the result on: (size, stride in x).
        let mut axes = [(1, 0); MAX_RANK];
        let mut count = 0;
        for &axis in order.iter().rev() {
            let (size, stride) = (shape[axis], strides[axis]);
            if size == 1 {
                continue;
            }
            if count > 0 && stride == axes[count - 1].0 * axes[count - 1].1 {
                axes[count - 1].0 *= size;
            } else {
                axes[count] = (size, stride);
                count += 1;
            }
        }
        let (columns, column_stride) = axes[0];
        let (rows, row_stride) = axes[1];
        let mut walk = Self {
            rows,
            columns,
            row_stride,
            column_stride,
            rank: count.saturating_sub(2),
            sizes: [1; MAX_RANK],
            strides: [0; MAX_RANK],
        };
        for (index, &(size, stride)) in axes[..count].iter().skip(2).enumerate() {
            (walk.sizes[index], walk.strides[index]) = (size, stride);
        }
        Ok(walk)
    }

    /// Fills rows of a slab, from `first` on.
    fn slab<T: Copy>(&self, x: &[T], index: usize, first: usize, out: &mut [T]) {
        let (mut rest, mut base) = (index, 0);
        for axis in 0..self.rank {
            base += rest % self.sizes[axis] * self.strides[axis];
            rest /= self.sizes[axis];
        }
        let x = &x[base + first * self.row_stride..];
        let (rows, columns) = (out.len() / self.columns, self.columns);
        if self.column_stride <= 1 {
            for (row, out) in out.chunks_exact_mut(columns).enumerate() {
                out.copy_from_slice(&x[row * self.row_stride..][..columns]);
            }
            return;
        }
        if self.row_stride == 1 && size_of::<T>() <= 4 {
            for left in (0..columns).step_by(BLOCK) {
                let wide = BLOCK.min(columns - left);
                let from = &x[left * self.column_stride..];
                assert!(from.len() >= (wide - 1) * self.column_stride + rows);
                // SAFETY: `wide` rows of `rows` elements lie in x, as was just checked, and `out` has
                // `rows` rows of `columns` elements, all of them its own.
                unsafe {
                    let to = out.as_mut_ptr().add(left);
                    simd::transpose(from.as_ptr(), self.column_stride, to, columns, wide, rows);
                }
            }
            return;
        }
        for top in (0..rows).step_by(BLOCK) {
            let bottom = (top + BLOCK).min(rows);
            for left in (0..columns).step_by(BLOCK) {
                let right = (left + BLOCK).min(columns);
                for row in top..bottom {
                    let out = &mut out[row * columns + left..row * columns + right];
                    for (column, out) in (left..right).zip(out) {
                        *out = x[row * self.row_stride + column * self.column_stride];
                    }
                }
            }
        }
    }
}
