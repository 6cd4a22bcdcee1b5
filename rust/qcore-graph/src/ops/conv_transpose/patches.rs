//! Transposed convolutions of floats whose windows lie side by side, as those that double an image do:
//! one product, whose rows are patches of the result.

use std::sync::Arc;

use qcore_kernels::epilogue::Activation;
use qcore_kernels::gemm::{FloatWeights, dense_f32_with};
use qcore_kernels::view::MatRef;
use qcore_kernels::{interrupt, memory};

use super::Transposed;
use crate::error::Result;
use crate::lower::{Context, Emit, Layout};
use crate::ops::window::{Axis, two};
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::region::Region;
use crate::shape::{product, work};

/// Adds the step, where windows neither overlap nor leave gaps; false elsewhere.
pub(super) fn lower_patches(cx: &mut Context<'_>, op: &Transposed, axes: &[Axis]) -> Result<bool> {
    let Some(axes) = two(axes) else { return Ok(false) };
    let (x, w) = (cx.inputs.get(0)?.clone(), cx.inputs.get(1)?.clone());
    let (Some(known), false) = (&w.value, op.activation == Activation::Softmax) else {
        return Ok(false);
    };
    let beside = |axis: &Axis| {
        let whole = axis.input.checked_mul(axis.stride) == Some(axis.output);
        axis.kernel == axis.stride
            && axis.before == 0
            && whole
            && (axis.dilation == 1 || axis.kernel == 1)
    };
    let empty = product(&cx.outputs[0].dims) == 0 || product(&x.dims) == 0;
    if empty || op.groups != 1 || !axes.iter().all(beside) {
        return Ok(false);
    }
    let bias = match cx.inputs.optional(2) {
        None => &[],
        Some(fact) => match &fact.value {
            Some(value) => value.elements::<f32>(),
            None => return Ok(false),
        },
    };
    let (inputs, outputs, taps) = (w.dims[0], w.dims[1], product(&w.dims[2..]));
    let patch = memory::size(&[taps, outputs])?;
    let bias = memory::collected((0..taps).flat_map(|_| bias.iter().copied()))?;
    // Weights [in, out, taps] as [taps, out, in]: a row for each element of a patch.
    let region = Region::transpose(&[inputs, outputs, taps], &[2, 1, 0]);
    let weights = cx.prepared(known, "conv transpose patches", || {
        let moved = region.apply(known, &[taps, outputs, inputs])?;
        Ok(FloatWeights::from_f32(MatRef::from_slice(moved.elements::<f32>(), patch, inputs)?)?)
    })?;
    let scratch = memory::size(&[axes[1].input, patch, size_of::<f32>()])?;
    let lines = memory::size(&[x.dims[0], axes[0].input])?;
    let (kernel, width) = (axes.map(|axis| axis.kernel), axes[1].input);
    let step =
        PatchesStep { weights, bias, activation: op.activation, lines, width, kernel, outputs };
    let (step, inputs) = (Box::new(step), vec![cx.last(0)?]);
    cx.emit(Emit { step, inputs, scratch, in_place: None, layouts: &[Layout::Last] })?;
    Ok(true)
}

struct PatchesStep {
    weights: Arc<FloatWeights>,
    /// One for each element of a patch, or none.
    bias: Vec<f32>,
    activation: Activation,
    /// Lines of all images, and pixels of a line.
    lines: usize,
    width: usize,
    kernel: [usize; 2],
    outputs: usize,
}

impl Step for PatchesStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let (x, isa) = (io.input::<f32>(0), io.isa);
        let (out, room) = (io.output::<f32>(0)?, io.scratch::<f32>()?);
        let [tall, wide] = self.kernel;
        // Of a patch, what lies side by side in the result.
        let run = wide * self.outputs;
        let lines = x.chunks_exact(self.width * self.weights.inputs());
        for (x, out) in lines.zip(out.chunks_exact_mut(tall * self.width * run)) {
            interrupt::check()?;
            let found = &mut room[..self.width * tall * run];
            dense_f32_with(isa, x, &self.weights, &self.bias, self.activation, found)?;
            for (row, out) in out.chunks_exact_mut(self.width * run).enumerate() {
                for (out, patch) in out.chunks_exact_mut(run).zip(found.chunks_exact(tall * run)) {
                    out.copy_from_slice(&patch[row * run..][..run]);
                }
            }
        }
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        "conv transpose as patches"
    }

    fn work(&self) -> usize {
        work(&[self.lines, self.width, self.weights.inputs(), self.weights.outputs()])
    }
}
