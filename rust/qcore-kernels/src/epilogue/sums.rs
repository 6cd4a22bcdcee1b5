//! What a float product or convolution does to its sums.

use super::activation::Activation;
use super::lanes::check_length;
use crate::error::{KernelError, Result};

/// `activation(sum + bias + residual)`, in this order.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// Empty, 1 element, or one for each column.
    pub bias: &'a [f32],
    /// Empty, or an element for each of the result, row-major.
    pub residual: &'a [f32],
    /// The activation.
    pub activation: Activation,
}

impl Epilogue<'_> {
    /// Checks the lengths against a result of (m, n).
    pub(crate) fn check(&self, m: usize, n: usize) -> Result<()> {
        if !self.bias.is_empty() {
            check_length("bias", self.bias.len(), n)?;
        }
        if !self.residual.is_empty() && Some(self.residual.len()) != m.checked_mul(n) {
            let found = self.residual.len();
            return Err(KernelError::Shape(format!(
                "residual has {found} elements, not {m} * {n}"
            )));
        }
        Ok(())
    }
}
