//! Rows times weights that come laid out for their kernel: integers take rows as int8, each with a
//! scale of its own; floats take floats.

use std::any::Any;
use std::sync::Arc;

use qcore_kernels::Isa;
use qcore_kernels::elementwise::{Binary, Operand as Flat, binary_strided_f32_with};
use qcore_kernels::epilogue::{Activation, FloatOutput, finish_rows_with};
use qcore_kernels::memory;
use qcore_kernels::norm::layer_norm_in_place_with;

use crate::dtype::DType;
use crate::error::{Result, shape_error, value_error};
use crate::fact::{Fact, Inputs};
use crate::lower::{BLOCK, Context, RowTargets};
use crate::memory::bytes_of;
use crate::op::{Op, Spec};
use crate::operand::{Affine, Operand};
use crate::ops::activation;
use crate::ops::layer_norm::RowNorm;
use crate::ops::rows::{self, Kept};
use crate::plan::Ref;
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::product;

/// Codes of rows have their zero at 0; the scales are the rows' own.
const ROWS: Affine = Affine { scale: 1.0, zero_point: 0, signed: true };

/// `activation(x · weightsᵀ + bias + residual)`: inputs 0, 1 and 2. With a packing, input 3, of the rows
/// that are kept.
pub(super) struct Linear {
    operand: Arc<dyn Operand>,
    activation: Activation,
}

pub(super) fn linear(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let operand = spec.attributes.operand("operand")?;
    let activation = activation::read(spec.attributes)?;
    Ok(Box::new(Linear { operand, activation }))
}

impl Op for Linear {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.of(0, DType::F32)?;
        let (k, n) = (self.operand.inputs(), self.operand.outputs());
        if x.dims.last() != Some(&k) {
            return Err(shape_error!("x {:?} has not rows of {k}", x.dims));
        }
        let mut dims = x.dims.clone();
        dims[x.rank() - 1] = n;
        if inputs.optional(1).is_some() && inputs.of(1, DType::F32)?.count() != n {
            return Err(shape_error!("bias {:?} is not {n} values", inputs.get(1)?.dims));
        }
        if inputs.optional(2).is_some() && inputs.of(2, DType::F32)?.dims != dims {
            let found = &inputs.get(2)?.dims;
            return Err(shape_error!("what is added {found:?} is not {dims:?}"));
        }
        rows::check(inputs, 3, x)?;
        Ok(vec![Fact::new(DType::F32, dims)])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let x = cx.inputs.get(0)?;
        let rows = product(&x.dims[..x.rank() - 1]);
        let bias = match cx.inputs.optional(1) {
            None => Vec::new(),
            Some(_) => memory::copied(cx.inputs.value(1)?.elements::<f32>())?,
        };
        let mut refs = if self.operand.is_integer() && self.operand.inputs() > 0 {
            let found = cx.row_codes(0)?;
            vec![found.codes, found.scale]
        } else {
            vec![cx.plain(0)?]
        };
        let residual = cx.inputs.optional(2).is_some();
        if residual {
            refs.push(cx.plain(2)?);
        }
        let batch = match cx.inputs.optional(3) {
            Some(_) => {
                refs.push(cx.plain(3)?);
                Some((refs.len() - 1, cx.outputs[0].dims[0]))
            }
            None => None,
        };
        let targets = cx.row_targets(rows, self.operand.outputs());
        let step = Box::new(LinearStep {
            operand: Arc::clone(&self.operand),
            bias,
            activation: self.activation,
            residual,
            norm: None,
            rows,
            targets,
            batch,
        });
        cx.emit_rows(step, refs, targets)
    }

    fn takes_row_codes(&self, input: usize) -> bool {
        input == 0 && self.operand.is_integer() && self.operand.inputs() > 0
    }
}

struct LinearStep {
    operand: Arc<dyn Operand>,
    bias: Vec<f32>,
    activation: Activation,
    residual: bool,
    /// What finished rows go through.
    norm: Option<RowNorm>,
    rows: usize,
    targets: RowTargets,
    /// Where the packing is among the inputs, and of how many sequences.
    batch: Option<(usize, usize)>,
}

/// Makes the normalization of input 0 a part of the product that has just made it, which then fills the
/// targets with rows that never left the caches. Of a packing it is that of the same rows.
pub(in crate::ops) fn join_norm(
    cx: &mut Context<'_>,
    norm: RowNorm,
    packing: Option<Ref>,
    targets: RowTargets,
) -> Result<bool> {
    cx.join_rows(targets, |step, inputs| {
        let Some(step) = step.downcast_mut::<LinearStep>() else { return false };
        let packed = step.batch.map(|(index, _)| inputs[index]);
        if step.operand.outputs() != norm.n || packed != packing {
            return false;
        }
        step.norm = Some(norm.placed(inputs));
        step.targets = targets;
        true
    })
}

/// What is multiplied: floats, or codes with a scale for each row.
#[derive(Clone, Copy)]
enum Rows<'a> {
    Floats(&'a [f32]),
    Codes(&'a [u8], &'a [f32]),
}

impl LinearStep {
    /// Rows from `first` on, as many as fit into `out`.
    fn rows(
        &self,
        isa: Isa,
        weights: &dyn Operand,
        rows: Rows<'_>,
        first: usize,
        residual: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<()> {
        let (k, n) = (weights.inputs(), weights.outputs());
        let count = out.len().checked_div(n).unwrap_or(0);
        if count == 0 {
            return Ok(());
        }
        // What is added comes before the activation.
        let now = if residual.is_some() { Activation::Linear } else { self.activation };
        match rows {
            Rows::Codes(codes, scale) => {
                let row_scale = &scale[first..first + count];
                let scale = weights.scale();
                let output = FloatOutput { scale, row_scale, bias: &self.bias, activation: now };
                let codes = &codes[first * k..(first + count) * k];
                weights.to_float(isa, codes, ROWS, count, output, out)?;
            }
            Rows::Floats(_) if k == 0 => {
                out.fill(0.0);
                finish_rows_with(isa, out, n, &self.bias, now)?;
            }
            Rows::Floats(x) => {
                let x = &x[first * k..(first + count) * k];
                weights.float(isa, x, &self.bias, now, out)?;
            }
        }
        if let Some(residual) = residual {
            let residual = &residual[first * n..(first + count) * n];
            let sum = Flat { data: None, strides: &[1] };
            let added = Flat { data: Some(residual), strides: &[1] };
            let count = [out.len()];
            binary_strided_f32_with(isa, Binary::Add, sum, added, (&mut *out, &count))?;
            if self.activation != Activation::Linear {
                finish_rows_with(isa, out, n, &[], self.activation)?;
            }
        }
        Ok(())
    }
}

impl Step for LinearStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let isa = io.isa;
        let kept = self.batch.map(|(index, batch)| Kept::new(io.input(index), batch).rows);
        // Which weights are the faster follows from the shapes alone: sums of floats depend on it.
        let weights = self.operand.for_rows(isa, self.rows)?;
        // What rows choose may be floats.
        let integer = self.operand.is_integer() && self.operand.inputs() > 0;
        if integer != (weights.is_integer() && weights.inputs() > 0) {
            return Err(value_error!("weights become others for {} rows", self.rows));
        }
        let rows = if integer {
            Rows::Codes(bytes_of(io.input::<i8>(0)), io.input(1))
        } else {
            Rows::Floats(io.input(0))
        };
        let residual = self.residual.then(|| io.input::<f32>(if integer { 2 } else { 1 }));
        let norm = self.norm.map(|norm| norm.of(io));
        if self.targets.is_plain() && residual.is_none() && norm.is_none() {
            let out = io.output::<f32>(0)?;
            let count = kept.map_or(out.len(), |kept| kept * weights.outputs());
            return self.rows(isa, weights, rows, 0, None, &mut out[..count]);
        }
        self.targets.run(io, kept, BLOCK, self.operand.work(), |first, out| {
            self.rows(isa, weights, rows, first, residual, out)?;
            match norm {
                Some(norm) => Ok(layer_norm_in_place_with(isa, norm, out, weights.outputs())?),
                None => Ok(()),
            }
        })
    }

    fn kernel(&self) -> &str {
        self.operand.kind()
    }

    fn open(&mut self) -> Option<&mut dyn Any> {
        // Rows that are codes already are those of what they are before a normalization.
        (self.norm.is_none() && self.targets.is_plain()).then_some(self)
    }

    fn work(&self) -> usize {
        self.rows.saturating_mul(self.operand.work())
    }
}
