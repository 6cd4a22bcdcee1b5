//! Ops whose outputs are views of their input or follow from shapes alone.

use qcore_kernels::interrupt;

use crate::dtype::DType;
use crate::error::{Result, shape_error, spec_error, value_error};
use crate::fact::{Fact, Inputs};
use crate::lower::{Context, Layout};
use crate::memory;
use crate::op::{Make, Op, Spec};
use crate::ops::cast::named;
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::{axes, axis, count, nbytes, product};
use crate::tensor::Tensor;

pub(super) const OPS: &[(&str, Make)] = &[
    ("Constant", constant),
    ("ConstantOfShape", constant_of_shape),
    ("Dropout", |_| Ok(Box::new(View { kind: Kind::Dropout }))),
    ("Flatten", |s| view(Kind::Flatten(s.attributes.int_or("axis", 1)?))),
    ("Identity", |_| Ok(Box::new(View { kind: Kind::Identity }))),
    ("Range", |_| Ok(Box::new(Range))),
    ("Reshape", |s| view(Kind::Reshape { zero_is_zero: s.attributes.flag("allowzero", false)? })),
    ("Shape", shape),
    ("Size", |_| Ok(Box::new(Size))),
    ("Squeeze", |_| Ok(Box::new(View { kind: Kind::Squeeze }))),
    ("Unsqueeze", |_| Ok(Box::new(View { kind: Kind::Unsqueeze }))),
];

#[allow(clippy::unnecessary_wraps, reason = "the shape of the table's lines")]
fn view(kind: Kind) -> Result<Box<dyn Op>> {
    Ok(Box::new(View { kind }))
}

enum Kind {
    Dropout,
    Flatten(i64),
    Identity,
    Reshape { zero_is_zero: bool },
    Squeeze,
    Unsqueeze,
}

/// The same elements in another shape.
struct View {
    kind: Kind,
}

impl View {
    fn dims(&self, inputs: Inputs<'_>) -> Result<Vec<usize>> {
        let x = inputs.get(0)?;
        match self.kind {
            Kind::Dropout | Kind::Identity => Ok(x.dims.clone()),
            Kind::Flatten(at) => {
                let rank = x.rank();
                let at = if at == rank as i64 { rank } else { axis(at, rank.max(1))? };
                let at = at.min(rank);
                Ok(vec![product(&x.dims[..at]), product(&x.dims[at..])])
            }
            Kind::Reshape { zero_is_zero } => {
                let shape = inputs.ints(1)?;
                let shape = shape.ok_or_else(|| shape_error!("input 1 is missing"))?;
                reshaped(&x.dims, &shape, zero_is_zero)
            }
            Kind::Squeeze => {
                let drop = match inputs.ints(1)? {
                    Some(found) => axes(&found, x.rank())?,
                    None => (0..x.rank()).filter(|&axis| x.dims[axis] == 1).collect(),
                };
                if let Some(&wide) = drop.iter().find(|&&axis| x.dims[axis] != 1) {
                    let found = x.dims[wide];
                    return Err(shape_error!("dim {wide} is {found}; only a 1 can be squeezed"));
                }
                Ok((0..x.rank()).filter(|axis| !drop.contains(axis)).map(|a| x.dims[a]).collect())
            }
            Kind::Unsqueeze => {
                let added = inputs.ints(1)?;
                let added = added.ok_or_else(|| shape_error!("input 1 is missing"))?;
                let rank = x.rank() + added.len();
                let added = axes(&added, rank)?;
                let mut dims = x.dims.iter().copied();
                Ok((0..rank)
                    .map(|axis| if added.contains(&axis) { 1 } else { dims.next().unwrap_or(1) })
                    .collect())
            }
        }
    }
}

/// A shape with its -1 and zeros resolved.
fn reshaped(from: &[usize], shape: &[i64], zero_is_zero: bool) -> Result<Vec<usize>> {
    let elements = count(from)?;
    let mut dims = Vec::new();
    let mut open = None;
    for (index, &dim) in shape.iter().enumerate() {
        dims.push(match dim {
            -1 if open.is_none() => {
                open = Some(index);
                1
            }
            0 if !zero_is_zero => *from.get(index).ok_or_else(|| {
                shape_error!("shape {shape:?} takes dim {index} of {from:?}, which has none")
            })?,
            0.. => usize::try_from(dim).map_err(|_| shape_error!("dim {dim} is too large"))?,
            _ => return Err(value_error!("shape {shape:?} has a {dim} or a second -1")),
        });
    }
    if let Some(open) = open {
        let rest = count(&dims)?;
        if rest == 0 || !elements.is_multiple_of(rest) {
            return Err(shape_error!("{from:?} does not fit shape {shape:?}"));
        }
        dims[open] = elements / rest;
    }
    if count(&dims)? == elements {
        Ok(dims)
    } else {
        Err(shape_error!("{from:?} does not fit shape {shape:?}"))
    }
}

impl Op for View {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.get(0)?;
        if let (Kind::Dropout, Some(_)) = (&self.kind, inputs.optional(2))
            && inputs.value(2)?.bytes().iter().any(|&byte| byte != 0)
        {
            return Err(value_error!("training_mode is not for running networks"));
        }
        let dims = self.dims(inputs)?;
        let value = x.value.as_ref().map(|value| value.reshaped(&dims));
        let mut facts = vec![Fact { dtype: x.dtype, dims, value }];
        if let Kind::Dropout = self.kind {
            let mask = Fact::new(DType::Bool, x.dims.clone());
            facts.push(mask);
        }
        Ok(facts)
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let (from, to) = (&cx.inputs.get(0)?.dims, &cx.outputs[0].dims);
        // Space may be merged or split where it lies, channels last; anything else is row-major.
        let keeps = from.len() >= 3 && to.len() >= 3 && from[..2] == to[..2];
        let layout = if cx.is_last(0) && keeps { Layout::Last } else { Layout::Plain };
        let moved = cx.moved(0, 0..1, layout)?;
        cx.put(0, layout, moved)?;
        if let (Kind::Dropout, Some(Some(_))) = (&self.kind, cx.output_values.get(1)) {
            let len = cx.outputs[1].count();
            let made = cx.emit_buffers(Box::new(Kept { len }), Vec::new(), &[len], 0, None)?;
            cx.set(1, Layout::Plain, made[0])?;
        }
        Ok(())
    }

    fn known_inputs(&self) -> &'static [usize] {
        match self.kind {
            Kind::Dropout => &[2],
            Kind::Flatten(_) | Kind::Identity => &[],
            Kind::Reshape { .. } | Kind::Squeeze | Kind::Unsqueeze => &[1],
        }
    }
}

/// The mask of a dropout that drops nothing.
struct Kept {
    len: usize,
}

impl Step for Kept {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        for part in io.output::<u8>(0)?.chunks_mut(memory::AT_ONCE) {
            interrupt::check()?;
            part.fill(1);
        }
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        "fill"
    }

    fn work(&self) -> usize {
        self.len / 16
    }
}

/// What follows from shapes is a known value and is never lowered.
fn never() -> crate::error::GraphError {
    value_error!("a known value is lowered; this is a defect")
}

fn shape(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let start = spec.attributes.int_or("start", 0)?;
    Ok(Box::new(Shape { start, end: spec.attributes.int("end")? }))
}

/// Dims `start..end`, clamped.
struct Shape {
    start: i64,
    end: Option<i64>,
}

impl Op for Shape {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let dims = &inputs.get(0)?.dims;
        let rank = dims.len() as i64;
        let clamp = |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank);
        let start = clamp(self.start) as usize;
        let end = clamp(self.end.unwrap_or(rank)) as usize;
        let values: Vec<i64> = dims[start..end.max(start)].iter().map(|&dim| dim as i64).collect();
        Ok(vec![Fact::known(Tensor::ints(&values)?)])
    }

    fn lower(&self, _: &mut Context<'_>) -> Result<()> {
        Err(never())
    }

    fn reads_shapes_only(&self) -> bool {
        true
    }
}

/// How many elements there are.
struct Size;

impl Op for Size {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let elements = inputs.get(0)?.count() as i64;
        Ok(vec![Fact::known(Tensor::new(DType::I64, &[], &[elements])?)])
    }

    fn lower(&self, _: &mut Context<'_>) -> Result<()> {
        Err(never())
    }

    fn reads_shapes_only(&self) -> bool {
        true
    }
}

/// A value that a node holds.
struct Constant(Tensor);

impl Op for Constant {
    fn facts(&self, _: Inputs<'_>) -> Result<Vec<Fact>> {
        Ok(vec![Fact::known(self.0.clone())])
    }

    fn lower(&self, _: &mut Context<'_>) -> Result<()> {
        Err(never())
    }
}

fn constant(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let a = &spec.attributes;
    let tensor = if let Some(tensor) = a.tensor("value")? {
        tensor
    } else if let Some(value) = a.float("value_float")? {
        Tensor::new(DType::F32, &[], &[value])?
    } else if let Some(values) = a.floats("value_floats")? {
        Tensor::new(DType::F32, &[values.len()], &values)?
    } else if let Some(value) = a.int("value_int")? {
        Tensor::new(DType::I64, &[], &[value])?
    } else if let Some(values) = a.ints("value_ints")? {
        Tensor::ints(&values)?
    } else {
        return Err(spec_error!("it has no value of numbers"));
    };
    Ok(Box::new(Constant(tensor)))
}

/// One value, as often as a shape says.
struct ConstantOfShape(Tensor);

fn constant_of_shape(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let a = &spec.attributes;
    let value = match a.raw("value") {
        None => Tensor::new(DType::F32, &[1], &[0.0_f32])?,
        Some(value) if value.is_object() => {
            a.tensor("value")?.ok_or_else(|| spec_error!("attribute 'value' is missing"))?
        }
        // A plain number, with a type beside it.
        Some(_) => {
            let dtype = a.raw("dtype").map_or(Ok(DType::F32), named)?;
            let number = a.float_or("value", 0.0)?;
            crate::dtype::with_type!(dtype, T => Tensor::new(dtype, &[1], &[number as T])?)
        }
    };
    if value.len() != 1 {
        return Err(value_error!("attribute 'value' has {} elements, not 1", value.len()));
    }
    Ok(Box::new(ConstantOfShape(value)))
}

impl Op for ConstantOfShape {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let shape = inputs.ints(0)?.ok_or_else(|| shape_error!("input 0 is missing"))?;
        let dims = shape
            .iter()
            .map(|&dim| usize::try_from(dim).map_err(|_| value_error!("shape {shape:?} has {dim}")))
            .collect::<Result<Vec<_>>>()?;
        let len = nbytes(&dims, self.0.dtype())?;
        if count(&dims)? > MOST_MADE {
            return Err(value_error!("{dims:?} has more than {MOST_MADE} equal elements"));
        }
        let mut bytes = memory::zeroed(len)?;
        if self.0.bytes().iter().any(|&byte| byte != 0) {
            for element in bytes.chunks_exact_mut(self.0.dtype().size()) {
                element.copy_from_slice(self.0.bytes());
            }
        }
        Ok(vec![Fact::known(Tensor::from_aligned(self.0.dtype(), &dims, bytes))])
    }

    fn lower(&self, _: &mut Context<'_>) -> Result<()> {
        Err(never())
    }

    fn known_inputs(&self) -> &'static [usize] {
        &[0]
    }
}

/// `start, start + delta, …` below `limit`.
struct Range;

/// The most elements of a value that is made of a shape or of bounds alone: a file of a few bytes can
/// ask for any number.
const MOST_MADE: usize = 1 << 27;

impl Op for Range {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let dtype = inputs.get(0)?.dtype;
        for index in 1..3 {
            inputs.of(index, dtype)?;
        }
        for index in 0..3 {
            if inputs.value(index)?.len() != 1 {
                return Err(shape_error!("input {index} is no scalar"));
            }
        }
        let tensor = if dtype == DType::F32 {
            let part = |index| -> Result<f32> { Ok(inputs.value(index)?.elements::<f32>()[0]) };
            let (start, limit, delta) = (part(0)?, part(1)?, part(2)?);
            let n = length((f64::from(limit) - f64::from(start)) / f64::from(delta))?;
            filled(dtype, n, |i| start + i as f32 * delta)?
        } else {
            let part = |index| -> Result<i64> {
                Ok(inputs.ints(index)?.and_then(|values| values.first().copied()).unwrap_or(0))
            };
            let (start, limit, delta) = (part(0)?, part(1)?, part(2)?);
            let n = length((limit as f64 - start as f64) / delta as f64)?;
            crate::dtype::with_type!(dtype, T => {
                filled(dtype, n, |i| start.wrapping_add((i as i64).wrapping_mul(delta)) as T)?
            })
        };
        Ok(vec![Fact::known(tensor)])
    }

    fn lower(&self, _: &mut Context<'_>) -> Result<()> {
        Err(never())
    }

    fn known_inputs(&self) -> &'static [usize] {
        &[0, 1, 2]
    }
}

/// A vector of what a function gives for each index.
fn filled<T: memory::Element>(
    dtype: DType,
    n: usize,
    value: impl Fn(usize) -> T,
) -> Result<Tensor> {
    let mut bytes = memory::zeroed(nbytes(&[n], dtype)?)?;
    let elements = memory::cast_mut::<T>(&mut bytes).iter_mut().enumerate();
    elements.for_each(|(index, element)| *element = value(index));
    Ok(Tensor::from_aligned(dtype, &[n], bytes))
}

fn length(steps: f64) -> Result<usize> {
    let n = steps.ceil().max(0.0);
    if n.is_nan() || n > MOST_MADE as f64 {
        return Err(value_error!("a range of {n} elements is not made"));
    }
    Ok(n as usize)
}
