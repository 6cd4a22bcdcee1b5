//! Bias and activation on float sums.

use super::activation::{Activation, softmax_row};
use super::lanes::{ByColumn, MAX_LANES, check_length, load};
use crate::error::{KernelError, Result};
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
    let plain = bias.is_empty() && matches!(activation, Activation::Linear | Activation::Softmax);
    for row in x.chunks_exact_mut(n) {
        if !plain {
            dispatch(isa, Finish { row, bias, activation });
        }
        if activation == Activation::Softmax {
            softmax_row(isa, row);
        }
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
        let bias = ByColumn::new(self.bias, 0, -0.0);
        for (index, row) in self.row.chunks_mut(S::LANES).enumerate() {
            let (mut room, mut bias_room) = ([0.0; MAX_LANES], [0.0; MAX_LANES]);
            let at = index * S::LANES;
            let mut result = [0.0; MAX_LANES];
            // SAFETY: each pointer is valid for LANES floats.
            unsafe {
                let x = s.load_f32(load(row, S::LANES, &mut room));
                let bias = s.load_f32(bias.at(at, row.len(), S::LANES, &mut bias_room));
                let y = self.activation.apply(s, s.add(x, bias));
                s.store_f32(result.as_mut_ptr(), y);
            }
            row.copy_from_slice(&result[..row.len()]);
        }
    }
}
