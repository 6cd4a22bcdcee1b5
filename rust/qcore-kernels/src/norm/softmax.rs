//! Softmax.

use crate::error::{KernelError, Result};
use crate::isa::{self, Isa};
use crate::math::{MAX_LANES, exp_nonpositive};
use crate::reduce::{Largest, Plain, Sum, reduce_row};
use crate::simd::{Simd, SimdOp, dispatch};
use crate::threads;

/// Elements below which a thread of its own costs more than it saves.
const GRAIN: usize = 1 << 15;

/// [`softmax_with`] on the instruction set in force.
pub fn softmax(x: &mut [f32], n: usize) -> Result<()> {
    softmax_with(isa::active()?, x, n)
}

/// Replaces each row of `n` by its softmax.
pub fn softmax_with(isa: Isa, x: &mut [f32], n: usize) -> Result<()> {
    if x.is_empty() {
        return Ok(());
    }
    if n == 0 || !x.len().is_multiple_of(n) {
        return Err(KernelError::Shape(format!("{} values are not rows of {n}", x.len())));
    }
    let rows = x.len() / n;
    let tasks = threads::tasks_for(rows, n, GRAIN);
    threads::for_each_chunk(x, threads::share(rows, tasks, n) * n, |_, part| {
        for row in part.chunks_exact_mut(n) {
            softmax_row(isa, row);
        }
    });
    Ok(())
}

/// Replaces a row by its softmax, on the calling thread.
pub(crate) fn softmax_row(isa: Isa, row: &mut [f32]) {
    dispatch(isa, Softmax { row });
}

struct Softmax<'a> {
    row: &'a mut [f32],
}

impl SimdOp for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let row = self.row;
        let largest = reduce_row(s, row, Plain, Largest);
        if largest == f32::INFINITY && !row.iter().any(|value| value.is_nan()) {
            // The limit: infinities share the whole, where a difference of them is not a number.
            let count = row.iter().filter(|value| **value == largest).count() as f32;
            for value in row {
                *value = if *value == largest { 1.0 / count } else { 0.0 };
            }
            return;
        }
        let largest = s.splat_f32(largest);
        let body = row.len() / S::LANES * S::LANES;
        for at in (0..body).step_by(S::LANES) {
            let part = &mut row[at..at + S::LANES];
            // SAFETY: the part has LANES elements.
            unsafe {
                let x = s.load_f32(part.as_ptr());
                s.store_f32(part.as_mut_ptr(), exp_nonpositive(s, s.sub(x, largest)));
            }
        }
        let mut room = [0.0_f32; MAX_LANES];
        let rest = row.len() - body;
        room[..rest].copy_from_slice(&row[body..]);
        // SAFETY: the room has MAX_LANES elements.
        unsafe {
            let x = s.load_f32(room.as_ptr());
            s.store_f32(room.as_mut_ptr(), exp_nonpositive(s, s.sub(x, largest)));
        }
        row[body..].copy_from_slice(&room[..rest]);
        let total = reduce_row(s, row, Plain, Sum);
        for value in row {
            *value /= total;
        }
    }
}
