//! Elements and slices that are picked by index.

use qcore_kernels::interrupt::Pace;

use crate::dtype::{DType, with_type};
use crate::error::{Result, shape_error, value_error};
use crate::fact::{Fact, Inputs};
use crate::lower::{Context, Layout};
use crate::memory::Element;
use crate::op::{Make, Op, Spec};
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::{axis, product, strides, work};

pub(super) const OPS: &[(&str, Make)] = &[("Gather", gather), ("GatherElements", gather)];

/// Elements or slices picked along an axis.
struct Gather {
    axis: i64,
    /// One index for each element, not for each slice.
    elements: bool,
}

fn gather(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let axis = spec.attributes.int_or("axis", 0)?;
    Ok(Box::new(Gather { axis, elements: spec.op == "GatherElements" }))
}

impl Op for Gather {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let (x, indices) = (inputs.get(0)?, inputs.get(1)?);
        if !matches!(indices.dtype, DType::I64 | DType::I32) {
            let found = indices.dtype;
            return Err(crate::error::dtype_error!("indices are {found}; they must be integers"));
        }
        let at = axis(self.axis, x.rank())?;
        if self.elements {
            let fits = indices.rank() == x.rank()
                && (0..x.rank()).all(|a| a == at || indices.dims[a] <= x.dims[a]);
            if !fits {
                let (found, dims) = (&indices.dims, &x.dims);
                return Err(shape_error!("indices {found:?} do not fit into {dims:?}"));
            }
            return Ok(vec![Fact::new(x.dtype, indices.dims.clone())]);
        }
        let mut dims = x.dims[..at].to_vec();
        dims.extend(indices.dims.iter().chain(&x.dims[at + 1..]));
        Ok(vec![Fact::new(x.dtype, dims)])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let (x, indices) = (cx.inputs.get(0)?.clone(), cx.inputs.get(1)?.clone());
        let at = axis(self.axis, x.rank())?;
        let moved = cx.moved(0, 0..1, Layout::Plain)?;
        let inputs = vec![moved.r, cx.plain(1)?];
        let dtype = if moved.coded { DType::U8 } else { x.dtype };
        let wide = indices.dtype == DType::I64;
        let step: Box<dyn Step> = if self.elements {
            Box::new(GatherElements {
                dtype,
                wide,
                axis: at,
                x_strides: strides(&x.dims),
                limit: x.dims[at],
                dims: indices.dims.clone(),
            })
        } else {
            Box::new(GatherSlices {
                wide,
                outer: product(&x.dims[..at]),
                dim: x.dims[at],
                run: product(&x.dims[at + 1..]) * moved.size,
                picks: indices.count(),
            })
        };
        cx.emit_moved(step, inputs, Layout::Plain, moved)
    }
}

/// An index that may count from the end.
pub(super) fn pick(index: i64, limit: usize) -> Result<usize> {
    let found = if index < 0 { index.wrapping_add(limit as i64) } else { index };
    usize::try_from(found)
        .ok()
        .filter(|&found| found < limit)
        .ok_or_else(|| value_error!("an index is {index}; it must lie in [-{limit}, {limit})"))
}

/// The index at a place, of int32 or int64.
pub(super) fn index_at(io: &Io<'_>, wide: bool, at: usize) -> i64 {
    if wide { io.input::<i64>(1)[at] } else { io.input::<i32>(1)[at].into() }
}

struct GatherSlices {
    wide: bool,
    outer: usize,
    dim: usize,
    /// Bytes of a slice.
    run: usize,
    picks: usize,
}

impl Step for GatherSlices {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let x = io.input::<u8>(0);
        let out = io.output::<u8>(0)?;
        if self.run == 0 {
            return Ok(());
        }
        let mut slices = out.chunks_exact_mut(self.run);
        let mut pace = Pace::new();
        for outer in 0..self.outer {
            for at in 0..self.picks {
                pace.check(self.run)?;
                let index = pick(index_at(io, self.wide, at), self.dim)?;
                let from = (outer * self.dim + index) * self.run;
                if let Some(slice) = slices.next() {
                    slice.copy_from_slice(&x[from..from + self.run]);
                }
            }
        }
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        "gather"
    }

    fn work(&self) -> usize {
        work(&[self.outer, self.picks, 1 + self.run / 16])
    }
}

struct GatherElements {
    dtype: DType,
    wide: bool,
    axis: usize,
    x_strides: Vec<usize>,
    limit: usize,
    dims: Vec<usize>,
}

impl GatherElements {
    fn gather<T: Element>(&self, io: &mut Io<'_>) -> Result<()> {
        let x = io.input::<T>(0);
        let out = io.output::<T>(0)?;
        let mut pace = Pace::new();
        for (at, out) in out.iter_mut().enumerate() {
            pace.check(8)?;
            let (mut rest, mut from) = (at, 0);
            for axis in (0..self.dims.len()).rev() {
                let index = rest % self.dims[axis];
                rest /= self.dims[axis];
                let index = if axis == self.axis {
                    pick(index_at(io, self.wide, at), self.limit)?
                } else {
                    index
                };
                from += index * self.x_strides[axis];
            }
            *out = x[from];
        }
        Ok(())
    }
}

impl Step for GatherElements {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        with_type!(self.dtype, T => self.gather::<T>(io))
    }

    fn kernel(&self) -> &'static str {
        "gather elements"
    }

    fn work(&self) -> usize {
        work(&[product(&self.dims), 8])
    }
}
