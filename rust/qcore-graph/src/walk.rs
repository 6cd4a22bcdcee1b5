//! Elementwise loops over operands that are broadcast to one shape.

use qcore_kernels::interrupt::Pace;

use crate::error::{Result, value_error};
use crate::memory::AT_ONCE;
use crate::shape::MAX_RANK;

/// How elements of a contiguous output and of `N` strided operands meet: rows of the last dim, each
/// operand with a step along it.
#[derive(Debug, Clone)]
pub(crate) struct Walk<const N: usize> {
    dims: Vec<usize>,
    strides: Vec<[usize; N]>,
    count: usize,
}

impl<const N: usize> Walk<N> {
    /// Operands with these strides along the dims of the output; neighbouring dims that can be walked
    /// as one are.
    pub(crate) fn new(dims: &[usize], operands: [&[usize]; N]) -> Result<Self> {
        let mut out = Self { dims: Vec::new(), strides: Vec::new(), count: dims.iter().product() };
        for (axis, &dim) in dims.iter().enumerate() {
            if dim == 1 {
                continue;
            }
            let here: [usize; N] = operands.map(|strides| strides[axis]);
            if let (Some(last), Some(before)) = (out.dims.last_mut(), out.strides.last_mut())
                && before.iter().zip(&here).all(|(&b, &h)| b == h.saturating_mul(dim))
            {
                *last *= dim;
                *before = here;
            } else {
                out.dims.push(dim);
                out.strides.push(here);
            }
        }
        if out.dims.len() > MAX_RANK {
            let found = out.dims.len();
            return Err(value_error!("{found} dims have to be walked; at most {MAX_RANK} can be"));
        }
        if out.dims.is_empty() {
            out.dims.push(1);
            out.strides.push([0; N]);
        }
        Ok(out)
    }

    /// How many elements the output has.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Calls `row(start of the row in the output, its length, starts of the operands, their steps)`;
    /// long rows come in parts. It leaves out what is left once it is to stop.
    pub(crate) fn for_rows(&self, mut row: impl FnMut(usize, usize, [usize; N], [usize; N])) {
        if self.count == 0 {
            return;
        }
        let last = self.dims.len() - 1;
        let (n, steps) = (self.dims[last], self.strides[last]);
        let mut index = [0_usize; MAX_RANK];
        let mut at = [0_usize; N];
        let mut pace = Pace::new();
        for start in (0..self.count).step_by(n) {
            for first in (0..n).step_by(AT_ONCE) {
                let part = AT_ONCE.min(n - first);
                if pace.stops(part) {
                    return;
                }
                let at = std::array::from_fn(|operand| at[operand] + first * steps[operand]);
                row(start + first, part, at, steps);
            }
            for axis in (0..last).rev() {
                index[axis] += 1;
                for (at, stride) in at.iter_mut().zip(self.strides[axis]) {
                    *at += stride;
                }
                if index[axis] < self.dims[axis] {
                    break;
                }
                for (at, stride) in at.iter_mut().zip(self.strides[axis]) {
                    *at -= stride * self.dims[axis];
                }
                index[axis] = 0;
            }
        }
    }
}
