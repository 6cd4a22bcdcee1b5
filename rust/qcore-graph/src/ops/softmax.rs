//! Softmax and its logarithm along an axis.

use qcore_kernels::interrupt::Pace;
use qcore_kernels::norm::softmax_with;

use crate::dtype::DType;
use crate::error::Result;
use crate::fact::{Fact, Inputs};
use crate::lower::{Context, Emit};
use crate::op::{Make, Op, Spec};
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::{axis, product};

pub(super) const OPS: &[(&str, Make)] = &[("LogSoftmax", softmax), ("Softmax", softmax)];

struct Softmax {
    axis: i64,
    log: bool,
}

fn softmax(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let axis = spec.attributes.int_or("axis", -1)?;
    Ok(Box::new(Softmax { axis, log: spec.op == "LogSoftmax" }))
}

impl Op for Softmax {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.of(0, DType::F32)?;
        axis(self.axis, x.rank().max(1))?;
        Ok(vec![Fact::new(DType::F32, x.dims.clone())])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let x = cx.inputs.get(0)?.clone();
        let layout = cx.layout(0);
        let at = layout.axis(axis(self.axis, x.rank().max(1))?, x.rank());
        let dims = layout.dims(&x.dims);
        let n = dims.get(at).copied().unwrap_or(1);
        let inner = product(dims.get(at + 1..).unwrap_or(&[]));
        let scratch = if inner == 1 { 0 } else { n * size_of::<f32>() };
        let step = Box::new(SoftmaxStep { n, inner, log: self.log, count: x.count() });
        let inputs = vec![cx.input(0, layout)?];
        cx.emit(Emit { step, inputs, scratch, in_place: Some(0), layouts: &[layout] })
    }
}

struct SoftmaxStep {
    n: usize,
    /// Elements from one of the axis to the next.
    inner: usize,
    log: bool,
    count: usize,
}

impl SoftmaxStep {
    fn row(&self, io: &Io<'_>, row: &mut [f32]) -> Result<()> {
        if self.log {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|&x| f64::from(x - largest).exp()).sum();
            let shift = sum.ln() as f32;
            for x in row.iter_mut() {
                *x = *x - largest - shift;
            }
            return Ok(());
        }
        softmax_with(io.isa, row, self.n)?;
        Ok(())
    }
}

impl Step for SoftmaxStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let out = io.overwrite::<f32>()?;
        if out.is_empty() {
            return Ok(());
        }
        if self.inner == 1 && !self.log {
            softmax_with(io.isa, out, self.n)?;
            return Ok(());
        }
        let mut pace = Pace::new();
        if self.inner == 1 {
            for row in out.chunks_exact_mut(self.n) {
                pace.check(self.n.saturating_mul(4))?;
                self.row(io, row)?;
            }
            return Ok(());
        }
        let room = io.scratch::<f32>()?;
        for block in out.chunks_exact_mut(self.n * self.inner) {
            for at in 0..self.inner {
                pace.check(self.n.saturating_mul(4))?;
                for (index, x) in room.iter_mut().enumerate() {
                    *x = block[index * self.inner + at];
                }
                self.row(io, room)?;
                for (index, &x) in room.iter().enumerate() {
                    block[index * self.inner + at] = x;
                }
            }
        }
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        if self.log { "log softmax" } else { "softmax" }
    }

    fn work(&self) -> usize {
        self.count.saturating_mul(16)
    }
}
