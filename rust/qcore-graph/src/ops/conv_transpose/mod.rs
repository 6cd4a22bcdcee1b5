//! Transposed convolutions: channels last, each output gathers from the inputs that reach it.

mod codes;
mod patches;

use qcore_kernels::epilogue::{Activation, finish_rows_with};
use qcore_kernels::interrupt::Pace;

use crate::dtype::DType;
use crate::error::{Result, shape_error, value_error};
use crate::fact::{Fact, Inputs};
use crate::graph::attributes::Attributes;
use crate::lower::{Context, Emit, Layout};
use crate::op::{Make, Op, Spec};
use crate::ops::activation;
use crate::ops::window::{Auto, Axis, WindowSpec, sizes, three};
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::region::{CopyStep, Region};
use crate::shape::{product, work};

pub(super) const OPS: &[(&str, Make)] = &[("ConvTranspose", transposed)];

struct Transposed {
    window: WindowSpec,
    groups: usize,
    output_padding: Option<Vec<usize>>,
    output_shape: Option<Vec<usize>>,
    activation: Activation,
}

fn transposed(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let a: Attributes<'_> = spec.attributes;
    let groups = usize::try_from(a.int_or("group", 1)?).ok().filter(|&groups| groups > 0);
    Ok(Box::new(Transposed {
        window: WindowSpec::read(a)?,
        groups: groups.ok_or_else(|| value_error!("attribute 'group' is below 1"))?,
        output_padding: sizes(a, "output_padding", 0)?,
        output_shape: sizes(a, "output_shape", 1)?,
        activation: activation::read(a)?,
    }))
}

impl Transposed {
    /// Axes as those of a convolution from the outputs back to the inputs.
    fn axes(&self, inputs: Inputs<'_>) -> Result<Vec<Axis>> {
        let x = inputs.of(0, DType::F32)?;
        let w = inputs.of(1, DType::F32)?;
        if x.rank() < 3 || w.rank() != x.rank() {
            return Err(shape_error!("x {:?} and weights {:?} do not convolve", x.dims, w.dims));
        }
        if w.dims[0] != x.dims[1] || !x.dims[1].is_multiple_of(self.groups) {
            let (groups, dims) = (self.groups, &w.dims);
            return Err(shape_error!(
                "weights {dims:?} in {groups} groups do not read {:?}",
                x.dims
            ));
        }
        let outputs = w.dims[1].checked_mul(self.groups);
        if let Some(bias) = inputs.optional(2)
            && (inputs.of(2, DType::F32)?.dims.len() != 1 || Some(bias.count()) != outputs)
        {
            return Err(shape_error!("bias {:?} is not {outputs:?} values", bias.dims));
        }
        let (space, kernel) = (&x.dims[2..], &w.dims[2..]);
        let list = self.window.lists(space.len(), Some(kernel))?;
        let rank = space.len();
        let pick = |values: &Option<Vec<usize>>, at: usize, name: &str| match values {
            Some(values) => values.get(at).copied().map(Some).ok_or_else(|| {
                shape_error!("{name} has {} elements for {rank} dims", values.len())
            }),
            None => Ok(None),
        };
        (0..rank)
            .map(|at| {
                let (input, kernel) = (space[at], list.kernel[at]);
                let (stride, dilation) = (list.strides[at], list.dilations[at]);
                let extra = pick(&self.output_padding, at, "output_padding")?.unwrap_or(0);
                let asked = pick(&self.output_shape, at, "output_shape")?;
                // Some exporters give N and C too.
                let same = matches!(self.window.auto, Auto::SameUpper | Auto::SameLower);
                let asked = asked.or(same.then_some(input.saturating_mul(stride)));
                let reach = kernel.max(1).checked_sub(1).and_then(|k| k.checked_mul(dilation));
                let full = input
                    .max(1)
                    .checked_sub(1)
                    .and_then(|n| n.checked_mul(stride))
                    .zip(reach)
                    .and_then(|(a, b)| a.checked_add(b))
                    .and_then(|sum| sum.checked_add(extra + 1))
                    .ok_or_else(|| shape_error!("the output is too large"))?;
                let (before, after) = match asked {
                    None if self.window.auto == Auto::Valid => (0, 0),
                    None => list.pads[at],
                    Some(output) => {
                        let total = full.saturating_sub(output);
                        let (less, more) = (total / 2, total - total / 2);
                        if self.window.auto == Auto::SameUpper {
                            (less, more)
                        } else {
                            (more, less)
                        }
                    }
                };
                let output = match asked {
                    Some(output) => output,
                    None => full
                        .checked_sub(before + after)
                        .ok_or_else(|| shape_error!("pads leave nothing of {full}"))?,
                };
                Ok(Axis { input, output, kernel, stride, dilation, before, after })
            })
            .collect()
    }
}

impl Op for Transposed {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let axes = self.axes(inputs)?;
        let outputs = inputs.get(1)?.dims[1] * self.groups;
        let mut dims = vec![inputs.get(0)?.dims[0], outputs];
        dims.extend(axes.iter().map(|axis| axis.output));
        Ok(vec![Fact::new(DType::F32, dims)])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let axes = self.axes(cx.inputs)?;
        if codes::lower_codes(cx, self, &axes)? || patches::lower_patches(cx, self, &axes)? {
            return Ok(());
        }
        let axes = three(&axes)?;
        let (x, w) = (cx.inputs.get(0)?.clone(), cx.inputs.get(1)?.clone());
        // Weights [in, out, taps] as [taps, in, out].
        let (inputs, outputs, taps) = (w.dims[0], w.dims[1], product(&w.dims[2..]));
        let region = Region::transpose(&[inputs, outputs, taps], &[2, 0, 1]);
        let weights = if let Some(known) = &w.value {
            let dims = [taps, inputs, outputs];
            let moved = cx.prepared(known, "conv transpose", || region.apply(known, &dims))?;
            cx.constant(&moved)
        } else {
            let len = w.count() * w.dtype.size();
            let step = Box::new(CopyStep::new("taps first", w.dtype.size(), region)?);
            let plain = cx.plain(1)?;
            cx.emit_buffers(step, vec![plain], &[len], 0, None)?[0]
        };
        let mut refs = vec![cx.last(0)?, weights];
        let bias = cx.inputs.optional(2).is_some();
        if bias {
            refs.push(cx.plain(2)?);
        }
        let step = Box::new(TransposedStep {
            axes,
            batch: x.dims[0],
            channels: x.dims[1],
            outputs: outputs * self.groups,
            groups: self.groups,
            bias,
            activation: self.activation,
        });
        let layouts = &[Layout::Last];
        cx.emit(Emit { step, inputs: refs, scratch: 0, in_place: None, layouts })
    }
}

struct TransposedStep {
    axes: [Axis; 3],
    batch: usize,
    channels: usize,
    outputs: usize,
    groups: usize,
    bias: bool,
    activation: Activation,
}

/// The taps of an axis that reach an output, with the inputs that they come from.
fn sources(axis: Axis, output: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    (0..axis.kernel).filter_map(move |tap| {
        let at = (output + axis.before).checked_sub(tap * axis.dilation)?;
        let input = at / axis.stride;
        (at.is_multiple_of(axis.stride) && input < axis.input).then_some((tap, input))
    })
}

impl TransposedStep {
    fn pixel(
        &self,
        x: &[f32],
        weights: &[f32],
        at: [usize; 3],
        out: &mut [f32],
        pace: &mut Pace,
    ) -> Result<()> {
        let [depth, height, width] = self.axes;
        let (inputs, outputs) = (self.channels / self.groups, self.outputs / self.groups);
        // Weights of no channels may have any number of taps.
        if self.channels == 0 {
            return Ok(());
        }
        for (z_tap, z) in sources(depth, at[0]) {
            for (y_tap, y) in sources(height, at[1]) {
                for (x_tap, column) in sources(width, at[2]) {
                    pace.check(self.channels.saturating_mul(outputs))?;
                    let place = (z * height.input + y) * width.input + column;
                    let pixel = &x[place * self.channels..][..self.channels];
                    let tap = (z_tap * height.kernel + y_tap) * width.kernel + x_tap;
                    for (input, &value) in pixel.iter().enumerate() {
                        let group = input / inputs * outputs;
                        let row = &weights[(tap * self.channels + input) * outputs..][..outputs];
                        for (out, weight) in out[group..group + outputs].iter_mut().zip(row) {
                            *out += value * weight;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

impl Step for TransposedStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let (x, weights) = (io.input::<f32>(0), io.input::<f32>(1));
        let bias = self.bias.then(|| io.input::<f32>(2));
        let all = io.output::<f32>(0)?;
        let [depth, height, width] = self.axes;
        let image = depth.input * height.input * width.input * self.channels;
        let plane = height.output * width.output;
        let space = depth.output * plane;
        if self.outputs == 0 || space == 0 {
            return Ok(());
        }
        let mut pace = Pace::new();
        for (index, out) in all.chunks_exact_mut(self.outputs).enumerate() {
            let (n, at) = (index / space, index % space);
            let at = [at / plane, at / width.output % height.output, at % width.output];
            out.fill(0.0);
            self.pixel(&x[n * image..][..image], weights, at, out, &mut pace)?;
            if let Some(bias) = bias {
                out.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
            }
        }
        finish_rows_with(io.isa, all, self.outputs, &[], self.activation)?;
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        "conv transpose"
    }

    fn work(&self) -> usize {
        let taps = work(&self.axes.map(|axis| axis.kernel.saturating_mul(axis.input)));
        work(&[self.batch, taps, self.channels / self.groups, self.outputs])
    }
}
