//! Where the largest or the smallest lies along an axis.

use qcore_kernels::interrupt::Pace;

use crate::dtype::{DType, with_type};
use crate::error::Result;
use crate::fact::{Fact, Inputs};
use crate::lower::Context;
use crate::memory::Element;
use crate::op::{Make, Op, Spec};
use crate::ops::reduce::reduced;
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::{axis, product, work};

pub(super) const OPS: &[(&str, Make)] = &[("ArgMax", arg), ("ArgMin", arg)];

struct Arg {
    largest: bool,
    axis: i64,
    keep: bool,
    last: bool,
}

fn arg(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let a = &spec.attributes;
    Ok(Box::new(Arg {
        largest: spec.op == "ArgMax",
        axis: a.int_or("axis", 0)?,
        keep: a.flag("keepdims", true)?,
        last: a.flag("select_last_index", false)?,
    }))
}

impl Op for Arg {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.get(0)?;
        let at = axis(self.axis, x.rank())?;
        if x.dims[at] == 0 {
            return Err(crate::error::shape_error!("axis {at} of {:?} has nothing in it", x.dims));
        }
        Ok(vec![Fact::new(DType::I64, reduced(&x.dims, &[at], self.keep))])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let x = cx.inputs.get(0)?.clone();
        let at = axis(self.axis, x.rank())?;
        let step = Box::new(ArgStep {
            dtype: x.dtype,
            largest: self.largest,
            last: self.last,
            outer: product(&x.dims[..at]),
            n: x.dims[at],
            inner: product(&x.dims[at + 1..]),
        });
        let inputs = vec![cx.plain(0)?];
        cx.emit_plain(step, inputs)
    }
}

struct ArgStep {
    dtype: DType,
    largest: bool,
    last: bool,
    outer: usize,
    n: usize,
    inner: usize,
}

impl ArgStep {
    fn find<T: Element + PartialOrd>(&self, io: &mut Io<'_>) -> Result<()> {
        let x = io.input::<T>(0);
        let out = io.output::<i64>(0)?;
        let mut pace = Pace::new();
        for (at, out) in out.iter_mut().enumerate() {
            pace.check(self.n)?;
            let base = at / self.inner * self.n * self.inner + at % self.inner;
            let mut best = 0;
            for index in 1..self.n {
                let (value, held) = (x[base + index * self.inner], x[base + best * self.inner]);
                let better = if self.largest { value > held } else { value < held };
                if better || (self.last && value == held) {
                    best = index;
                }
            }
            *out = best as i64;
        }
        Ok(())
    }
}

impl Step for ArgStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        with_type!(self.dtype, T => self.find::<T>(io))
    }

    fn kernel(&self) -> &'static str {
        "arg"
    }

    fn work(&self) -> usize {
        work(&[self.outer, self.n, self.inner])
    }
}
