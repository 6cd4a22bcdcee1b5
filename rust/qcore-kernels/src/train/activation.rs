//! The activation's derivative on the way back; on the way forward it is [`crate::epilogue`]'s.

use super::same_length;
use crate::error::Result;
use crate::isa::{self, Isa};
use crate::simd::{Simd, SimdOp, dispatch};

/// The activations that training knows by their output: each derivative is a function of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Derivative {
    /// `max(x, 0)`.
    Relu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `tanh(x)`.
    Tanh,
    /// `x`.
    Linear,
}

/// [`multiply_derivative_with`] on the instruction set in force.
pub fn multiply_derivative(
    delta: &mut [f32],
    output: &[f32],
    inside: Option<&[f32]>,
    kind: Derivative,
) -> Result<()> {
    multiply_derivative_with(isa::active()?, delta, output, inside, kind)
}

/// `delta *= derivative`, given the activation's output, and `*= inside` where it is given: the mask
/// of the straight-through gradient.
pub fn multiply_derivative_with(
    isa: Isa,
    delta: &mut [f32],
    output: &[f32],
    inside: Option<&[f32]>,
    kind: Derivative,
) -> Result<()> {
    let len = delta.len();
    same_length(len, &[("output", output.len())])?;
    same_length(len, &[("inside", inside.map_or(len, <[f32]>::len))])?;
    dispatch(isa, MultiplyDerivative { delta, output, inside, kind });
    Ok(())
}

struct MultiplyDerivative<'a> {
    delta: &'a mut [f32],
    output: &'a [f32],
    inside: Option<&'a [f32]>,
    kind: Derivative,
}

impl SimdOp for MultiplyDerivative<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, _simd: S) {
        let pairs = self.delta.iter_mut().zip(self.output);
        match self.kind {
            Derivative::Relu => pairs.for_each(|(d, &y)| *d = if y > 0.0 { *d } else { 0.0 }),
            Derivative::Sigmoid => pairs.for_each(|(d, &y)| *d *= y * (1.0 - y)),
            Derivative::Tanh => pairs.for_each(|(d, &y)| *d *= 1.0 - y * y),
            Derivative::Linear => {}
        }
        if let Some(inside) = self.inside {
            for (delta, inside) in self.delta.iter_mut().zip(inside) {
                *delta *= inside;
            }
        }
    }
}
