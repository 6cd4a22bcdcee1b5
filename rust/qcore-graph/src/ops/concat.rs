//! Concatenation.

use crate::error::{Result, shape_error, spec_error};
use crate::fact::{Fact, Inputs};
use crate::lower::{Context, Layout};
use crate::op::{Make, Op, Spec};
use crate::region::{CopyStep, Region};
use crate::shape::{axis, strides};

pub(super) const OPS: &[(&str, Make)] = &[("Concat", concat)];

/// Inputs side by side along an axis.
struct Concat(i64);

fn concat(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let axis = spec.attributes.int("axis")?;
    Ok(Box::new(Concat(axis.ok_or_else(|| spec_error!("attribute 'axis' is missing"))?)))
}

impl Op for Concat {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let first = inputs.get(0)?;
        let at = axis(self.0, first.rank())?;
        let mut dims = first.dims.clone();
        for index in 1..inputs.len() {
            let other = &inputs.of(index, first.dtype)?.dims;
            let fits = other.len() == dims.len()
                && (0..dims.len()).all(|a| a == at || other[a] == dims[a]);
            if !fits {
                let first = &first.dims;
                return Err(shape_error!("input {index} {other:?} does not join {first:?}"));
            }
            dims[at] = dims[at].checked_add(other[at]).ok_or_else(|| shape_error!("too long"))?;
        }
        Ok(vec![Fact::new(first.dtype, dims)])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let out = cx.outputs[0].clone();
        let rank = out.rank();
        let n = cx.inputs.len();
        let at = axis(self.0, rank)?;
        // The layout of most of what is joined.
        let lasts: usize = (0..n).filter(|&i| cx.is_last(i)).count();
        let layout = if 2 * lasts > n { Layout::Last } else { Layout::Plain };
        let large = layout.dims(&out.dims);
        let stride = strides(&large)[layout.axis(at, rank)];
        let (mut regions, mut inputs, mut start) = (Vec::new(), Vec::new(), 0);
        let mut joined = None;
        for index in 0..n {
            let dims = cx.inputs.get(index)?.dims.clone();
            let moved = cx.moved(index, 0..1, layout)?;
            inputs.push(moved.r);
            joined = Some(moved);
            regions.push(Region::part(&layout.dims(&dims), &large, start * stride, true));
            start += dims[at];
        }
        let joined = joined.ok_or_else(|| shape_error!("there is nothing to join"))?;
        let step = Box::new(CopyStep::joining("concat", joined.size, regions));
        cx.emit_moved(step, inputs, layout, joined)
    }
}
