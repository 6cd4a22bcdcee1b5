//! Transposed convolutions of codes: to codes where the output has them, else to floats.
//!
//! Outputs that lie a stride apart are those of a convolution by the taps that reach them, turned round:
//! one exact convolution for each place in a stride, whose pixels are then put where they belong. Places
//! whose taps read alike are outputs of one convolution: where the stride is the kernel, all of them are
//! one product.

use std::sync::Arc;

use qcore_kernels::conv::{CodeImages, ConvI8, Window};
use qcore_kernels::epilogue::{Activation, FloatOutput, Requantize};
use qcore_kernels::{interrupt, isa, memory};

use super::Transposed;
use crate::error::Result;
use crate::lower::{Context, Layout};
use crate::memory::Element;
use crate::operand::{Affine, CodesMut, requantized};
use crate::ops::window::{Axis, two};
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::{product, work};

/// The outputs of an axis that lie a stride apart.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Phase {
    /// The first of them, and how many there are.
    first: usize,
    count: usize,
    /// The taps that reach them, the one that comes first in the input first.
    taps: Vec<usize>,
    /// From a tap to the next in the input, and what is added around it.
    dilation: usize,
    padding: [usize; 2],
    /// Places of the convolution that come before the first output.
    cut: usize,
}

impl Phase {
    fn of(axis: Axis, first: usize) -> Self {
        let Axis { input, output, kernel, stride, dilation, before, .. } = axis;
        let count = output.saturating_sub(first).div_ceil(stride);
        // Where a tap reads for the first output, in input pixels.
        let place = |tap: usize| {
            let at = first as i64 + before as i64 - (tap * dilation) as i64;
            (at.rem_euclid(stride as i64) == 0).then_some(at.div_euclid(stride as i64))
        };
        let taps: Vec<usize> = (0..kernel).rev().filter(|&tap| place(tap).is_some()).collect();
        let places: Vec<i64> = taps.iter().filter_map(|&tap| place(tap)).collect();
        let (start, end) = match (places.first(), places.last()) {
            (Some(&start), Some(&end)) => (start, end),
            _ => (0, 0),
        };
        let dilation = if places.len() > 1 { (places[1] - places[0]) as usize } else { 1 };
        // The last place that is read, beyond the last pixel.
        let beyond = end + count.max(1) as i64 - input as i64;
        let padding = [start.min(0).unsigned_abs(), beyond.max(0).unsigned_abs()];
        let padding = padding.map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        Self { first, count, taps, dilation, padding, cut: usize::try_from(start).unwrap_or(0) }
    }

    fn all(axis: Axis) -> Vec<Self> {
        (0..axis.stride.min(axis.output)).map(|first| Self::of(axis, first)).collect()
    }
}

impl Phase {
    /// What the window of its convolution depends on.
    fn window(&self) -> (usize, usize, [usize; 2], usize) {
        (self.taps.len(), self.dilation, self.padding, self.cut)
    }
}

/// The outputs of an image that one convolution gives: its channels are those of all of them.
struct Part {
    phases: Vec<[Phase; 2]>,
    /// Rows and columns of the convolution.
    places: [usize; 2],
}

/// Convolutions of one node at most: more come of no network.
const MOST: usize = 1 << 10;

/// Which places in a stride are outputs of one convolution.
fn parts(axes: [Axis; 2], groups: usize) -> Option<Vec<Vec<[Phase; 2]>>> {
    let mut parts: Vec<Vec<[Phase; 2]>> = Vec::new();
    let [tall, wide] = axes.map(Phase::all);
    if tall.len().saturating_mul(wide.len()) > MOST * MOST {
        return None;
    }
    for rows in &tall {
        for columns in &wide {
            let alike = |part: &Vec<[Phase; 2]>| {
                let [first_rows, first_columns] = &part[0];
                let same = first_rows.window() == rows.window();
                groups == 1 && same && first_columns.window() == columns.window()
            };
            let phases = [rows.clone(), columns.clone()];
            match parts.iter().position(alike) {
                Some(at) => parts[at].push(phases),
                None if parts.len() == MOST => return None,
                None => parts.push(vec![phases]),
            }
        }
    }
    Some(parts)
}

/// Adds the step from codes, where input and weights have them; false where they have none.
pub(super) fn lower_codes(cx: &mut Context<'_>, op: &Transposed, axes: &[Axis]) -> Result<bool> {
    let (Some(input), Some(weights), Some(axes)) = (cx.affine(0), cx.weight_codes(1), two(axes))
    else {
        return Ok(false);
    };
    let dims = weights.codes.dims().to_vec();
    let (inputs, own) = (dims[0], dims[1]);
    let outputs = own * op.groups;
    let Some(scale) = weights.by_axis(1, own)? else { return Ok(false) };
    let scale: Vec<f32> = (0..op.groups).flat_map(|_| scale.iter().copied()).collect();
    let bias = match cx.inputs.optional(2) {
        None => memory::filled(0.0, outputs)?,
        Some(fact) => match &fact.value {
            Some(value) => memory::copied(value.elements::<f32>())?,
            None => return Ok(false),
        },
    };
    let image = &cx.inputs.get(0)?.dims;
    let image = [image[0], axes[0].input, axes[1].input, image[1]];
    let empty = product(&cx.outputs[0].dims) == 0 || inputs == 0;
    if empty || image.contains(&0) {
        return Ok(false);
    }
    let Some(groups) = parts(axes, op.groups) else { return Ok(false) };
    let form = format!("conv transpose int8 {} {axes:?}", op.groups);
    let kernels = cx.prepared(&weights.codes, &form, || {
        let codes = weights.codes.elements::<i8>();
        let dims = [inputs, own, axes[0].kernel, axes[1].kernel];
        groups.iter().map(|phases| turned(codes, dims, op.groups, phases)).collect()
    })?;
    let kernels: Arc<Vec<ConvI8>> = kernels;
    let mut parts = Vec::new();
    for (kernel, phases) in kernels.iter().zip(groups) {
        let shape = kernel.output_shape(image)?;
        parts.push(Part { phases, places: [shape[1], shape[2]] });
    }
    // Parameters of every convolution, however many outputs it has.
    let times = parts.iter().map(|part| part.phases.len()).max().unwrap_or(1);
    let repeated =
        |values: &[f32]| -> Vec<f32> { (0..times).flat_map(|_| values.iter().copied()).collect() };
    let (scale, bias) = (repeated(&scale), repeated(&bias));
    let count = product(&cx.outputs[0].dims);
    let most = parts
        .iter()
        .map(|part| work(&[image[0], part.places[0], part.places[1], outputs, part.phases.len()]));
    let most = most.max().unwrap_or(0);
    let taps = axes.map(|axis| axis.kernel.saturating_mul(axis.input));
    let step = Transposing {
        kernels,
        parts,
        image,
        size: axes.map(|axis| axis.output),
        stride: axes.map(|axis| axis.stride),
        outputs,
        input,
        work: work(&[image[0], taps[0], taps[1], inputs, own]),
    };
    let refs = vec![cx.codes(0, Layout::Last)?];
    let sum = work(&[inputs, axes[0].kernel, axes[1].kernel]);
    let exact = cx.output_affine(0).zip(op.activation.bounds()).and_then(|(output, bounds)| {
        let (bias, multiplier) = requantized(sum, &bias, &scale, input, output)?;
        let (min, max) = output.clamp(bounds);
        Some(ToCodes { output, bias, multiplier, min, max })
    });
    if let Some(to) = exact {
        let step = Box::new(CodesStep { step, to });
        let made = cx.emit_buffers(step, refs, &[count], most, None)?;
        cx.set_codes(0, Layout::Last, made[0]);
        return Ok(true);
    }
    let scale = memory::collected(scale.iter().map(|scale| input.scale * scale))?;
    let step = Box::new(FloatStep { step, scale, bias, activation: op.activation });
    let (len, scratch) = (memory::size(&[count, 4])?, memory::size(&[most, 4])?);
    let made = cx.emit_buffers(step, refs, &[len], scratch, None)?;
    cx.set(0, Layout::Last, made[0])?;
    Ok(true)
}

/// The weights `[in, out, rows, columns]` of some phases as those of their convolution.
fn turned(codes: &[i8], dims: [usize; 4], groups: usize, phases: &[[Phase; 2]]) -> Result<ConvI8> {
    let [inputs, own, tall, wide] = dims;
    let (each, outputs) = (inputs / groups, own * groups);
    let [rows, columns] = &phases[0];
    // Without a tap outputs are their biases: a tap of zeros.
    let kernel = [rows.taps.len().max(1), columns.taps.len().max(1)];
    let shape = [memory::size(&[outputs, phases.len()])?, each, kernel[0], kernel[1]];
    let mut weights = memory::filled(0_i8, memory::size(&shape)?)?;
    for (at, weight) in weights.iter_mut().enumerate() {
        let (tap, rest) = (at % (kernel[0] * kernel[1]), at / (kernel[0] * kernel[1]));
        let (channel, output) = (rest % each, rest / each);
        let [rows, columns] = &phases[output / outputs];
        let taps = rows.taps.get(tap / kernel[1]).zip(columns.taps.get(tap % kernel[1]));
        if let Some((row, column)) = taps {
            let output = output % outputs;
            let input = output / own * each + channel;
            *weight = codes[((input * own + output % own) * tall + row) * wide + column];
        }
    }
    let window = Window {
        kernel,
        stride: [1; 2],
        dilation: [rows.dilation, columns.dilation],
        padding: [rows.padding, columns.padding],
    };
    Ok(ConvI8::new(isa::active()?, &weights, shape, window, groups)?)
}

/// What steps to codes and to floats have in common.
struct Transposing {
    kernels: Arc<Vec<ConvI8>>,
    parts: Vec<Part>,
    image: [usize; 4],
    /// Rows and columns of the result.
    size: [usize; 2],
    /// From an output of a phase to the next.
    stride: [usize; 2],
    outputs: usize,
    input: Affine,
    work: usize,
}

impl Transposing {
    /// Runs each convolution, and puts its pixels where they belong.
    fn run<T: Element>(
        &self,
        io: &mut Io<'_>,
        convolve: impl Fn(&ConvI8, CodeImages<'_>, &mut [T]) -> Result<()>,
    ) -> Result<()> {
        let (out, room) = (io.output::<T>(0)?, io.scratch::<T>()?);
        let Affine { zero_point, signed, .. } = self.input;
        let x = CodeImages { codes: io.input::<u8>(0), shape: self.image, signed, zero_point };
        let ([tall, wide], outputs) = (self.size, self.outputs);
        for (kernel, part) in self.kernels.iter().zip(&self.parts) {
            let all = kernel.outputs();
            let found = &mut room[..self.image[0] * part.places[0] * part.places[1] * all];
            convolve(kernel, x, found)?;
            for (index, [rows, columns]) in part.phases.iter().enumerate() {
                for row in 0..self.image[0] * rows.count {
                    interrupt::check()?;
                    let (n, row) = (row / rows.count, row % rows.count);
                    let from = (n * part.places[0] + row + rows.cut) * part.places[1] + columns.cut;
                    let to = n * tall + rows.first + row * self.stride[0];
                    let to = to * wide + columns.first;
                    let from = found[from * all..].chunks_exact(all);
                    let to = out[to * outputs..].chunks_mut(self.stride[1] * outputs);
                    for (to, from) in to.zip(from).take(columns.count) {
                        to[..outputs].copy_from_slice(&from[index * outputs..][..outputs]);
                    }
                }
            }
        }
        Ok(())
    }
}

struct ToCodes {
    output: Affine,
    bias: Vec<i32>,
    multiplier: Vec<f32>,
    min: i32,
    max: i32,
}

/// Codes to codes.
struct CodesStep {
    step: Transposing,
    to: ToCodes,
}

impl Step for CodesStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let ToCodes { output, bias, multiplier, min, max } = &self.to;
        let zero_point = output.zero_point;
        let isa = io.isa;
        self.step.run::<u8>(io, |kernel, x, out| {
            let (bias, multiplier) = (&bias[..kernel.outputs()], &multiplier[..kernel.outputs()]);
            let requantize = Requantize { bias, multiplier, zero_point, min: *min, max: *max };
            match CodesMut::new(out, *output) {
                CodesMut::Signed(out) => kernel.to_codes_with(isa, x, requantize, None, out)?,
                CodesMut::Unsigned(out) => kernel.to_codes_with(isa, x, requantize, None, out)?,
            }
            Ok(())
        })
    }

    fn kernel(&self) -> &'static str {
        "conv transpose int8 to int8"
    }

    fn work(&self) -> usize {
        self.step.work
    }
}

/// Codes to floats.
struct FloatStep {
    step: Transposing,
    scale: Vec<f32>,
    bias: Vec<f32>,
    activation: Activation,
}

impl Step for FloatStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let Self { scale, bias, activation, .. } = self;
        let isa = io.isa;
        self.step.run::<f32>(io, |kernel, x, out| {
            let (scale, bias) = (&scale[..kernel.outputs()], &bias[..kernel.outputs()]);
            let output = FloatOutput { scale, row_scale: &[], bias, activation: *activation };
            Ok(kernel.to_floats_with(isa, x, output, out)?)
        })
    }

    fn kernel(&self) -> &'static str {
        "conv transpose int8"
    }

    fn work(&self) -> usize {
        self.step.work
    }
}
