//! Running a network: block by block of rows, stage by stage.

use std::sync::Mutex;

use qcore_kernels::epilogue::{Activation, FloatOutput, Requantize};
use qcore_kernels::isa::{self, Isa};
use qcore_kernels::quant::{self, Layout, Params};
use qcore_kernels::view::as_signed_mut;
use qcore_kernels::{KernelError, Result, memory, threads};

use super::layer::Layer;
use super::linear::{Dynamic, dynamic, for_row_blocks};
use super::stage::{Stage, lower};
use crate::operand::{Affine, CodesMut};

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
    dynamic: Dynamic,
}

/// The rows of a call that go through the network together.
struct Block<'a> {
    /// How many rows the call has: by them weights are chosen.
    of: usize,
    /// The call's row that is the first.
    first: usize,
    x: &'a [f32],
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
        let rows = out.len().checked_div(outputs).unwrap_or(0);
        if rows.checked_mul(inputs) != Some(x.len()) || rows * outputs != out.len() {
            return Err(KernelError::Shape(format!(
                "{} inputs and {} outputs are not rows of {inputs} and {outputs}",
                x.len(),
                out.len()
            )));
        }
        if rows == 0 {
            return Ok(());
        }
        // What the rows choose is made here, not by every thread.
        for layer in &self.layers {
            layer.weights.for_rows(isa, rows)?;
        }
        let block = self.block_rows(isa, rows)?;
        for_row_blocks(x, inputs, out, outputs, block, |first, x, out| {
            self.run_block(isa, &Block { of: rows, first, x }, logits, out)
        })
    }

    /// Multiplications for a row: what it costs, more or less.
    #[must_use]
    pub fn work(&self) -> usize {
        self.layers.iter().fold(0, |work, layer| work.saturating_add(layer.weights.work()))
    }

    /// Rows that go through the network together: few enough for the cache, and for every thread to
    /// have its share where that pays. They follow the threads only where no sum follows them.
    fn block_rows(&self, isa: Isa, rows: usize) -> Result<usize> {
        let widest = self.layers.iter().map(|layer| layer.weights.inputs()).max().unwrap_or(1);
        let block = (BLOCK_BYTES / widest.max(1)).max(16);
        for layer in &self.layers {
            if layer.weights.for_rows(isa, rows)?.sums_follow_rows() {
                return Ok(block);
            }
        }
        let tasks = threads::tasks_for(rows, self.work(), GRAIN).max(1);
        Ok(block.min(rows.div_ceil(tasks)).max(1))
    }

    fn run_block(&self, isa: Isa, block: &Block<'_>, logits: bool, out: &mut [f32]) -> Result<()> {
        // Nobody waits: a thread that a fork left behind may hold the lock for ever.
        let spare = self.spare.try_lock().ok().and_then(|mut spare| spare.pop());
        let mut buffers = spare.unwrap_or_default();
        let result = self.run_stages(isa, block, logits, out, &mut buffers);
        if let Ok(mut spare) = self.spare.try_lock() {
            spare.push(buffers);
        }
        result
    }

    fn run_stages(
        &self,
        isa: Isa,
        block: &Block<'_>,
        logits: bool,
        out: &mut [f32],
        buffers: &mut Buffers,
    ) -> Result<()> {
        let Buffers { codes, next_codes, floats, next_floats, dynamic: room } = buffers;
        let rows = out.len().checked_div(self.outputs()).unwrap_or(0);
        let last = self.stages.len() - 1;
        // Whether a layer has run: before that, floats are the caller's.
        let mut begun = false;
        for (index, stage) in self.stages.iter().enumerate() {
            let source = if begun { &floats[..] } else { block.x };
            let layer = &self.layers[stage.layer()];
            let weights = layer.weights.for_rows(isa, block.of)?;
            match stage {
                Stage::Quantize(affine) => {
                    memory::resize(codes, source.len(), 0)?;
                    quantize(isa, source, *affine, codes)?;
                    continue;
                }
                Stage::Requantize { input, output, bias, multiplier, .. } => {
                    memory::resize(next_codes, memory::size(&[rows, weights.outputs()])?, 0)?;
                    let requantize = requantize(*output, layer.activation, bias, multiplier);
                    let out = CodesMut::new(next_codes, *output);
                    weights.to_codes(isa, codes, *input, rows, requantize, out)?;
                    std::mem::swap(codes, next_codes);
                    begun = true;
                    continue;
                }
                _ => {}
            }
            let activation =
                if logits && index == last { Activation::Linear } else { layer.activation };
            let result = if index == last {
                &mut *out
            } else {
                memory::resize(next_floats, memory::size(&[rows, weights.outputs()])?, 0.0)?;
                &mut next_floats[..]
            };
            match stage {
                Stage::ToFloat { input, scale, .. } => {
                    let output =
                        FloatOutput { scale, row_scale: &[], bias: &layer.bias, activation };
                    weights.to_float(isa, codes, *input, rows, output, result)?;
                }
                Stage::Dynamic { .. } => {
                    let bias = &layer.bias[..];
                    dynamic(isa, block.first, source, weights, bias, activation, room, result)?;
                }
                _ => weights.float(isa, source, &layer.bias, activation, result)?,
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
    let min = if activation == Activation::RELU { zero_point } else { output.min() };
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
