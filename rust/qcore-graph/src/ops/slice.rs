//! Parts, repetitions and rearrangements of one input.

use crate::dtype::DType;
use crate::error::{GraphError, Result, shape_error, spec_error, value_error};
use crate::fact::{Fact, Inputs};
use crate::lower::{Context, Layout, Moved};
use crate::op::{Make, Op, Spec};
use crate::region::{CopyStep, Region, TransposeStep};
use crate::shape::{axes, axis, broadcast, broadcast_strides, count, permuted, same, strides};

pub(super) const OPS: &[(&str, Make)] = &[
    ("DepthToSpace", |s| blocks(s, true)),
    ("Expand", |_| Ok(Box::new(Expand))),
    ("Slice", |_| Ok(Box::new(Slice))),
    ("SpaceToDepth", |s| blocks(s, false)),
    ("Split", split),
    ("Tile", |_| Ok(Box::new(Tile))),
    ("Transpose", |s| Ok(Box::new(Transpose(s.attributes.ints("perm")?)))),
];

/// Strides that may be negative.
fn signed(strides: &[usize]) -> Vec<isize> {
    strides.iter().map(|&stride| stride as isize).collect()
}

/// Adds a step that reads input 0 at strides into output 0.
fn gather(cx: &mut Context<'_>, name: &'static str, layout: Layout, region: Region) -> Result<()> {
    let moved = cx.moved(0, 0..1, layout)?;
    if region.is_straight() && cx.inputs.get(0)?.count() == cx.outputs[0].count() {
        return cx.put(0, layout, moved);
    }
    let step = Box::new(CopyStep::new(name, moved.size, region)?);
    cx.emit_moved(step, vec![moved.r], layout, moved)
}

/// Axes in another order; reversed if none is given.
struct Transpose(Option<Vec<i64>>);

impl Transpose {
    fn order(&self, rank: usize) -> Result<Vec<usize>> {
        let Some(order) = &self.0 else { return Ok((0..rank).rev().collect()) };
        let found = axes(order, rank)?;
        if found.len() != rank {
            return Err(value_error!("perm {order:?} is no order of {rank} axes"));
        }
        order.iter().map(|&a| axis(a, rank)).collect()
    }
}

impl Op for Transpose {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.get(0)?;
        Ok(vec![Fact::new(x.dtype, permuted(&x.dims, &self.order(x.rank())?))])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let fact = cx.inputs.get(0)?.clone();
        let rank = fact.rank();
        let order = self.order(rank)?;
        let layout = cx.layout(0);
        // The axis of x that lies at each place in memory, and where each axis of x lies.
        let dims = layout.dims(&fact.dims);
        let place = |axis: usize| layout.axis(axis, rank);
        let plain: Vec<usize> = order.iter().map(|&axis| place(axis)).collect();
        let last = permuted(&plain, &Layout::Last.order(rank));
        let moved = cx.moved(0, 0..1, layout)?;
        // Where the bytes are those of either layout already, they stay.
        for (to, order) in [(Layout::Plain, &plain), (Layout::Last, &last)] {
            if Region::transpose(&dims, order).is_straight() && (to == Layout::Plain || rank >= 3) {
                return cx.put(0, to, moved);
            }
        }
        let step = TransposeStep::boxed(moved.size, dims, plain)?;
        cx.emit_moved(step, vec![moved.r], Layout::Plain, moved)
    }
}

/// Repeated along dims of 1.
struct Expand;

impl Op for Expand {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.get(0)?;
        let shape = sizes(inputs, 1)?;
        Ok(vec![Fact::new(x.dtype, broadcast(&[&x.dims, &shape])?)])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let (from, to) = (cx.inputs.get(0)?.dims.clone(), cx.outputs[0].dims.clone());
        let layout = if from.len() == to.len() { cx.layout(0) } else { Layout::Plain };
        let (from, to) = (layout.dims(&from), layout.dims(&to));
        let region = Region::gather(&to, 0, &signed(&broadcast_strides(&from, &to)));
        gather(cx, "expand", layout, region)
    }

    fn known_inputs(&self) -> &'static [usize] {
        &[1]
    }
}

/// A known vector of sizes.
fn sizes(inputs: Inputs<'_>, index: usize) -> Result<Vec<usize>> {
    let values = inputs.ints(index)?.ok_or_else(|| shape_error!("input {index} is missing"))?;
    values
        .iter()
        .map(|&v| usize::try_from(v).map_err(|_| value_error!("input {index} has {v}; no size")))
        .collect()
}

/// Repeated side by side.
struct Tile;

impl Op for Tile {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.get(0)?;
        let repeats = sizes(inputs, 1)?;
        if repeats.len() != x.rank() {
            let (found, rank) = (repeats.len(), x.rank());
            return Err(shape_error!("repeats has {found} elements for {rank} dims"));
        }
        let dims = x.dims.iter().zip(&repeats).map(|(&dim, &n)| dim.checked_mul(n));
        let dims = dims.collect::<Option<Vec<_>>>();
        let dims = dims.ok_or_else(|| shape_error!("repeats {repeats:?} are too many"))?;
        Ok(vec![Fact::new(x.dtype, dims)])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let dims = cx.inputs.get(0)?.dims.clone();
        let repeats = sizes(cx.inputs, 1)?;
        let own = signed(&strides(&dims));
        let (mut wide, mut from) = (Vec::new(), Vec::new());
        for ((&dim, &n), &stride) in dims.iter().zip(&repeats).zip(&own) {
            wide.extend([n, dim]);
            from.extend([0, stride]);
        }
        gather(cx, "tile", Layout::Plain, Region::gather(&wide, 0, &from))
    }

    fn known_inputs(&self) -> &'static [usize] {
        &[1]
    }
}

/// `x[start:end:step]` along some axes.
struct Slice;

/// Along one axis: the first index, the step, how many.
#[derive(Clone, Copy)]
struct Span {
    start: usize,
    step: i64,
    len: usize,
}

impl Slice {
    fn spans(inputs: Inputs<'_>) -> Result<Vec<Span>> {
        let dims = &inputs.get(0)?.dims;
        let missing = |index: usize| shape_error!("input {index} is missing");
        let starts = inputs.ints(1)?.ok_or_else(|| missing(1))?;
        let ends = inputs.ints(2)?.ok_or_else(|| missing(2))?;
        let along = match inputs.ints(3)? {
            Some(found) => found,
            None => (0..starts.len() as i64).collect(),
        };
        let steps = inputs.ints(4)?.unwrap_or_else(|| same(1, starts.len()));
        if ends.len() != starts.len() || along.len() != starts.len() || steps.len() != starts.len()
        {
            return Err(shape_error!("starts, ends, axes and steps differ in length"));
        }
        axes(&along, dims.len())?;
        let mut spans: Vec<Span> =
            dims.iter().map(|&len| Span { start: 0, step: 1, len }).collect();
        for (index, &a) in along.iter().enumerate() {
            let at = axis(a, dims.len())?;
            spans[at] = span(dims[at] as i64, starts[index], ends[index], steps[index])?;
        }
        Ok(spans)
    }
}

/// NumPy's rule for a slice of a dim.
fn span(dim: i64, start: i64, end: i64, step: i64) -> Result<Span> {
    let wrap = |at: i64| if at < 0 { at.saturating_add(dim) } else { at };
    let (start, end) = match step {
        0 => return Err(value_error!("a step is 0")),
        1.. => (wrap(start).clamp(0, dim), wrap(end).clamp(0, dim)),
        _ => (wrap(start).clamp(-1, dim - 1), wrap(end).clamp(-1, dim - 1)),
    };
    let reach = if step > 0 { end - start } else { start - end };
    let len = if reach <= 0 { 0 } else { (reach as u64).div_ceil(step.unsigned_abs()) as usize };
    let start = if len == 0 { 0 } else { start as usize };
    Ok(Span { start, step, len })
}

impl Op for Slice {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.get(0)?;
        let dims = Slice::spans(inputs)?.iter().map(|span| span.len).collect();
        Ok(vec![Fact::new(x.dtype, dims)])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let layout = cx.layout(0);
        let fact = cx.inputs.get(0)?.clone();
        let spans = permuted(&Slice::spans(cx.inputs)?, &layout.order(fact.rank()));
        let own = strides(&layout.dims(&fact.dims));
        let start = spans.iter().zip(&own).map(|(span, stride)| span.start * stride).sum();
        // A step past the end of one element is never taken.
        let step = |(span, &stride): (&Span, &usize)| {
            if span.len <= 1 { 0 } else { span.step as isize * stride as isize }
        };
        let from: Vec<isize> = spans.iter().zip(&own).map(step).collect();
        let dims: Vec<usize> = spans.iter().map(|span| span.len).collect();
        gather(cx, "slice", layout, Region::gather(&dims, start, &from))
    }

    fn known_inputs(&self) -> &'static [usize] {
        &[1, 2, 3, 4]
    }
}

/// Parts along an axis, one after the other.
struct Split {
    axis: i64,
    outputs: usize,
}

fn split(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    if let Some(parts) = spec.attributes.int("num_outputs")?
        && parts != spec.outputs as i64
    {
        let found = spec.outputs;
        return Err(spec_error!("num_outputs is {parts}; the node has {found} outputs"));
    }
    Ok(Box::new(Split { axis: spec.attributes.int_or("axis", 0)?, outputs: spec.outputs }))
}

impl Split {
    fn parts(&self, inputs: Inputs<'_>) -> Result<(usize, Vec<usize>)> {
        let x = inputs.get(0)?;
        let at = axis(self.axis, x.rank())?;
        let dim = x.dims[at];
        if inputs.optional(1).is_some() {
            let parts = sizes(inputs, 1)?;
            let sum = parts.iter().try_fold(0_usize, |sum, &part| sum.checked_add(part));
            if sum != Some(dim) || parts.len() != self.outputs {
                let n = self.outputs;
                return Err(shape_error!("split {parts:?} is not {n} parts of {dim}"));
            }
            return Ok((at, parts));
        }
        // Equal parts; the last may be shorter.
        let part = dim.div_ceil(self.outputs.max(1));
        let parts = (0..self.outputs).map(|i| part.min(dim.saturating_sub(i * part)));
        Ok((at, parts.collect()))
    }
}

impl Op for Split {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.get(0)?;
        let (at, parts) = self.parts(inputs)?;
        let fact = |&part: &usize| {
            let mut dims = x.dims.clone();
            dims[at] = part;
            Fact::new(x.dtype, dims)
        };
        Ok(parts.iter().map(fact).collect())
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let layout = cx.layout(0);
        let fact = cx.inputs.get(0)?.clone();
        let (at, parts) = self.parts(cx.inputs)?;
        let large = layout.dims(&fact.dims);
        let stride = strides(&large)[layout.axis(at, fact.rank())];
        let moved = cx.moved(0, 0..parts.len(), layout)?;
        let mut start = 0;
        for (index, part) in parts.iter().enumerate() {
            let dims = layout.dims(&cx.outputs[index].dims);
            let region = Region::part(&dims, &large, start * stride, false);
            let len = count(&dims)? * moved.size;
            let step = Box::new(CopyStep::new("split", moved.size, region)?);
            let made = cx.emit_buffers(step, vec![moved.r], &[len], 0, None)?;
            cx.put(index, layout, Moved { r: made[0], ..moved })?;
            start += part;
        }
        Ok(())
    }

    fn known_inputs(&self) -> &'static [usize] {
        &[1]
    }
}

/// Blocks of channels to blocks of space, or back.
struct Blocks {
    size: usize,
    to_space: bool,
    columns_first: bool,
}

fn blocks(spec: &Spec<'_>, to_space: bool) -> Result<Box<dyn Op>> {
    let size = spec.attributes.int("blocksize")?;
    let size = size.and_then(|size| usize::try_from(size).ok()).filter(|&size| size > 0);
    let size = size.ok_or_else(|| spec_error!("attribute 'blocksize' is missing or below 1"))?;
    let mode = spec.attributes.text_or("mode", "DCR")?;
    if mode != "DCR" && mode != "CRD" {
        return Err(value_error!("mode is '{mode}'; it must be 'DCR' or 'CRD'"));
    }
    Ok(Box::new(Blocks { size, to_space, columns_first: mode == "CRD" }))
}

impl Blocks {
    /// N, C, H, W of the input, checked.
    fn image(&self, inputs: Inputs<'_>) -> Result<[usize; 4]> {
        let x = inputs.get(0)?;
        let b = self.size;
        let found: [usize; 4] =
            x.dims[..].try_into().map_err(|_| shape_error!("x {:?} is no image", x.dims))?;
        let [_, c, h, w] = found;
        let whole = if self.to_space {
            b.checked_mul(b).is_some_and(|square| c.is_multiple_of(square))
        } else {
            h.is_multiple_of(b) && w.is_multiple_of(b)
        };
        if whole {
            Ok(found)
        } else {
            Err(shape_error!("x {:?} is not made of blocks of {b}", x.dims))
        }
    }
}

impl Op for Blocks {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let b = self.size;
        let [n, c, h, w] = self.image(inputs)?;
        let times = |size: usize, by: usize| {
            size.checked_mul(by).ok_or_else(|| shape_error!("blocks of {b} are too many"))
        };
        let dims = if self.to_space {
            vec![n, c / (b * b), times(h, b)?, times(w, b)?]
        } else {
            vec![n, times(times(c, b)?, b)?, h / b, w / b]
        };
        Ok(vec![Fact::new(inputs.get(0)?.dtype, dims)])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let b = self.size;
        let [n, c, h, w] = self.image(cx.inputs)?;
        let (split, order): ([usize; 6], [usize; 6]) = match (self.to_space, self.columns_first) {
            (true, false) => ([n, b, b, c / (b * b), h, w], [0, 3, 4, 1, 5, 2]),
            (true, true) => ([n, c / (b * b), b, b, h, w], [0, 1, 4, 2, 5, 3]),
            (false, false) => ([n, c, h / b, b, w / b, b], [0, 3, 5, 1, 2, 4]),
            (false, true) => ([n, c, h / b, b, w / b, b], [0, 1, 3, 5, 2, 4]),
        };
        gather(cx, "blocks", Layout::Plain, Region::transpose(&split, &order))
    }
}

/// The element that padding and the like fill with, as bytes.
pub(super) fn fill_bytes(dtype: DType, value: Option<&[u8]>) -> Result<[u8; 8]> {
    let mut fill = [0; 8];
    if let Some(value) = value {
        let size = dtype.size();
        let one = value.get(..size).ok_or_else(|| GraphError::Shape("no value to fill".into()))?;
        fill[..size].copy_from_slice(one);
    }
    Ok(fill)
}
