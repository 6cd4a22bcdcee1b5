//! One layer alone: float in, float out.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use qcore_kernels::epilogue::{Activation, FloatOutput, finish_rows_with};
use qcore_kernels::isa::{self, Isa};
use qcore_kernels::view::as_signed_mut;
use qcore_kernels::{KernelError, Result, memory, quant, threads};

use crate::operand::{Affine, Operand};

/// Multiplications below which a thread of its own costs more than it saves.
const GRAIN: usize = 1 << 21;

/// Rows of a block: their codes stay in the second cache, and the product has enough of them.
const BLOCK_BYTES: usize = 1 << 18;

/// What dynamic quantization makes of rows.
#[derive(Debug, Default)]
pub(super) struct Dynamic {
    codes: Vec<u8>,
    row_scale: Vec<f32>,
}

thread_local! {
    /// Kept from call to call.
    static ROOM: RefCell<Dynamic> = RefCell::default();
}

/// [`linear_with`] on the instruction set in force.
pub fn linear(
    x: &[f32],
    weights: &dyn Operand,
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
    weights: &dyn Operand,
    bias: &[f32],
    activation: Activation,
    out: &mut [f32],
) -> Result<()> {
    let (inputs, outputs) = (weights.inputs(), weights.outputs());
    let rows = out.len().checked_div(outputs).unwrap_or(0);
    let weights = weights.for_rows(isa, rows)?;
    if !weights.is_integer() {
        return weights.float(isa, x, bias, activation, out);
    }
    if inputs == 0 {
        out.fill(0.0);
        return finish_rows_with(isa, out, outputs, bias, activation);
    }
    if rows.checked_mul(inputs) != Some(x.len()) || rows * outputs != out.len() {
        return Err(KernelError::Shape(format!(
            "x has {} elements and out {}; they must be rows of {inputs} and {outputs}",
            x.len(),
            out.len()
        )));
    }
    let tasks = threads::tasks_for(rows, weights.work(), GRAIN).max(1);
    let block = (BLOCK_BYTES / inputs).max(64).min(rows.div_ceil(tasks)).max(1);
    for_row_blocks(x, inputs, out, outputs, block, |first, x, out| {
        memory::with_kept(&ROOM, |room| {
            dynamic(isa, first, x, weights, bias, activation, room, out)
        })
    })
}

/// Quantizes rows, each with a scale of its own, and multiplies. The first is row `first` of the call.
pub(super) fn dynamic(
    isa: Isa,
    first: usize,
    x: &[f32],
    weights: &dyn Operand,
    bias: &[f32],
    activation: Activation,
    room: &mut Dynamic,
    out: &mut [f32],
) -> Result<()> {
    let Dynamic { codes, row_scale } = room;
    let inputs = weights.inputs();
    let rows = x.len() / inputs;
    memory::resize(codes, x.len(), 0)?;
    memory::resize(row_scale, rows, 0.0)?;
    quant::quantize_rows_i8_from(isa, first, x, inputs, as_signed_mut(codes), row_scale)?;
    let output = FloatOutput { scale: weights.scale(), row_scale, bias, activation };
    let input = Affine { scale: 1.0, zero_point: 0, signed: true };
    weights.to_float(isa, codes, input, rows, output, out)
}

/// Calls `run` for each block of so many rows of `x` and `out`, and the number of the first of them, on
/// the threads that there are; of several errors, the first block's is returned.
pub(super) fn for_row_blocks(
    x: &[f32],
    inputs: usize,
    out: &mut [f32],
    outputs: usize,
    block: usize,
    run: impl Fn(usize, &[f32], &mut [f32]) -> Result<()> + Sync + Send,
) -> Result<()> {
    if x.len() <= block * inputs {
        return run(0, x, out);
    }
    let parts = x.chunks(block * inputs).zip(out.chunks_mut(block * outputs));
    let parts = memory::collected(parts.map(Mutex::new))?;
    threads::try_for_each(parts.len(), |index| {
        let mut part = parts[index].lock().unwrap_or_else(PoisonError::into_inner);
        let (x, out) = &mut *part;
        run(index * block, x, out)
    })
}
