//! Bias and activation on float sums.

use super::activation::Activation;
use super::lanes::{ByColumn, MAX_LANES, check_length, load_few};
use crate::error::{KernelError, Result};
use crate::interrupt::Pace;
use crate::isa::{self, Isa};
use crate::simd::{Simd, SimdOp, dispatch};

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
    let mut pace = Pace::new();
    for row in x.chunks_exact_mut(n) {
        pace.check(n)?;
        if !plain {
            dispatch(isa, Finish { row, bias, activation });
        }
        activation.finish_row(isa, row);
    }
    Ok(())
}

struct Finish<'a> {
    row: &'a mut [f32],
    bias: &'a [f32],
    activation: Activation,
}

impl SimdOp for Finish<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let Finish { row, bias, activation } = self;
        let bias = ByColumn::new(s, bias, 0, -0.0);
        let clamp = activation.clamp(s);
        let body = row.len() / S::LANES * S::LANES;
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
