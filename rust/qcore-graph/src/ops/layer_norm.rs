//! Normalization of the last axes by their own mean and variance.

use qcore_kernels::interrupt::Pace;
use qcore_kernels::norm::{Norm, layer_norm_with};

use super::normalize::standardize;
use super::rows::Kept;
use crate::dtype::DType;
use crate::error::{Result, shape_error};
use crate::fact::{Fact, Inputs};
use crate::lower::{BLOCK, Context, Emit, Layout, RowTargets};
use crate::op::{Make, Op, Spec};
use crate::plan::Ref;
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::{axis, broadcast, broadcast_strides, expanded, product, work};
use crate::walk::Walk;

pub(super) const OPS: &[(&str, Make)] =
    &[("LayerNormalization", layer), ("RMSNormalization", layer)];

/// Over the axes from one on; with or without the mean.
struct Layer {
    axis: i64,
    epsilon: f32,
    centred: bool,
}

fn layer(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    Ok(Box::new(Layer {
        axis: spec.attributes.int_or("axis", -1)?,
        epsilon: spec.attributes.float_or("epsilon", 1e-5)?,
        centred: spec.op == "LayerNormalization",
    }))
}

impl Op for Layer {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.of(0, DType::F32)?;
        let at = axis(self.axis, x.rank())?;
        let tail = &x.dims[at..];
        super::rows::check(inputs, 3, x)?;
        if inputs.optional(3).is_some() && at + 1 != x.rank() {
            return Err(shape_error!("packed rows are normalized along their last axis"));
        }
        for index in 1..inputs.len().min(3) {
            if inputs.optional(index).is_some() {
                let found = &inputs.of(index, DType::F32)?.dims;
                if found.len() > x.rank() || broadcast(&[found, &x.dims])? != x.dims {
                    return Err(shape_error!("input {index} {found:?} does not fit {tail:?}"));
                }
            }
        }
        let mut dims = x.dims.clone();
        dims[at..].fill(1);
        let one = Fact::new(DType::F32, dims);
        Ok(vec![Fact::new(DType::F32, x.dims.clone()), one.clone(), one])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let x = cx.inputs.get(0)?.clone();
        let at = axis(self.axis, x.rank())?;
        if cx.inputs.optional(3).is_some() && !Self::is_plain(cx, &x.dims[at..]) {
            return Err(shape_error!("packed rows have one scale and one shift for each element"));
        }
        if Self::is_plain(cx, &x.dims[at..]) {
            return self.lower_kernel(cx, product(&x.dims[at..]));
        }
        let mut inputs = vec![cx.plain(0)?];
        let mut parts = Vec::new();
        for index in 1..cx.inputs.len().min(3) {
            if let Some(fact) = cx.inputs.optional(index) {
                let strides = broadcast_strides(&fact.dims, &x.dims);
                parts.push((index, Walk::new(&x.dims, [&strides[..]])?));
                inputs.push(cx.plain(index)?);
            }
        }
        let step = LayerStep {
            n: product(&x.dims[at..]),
            rows: product(&x.dims[..at]),
            epsilon: self.epsilon,
            centred: self.centred,
            parts,
        };
        let step = Box::new(step);
        cx.emit(Emit { step, inputs, scratch: 0, in_place: Some(0), layouts: &[Layout::Plain; 3] })
    }
}

impl Layer {
    /// Whether nothing but output 0 is wanted, and what is multiplied and added is one row.
    fn is_plain(cx: &Context<'_>, tail: &[usize]) -> bool {
        let wanted = cx.output_values.iter().skip(1).any(Option::is_some);
        let row = |index| {
            let dims = cx.inputs.optional(index).map(|fact| &fact.dims);
            dims.is_none_or(|dims| expanded(dims, tail.len()) == tail)
        };
        !wanted && product(tail) > 0 && row(1) && row(2)
    }

    fn lower_kernel(&self, cx: &mut Context<'_>, n: usize) -> Result<()> {
        let count = cx.outputs[0].count();
        let (epsilon, centred) = (self.epsilon, self.centred);
        let targets = cx.row_targets(count / n, n);
        let mut parameters = [None, None];
        for (parameter, index) in parameters.iter_mut().zip(1..3) {
            if cx.inputs.optional(index).is_some() {
                *parameter = Some(cx.plain(index)?);
            }
        }
        let packing = match cx.inputs.optional(3) {
            Some(_) => Some(cx.plain(3)?),
            None => None,
        };
        let norm = RowNorm { n, epsilon, centred, at: parameters };
        if super::dense::join_norm(cx, norm, packing, targets)? {
            return Ok(());
        }
        let mut inputs = vec![cx.plain(0)?];
        let norm = norm.placed(&mut inputs);
        let batch = packing.map(|packing| {
            inputs.push(packing);
            (inputs.len() - 1, cx.outputs[0].dims[0])
        });
        let step = Box::new(KernelStep { norm, count, targets, batch });
        cx.emit_rows(step, inputs, targets)
    }
}

/// How rows of `n` are normalized.
#[derive(Clone, Copy)]
pub(super) struct RowNorm {
    pub(super) n: usize,
    epsilon: f32,
    centred: bool,
    /// Scale and bias: their buffers, or where they are among the inputs of a step.
    at: [Option<usize>; 2],
}

impl RowNorm {
    /// The same with its buffers among the inputs of a step.
    pub(super) fn placed(self, inputs: &mut Vec<Ref>) -> Self {
        let mut place = |r: Ref| {
            inputs.push(r);
            inputs.len() - 1
        };
        Self { at: self.at.map(|parameter| parameter.map(&mut place)), ..self }
    }

    /// What the kernel is told.
    pub(super) fn of<'a>(&self, io: &Io<'a>) -> Norm<'a> {
        let [scale, bias] =
            self.at.map(|index| index.map_or(&[][..], |index| io.input::<f32>(index)));
        Norm { centered: self.centred, epsilon: self.epsilon, scale, bias }
    }
}

/// Rows normalized by the kernel.
struct KernelStep {
    norm: RowNorm,
    count: usize,
    targets: RowTargets,
    /// Where the packing is among the inputs, and of how many sequences.
    batch: Option<(usize, usize)>,
}

impl Step for KernelStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let x = io.input::<f32>(0);
        let (norm, isa, n) = (self.norm.of(io), io.isa, self.norm.n);
        let kept = self.batch.map(|(index, batch)| Kept::new(io.input(index), batch).rows);
        if self.targets.is_plain() && kept.is_none() {
            layer_norm_with(isa, norm, x, n, io.output(0)?)?;
            return Ok(());
        }
        self.targets.run(io, kept, BLOCK, work(&[n, 8]), |first, out| {
            layer_norm_with(isa, norm, &x[first * n..first * n + out.len()], n, out)?;
            Ok(())
        })
    }

    fn kernel(&self) -> &'static str {
        if self.norm.centred { "layer norm" } else { "rms norm" }
    }

    fn work(&self) -> usize {
        work(&[self.count, 4])
    }
}

/// Rows normalized by the definition, with their means and deviations.
struct LayerStep {
    n: usize,
    rows: usize,
    epsilon: f32,
    centred: bool,
    /// Input 1 multiplies, input 2 is added.
    parts: Vec<(usize, Walk<1>)>,
}

impl Step for LayerStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let out = io.overwrite::<f32>()?;
        let (means, inverses) = (io.output::<f32>(1)?, io.output::<f32>(2)?);
        let rows = out.chunks_exact_mut(self.n.max(1)).take(self.rows);
        let mut pace = Pace::new();
        for ((row, mean), inverse) in rows.zip(means).zip(inverses) {
            pace.check(self.n)?;
            (*mean, *inverse) = standardize(row, self.epsilon, self.centred);
        }
        for (at, (index, walk)) in self.parts.iter().enumerate() {
            let values = io.input::<f32>(1 + at);
            walk.for_rows(|start, n, [mut at], [step]| {
                for out in &mut out[start..start + n] {
                    *out = if *index == 1 { *out * values[at] } else { *out + values[at] };
                    at += step;
                }
            });
        }
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        if self.centred { "layer norm" } else { "rms norm" }
    }

    fn work(&self) -> usize {
        work(&[self.rows, self.n, 6])
    }
}
