//! Convolutions: channels last, with bias, residual and activation.

mod codes;

use std::sync::Arc;

use qcore_kernels::conv::ConvF32;
use qcore_kernels::epilogue::{Activation, Epilogue, finish_rows_with};
use qcore_kernels::interrupt::Pace;

use crate::dtype::DType;
use crate::error::{Result, shape_error, value_error};
use crate::fact::{Fact, Inputs};
use crate::lower::{Context, Emit, Layout};
use crate::op::{Make, Op, Spec};
use crate::ops::activation;
use crate::ops::window::{Axis, WindowSpec, three, two, window};
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::region::{CopyStep, Region};
use crate::shape::{product, work};
use crate::tensor::Tensor;

pub(super) const OPS: &[(&str, Make)] = &[("Conv", conv)];

struct Conv {
    window: WindowSpec,
    groups: usize,
    activation: Activation,
}

fn conv(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let groups = spec.attributes.int_or("group", 1)?;
    let groups = usize::try_from(groups).ok().filter(|&groups| groups > 0);
    Ok(Box::new(Conv {
        window: WindowSpec::read(spec.attributes)?,
        groups: groups.ok_or_else(|| value_error!("attribute 'group' is below 1"))?,
        activation: activation::read(spec.attributes)?,
    }))
}

impl Conv {
    fn axes(&self, inputs: Inputs<'_>) -> Result<Vec<Axis>> {
        let x = inputs.of(0, DType::F32)?;
        let w = inputs.of(1, DType::F32)?;
        if x.rank() < 3 || w.rank() != x.rank() {
            return Err(shape_error!("x {:?} and weights {:?} do not convolve", x.dims, w.dims));
        }
        let (channels, outputs) = (x.dims[1], w.dims[0]);
        let whole = outputs.is_multiple_of(self.groups)
            && w.dims[1].checked_mul(self.groups) == Some(channels);
        if !whole {
            let (groups, dims) = (self.groups, &w.dims);
            return Err(shape_error!(
                "weights {dims:?} in {groups} groups do not read {channels} channels"
            ));
        }
        if let Some(bias) = inputs.optional(2)
            && (inputs.of(2, DType::F32)?.dims != [outputs])
        {
            return Err(shape_error!("bias {:?} is not {outputs} values", bias.dims));
        }
        self.window.axes(&x.dims[2..], Some(&w.dims[2..]))
    }
}

impl Op for Conv {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let axes = self.axes(inputs)?;
        let mut dims = vec![inputs.get(0)?.dims[0], inputs.get(1)?.dims[0]];
        dims.extend(axes.iter().map(|axis| axis.output));
        if inputs.optional(3).is_some() && inputs.of(3, DType::F32)?.dims != dims {
            let found = &inputs.get(3)?.dims;
            return Err(shape_error!("residual {found:?} is not {dims:?}"));
        }
        Ok(vec![Fact::new(DType::F32, dims)])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let axes = self.axes(cx.inputs)?;
        let (x, w) = (cx.inputs.get(0)?.clone(), cx.inputs.get(1)?.clone());
        if let (Some(weights), Some(axes)) = (&w.value, two(&axes)) {
            let axes = lying(axes);
            if codes::lower_codes(cx, self, axes)? {
                return Ok(());
            }
            return self.lower_known(cx, weights, axes);
        }
        let axes = three(&axes)?;
        let (w_dims, region) = taps_first(&w.dims);
        let weights = if let Some(known) = &w.value {
            let moved = cx.prepared(known, "conv", || region.apply(known, &w_dims))?;
            cx.constant(&moved)
        } else {
            let len = w.count() * w.dtype.size();
            let step = Box::new(CopyStep::new("taps first", w.dtype.size(), region)?);
            let plain = cx.plain(1)?;
            cx.emit_buffers(step, vec![plain], &[len], 0, None)?[0]
        };
        let mut inputs = vec![cx.last(0)?, weights];
        let mut at = [None, None];
        if cx.inputs.optional(2).is_some() {
            at[0] = Some(inputs.len());
            inputs.push(cx.plain(2)?);
        }
        if cx.inputs.optional(3).is_some() {
            at[1] = Some(inputs.len());
            inputs.push(cx.last(3)?);
        }
        let step = Box::new(ConvStep {
            axes,
            batch: x.dims[0],
            channels: x.dims[1],
            outputs: w.dims[0],
            groups: self.groups,
            bias: at[0],
            residual: at[1],
            activation: self.activation,
        });
        cx.emit(Emit { step, inputs, scratch: 0, in_place: None, layouts: &[Layout::Last] })
    }
}

impl Conv {
    /// Weights that are known, over images or signals: laid out once, with their window.
    fn lower_known(&self, cx: &mut Context<'_>, weights: &Tensor, axes: [Axis; 2]) -> Result<()> {
        let dims = &cx.inputs.get(0)?.dims;
        let image = [dims[0], axes[0].input, axes[1].input, dims[1]];
        let [outputs, each] = [weights.dims()[0], weights.dims()[1]];
        let window = window(axes);
        let form = format!("conv {} {window:?}", self.groups);
        let kernel = cx.prepared(weights, &form, || {
            let shape = [outputs, each, axes[0].kernel, axes[1].kernel];
            Ok(ConvF32::new(weights.elements(), shape, window, self.groups)?)
        })?;
        let mut inputs = vec![cx.last(0)?];
        let mut at = [None, None];
        for (at, index) in at.iter_mut().zip(2..4) {
            if cx.inputs.optional(index).is_some() {
                *at = Some(inputs.len());
                inputs.push(if index == 2 { cx.plain(2)? } else { cx.last(3)? });
            }
        }
        let work = work(&[cx.outputs[0].count(), each, window.kernel[0], window.kernel[1]]);
        let [bias, residual] = at;
        let activation = self.activation;
        let step = Box::new(KernelStep { kernel, image, bias, residual, activation, work });
        cx.emit(Emit { step, inputs, scratch: 0, in_place: None, layouts: &[Layout::Last] })
    }
}

/// A convolution by the kernel.
struct KernelStep {
    kernel: Arc<ConvF32>,
    image: [usize; 4],
    bias: Option<usize>,
    residual: Option<usize>,
    activation: Activation,
    work: usize,
}

impl Step for KernelStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let x = io.input::<f32>(0);
        let part = |index: Option<usize>| index.map_or(&[][..], |index| io.input::<f32>(index));
        let (bias, residual) = (part(self.bias), part(self.residual));
        let epilogue = Epilogue { bias, residual, activation: self.activation };
        self.kernel.run_with(io.isa, x, self.image, epilogue, io.output(0)?)?;
        Ok(())
    }

    fn kernel(&self) -> &str {
        self.kernel.kind()
    }

    fn work(&self) -> usize {
        self.work
    }
}

/// A signal that goes down an image of width 1 as one that goes along a row: the same places and taps in
/// the same order, and rows are what kernels go along.
fn lying([height, width]: [Axis; 2]) -> [Axis; 2] {
    let one = Axis { stride: width.stride, ..Axis::ONE };
    let upright = width == one && height.input > 1;
    if upright { [Axis::ONE, height] } else { [height, width] }
}

/// Weights `[out, in, taps]` as `[taps, in, out]`: their dims and how they get there.
fn taps_first(dims: &[usize]) -> ([usize; 3], Region) {
    let (outputs, inputs, taps) = (dims[0], dims[1], product(&dims[2..]));
    ([taps, inputs, outputs], Region::transpose(&[outputs, inputs, taps], &[2, 1, 0]))
}

/// A convolution by its definition: over three dims of space, or of weights that are computed.
struct ConvStep {
    axes: [Axis; 3],
    batch: usize,
    channels: usize,
    outputs: usize,
    groups: usize,
    /// Which inputs of the step they are.
    bias: Option<usize>,
    residual: Option<usize>,
    activation: Activation,
}

impl ConvStep {
    /// The sums of one pixel.
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
        for (z_tap, z) in depth.taps(at[0]) {
            for (y_tap, y) in height.taps(at[1]) {
                for (x_tap, column) in width.taps(at[2]) {
                    pace.check(self.channels.saturating_mul(outputs))?;
                    let place = (z * height.input + y) * width.input + column;
                    let pixel = &x[place * self.channels..][..self.channels];
                    let tap = (z_tap * height.kernel + y_tap) * width.kernel + x_tap;
                    for (input, &value) in pixel.iter().enumerate() {
                        let group = input / inputs * outputs;
                        let row = (tap * inputs + input % inputs) * self.outputs + group;
                        let row = &weights[row..row + outputs];
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

impl Step for ConvStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let (x, weights) = (io.input::<f32>(0), io.input::<f32>(1));
        let bias = self.bias.map(|index| io.input::<f32>(index));
        let residual = self.residual.map(|index| io.input::<f32>(index));
        let all = io.output::<f32>(0)?;
        let [depth, height, width] = self.axes;
        let image = depth.input * height.input * width.input * self.channels;
        let space = depth.output * height.output * width.output;
        if self.outputs == 0 {
            return Ok(());
        }
        let mut pace = Pace::new();
        for (index, out) in all.chunks_exact_mut(self.outputs).enumerate() {
            let (n, at) = (index / space, index % space);
            let at = [
                at / (height.output * width.output),
                at / width.output % height.output,
                at % width.output,
            ];
            out.fill(0.0);
            self.pixel(&x[n * image..][..image], weights, at, out, &mut pace)?;
            if let Some(bias) = bias {
                out.iter_mut().zip(bias).for_each(|(out, bias)| *out += bias);
            }
            if let Some(residual) = residual {
                let residual = &residual[index * self.outputs..][..self.outputs];
                out.iter_mut().zip(residual).for_each(|(out, residual)| *out += residual);
            }
        }
        finish_rows_with(io.isa, all, self.outputs, &[], self.activation)?;
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        "conv"
    }

    fn work(&self) -> usize {
        let taps = work(&self.axes.map(|axis| axis.kernel.saturating_mul(axis.output)));
        work(&[self.batch, taps, self.channels / self.groups, self.outputs])
    }
}
