//! Ops whose integers are those of TensorFlow Lite, to the bit: where a graph says so, and values
//! have codes. What is not here moves codes only, and is the same anyway.

use std::sync::Arc;

use qcore_kernels::codes::{
    FixedConv, FixedPoint, FixedSoftmax, FixedSum, ToCodes, fixed_conv_with, fixed_mean,
};
use qcore_kernels::conv::Window;
use qcore_kernels::memory;
use qcore_kernels::view::{as_signed, as_signed_mut};

use crate::dtype::DType;
use crate::error::{Result, value_error};
use crate::fact::{Fact, Inputs};
use crate::lower::{Context, Layout, WeightCodes};
use crate::op::{Make, Op, Spec};
use crate::operand::Affine;
use crate::ops::activation;
use crate::ops::window::{Axis, WindowSpec, two, window};
use crate::plan::Ref;
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::region::Region;
use crate::shape::product;

/// The ops that are computed otherwise.
const OPS: &[&str] = &["Add", "AveragePool", "Conv", "Gemm", "Softmax"];

/// The op of a name in exact arithmetic; the usual one where they do not differ.
pub(crate) fn exact(name: &str, make: Make, spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let base = make(spec)?;
    let Some(name) = OPS.iter().copied().find(|&op| op == name) else { return Ok(base) };
    let a = &spec.attributes;
    let kind = match name {
        "Conv" | "Gemm" => {
            let groups = usize::try_from(a.int_or("group", 1)?).unwrap_or(1);
            let (window, transposed) = (WindowSpec::read(*a)?, a.flag("transB", false)?);
            // There are no fixed-point products with other activations behind them.
            let Some(bounds) = activation::read(*a)?.bounds() else { return Ok(base) };
            if name == "Conv" {
                Kind::Conv { window, groups, bounds }
            } else {
                Kind::Gemm { transposed, bounds }
            }
        }
        "AveragePool" => Kind::Mean(WindowSpec::read(*a)?),
        "Softmax" => Kind::Softmax,
        _ => Kind::Sum,
    };
    Ok(Box::new(Exact { base, kind }))
}

enum Kind {
    Conv { window: WindowSpec, groups: usize, bounds: (f32, f32) },
    Gemm { transposed: bool, bounds: (f32, f32) },
    Mean(WindowSpec),
    Softmax,
    Sum,
}

struct Exact {
    base: Box<dyn Op>,
    kind: Kind,
}

impl Op for Exact {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        // A bias may be integers, in units of the sums: floats do not hold all of them.
        let product = matches!(self.kind, Kind::Conv { .. } | Kind::Gemm { .. });
        match inputs.optional(2) {
            Some(bias) if product && bias.dtype == DType::I32 => {
                let float = Fact::new(DType::F32, bias.dims.clone());
                let mut others = inputs.0.to_vec();
                others[2] = Some(&float);
                self.base.facts(Inputs(&others))
            }
            _ => self.base.facts(inputs),
        }
    }

    fn known_inputs(&self) -> &'static [usize] {
        self.base.known_inputs()
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let (Some(from), Some(to)) = (cx.affine(0), cx.output_affine(0)) else {
            return self.base.lower(cx);
        };
        if from.signed != to.signed {
            return Err(value_error!("codes of two types have no exact arithmetic"));
        }
        let unfit = || value_error!("its operands have no exact arithmetic");
        match &self.kind {
            Kind::Conv { window: spec, groups, bounds } => {
                let (x, w) = (cx.inputs.get(0)?.clone(), cx.inputs.get(1)?.clone());
                let axes = two(&spec.axes(&x.dims[2..], Some(&w.dims[2..]))?).ok_or_else(unfit)?;
                let weights = cx.weight_codes(1).ok_or_else(unfit)?;
                let (outputs, inputs) = (w.dims[0], w.dims[1]);
                let taps = product(&w.dims[2..]);
                let turned = Region::transpose(&[outputs, inputs, taps], &[2, 1, 0]);
                let codes = turned.apply(&weights.codes, &[taps, inputs, outputs])?;
                let part = Part { codes: as_signed(codes.bytes()).to_vec(), outputs };
                let conv = conv(cx, &weights, 0, part, *bounds, (from, to))?;
                let conv = FixedConv { window: window(axes), groups: *groups, once: false, ..conv };
                let image = [x.dims[0], axes[0].input, axes[1].input, x.dims[1]];
                let places = axes.map(|axis| axis.output);
                emit_conv(cx, conv, image, places, (Layout::Last, to))
            }
            Kind::Gemm { transposed, bounds } => {
                let (x, w) = (cx.inputs.get(0)?.clone(), cx.inputs.get(1)?.clone());
                let weights = cx.weight_codes(1).ok_or_else(unfit)?;
                let at = usize::from(!transposed);
                let outputs = w.dims[at];
                let codes = if *transposed {
                    let turned = Region::transpose(&w.dims, &[1, 0]);
                    turned.apply(&weights.codes, &[w.dims[1], w.dims[0]])?
                } else {
                    weights.codes.clone()
                };
                let part = Part { codes: as_signed(codes.bytes()).to_vec(), outputs };
                let conv = conv(cx, &weights, at, part, *bounds, (from, to))?;
                let image = [x.dims[0], 1, 1, x.dims[1]];
                emit_conv(cx, conv, image, [1, 1], (Layout::Plain, to))
            }
            Kind::Sum => {
                let other = cx.affine(1).filter(|other| other.signed == to.signed);
                let other = other.ok_or_else(unfit)?;
                if cx.inputs.get(0)?.dims != cx.inputs.get(1)?.dims {
                    return Err(unfit());
                }
                let layout = cx.layout(0);
                let inputs = vec![cx.codes(0, layout)?, cx.codes(1, layout)?];
                let zeros = [from.zero_point, other.zero_point];
                let sum = FixedSum::new(zeros, [from.scale, other.scale], to.scale, to_codes(to));
                emit(cx, Work::Sum(sum), inputs, (layout, to))
            }
            Kind::Mean(spec) => {
                let x = cx.inputs.get(0)?.clone();
                let axes = two(&spec.axes(&x.dims[2..], None)?).ok_or_else(unfit)?;
                if from != to {
                    return Err(unfit());
                }
                let image = [x.dims[0], axes[0].input, axes[1].input, x.dims[1]];
                let places = axes.map(|axis: Axis| axis.output);
                let inputs = vec![cx.codes(0, Layout::Last)?];
                emit(cx, Work::Mean(window(axes), image, places), inputs, (Layout::Last, to))
            }
            Kind::Softmax => {
                let row = *cx.outputs[0].dims.last().ok_or_else(unfit)?;
                let plain = to.scale == 1.0 / 256.0 && to.zero_point == to.min();
                if !plain {
                    return Err(value_error!(
                        "exact softmax gives codes of scale 1/256 from {} on",
                        to.min()
                    ));
                }
                let inputs = vec![cx.codes(0, Layout::Plain)?];
                let softmax = FixedSoftmax::new(from.scale);
                emit(cx, Work::Softmax(softmax, row), inputs, (Layout::Plain, to))
            }
        }
    }
}

fn to_codes(to: Affine) -> ToCodes {
    ToCodes { zero_point: to.zero_point, min: to.min(), max: to.max() }
}

/// Weights laid out for the kernel.
struct Part {
    codes: Vec<i8>,
    outputs: usize,
}

/// A product of single pixels, from what is known of the weights and the bias, input 2.
fn conv(
    cx: &Context<'_>,
    weights: &WeightCodes,
    axis: usize,
    part: Part,
    bounds: (f32, f32),
    (from, to): (Affine, Affine),
) -> Result<FixedConv> {
    let Part { codes, outputs } = part;
    let scale = weights.by_axis(axis, outputs)?;
    let scale = scale.ok_or_else(|| value_error!("its weights have no scale for each output"))?;
    if cx.inputs.optional(3).is_some() {
        return Err(value_error!("a residual has no exact arithmetic"));
    }
    let wide = f64::from;
    let bias = match cx.inputs.optional(2) {
        None => memory::filled(0, outputs)?,
        Some(fact) => match (&fact.value, fact.dtype) {
            (Some(value), DType::I32) if value.len() == outputs => value.elements().to_vec(),
            (Some(value), DType::F32) if value.len() == outputs => {
                let units = |(&bias, &scale): (&f32, &f32)| {
                    (wide(bias) / (wide(from.scale) * wide(scale))).round() as i32
                };
                value.elements::<f32>().iter().zip(&scale).map(units).collect()
            }
            _ => return Err(value_error!("its bias is not {outputs} known numbers")),
        },
    };
    let factor = |&scale: &f32| wide(from.scale) * wide(scale) / wide(to.scale);
    // As there: halves go away from 0, and infinities saturate.
    let code = |x: f32| {
        ((x / to.scale).round() as i32).saturating_add(to.zero_point).clamp(to.min(), to.max())
    };
    Ok(FixedConv {
        weights: codes,
        bias,
        factors: scale.iter().map(factor).map(FixedPoint::new).collect(),
        window: Window::new([1, 1]),
        groups: 1,
        once: true,
        zero: from.zero_point,
        to: ToCodes { zero_point: to.zero_point, min: code(bounds.0), max: code(bounds.1) },
    })
}

fn emit_conv(
    cx: &mut Context<'_>,
    conv: FixedConv,
    image: [usize; 4],
    places: [usize; 2],
    (layout, to): (Layout, Affine),
) -> Result<()> {
    let inputs = vec![cx.codes(0, layout)?];
    emit(cx, Work::Conv(Arc::new(conv), image, places), inputs, (layout, to))
}

fn emit(
    cx: &mut Context<'_>,
    work: Work,
    inputs: Vec<Ref>,
    (layout, to): (Layout, Affine),
) -> Result<()> {
    let count = cx.outputs[0].count();
    let step = Box::new(ExactStep { work, to, count });
    let made = cx.emit_buffers(step, inputs, &[count], 0, None)?;
    cx.set_codes(0, layout, made[0]);
    Ok(())
}

enum Work {
    Conv(Arc<FixedConv>, [usize; 4], [usize; 2]),
    Mean(Window, [usize; 4], [usize; 2]),
    Softmax(FixedSoftmax, usize),
    Sum(FixedSum),
}

struct ExactStep {
    work: Work,
    to: Affine,
    count: usize,
}

impl Step for ExactStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let (x, out) = (io.input::<u8>(0), io.output::<u8>(0)?);
        let (isa, signed) = (io.isa, self.to.signed);
        match &self.work {
            Work::Conv(conv, image, places) if signed => {
                fixed_conv_with(isa, conv, as_signed(x), *image, *places, as_signed_mut(out))?;
            }
            Work::Conv(conv, image, places) => {
                fixed_conv_with(isa, conv, x, *image, *places, out)?;
            }
            Work::Mean(window, image, places) => {
                let ends = (self.to.min(), self.to.max());
                if signed {
                    let (x, out) = (as_signed(x), as_signed_mut(out));
                    fixed_mean(window, x, *image, *places, ends, out)?;
                } else {
                    fixed_mean(window, x, *image, *places, ends, out)?;
                }
            }
            Work::Softmax(softmax, n) if signed => {
                softmax.run(as_signed(x), *n, as_signed_mut(out))?;
            }
            Work::Softmax(softmax, n) => softmax.run(x, *n, out)?,
            Work::Sum(sum) => {
                let other = io.input::<u8>(1);
                if signed {
                    sum.run(as_signed(x), as_signed(other), as_signed_mut(out))?;
                } else {
                    sum.run(x, other, out)?;
                }
            }
        }
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        match self.work {
            Work::Conv(..) => "fixed-point product",
            Work::Mean(..) => "fixed-point mean",
            Work::Softmax(..) => "fixed-point softmax",
            Work::Sum(_) => "fixed-point sum",
        }
    }

    fn work(&self) -> usize {
        match &self.work {
            Work::Conv(conv, ..) => self.count * conv.weights.len() / conv.bias.len().max(1),
            _ => self.count,
        }
    }
}
