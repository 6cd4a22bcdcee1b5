//! One step of an optimizer over all parameters at once.

use super::same_length;
use crate::error::Result;
use crate::isa::{self, Isa};
use crate::simd::{Simd, SimdOp, dispatch};

/// Adam's settings. Kingma and Ba, *Adam: A Method for Stochastic Optimization*, ICLR 2015.
#[derive(Debug, Clone, Copy)]
pub struct Adam {
    /// Step size.
    pub learning_rate: f32,
    /// Decay of the mean of gradients.
    pub beta1: f32,
    /// Decay of the mean of squared gradients.
    pub beta2: f32,
    /// Keeps the divisor above 0.
    pub epsilon: f32,
}

/// [`adam_step_with`] on the instruction set in force.
pub fn adam_step(
    adam: Adam,
    step: i32,
    params: &mut [f32],
    grads: &[f32],
    mean: &mut [f32],
    square: &mut [f32],
    mask: Option<&[f32]>,
) -> Result<()> {
    adam_step_with(isa::active()?, adam, step, params, grads, mean, square, mask)
}

/// Step number `step`, from 1 on; a parameter whose `mask` is 0 becomes and stays 0.
pub fn adam_step_with(
    isa: Isa,
    adam: Adam,
    step: i32,
    params: &mut [f32],
    grads: &[f32],
    mean: &mut [f32],
    square: &mut [f32],
    mask: Option<&[f32]>,
) -> Result<()> {
    let len = params.len();
    let lengths = [("grads", grads.len()), ("mean", mean.len()), ("square", square.len())];
    same_length(len, &lengths)?;
    same_length(len, &[("mask", mask.map_or(len, <[f32]>::len))])?;
    dispatch(isa, AdamStep { adam, step, params, grads, mean, square, mask });
    Ok(())
}

struct AdamStep<'a> {
    adam: Adam,
    step: i32,
    params: &'a mut [f32],
    grads: &'a [f32],
    mean: &'a mut [f32],
    square: &'a mut [f32],
    mask: Option<&'a [f32]>,
}

impl SimdOp for AdamStep<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, _simd: S) {
        let Adam { learning_rate, beta1, beta2, epsilon } = self.adam;
        // Both bias corrections, taken out of the loop.
        let correction1 = 1.0 - (beta1 as f64).powi(self.step);
        let correction2 = 1.0 - (beta2 as f64).powi(self.step);
        let rate = (learning_rate as f64 / correction1) as f32;
        let root = (1.0 / correction2.sqrt()) as f32;
        let len = self.params.len();
        let (params, grads) = (&mut self.params[..len], &self.grads[..len]);
        let (mean, square) = (&mut self.mean[..len], &mut self.square[..len]);
        for i in 0..len {
            let grad = grads[i];
            mean[i] = beta1 * mean[i] + (1.0 - beta1) * grad;
            square[i] = beta2 * square[i] + (1.0 - beta2) * grad * grad;
            params[i] -= rate * mean[i] / (square[i].sqrt() * root + epsilon);
        }
        if let Some(mask) = self.mask {
            for (param, mask) in params.iter_mut().zip(mask) {
                // A negative parameter times 0 is −0, which a file would store: adding 0 makes it 0.
                *param = *param * mask + 0.0;
            }
        }
    }
}

/// Settings of stochastic gradient descent with momentum.
#[derive(Debug, Clone, Copy)]
pub struct Sgd {
    /// Step size.
    pub learning_rate: f32,
    /// Share of the last step that is taken again.
    pub momentum: f32,
}

/// [`sgd_step_with`] on the instruction set in force.
pub fn sgd_step(
    sgd: Sgd,
    params: &mut [f32],
    grads: &[f32],
    velocity: &mut [f32],
    mask: Option<&[f32]>,
) -> Result<()> {
    sgd_step_with(isa::active()?, sgd, params, grads, velocity, mask)
}

/// A step of gradient descent; masks as in [`adam_step_with`].
pub fn sgd_step_with(
    isa: Isa,
    sgd: Sgd,
    params: &mut [f32],
    grads: &[f32],
    velocity: &mut [f32],
    mask: Option<&[f32]>,
) -> Result<()> {
    let len = params.len();
    same_length(len, &[("grads", grads.len()), ("velocity", velocity.len())])?;
    same_length(len, &[("mask", mask.map_or(len, <[f32]>::len))])?;
    dispatch(isa, SgdStep { sgd, params, grads, velocity, mask });
    Ok(())
}

struct SgdStep<'a> {
    sgd: Sgd,
    params: &'a mut [f32],
    grads: &'a [f32],
    velocity: &'a mut [f32],
    mask: Option<&'a [f32]>,
}

impl SimdOp for SgdStep<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, _simd: S) {
        let Sgd { learning_rate, momentum } = self.sgd;
        for ((param, grad), velocity) in
            self.params.iter_mut().zip(self.grads).zip(self.velocity.iter_mut())
        {
            *velocity = momentum * *velocity - learning_rate * grad;
            *param += *velocity;
        }
        if let Some(mask) = self.mask {
            for (param, mask) in self.params.iter_mut().zip(mask) {
                // A negative parameter times 0 is −0, which a file would store: adding 0 makes it 0.
                *param = *param * mask + 0.0;
            }
        }
    }
}
