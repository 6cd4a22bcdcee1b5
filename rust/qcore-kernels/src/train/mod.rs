//! The elementwise steps of training, fused: optimizers, activations and the softmax loss.
//!
//! Products stay with the caller's BLAS. The bodies are plain loops, which the compiler vectorizes
//! for the instruction set that [`crate::simd::dispatch`] compiles them for.

mod activation;
mod loss;
mod optimizer;

pub use activation::{Derivative, multiply_derivative, multiply_derivative_with};
pub use loss::softmax_loss;
pub use optimizer::{Adam, Sgd, adam_step, adam_step_with, sgd_step, sgd_step_with};

use crate::error::{KernelError, Result};

/// Refuses slices of different lengths.
fn same_length(wanted: usize, found: &[(&str, usize)]) -> Result<()> {
    match found.iter().find(|(_, len)| *len != wanted) {
        None => Ok(()),
        Some((name, len)) => {
            Err(KernelError::Shape(format!("{name} has {len} elements; it must have {wanted}")))
        }
    }
}
