//! Layers lowered to what runs: each stage reads one kind of value and writes one.

use qcore_kernels::epilogue::Activation;
use qcore_kernels::{KernelError, Result};

use super::layer::{Input, Layer};
use crate::operand::{Affine, requantized};

/// What a layer becomes once it is known what comes before and after it.
pub(crate) enum Stage {
    /// Floats to codes.
    Quantize(Affine),
    /// Codes in, codes of the next layer out: no float on the way.
    Requantize { layer: usize, input: Affine, output: Affine, bias: Vec<i32>, multiplier: Vec<f32> },
    /// Codes in, floats out. `scale` is the input's times the weights'.
    ToFloat { layer: usize, input: Affine, scale: Vec<f32> },
    /// Floats in, quantized row by row, floats out.
    Dynamic { layer: usize },
    /// Floats in, floats out.
    Float { layer: usize },
}

impl Stage {
    /// The layer that it runs; a stage that only quantizes belongs to the first.
    pub(crate) fn layer(&self) -> usize {
        match self {
            Stage::Quantize(_) => 0,
            Stage::Requantize { layer, .. }
            | Stage::ToFloat { layer, .. }
            | Stage::Dynamic { layer }
            | Stage::Float { layer } => *layer,
        }
    }
}

/// Lowers layers to stages.
pub(crate) fn lower(layers: &[Layer]) -> Result<Vec<Stage>> {
    let mut stages = Vec::new();
    let mut codes = false;
    for (index, layer) in layers.iter().enumerate() {
        let next = layers.get(index + 1).map(|next| next.input);
        let weight_scale = layer.weights.scale();
        match (layer.input, layer.weights.is_integer()) {
            (Input::Static(input), true) if !weight_scale.is_empty() => {
                if !codes {
                    stages.push(Stage::Quantize(input));
                }
                let requantized = match next {
                    Some(Input::Static(output)) => requantize(layer, input, output, weight_scale),
                    _ => None,
                };
                codes = requantized.is_some();
                stages.push(match requantized {
                    Some((output, bias, multiplier)) => {
                        Stage::Requantize { layer: index, input, output, bias, multiplier }
                    }
                    None => Stage::ToFloat {
                        layer: index,
                        input,
                        scale: weight_scale.iter().map(|s| input.scale * s).collect(),
                    },
                });
            }
            (Input::Dynamic, true) => stages.push(Stage::Dynamic { layer: index }),
            (Input::Float, false) => stages.push(Stage::Float { layer: index }),
            (Input::Static(_) | Input::Float, true) | (_, false) => {
                let found = layer.weights.kind();
                return Err(KernelError::Value(format!(
                    "layer {index} has {found} weights and takes its input as {:?}",
                    layer.input
                )));
            }
        }
    }
    Ok(stages)
}

/// What it takes to go from codes to codes, where the activation is a clamp and the numbers fit.
fn requantize(
    layer: &Layer,
    input: Affine,
    output: Affine,
    weight_scale: &[f32],
) -> Option<(Affine, Vec<i32>, Vec<f32>)> {
    if !matches!(layer.activation, Activation::RELU | Activation::Linear) {
        return None;
    }
    let inputs = layer.weights.inputs();
    let (bias, multiplier) = requantized(inputs, &layer.bias, weight_scale, input, output)?;
    Some((output, bias, multiplier))
}
