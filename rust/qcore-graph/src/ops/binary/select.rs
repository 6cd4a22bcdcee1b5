//! One of two elements, by a third.

use super::meeting::{Meeting, meet};
use crate::dtype::{DType, with_type};
use crate::error::Result;
use crate::fact::{Fact, Inputs};
use crate::lower::{Context, Emit};
use crate::memory::Element;
use crate::op::Op;
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::{broadcast, broadcast_strides};
use crate::walk::Walk;

/// `condition ? a : b`.
pub(super) struct Where;

impl Op for Where {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let condition = inputs.of(0, DType::Bool)?;
        let a = inputs.get(1)?;
        let b = inputs.of(2, a.dtype)?;
        let dims = broadcast(&[&condition.dims, &a.dims, &b.dims])?;
        Ok(vec![Fact::new(a.dtype, dims)])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let out = cx.outputs[0].clone();
        let Meeting { layout, dims, refs, shapes } = meet(cx, &[0, 1, 2], &[], &out.dims)?;
        let strides = [0, 1, 2].map(|at: usize| broadcast_strides(&shapes[at], &dims));
        let walk = Walk::new(&dims, [&strides[0][..], &strides[1][..], &strides[2][..]])?;
        let step = Box::new(Choose { dtype: out.dtype, walk });
        cx.emit(Emit { step, inputs: refs, scratch: 0, in_place: None, layouts: &[layout] })
    }
}

struct Choose {
    dtype: DType,
    walk: Walk<3>,
}

impl Choose {
    fn choose<T: Element>(&self, io: &mut Io<'_>) -> Result<()> {
        let condition = io.input::<u8>(0);
        let (a, b) = (io.input::<T>(1), io.input::<T>(2));
        let out = io.output::<T>(0)?;
        self.walk.for_rows(|start, n, [mut c, mut i, mut j], steps| {
            for out in &mut out[start..start + n] {
                *out = if condition[c] != 0 { a[i] } else { b[j] };
                c += steps[0];
                i += steps[1];
                j += steps[2];
            }
        });
        Ok(())
    }
}

impl Step for Choose {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        with_type!(self.dtype, T => self.choose::<T>(io))
    }

    fn kernel(&self) -> &'static str {
        "where"
    }

    fn work(&self) -> usize {
        self.walk.count()
    }
}
