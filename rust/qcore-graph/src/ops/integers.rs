//! Products of integers with their zero points, and floats made integers by their own range, as ONNX
//! defines them.

use std::sync::Arc;

use qcore_kernels::gemm::{Int8, PackedI8, Right, ZeroPoint, matmul_integer_with};
use qcore_kernels::quant::{Layout as Scales, Params, quantize_with, ranges_with};
use qcore_kernels::view::{MatRef, as_signed};
use qcore_kernels::{isa, memory};

use crate::dtype::DType;
use crate::error::{Result, dtype_error, shape_error, value_error};
use crate::fact::{Fact, Inputs};
use crate::lower::Context;
use crate::op::{Make, Op, Spec};
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::{product, work};
use crate::tensor::Tensor;

pub(super) const OPS: &[(&str, Make)] =
    &[("DynamicQuantizeLinear", dynamic), ("MatMulInteger", matmul)];

/// Int8 or uint8.
fn of_codes(inputs: Inputs<'_>, index: usize) -> Result<&Fact> {
    let fact = inputs.get(index)?;
    if matches!(fact.dtype, DType::I8 | DType::U8) {
        return Ok(fact);
    }
    Err(dtype_error!("input {index} is {}; it must be int8 or uint8", fact.dtype))
}

/// Bytes as a matrix.
fn matrix(bytes: &[u8], dtype: DType, rows: usize, cols: usize) -> Result<Int8<'_>> {
    Ok(if dtype == DType::I8 {
        MatRef::from_slice(as_signed(bytes), rows, cols)?.into()
    } else {
        MatRef::from_slice(bytes, rows, cols)?.into()
    })
}

/// A code by its byte.
fn code(byte: u8, dtype: DType) -> i32 {
    if dtype == DType::I8 { i32::from(byte as i8) } else { i32::from(byte) }
}

/// `(a - a_zero) @ (b - b_zero)`: `b` a matrix, its zero points known, that of `a` one number.
struct MatMulInteger;

fn matmul(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    spec.gives(1)?;
    Ok(Box::new(MatMulInteger))
}

impl Op for MatMulInteger {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let (a, b) = (of_codes(inputs, 0)?, of_codes(inputs, 1)?);
        let &[k, n] = &b.dims[..] else {
            return Err(shape_error!("b {:?} is no matrix", b.dims));
        };
        if a.rank() == 0 || a.dims.last() != Some(&k) {
            return Err(shape_error!("a {:?} and b {:?} do not multiply", a.dims, b.dims));
        }
        for (index, other, lens) in [(2, a.dtype, [1, 1]), (3, b.dtype, [1, n])] {
            if inputs.optional(index).is_some() {
                let zero = inputs.of(index, other)?;
                if !lens.contains(&zero.count()) {
                    let found = &zero.dims;
                    return Err(shape_error!("zero point {found:?} has not {lens:?} elements"));
                }
            }
        }
        let mut dims = a.dims.clone();
        dims[a.rank() - 1] = n;
        Ok(vec![Fact::new(DType::I32, dims)])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let (a, b) = (cx.inputs.get(0)?.clone(), cx.inputs.get(1)?.clone());
        let mut refs = vec![cx.plain(0)?];
        let packed = if let Some(value) = &b.value {
            Some(cx.prepared(value, "matmul integer", || {
                let view = matrix(value.bytes(), b.dtype, b.dims[0], b.dims[1])?;
                Ok(PackedI8::new(isa::active()?, view)?)
            })?)
        } else {
            refs.push(cx.plain(1)?);
            None
        };
        let has_zero = cx.inputs.optional(2).is_some();
        if has_zero {
            refs.push(cx.plain(2)?);
        }
        let b_zero = match cx.inputs.optional(3) {
            Some(_) => {
                let zero: &Tensor = cx.inputs.value(3)?;
                memory::collected(zero.bytes().iter().map(|&byte| code(byte, b.dtype)))?
            }
            None => vec![0],
        };
        let step = Box::new(MatMulStep {
            dtypes: [a.dtype, b.dtype],
            rows: product(&a.dims[..a.rank() - 1]),
            sizes: [b.dims[0], b.dims[1]],
            packed,
            has_zero,
            b_zero,
        });
        cx.emit_plain(step, refs)
    }
}

struct MatMulStep {
    dtypes: [DType; 2],
    rows: usize,
    sizes: [usize; 2],
    /// The weights, where they are known.
    packed: Option<Arc<PackedI8>>,
    has_zero: bool,
    b_zero: Vec<i32>,
}

impl Step for MatMulStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let ([k, n], [of_a, of_b]) = (self.sizes, self.dtypes);
        let a = matrix(io.input(0), of_a, self.rows, k)?;
        let (b, zero_at): (Right<'_>, _) = match &self.packed {
            Some(packed) => ((&**packed).into(), 1),
            None => (Right::Matrix(matrix(io.input(1), of_b, k, n)?), 2),
        };
        let zero = if self.has_zero { code(io.input::<u8>(zero_at)[0], of_a) } else { 0 };
        let b_zero = match self.b_zero[..] {
            [zero] => ZeroPoint::One(zero),
            ref each => ZeroPoint::Each(each),
        };
        let out = io.output::<i32>(0)?;
        if out.is_empty() {
            return Ok(());
        }
        if k == 0 {
            out.fill(0);
            return Ok(());
        }
        match b {
            Right::Packed(b) => {
                matmul_integer_with(io.isa, a, b, ZeroPoint::One(zero), b_zero, out)?;
            }
            Right::Masked(b) => {
                matmul_integer_with(io.isa, a, b, ZeroPoint::One(zero), b_zero, out)?;
            }
            Right::Matrix(b) => {
                matmul_integer_with(io.isa, a, b, ZeroPoint::One(zero), b_zero, out)?;
            }
        }
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        "product of int8"
    }

    fn work(&self) -> usize {
        work(&[self.rows, self.sizes[0], self.sizes[1]])
    }
}

/// uint8 codes, their scale and their zero point, by the range of a tensor and 0.
struct Dynamic;

fn dynamic(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    spec.gives(3)?;
    Ok(Box::new(Dynamic))
}

impl Op for Dynamic {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.of(0, DType::F32)?;
        let codes = Fact::new(DType::U8, x.dims.clone());
        Ok(vec![codes, Fact::new(DType::F32, Vec::new()), Fact::new(DType::U8, Vec::new())])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let count = cx.inputs.get(0)?.count();
        let refs = vec![cx.plain(0)?];
        cx.emit_plain(Box::new(DynamicStep { count }), refs)
    }
}

struct DynamicStep {
    count: usize,
}

impl Step for DynamicStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let x = io.input::<f32>(0);
        let (codes, scale, zero) = (io.output::<u8>(0)?, io.output::<f32>(1)?, io.output::<u8>(2)?);
        let range = ranges_with(io.isa, x, Scales::Tensor)?[0];
        if range.nan > 0 || range.infinite > 0 {
            return Err(value_error!("it has values that are not finite, which have no range"));
        }
        // They are floats, kept wide.
        let (low, high) = (range.min.min(0.0) as f32, range.max.max(0.0) as f32);
        let span = high - low;
        let step = if span == 0.0 { 1.0 } else { span / 255.0 };
        if !(step.is_normal() && span.is_finite()) {
            return Err(value_error!("its range, {low} to {high}, has no step"));
        }
        let middle = (-low / step).clamp(0.0, 255.0).round_ties_even();
        let params = Params {
            layout: Scales::Tensor,
            scale: &[step],
            zero_point: &[middle as i32],
            min: 0,
            max: 255,
        };
        quantize_with(io.isa, x, params, codes)?;
        (scale[0], zero[0]) = (step, middle as u8);
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        "quantize by range"
    }

    fn work(&self) -> usize {
        self.count.saturating_mul(2)
    }
}
