//! One layer alone: float in, float out.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use super::layer::{Affine, Weights};
use crate::epilogue::{Activation, FloatOutput, finish_rows_with};
use crate::error::{KernelError, Result};
use crate::isa::{self, Isa};
use crate::quant;
use crate::threads;
use crate::view::as_signed_mut;

/// Multiplications below which a thread of its own costs more than it saves.
const GRAIN: usize = 1 << 21;

/// Rows of a block: their codes stay in the second cache, and the product has enough of them.
const BLOCK_BYTES: usize = 1 << 18;

thread_local! {
    /// Codes and row scales, kept from call to call.
    static ROOM: RefCell<(Vec<u8>, Vec<f32>)> = RefCell::default();
}

/// [`linear_with`] on the instruction set in force.
pub fn linear(
    x: &[f32],
    weights: &Weights,
    bias: &[f32],
    activation: Activation,
    out: &mut [f32],
) -> Result<()> {
    linear_with(isa::active()?, x, weights, bias, activation, out)
}

/// `activation(x · weightsᵀ + bias)` for row-major rows; `bias` is empty or has one element for each
/// output. Integer weights take the rows as int8, each with a scale of its own.
pub fn linear_with(
    isa: Isa,
    x: &[f32],
    weights: &Weights,
    bias: &[f32],
    activation: Activation,
    out: &mut [f32],
) -> Result<()> {
    if !weights.is_integer() {
        return weights.float(isa, x, bias, activation, out);
    }
    let (inputs, outputs) = (weights.inputs(), weights.outputs());
    if inputs == 0 {
        out.fill(0.0);
        return finish_rows_with(isa, out, outputs, bias, activation);
    }
    let rows = x.len() / inputs;
    if rows * inputs != x.len() || rows * outputs != out.len() {
        return Err(KernelError::Shape(format!(
            "x has {} elements and out {}; they must be rows of {inputs} and {outputs}",
            x.len(),
            out.len()
        )));
    }
    let tasks = threads::tasks_for(rows, weights.work(), GRAIN).max(1);
    let block = (BLOCK_BYTES / inputs).max(64).min(rows.div_ceil(tasks)).max(1);
    for_row_blocks(x, inputs, out, outputs, block, |x, out| {
        ROOM.with_borrow_mut(|(codes, row_scale)| {
            dynamic(isa, x, weights, bias, activation, codes, row_scale, out)
        })
    })
}

/// Quantizes rows, each with a scale of its own, and multiplies.
pub(super) fn dynamic(
    isa: Isa,
    x: &[f32],
    weights: &Weights,
    bias: &[f32],
    activation: Activation,
    codes: &mut Vec<u8>,
    row_scale: &mut Vec<f32>,
    out: &mut [f32],
) -> Result<()> {
    let inputs = weights.inputs();
    let rows = x.len() / inputs;
    codes.resize(x.len(), 0);
    row_scale.resize(rows, 0.0);
    quant::quantize_rows_i8_with(isa, x, inputs, as_signed_mut(codes), row_scale)?;
    let output = FloatOutput { scale: weights.scale(), row_scale, bias, activation };
    let input = Affine { scale: 1.0, zero_point: 0, signed: true };
    weights.to_float(isa, codes, input, rows, output, out)
}

/// Calls `run` for each block of so many rows of `x` and `out`, on the threads that there are; of
/// several errors, the first block's is returned.
pub(super) fn for_row_blocks(
    x: &[f32],
    inputs: usize,
    out: &mut [f32],
    outputs: usize,
    block: usize,
    run: impl Fn(&[f32], &mut [f32]) -> Result<()> + Sync + Send,
) -> Result<()> {
    if x.len() <= block * inputs {
        return run(x, out);
    }
    let blocks: Vec<_> = x
        .chunks(block * inputs)
        .zip(out.chunks_mut(block * outputs))
        .map(|(x, out)| Mutex::new((x, out, Ok(()))))
        .collect();
    threads::for_each(blocks.len(), |index| {
        let mut block = blocks[index].lock().unwrap_or_else(PoisonError::into_inner);
        let (x, out, result) = &mut *block;
        *result = run(x, out);
    });
    blocks
        .into_iter()
        .try_for_each(|block| block.into_inner().unwrap_or_else(PoisonError::into_inner).2)
}
