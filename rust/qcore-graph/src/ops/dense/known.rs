//! Rows times weights that are known: laid out once, as floats or as the codes that they are.

use std::sync::Arc;

use qcore_kernels::epilogue::{Activation, Epilogue, FloatOutput, Requantize, finish_rows_with};
use qcore_kernels::gemm::{FloatWeights, PackedI8, product_f32_with};
use qcore_kernels::view::MatRef;
use qcore_kernels::{isa, memory};

use crate::dtype::DType;
use crate::error::Result;
use crate::lower::{Context, Emit, Layout};
use crate::operand::{Affine, CodesMut, Dense, DenseI8, Operand, requantized};
use crate::plan::Ref;
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::tensor::Tensor;

/// A product whose weights, input 1, may be known: `[in, out]`, or `[out, in]` if transposed.
pub(super) struct Known {
    pub(super) rows: usize,
    pub(super) transposed: bool,
    pub(super) activation: Activation,
}

/// Adds the step for known weights; false where they are not, or where the general product is due.
/// Input 2 is the bias, input 3 the residual.
pub(super) fn lower_known(cx: &mut Context<'_>, known: &Known) -> Result<bool> {
    let fact = cx.inputs.get(1)?;
    let Some(weights) = fact.value.clone().filter(|_| fact.dtype == DType::F32) else {
        return Ok(false);
    };
    let dims = weights.dims();
    let (inputs, outputs) = if known.transposed { (dims[1], dims[0]) } else { (dims[0], dims[1]) };
    if inputs == 0 || outputs == 0 || known.rows == 0 {
        return Ok(false);
    }
    // A bias that is known is a part of the step; any other is a residual of the general product.
    let bias = match cx.inputs.optional(2) {
        None => None,
        Some(fact) => match &fact.value {
            Some(value) if value.len() == outputs && fact.dims.last() == Some(&outputs) => {
                Some(memory::copied(value.elements::<f32>())?)
            }
            _ => return Ok(false),
        },
    };
    if let Some(residual) = cx.inputs.optional(3)
        && residual.dims != cx.outputs[0].dims
    {
        return Ok(false);
    }
    if lower_codes(cx, known, (inputs, outputs), bias.as_deref())? {
        return Ok(true);
    }
    let form = if known.transposed { "dense transposed" } else { "dense" };
    let operand = cx.prepared(&weights, form, || {
        let view = matrix::<f32>(&weights, known.transposed)?;
        Ok(Dense(FloatWeights::from_f32(view)?))
    })?;
    let mut refs = vec![cx.plain(0)?];
    let residual = residual(cx, &mut refs)?;
    let bias = bias.unwrap_or_default();
    let step =
        FloatStep { operand, bias, residual, activation: known.activation, rows: known.rows };
    emit(cx, Box::new(step), refs)?;
    Ok(true)
}

fn emit(cx: &mut Context<'_>, step: Box<dyn Step>, inputs: Vec<Ref>) -> Result<()> {
    cx.emit(Emit { step, inputs, scratch: 0, in_place: None, layouts: &[Layout::Plain] })
}

/// Where the residual is among the inputs of the step, if there is one.
fn residual(cx: &mut Context<'_>, refs: &mut Vec<Ref>) -> Result<Option<usize>> {
    if cx.inputs.optional(3).is_none() {
        return Ok(None);
    }
    refs.push(cx.plain(3)?);
    Ok(Some(refs.len() - 1))
}

/// Weights as `[out, in]`.
fn matrix<T: crate::memory::Element>(tensor: &Tensor, transposed: bool) -> Result<MatRef<'_, T>> {
    let dims = tensor.dims();
    let view = MatRef::from_slice(tensor.elements::<T>(), dims[0], dims[1])?;
    Ok(if transposed { view } else { view.transposed() })
}

/// Adds the step from codes, where input and weights have them; to codes, where the output has them
/// and the activation is a clamp.
fn lower_codes(
    cx: &mut Context<'_>,
    known: &Known,
    (inputs, outputs): (usize, usize),
    bias: Option<&[f32]>,
) -> Result<bool> {
    let (Some(input), Some(codes)) = (cx.affine(0), cx.weight_codes(1)) else { return Ok(false) };
    let Some(scale) = codes.by_axis(usize::from(!known.transposed), outputs)? else {
        return Ok(false);
    };
    let form = if known.transposed { "int8 transposed" } else { "int8" };
    let operand = cx.prepared(&codes.codes, form, || {
        let view = matrix::<i8>(&codes.codes, known.transposed)?;
        let codes = PackedI8::new(isa::active()?, view.transposed());
        Ok(DenseI8 { codes: codes?, scale: scale.clone() })
    })?;
    let mut refs = vec![cx.codes(0, Layout::Plain)?];
    let none = memory::filled(0.0, outputs)?;
    let exact = match (cx.output_affine(0), known.activation.bounds(), cx.inputs.optional(3)) {
        (Some(output), Some(bounds), None) => {
            let bias = bias.unwrap_or(&none);
            requantized(inputs, bias, &scale, input, output).map(|(bias, multiplier)| {
                let (min, max) = output.clamp(bounds);
                ToCodes { output, bias, multiplier, min, max }
            })
        }
        _ => None,
    };
    let rows = known.rows;
    if let Some(to) = exact {
        let step = Box::new(CodesStep { operand, input, rows, to });
        let made = cx.emit_buffers(step, refs, &[rows * outputs], 0, None)?;
        cx.set_codes(0, Layout::Plain, made[0]);
        return Ok(true);
    }
    let residual = residual(cx, &mut refs)?;
    let scale = memory::collected(scale.iter().map(|scale| input.scale * scale))?;
    let (bias, activation) = (memory::copied(bias.unwrap_or(&[]))?, known.activation);
    let step = FromCodesStep { operand, input, scale, bias, residual, activation, rows };
    emit(cx, Box::new(step), refs)?;
    Ok(true)
}

/// Floats times floats.
struct FloatStep {
    operand: Arc<Dense>,
    bias: Vec<f32>,
    residual: Option<usize>,
    activation: Activation,
    rows: usize,
}

impl Step for FloatStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let x = MatRef::from_slice(io.input::<f32>(0), self.rows, self.operand.inputs())?;
        let residual = self.residual.map_or(&[][..], |index| io.input::<f32>(index));
        let epilogue = Epilogue { bias: &self.bias, residual, activation: self.activation };
        product_f32_with(io.isa, x, &self.operand.0, epilogue, io.output(0)?)?;
        Ok(())
    }

    fn kernel(&self) -> &str {
        self.operand.kind()
    }

    fn work(&self) -> usize {
        self.rows.saturating_mul(self.operand.work())
    }
}

/// Codes times codes, to floats.
struct FromCodesStep {
    operand: Arc<DenseI8>,
    input: Affine,
    scale: Vec<f32>,
    bias: Vec<f32>,
    residual: Option<usize>,
    activation: Activation,
    rows: usize,
}

impl Step for FromCodesStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let codes = io.input::<u8>(0);
        let out = io.output::<f32>(0)?;
        let (scale, bias) = (&self.scale[..], &self.bias[..]);
        // The residual comes before the activation.
        let now = if self.residual.is_some() { Activation::Linear } else { self.activation };
        let output = FloatOutput { scale, row_scale: &[], bias, activation: now };
        self.operand.to_float(io.isa, codes, self.input, self.rows, output, out)?;
        if let Some(index) = self.residual {
            let residual = io.input::<f32>(index);
            out.iter_mut().zip(residual).for_each(|(out, residual)| *out += residual);
            finish_rows_with(io.isa, out, self.operand.outputs(), &[], self.activation)?;
        }
        Ok(())
    }

    fn kernel(&self) -> &str {
        self.operand.kind()
    }

    fn work(&self) -> usize {
        self.rows.saturating_mul(self.operand.work())
    }
}

/// How sums become codes.
struct ToCodes {
    output: Affine,
    bias: Vec<i32>,
    multiplier: Vec<f32>,
    min: i32,
    max: i32,
}

/// Codes times codes, to codes.
struct CodesStep {
    operand: Arc<DenseI8>,
    input: Affine,
    rows: usize,
    to: ToCodes,
}

impl Step for CodesStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let codes = io.input::<u8>(0);
        let out = io.output::<u8>(0)?;
        let ToCodes { output, bias, multiplier, min, max } = &self.to;
        let zero_point = output.zero_point;
        let requantize = Requantize { bias, multiplier, zero_point, min: *min, max: *max };
        let out = CodesMut::new(out, *output);
        self.operand.to_codes(io.isa, codes, self.input, self.rows, requantize, out)?;
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        "dense int8 to int8"
    }

    fn work(&self) -> usize {
        self.rows.saturating_mul(self.operand.work())
    }
}
