//! Elements and slices put where indices say: what `Gather` reads, written.

use qcore_kernels::interrupt::Pace;

use crate::dtype::{DType, with_type};
use crate::error::{Result, dtype_error, shape_error, spec_error};
use crate::fact::{Fact, Inputs};
use crate::lower::Context;
use crate::memory::Element;
use crate::op::{Make, Op, Spec};
use crate::ops::gather::{index_at, pick};
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::{axis, product, strides, work};

pub(super) const OPS: &[(&str, Make)] = &[("ScatterElements", make), ("ScatterND", make)];

/// What becomes of an element that is there already.
#[derive(Clone, Copy, PartialEq)]
enum Meet {
    Replace,
    Add,
    Mul,
    Max,
    Min,
}

/// Numbers that meet.
trait Met: Element {
    fn met(self, new: Self, meet: Meet) -> Self;
}

impl Met for f32 {
    fn met(self, new: Self, meet: Meet) -> Self {
        match meet {
            Meet::Replace => new,
            Meet::Add => self + new,
            Meet::Mul => self * new,
            Meet::Max => self.max(new),
            Meet::Min => self.min(new),
        }
    }
}

macro_rules! met {
    ($($t:ty)*) => {$(
        impl Met for $t {
            fn met(self, new: Self, meet: Meet) -> Self {
                match meet {
                    Meet::Replace => new,
                    Meet::Add => self.wrapping_add(new),
                    Meet::Mul => self.wrapping_mul(new),
                    Meet::Max => self.max(new),
                    Meet::Min => self.min(new),
                }
            }
        }
    )*};
}
met!(i64 i32 u8 i8);

struct Scatter {
    /// Of the indices of elements; none where each leads to a slice.
    axis: Option<i64>,
    meet: Meet,
}

fn make(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let a = &spec.attributes;
    let meet = match a.text_or("reduction", "none")? {
        "none" => Meet::Replace,
        "add" => Meet::Add,
        "mul" => Meet::Mul,
        "max" => Meet::Max,
        "min" => Meet::Min,
        found => {
            return Err(spec_error!("reduction '{found}' is none of none, add, mul, max, min"));
        }
    };
    let of_elements = spec.op == "ScatterElements";
    let axis = if of_elements { Some(a.int_or("axis", 0)?) } else { None };
    Ok(Box::new(Scatter { axis, meet }))
}

impl Op for Scatter {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let (x, indices) = (inputs.get(0)?, inputs.get(1)?);
        if !matches!(indices.dtype, DType::I64 | DType::I32) {
            return Err(dtype_error!("indices are {}; they must be integers", indices.dtype));
        }
        if x.dtype == DType::Bool && self.meet != Meet::Replace {
            return Err(dtype_error!("input 0 is bool, which is only replaced"));
        }
        let new = inputs.of(2, x.dtype)?;
        let (dims, at) = (&x.dims, &indices.dims);
        let fits = if let Some(along) = self.axis {
            let along = axis(along, dims.len())?;
            let inside = |i: usize| i == along || at[i] <= dims[i];
            at.len() == dims.len() && (0..dims.len()).all(inside) && new.dims == *at
        } else {
            at.split_last().is_some_and(|(&depth, outer)| {
                depth <= dims.len() && new.dims == [outer, &dims[depth.min(dims.len())..]].concat()
            })
        };
        if !fits {
            let found = &new.dims;
            return Err(shape_error!("indices {at:?} and updates {found:?} do not fit {dims:?}"));
        }
        Ok(vec![Fact::new(x.dtype, dims.clone())])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let (x, indices) = (cx.inputs.get(0)?.clone(), cx.inputs.get(1)?.clone());
        let along = self.axis.map(|along| axis(along, x.rank())).transpose()?;
        let step = Box::new(ScatterStep {
            dtype: x.dtype,
            wide: indices.dtype == DType::I64,
            axis: along,
            meet: self.meet,
            strides: strides(&x.dims),
            dims: x.dims.clone(),
            indices: indices.dims.clone(),
        });
        let inputs = vec![cx.plain(0)?, cx.plain(1)?, cx.plain(2)?];
        cx.emit_plain(step, inputs)
    }
}

struct ScatterStep {
    dtype: DType,
    wide: bool,
    axis: Option<usize>,
    meet: Meet,
    strides: Vec<usize>,
    dims: Vec<usize>,
    indices: Vec<usize>,
}

impl ScatterStep {
    fn scatter<T: Met>(&self, io: &mut Io<'_>) -> Result<()> {
        let new = io.input::<T>(2);
        let out = io.overwrite::<T>()?;
        let mut pace = Pace::new();
        if let Some(along) = self.axis {
            for (at, &new) in new.iter().enumerate() {
                pace.check(8)?;
                let (mut rest, mut to) = (at, 0);
                for axis in (0..self.dims.len()).rev() {
                    let place = rest % self.indices[axis];
                    rest /= self.indices[axis];
                    let place = if axis == along {
                        pick(index_at(io, self.wide, at), self.dims[axis])?
                    } else {
                        place
                    };
                    to += place * self.strides[axis];
                }
                out[to] = out[to].met(new, self.meet);
            }
            return Ok(());
        }
        let depth = self.indices.last().copied().unwrap_or(0);
        let run = product(&self.dims[depth..]);
        if run == 0 {
            return Ok(());
        }
        for (row, new) in new.chunks_exact(run).enumerate() {
            pace.check(run)?;
            let mut to = 0;
            for axis in 0..depth {
                let index = index_at(io, self.wide, row * depth + axis);
                to += pick(index, self.dims[axis])? * self.strides[axis];
            }
            for (out, &new) in out[to..to + run].iter_mut().zip(new) {
                *out = out.met(new, self.meet);
            }
        }
        Ok(())
    }
}

impl Step for ScatterStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        with_type!(self.dtype, T => self.scatter::<T>(io))
    }

    fn kernel(&self) -> &'static str {
        "scatter"
    }

    fn work(&self) -> usize {
        work(&[product(&self.dims), 2]).saturating_add(work(&[product(&self.indices), 8]))
    }
}
