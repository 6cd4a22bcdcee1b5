//! Running a network: block by block of rows, stage by stage.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::layer::{Affine, Layer};
use super::linear::{dynamic, for_row_blocks};
use super::stage::{Stage, lower};
use crate::epilogue::{Activation, FloatOutput, Requantize};
use crate::error::{KernelError, Result};
use crate::isa::{self, Isa};
use crate::quant::{self, Layout, Params};
use crate::threads;
use crate::view::as_signed_mut;

/// Bytes of a block's widest value: what flows between layers stays in the second cache.
const BLOCK_BYTES: usize = 1 << 18;

/// Multiplications below which a thread of its own costs more than it saves.
const GRAIN: usize = 1 << 22;

/// A network in the form that runs.
pub struct Program {
    layers: Vec<Layer>,
    stages: Vec<Stage>,
    /// Buffers of calls that have ended.
    spare: Mutex<Vec<Buffers>>,
}

/// What flows between stages. Codes are kept as bytes, whatever their sign.
#[derive(Default)]
struct Buffers {
    codes: Vec<u8>,
    next_codes: Vec<u8>,
    floats: Vec<f32>,
    next_floats: Vec<f32>,
    row_scale: Vec<f32>,
}

impl Program {
    /// Builds a network from its layers, from input to output.
    pub fn new(layers: Vec<Layer>) -> Result<Self> {
        if layers.is_empty() {
            return Err(KernelError::Shape("a network has at least one layer".to_owned()));
        }
        for (index, layer) in layers.iter().enumerate() {
            layer.check(index)?;
            if index > 0 && layers[index - 1].weights.outputs() != layer.weights.inputs() {
                return Err(KernelError::Shape(format!(
                    "layer {index} does not take what the layer before it gives"
                )));
            }
        }
        let stages = lower(&layers)?;
        Ok(Self { layers, stages, spare: Mutex::new(Vec::new()) })
    }

    /// How many values a row of the input has.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.layers[0].weights.inputs()
    }

    /// How many values a row of the output has.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.layers[self.layers.len() - 1].weights.outputs()
    }

    /// The kind of kernel that runs each layer.
    pub fn kernels(&self) -> impl Iterator<Item = &'static str> {
        self.layers.iter().map(|layer| layer.weights.kind())
    }

    /// Runs rows of [`Program::inputs`] floats into rows of [`Program::outputs`] floats. With
    /// `logits`, the last layer's activation is left out. On the instruction set in force.
    pub fn run(&self, x: &[f32], logits: bool, out: &mut [f32]) -> Result<()> {
        self.run_with(isa::active()?, x, logits, out)
    }

    /// [`Program::run`] on the given instruction set.
    pub fn run_with(&self, isa: Isa, x: &[f32], logits: bool, out: &mut [f32]) -> Result<()> {
        let (inputs, outputs) = (self.inputs(), self.outputs());
        let rows = x.len() / inputs;
        if rows * inputs != x.len() || rows * outputs != out.len() {
            return Err(KernelError::Shape(format!(
                "{} inputs and {} outputs are not rows of {inputs} and {outputs}",
                x.len(),
                out.len()
            )));
        }
        let block = self.block_rows(rows);
        if rows <= block {
            return self.run_block(isa, x, logits, out);
        }
        for_row_blocks(x, inputs, out, outputs, block, |x, out| self.run_block(isa, x, logits, out))
    }

    /// Rows that go through the network together: few enough for the cache, and for every thread to
    /// have its share where that pays.
    fn block_rows(&self, rows: usize) -> usize {
        let work: usize = self.layers.iter().map(|layer| layer.weights.work()).sum();
        let widest = self.layers.iter().map(|layer| layer.weights.inputs()).max().unwrap_or(1);
        let tasks = threads::tasks_for(rows, work, GRAIN).max(1);
        (BLOCK_BYTES / widest.max(1)).max(16).min(rows.div_ceil(tasks)).max(1)
    }

    fn run_block(&self, isa: Isa, x: &[f32], logits: bool, out: &mut [f32]) -> Result<()> {
        let spare = lock(&self.spare).pop();
        let mut buffers = spare.unwrap_or_default();
        let result = self.run_stages(isa, x, logits, out, &mut buffers);
        lock(&self.spare).push(buffers);
        result
    }

    fn run_stages(
        &self,
        isa: Isa,
        x: &[f32],
        logits: bool,
        out: &mut [f32],
        buffers: &mut Buffers,
    ) -> Result<()> {
        let Buffers { codes, next_codes, floats, next_floats, row_scale } = buffers;
        let rows = x.len() / self.inputs();
        let last = self.stages.len() - 1;
        // Whether a layer has run: before that, floats are the caller's.
        let mut begun = false;
        for (index, stage) in self.stages.iter().enumerate() {
            let source = if begun { &floats[..] } else { x };
            match stage {
                Stage::Quantize(affine) => {
                    codes.resize(source.len(), 0);
                    quantize(isa, source, *affine, codes)?;
                    continue;
                }
                Stage::Requantize { layer, input, output, bias, multiplier } => {
                    let layer = &self.layers[*layer];
                    next_codes.resize(rows * layer.weights.outputs(), 0);
                    let requantize = requantize(*output, layer.activation, bias, multiplier);
                    if output.signed {
                        let out = as_signed_mut(next_codes);
                        layer.weights.to_codes(isa, codes, *input, rows, requantize, out)?;
                    } else {
                        layer.weights.to_codes(isa, codes, *input, rows, requantize, next_codes)?;
                    }
                    std::mem::swap(codes, next_codes);
                    begun = true;
                    continue;
                }
                _ => {}
            }
            let layer = &self.layers[stage.layer()];
            let activation =
                if logits && index == last { Activation::Linear } else { layer.activation };
            let result = if index == last {
                &mut *out
            } else {
                next_floats.resize(rows * layer.weights.outputs(), 0.0);
                &mut next_floats[..]
            };
            match stage {
                Stage::ToFloat { input, scale, .. } => {
                    let output =
                        FloatOutput { scale, row_scale: &[], bias: &layer.bias, activation };
                    layer.weights.to_float(isa, codes, *input, rows, output, result)?;
                }
                Stage::Dynamic { .. } => {
                    let (bias, w) = (&layer.bias[..], &layer.weights);
                    dynamic(isa, source, w, bias, activation, codes, row_scale, result)?;
                }
                _ => layer.weights.float(isa, source, &layer.bias, activation, result)?,
            }
            std::mem::swap(floats, next_floats);
            begun = true;
        }
        Ok(())
    }
}

fn requantize<'a>(
    output: Affine,
    activation: Activation,
    bias: &'a [i32],
    multiplier: &'a [f32],
) -> Requantize<'a> {
    let zero_point = output.zero_point;
    // The code of 0 is what a ReLU clamps at.
    let min = if activation == Activation::Relu { zero_point } else { output.min() };
    Requantize { bias, multiplier, zero_point, min, max: output.max() }
}

fn quantize(isa: Isa, x: &[f32], affine: Affine, out: &mut [u8]) -> Result<()> {
    let params = Params {
        layout: Layout::Tensor,
        scale: &[affine.scale],
        zero_point: &[affine.zero_point],
        min: affine.min(),
        max: affine.max(),
    };
    let counts = if affine.signed {
        quant::quantize_with(isa, x, params, as_signed_mut(out))?
    } else {
        quant::quantize_with(isa, x, params, out)?
    };
    if counts.nan > 0 {
        return Err(KernelError::Value("x has NaN, which no integer stands for".to_owned()));
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
