//! Convolutions of codes: to codes where the output has them, else to floats.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use qcore_kernels::conv::{CodeImages, ConvI8};
use qcore_kernels::epilogue::{Activation, FloatOutput, Requantize, Residual, finish_rows_with};
use qcore_kernels::{isa, memory};

use super::Conv;
use crate::error::Result;
use crate::lower::{Context, Emit, Layout};
use crate::operand::{Affine, CodesMut, requantized};
use crate::ops::window::{Axis, window};
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::product;

/// Adds the step from codes, where input and weights have them; false where they have none.
pub(super) fn lower_codes(cx: &mut Context<'_>, conv: &Conv, axes: [Axis; 2]) -> Result<bool> {
    let (Some(input), Some(weights)) = (cx.affine(0), cx.weight_codes(1)) else {
        return Ok(false);
    };
    let dims = weights.codes.dims().to_vec();
    let (outputs, each) = (dims[0], dims[1]);
    let Some(scale) = weights.by_axis(0, outputs)? else { return Ok(false) };
    let bias = match cx.inputs.optional(2) {
        None => memory::filled(0.0, outputs)?,
        Some(fact) => match &fact.value {
            Some(value) => memory::copied(value.elements::<f32>())?,
            None => return Ok(false),
        },
    };
    let window = window(axes);
    let sum = each * window.kernel[0] * window.kernel[1];
    let added = cx.inputs.optional(3).map(|_| cx.affine(3));
    let to_codes = match (cx.output_affine(0), conv.activation.bounds()) {
        (Some(output), Some(bounds)) if added != Some(None) => Some((output, bounds)),
        _ => None,
    };
    let mut own = Cow::Borrowed(weights.codes.elements::<i8>());
    let mut form = format!("conv int8 {} {window:?}", conv.groups);
    let exact = to_codes.and_then(|(output, bounds)| {
        let found = requantized(sum, &bias, &scale, input, output).or_else(|| {
            let (coarse, wide) = coarsened(&own, sum, &bias, &scale, input, output);
            let found = requantized(sum, &bias, &wide, input, output)?;
            own = Cow::Owned(coarse);
            write!(form, " {wide:?}").ok()?;
            Some(found)
        });
        found.map(|found| (output, bounds, found))
    });
    let kernel = cx.prepared(&weights.codes, &form, || {
        let shape = [outputs, each, axes[0].kernel, axes[1].kernel];
        Ok(ConvI8::new(isa::active()?, &own, shape, window, conv.groups)?)
    })?;
    let x = &cx.inputs.get(0)?.dims;
    let image = [x[0], axes[0].input, axes[1].input, x[1]];
    let count = product(&cx.outputs[0].dims);
    let convolution = Convolution { kernel, image, input, work: count.saturating_mul(sum) };
    let mut refs = vec![cx.codes(0, Layout::Last)?];
    if let Some((output, bounds, (bias, multiplier))) = exact {
        let residual = added.flatten();
        if residual.is_some() {
            refs.push(cx.codes(3, Layout::Last)?);
        }
        let (min, max) = output.clamp(bounds);
        let step = ToCodes { convolution, output, bias, multiplier, min, max, residual };
        let made = cx.emit_buffers(Box::new(step), refs, &[count], 0, None)?;
        cx.set_codes(0, Layout::Last, made[0]);
        return Ok(true);
    }
    let residual = added.is_some();
    if residual {
        refs.push(cx.last(3)?);
    }
    let scale = memory::collected(scale.iter().map(|scale| input.scale * scale))?;
    let activation = conv.activation;
    let step = Box::new(ToFloats { convolution, scale, bias, residual, activation });
    let layouts = &[Layout::Last];
    cx.emit(Emit { step, inputs: refs, scratch: 0, in_place: None, layouts })?;
    Ok(true)
}

/// Weights whose biases fit beside their sums: a channel of next to no weight, beside which its bias is
/// beyond int32, gets a coarser step. What that loses is far below a code of the output.
fn coarsened(
    codes: &[i8],
    inputs: usize,
    bias: &[f32],
    scale: &[f32],
    input: Affine,
    output: Affine,
) -> (Vec<i8>, Vec<f32>) {
    // A half of int32 for the bias, as long as the other half holds the sums.
    let room = (1_u32 << 30) as f32;
    let least = 1e-30 * output.scale / input.scale;
    let wide: Vec<f32> = bias
        .iter()
        .zip(scale)
        .map(|(bias, &scale)| scale.max(bias.abs() / (room * input.scale)).max(least))
        .collect();
    let rows = codes.chunks(inputs.max(1)).zip(scale.iter().zip(&wide));
    let coarse = rows.flat_map(|(row, (&scale, &wide))| {
        let ratio = if scale == wide { 1.0 } else { scale / wide };
        row.iter().map(move |&code| (f32::from(code) * ratio).round_ties_even() as i8)
    });
    (coarse.collect(), wide)
}

/// What every step of these has.
struct Convolution {
    kernel: Arc<ConvI8>,
    image: [usize; 4],
    input: Affine,
    work: usize,
}

impl Convolution {
    fn images<'a>(&self, io: &Io<'a>) -> CodeImages<'a> {
        let Affine { zero_point, signed, .. } = self.input;
        CodeImages { codes: io.input::<u8>(0), shape: self.image, signed, zero_point }
    }
}

/// Codes to codes.
struct ToCodes {
    convolution: Convolution,
    output: Affine,
    bias: Vec<i32>,
    multiplier: Vec<f32>,
    min: i32,
    max: i32,
    /// How the codes of input 1 stand for what is added.
    residual: Option<Affine>,
}

impl Step for ToCodes {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let x = self.convolution.images(io);
        let Self { output, bias, multiplier, min, max, .. } = self;
        let zero_point = output.zero_point;
        let requantize = Requantize { bias, multiplier, zero_point, min: *min, max: *max };
        let kernel = &self.convolution.kernel;
        let residual = self.residual.map(|residual| Residual {
            codes: io.input::<u8>(1),
            signed: residual.signed,
            zero_point: residual.zero_point,
            multiplier: residual.scale / output.scale,
            stride: kernel.outputs(),
        });
        match CodesMut::new(io.output::<u8>(0)?, *output) {
            CodesMut::Signed(out) => kernel.to_codes_with(io.isa, x, requantize, residual, out)?,
            CodesMut::Unsigned(out) => {
                kernel.to_codes_with(io.isa, x, requantize, residual, out)?;
            }
        }
        Ok(())
    }

    fn kernel(&self) -> &str {
        self.convolution.kernel.kind_to_codes()
    }

    fn work(&self) -> usize {
        self.convolution.work
    }
}

/// Codes to floats.
struct ToFloats {
    convolution: Convolution,
    scale: Vec<f32>,
    bias: Vec<f32>,
    /// Whether input 1 is added.
    residual: bool,
    activation: Activation,
}

impl Step for ToFloats {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let x = self.convolution.images(io);
        let out = io.output::<f32>(0)?;
        let kernel = &self.convolution.kernel;
        // The residual comes before the activation.
        let activation = if self.residual { Activation::Linear } else { self.activation };
        let (scale, bias) = (&self.scale[..], &self.bias[..]);
        let output = FloatOutput { scale, row_scale: &[], bias, activation };
        kernel.to_floats_with(io.isa, x, output, out)?;
        if self.residual {
            let residual = io.input::<f32>(1);
            out.iter_mut().zip(residual).for_each(|(out, residual)| *out += residual);
            finish_rows_with(io.isa, out, kernel.outputs(), &[], self.activation)?;
        }
        Ok(())
    }

    fn kernel(&self) -> &str {
        self.convolution.kernel.kind()
    }

    fn work(&self) -> usize {
        self.convolution.work
    }
}
