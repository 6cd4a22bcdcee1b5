//! Bias and activation on float sums.

use super::activation::Activation;
use super::lanes::{ByColumn, MAX_LANES, check_length, load_few};
use crate::elementwise::map_row;
use crate::error::{KernelError, Result};
use crate::interrupt::Pace;
use crate::isa::{self, Isa};
use crate::norm::softmax_row;
use crate::simd::{Simd, SimdOp, dispatch};

/// Elements of rows that are finished at once.
const BLOCK: usize = 1 << 12;

/// [`finish_rows_with`] on the instruction set in force.
pub fn finish_rows(x: &mut [f32], n: usize, bias: &[f32], activation: Activation) -> Result<()> {
    finish_rows_with(isa::active()?, x, n, bias, activation)
}

/// `x = activation(x + bias)` in place, on rows of `n`; `bias` has 0 (none), 1 or `n` elements.
pub fn finish_rows_with(
    isa: Isa,
    x: &mut [f32],
    n: usize,
    bias: &[f32],
    activation: Activation,
) -> Result<()> {
    if x.is_empty() {
        return Ok(());
    }
    if n == 0 || !x.len().is_multiple_of(n) {
        return Err(KernelError::Shape(format!("{} values are not rows of {n}", x.len())));
    }
    if !bias.is_empty() {
        check_length("bias", bias.len(), n)?;
    }
    let plain =
        bias.is_empty() && (activation == Activation::Linear || activation.bounds().is_none());
    // Rows that stay in the first cache from one step to the next.
    let together = (BLOCK / n).max(1).saturating_mul(n);
    let mut pace = Pace::new();
    for x in x.chunks_mut(together) {
        pace.check(x.len())?;
        if !plain {
            dispatch(isa, Finish { x, n, bias, activation });
        }
        if let Some(function) = activation.rest() {
            map_row(isa, function, x);
        } else if activation.is_of_rows() {
            x.chunks_exact_mut(n).for_each(|row| softmax_row(isa, row));
        }
    }
    Ok(())
}

/// Bias and clamp of rows of `n`.
struct Finish<'a> {
    x: &'a mut [f32],
    n: usize,
    bias: &'a [f32],
    activation: Activation,
}

impl SimdOp for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let Finish { x, n, bias, activation } = self;
        let bias = ByColumn::new(s, bias, 0, -0.0);
        let clamp = activation.clamp(s);
        let body = n / S::LANES * S::LANES;
        for row in x.chunks_exact_mut(n) {
            for at in (0..body).step_by(S::LANES) {
                let part = &mut row[at..at + S::LANES];
                // SAFETY: the part has LANES elements.
                unsafe {
                    let y = clamp.apply(s, s.add(s.load_f32(part.as_ptr()), bias.at(at)));
                    s.store_f32(part.as_mut_ptr(), y);
                }
            }
            let rest = &mut row[body..];
            if !rest.is_empty() {
                let x = s.add(load_few(s, rest), bias.few(body, rest.len()));
                let mut room = [0.0; MAX_LANES];
                // SAFETY: the room has MAX_LANES elements.
                unsafe { s.store_f32(room.as_mut_ptr(), clamp.apply(s, x)) };
                rest.copy_from_slice(&room[..rest.len()]);
            }
        }
    }
}
