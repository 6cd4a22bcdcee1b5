//! What a chain is made of.

use std::sync::Arc;

use qcore_kernels::epilogue::Activation;
use qcore_kernels::{KernelError, Result};

use crate::operand::{Affine, Operand};

/// In what form a layer takes its input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Input {
    /// Floats, as they are.
    Float,
    /// Codes with parameters that were fixed when the network was calibrated.
    Static(Affine),
    /// Floats that become int8 codes row by row, with a scale of each row's own.
    Dynamic,
}

/// `activation(input · weightsᵀ + bias)`.
pub struct Layer {
    /// The form of its input.
    pub input: Input,
    /// Its weights.
    pub weights: Arc<dyn Operand>,
    /// One value for every output.
    pub bias: Vec<f32>,
    /// What follows the sum.
    pub activation: Activation,
}

impl Layer {
    /// Checks that the parts fit each other.
    pub(crate) fn check(&self, index: usize) -> Result<()> {
        let outputs = self.weights.outputs();
        for (name, len) in [("bias", self.bias.len()), ("scale", self.weights.scale().len())] {
            if len != outputs && !(name == "scale" && len == 0) {
                return Err(KernelError::Shape(format!(
                    "layer {index}: {name} has {len} elements for {outputs} outputs"
                )));
            }
        }
        if let Input::Static(affine) = self.input
            && !(affine.scale.is_normal() && affine.scale > 0.0)
        {
            let found = affine.scale;
            return Err(KernelError::Value(format!("layer {index}: input scale is {found}")));
        }
        Ok(())
    }
}
