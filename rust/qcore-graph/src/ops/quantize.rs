//! Floats to integers and back, as nodes: `QuantizeLinear` and `DequantizeLinear`.
//!
//! Between integers and a value that has these very codes there is nothing to do: the codes are the
//! integers.

use qcore_kernels::memory;
use qcore_kernels::quant::{self, Params};
use qcore_kernels::view::{as_signed, as_signed_mut};

use crate::dtype::DType;
use crate::error::{Result, dtype_error, shape_error, value_error};
use crate::fact::{Fact, Inputs};
use crate::lower::{Context, Emit, Layout};
use crate::op::{Make, Op, Spec};
use crate::operand::Affine;
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::{axis, product};

pub(super) const OPS: &[(&str, Make)] =
    &[("DequantizeLinear", dequantize), ("QuantizeLinear", quantize)];

/// `(x - zero_point) * scale`.
struct Dequantize {
    axis: i64,
}

/// `saturate(rint(x / scale) + zero_point)`.
struct Quantize {
    axis: i64,
}

fn axis_of(spec: &Spec<'_>) -> Result<i64> {
    if spec.attributes.int_or("block_size", 0)? != 0 {
        return Err(value_error!("block_size is for constants only"));
    }
    spec.attributes.int_or("axis", 1)
}

fn dequantize(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    Ok(Box::new(Dequantize { axis: axis_of(spec)? }))
}

fn quantize(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    Ok(Box::new(Quantize { axis: axis_of(spec)? }))
}

/// Scales and zero points: of the whole, or of each index of an axis.
struct Steps {
    scale: Vec<f32>,
    zero: Vec<i32>,
    dtype: DType,
}

impl Steps {
    fn read(inputs: Inputs<'_>, dtype: DType) -> Result<Self> {
        inputs.of(1, DType::F32)?;
        let scale = inputs.value(1)?.elements::<f32>().to_vec();
        let zero = match inputs.optional(2) {
            None => memory::filled(0, scale.len())?,
            Some(_) => inputs
                .ints(2)?
                .unwrap_or_default()
                .into_iter()
                .map(|zero| i32::try_from(zero).map_err(|_| value_error!("a zero point is {zero}")))
                .collect::<Result<_>>()?,
        };
        let positive = scale.iter().all(|scale| scale.is_normal() && *scale > 0.0);
        if scale.is_empty() || zero.len() != scale.len() || !positive {
            return Err(value_error!(
                "{} scales, all to be above 0, have {} zero points",
                scale.len(),
                zero.len()
            ));
        }
        Ok(Self { scale, zero, dtype })
    }

    /// The codes of a whole value of one byte each.
    fn affine(&self) -> Option<Affine> {
        let ([scale], [zero_point]) = (&self.scale[..], &self.zero[..]) else { return None };
        let signed = match self.dtype {
            DType::I8 => true,
            DType::U8 => false,
            _ => return None,
        };
        let affine = Affine { scale: *scale, zero_point: *zero_point, signed };
        (affine.min()..=affine.max()).contains(zero_point).then_some(affine)
    }

    /// How often each scale is repeated, for a value of these dims.
    fn inner(&self, dims: &[usize], at: i64) -> Result<usize> {
        if self.scale.len() == 1 {
            return Ok(product(dims).max(1));
        }
        let at = axis(at, dims.len())?;
        if dims[at] != self.scale.len() {
            let found = self.scale.len();
            return Err(shape_error!("{found} scales are not those of axis {at} of {dims:?}"));
        }
        Ok(product(&dims[at + 1..]))
    }
}

impl Op for Dequantize {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.get(0)?;
        if !matches!(x.dtype, DType::U8 | DType::I8 | DType::I32) {
            return Err(dtype_error!("input 0 is {}, which it does not take", x.dtype));
        }
        Steps::read(inputs, x.dtype)?.inner(&x.dims, self.axis)?;
        Ok(vec![Fact::new(DType::F32, x.dims.clone())])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let x = cx.inputs.get(0)?.clone();
        let steps = Steps::read(cx.inputs, x.dtype)?;
        if let Some(affine) = steps.affine()
            && cx.output_affine(0) == Some(affine)
        {
            let layout = cx.layout(0);
            let r = cx.input(0, layout)?;
            cx.set_codes(0, layout, r);
            return Ok(());
        }
        let inner = steps.inner(&x.dims, self.axis)?;
        let step = Box::new(DequantizeStep { steps, inner, count: x.count() });
        let inputs = vec![cx.plain(0)?];
        cx.emit(Emit { step, inputs, scratch: 0, in_place: None, layouts: &[Layout::Plain] })
    }
}

struct DequantizeStep {
    steps: Steps,
    inner: usize,
    count: usize,
}

/// Runs of elements with one scale: their index among the scales.
fn runs(count: usize, inner: usize, scales: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..count.div_ceil(inner.max(1))).map(move |run| (run * inner, run % scales))
}

impl Step for DequantizeStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let out = io.output::<f32>(0)?;
        let Steps { scale, zero, dtype } = &self.steps;
        for (start, index) in runs(self.count, self.inner, scale.len()) {
            let end = (start + self.inner).min(self.count);
            let (out, scale, zero) = (&mut out[start..end], scale[index], zero[index]);
            if *dtype == DType::I32 {
                let x = &io.input::<i32>(0)[start..end];
                for (out, &x) in out.iter_mut().zip(x) {
                    *out = x.wrapping_sub(zero) as f32 * scale;
                }
                continue;
            }
            let signed = *dtype == DType::I8;
            let x = &io.input::<u8>(0)[start..end];
            let params = params(&scale, &zero, signed);
            if signed {
                quant::dequantize_with(io.isa, as_signed(x), params, out)?;
            } else {
                quant::dequantize_with(io.isa, x, params, out)?;
            }
        }
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        "dequantize"
    }

    fn work(&self) -> usize {
        self.count
    }
}

fn params<'a>(scale: &'a f32, zero_point: &'a i32, signed: bool) -> Params<'a> {
    let shift = if signed { -128 } else { 0 };
    Params {
        layout: quant::Layout::Tensor,
        scale: std::slice::from_ref(scale),
        zero_point: std::slice::from_ref(zero_point),
        min: shift,
        max: shift + 255,
    }
}

/// The type of the codes of a `QuantizeLinear`.
fn coded_dtype(inputs: Inputs<'_>) -> Result<DType> {
    let dtype = inputs.optional(2).map_or(DType::U8, |zero| zero.dtype);
    if matches!(dtype, DType::U8 | DType::I8) {
        return Ok(dtype);
    }
    Err(dtype_error!("the zero point is {dtype}, which codes are not"))
}

impl Op for Quantize {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.of(0, DType::F32)?;
        let dtype = coded_dtype(inputs)?;
        Steps::read(inputs, dtype)?.inner(&x.dims, self.axis)?;
        Ok(vec![Fact::new(dtype, x.dims.clone())])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let x = cx.inputs.get(0)?.clone();
        let steps = Steps::read(cx.inputs, coded_dtype(cx.inputs)?)?;
        if let Some(affine) = steps.affine() {
            let layout = cx.layout(0);
            let r = cx.codes_of(0, affine, layout)?;
            return cx.set(0, layout, r);
        }
        let inner = steps.inner(&x.dims, self.axis)?;
        let step = Box::new(QuantizeStep { steps, inner, count: x.count() });
        let inputs = vec![cx.plain(0)?];
        cx.emit(Emit { step, inputs, scratch: 0, in_place: None, layouts: &[Layout::Plain] })
    }
}

struct QuantizeStep {
    steps: Steps,
    inner: usize,
    count: usize,
}

impl Step for QuantizeStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let (x, out) = (io.input::<f32>(0), io.output::<u8>(0)?);
        let Steps { scale, zero, dtype } = &self.steps;
        for (start, index) in runs(self.count, self.inner, scale.len()) {
            let end = (start + self.inner).min(self.count);
            let (x, out) = (&x[start..end], &mut out[start..end]);
            let signed = *dtype == DType::I8;
            let params = params(&scale[index], &zero[index], signed);
            let counts = if signed {
                quant::quantize_with(io.isa, x, params, as_signed_mut(out))?
            } else {
                quant::quantize_with(io.isa, x, params, out)?
            };
            if counts.nan > 0 {
                return Err(value_error!("its input has NaN, which no integer stands for"));
            }
        }
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        "quantize"
    }

    fn work(&self) -> usize {
        self.count
    }
}
