//! Normalization: of batches as a factor and a shift, of layers, groups and instances by their own
//! mean and variance.

use qcore_kernels::interrupt::Pace;
use qcore_kernels::norm::{Norm, layer_norm_with};

use crate::dtype::DType;
use crate::error::{Result, shape_error, spec_error, value_error};
use crate::fact::{Fact, Inputs};
use crate::lower::{Context, Emit, Layout};
use crate::op::{Make, Op, Spec};
use crate::run::Io;
use crate::shape::{axis, broadcast, broadcast_strides, expanded, product, work};
use crate::step::Step;
use crate::walk::Walk;

pub(super) const OPS: &[(&str, Make)] = &[
    ("BatchNormalization", batch),
    ("GroupNormalization", group),
    ("InstanceNormalization", instance),
    ("LayerNormalization", layer),
    ("RMSNormalization", layer),
];

struct Batch {
    epsilon: f32,
}

fn batch(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    if spec.attributes.flag("training_mode", false)? {
        return Err(value_error!("training_mode is not for running networks"));
    }
    Ok(Box::new(Batch { epsilon: spec.attributes.float_or("epsilon", 1e-5)? }))
}

impl Op for Batch {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.of(0, DType::F32)?;
        // Without a dim of channels there is one.
        let channels = x.dims.get(1).copied().unwrap_or(1);
        for index in 1..5 {
            let found = &inputs.of(index, DType::F32)?.dims;
            if *found != [channels] {
                return Err(shape_error!("input {index} {found:?} is not {channels} values"));
            }
        }
        Ok(vec![Fact::new(DType::F32, x.dims.clone())])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let x = cx.inputs.get(0)?.clone();
        let layout = cx.layout(0);
        let mut inputs = vec![cx.input(0, layout)?];
        for index in 1..5 {
            inputs.push(cx.plain(index)?);
        }
        let channels = x.dims.get(1).copied().unwrap_or(1);
        let inner = match layout {
            Layout::Last => 1,
            Layout::Plain => product(x.dims.get(2..).unwrap_or(&[])),
        };
        let step = BatchStep { channels, inner, epsilon: self.epsilon, count: x.count() };
        let step = Box::new(step);
        cx.emit(Emit { step, inputs, scratch: 0, in_place: Some(0), layouts: &[layout] })
    }
}

struct BatchStep {
    channels: usize,
    /// Elements of a channel that lie together.
    inner: usize,
    epsilon: f32,
    count: usize,
}

impl Step for BatchStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let [scale, bias, mean, variance] = [1, 2, 3, 4].map(|index| io.input::<f32>(index));
        let out = io.overwrite::<f32>()?;
        if self.inner == 0 {
            return Ok(());
        }
        let mut pace = Pace::new();
        for (index, run) in out.chunks_exact_mut(self.inner).enumerate() {
            pace.check(self.inner)?;
            let c = index % self.channels;
            let factor = scale[c] / (variance[c] + self.epsilon).sqrt();
            for x in run.iter_mut() {
                *x = (*x - mean[c]) * factor + bias[c];
            }
        }
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        "batch norm"
    }

    fn work(&self) -> usize {
        work(&[self.count, 2])
    }
}

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
        for index in 1..inputs.len() {
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
        let mut inputs = vec![cx.plain(0)?];
        let mut at = [None, None];
        for (at, index) in at.iter_mut().zip(1..3) {
            if cx.inputs.optional(index).is_some() {
                *at = Some(inputs.len());
                inputs.push(cx.plain(index)?);
            }
        }
        let count = cx.outputs[0].count();
        let (epsilon, centred) = (self.epsilon, self.centred);
        let step = Box::new(KernelStep { n, epsilon, centred, at, count });
        let made = cx.emit_buffers(step, inputs, &[count * size_of::<f32>()], 0, None)?;
        cx.set(0, Layout::Plain, made[0])
    }
}

/// Rows normalized by the kernel.
struct KernelStep {
    n: usize,
    epsilon: f32,
    centred: bool,
    /// Where scale and bias are among the inputs.
    at: [Option<usize>; 2],
    count: usize,
}

impl Step for KernelStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let x = io.input::<f32>(0);
        let [scale, bias] =
            self.at.map(|index| index.map_or(&[][..], |index| io.input::<f32>(index)));
        let norm = Norm { centered: self.centred, epsilon: self.epsilon, scale, bias };
        layer_norm_with(io.isa, norm, x, self.n, io.output(0)?)?;
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        if self.centred { "layer norm" } else { "rms norm" }
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

/// Replaces values by themselves less their mean, over their deviation; returns the mean and the
/// inverse of the deviation.
fn standardize(row: &mut [f32], epsilon: f32, centred: bool) -> (f32, f32) {
    let n = row.len() as f64;
    let mean =
        if centred { (row.iter().map(|&x| f64::from(x)).sum::<f64>() / n) as f32 } else { 0.0 };
    let square = |&x: &f32| {
        let x = f64::from(x - mean);
        x * x
    };
    let variance = row.iter().map(square).sum::<f64>() / n;
    let inverse = (1.0 / (variance + f64::from(epsilon)).sqrt()) as f32;
    for x in row.iter_mut() {
        *x = (*x - mean) * inverse;
    }
    (mean, inverse)
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

/// Over groups of channels and space; an instance is a group of one channel.
struct Group {
    groups: Option<usize>,
    epsilon: f32,
}

fn instance(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    Ok(Box::new(Group { groups: None, epsilon: spec.attributes.float_or("epsilon", 1e-5)? }))
}

fn group(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let groups = spec.attributes.int("num_groups")?;
    let groups = groups.and_then(|groups| usize::try_from(groups).ok()).filter(|&g| g > 0);
    let groups =
        groups.ok_or_else(|| spec_error!("attribute 'num_groups' is missing or below 1"))?;
    let epsilon = spec.attributes.float_or("epsilon", 1e-5)?;
    Ok(Box::new(Group { groups: Some(groups), epsilon }))
}

impl Op for Group {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.of(0, DType::F32)?;
        if x.rank() < 3 {
            return Err(shape_error!("x {:?} has no space", x.dims));
        }
        let channels = x.dims[1];
        if !channels.is_multiple_of(self.groups.unwrap_or(1)) {
            return Err(shape_error!("{channels} channels are not {:?} groups", self.groups));
        }
        for index in 1..3 {
            let found = &inputs.of(index, DType::F32)?.dims;
            if *found != [channels] {
                return Err(shape_error!("input {index} {found:?} is not {channels} values"));
            }
        }
        Ok(vec![Fact::new(DType::F32, x.dims.clone())])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let x = cx.inputs.get(0)?.clone();
        let channels = x.dims[1];
        let space = product(&x.dims[2..]);
        let each = channels / self.groups.unwrap_or(channels.max(1)).max(1);
        let inputs = vec![cx.plain(0)?, cx.plain(1)?, cx.plain(2)?];
        let epsilon = self.epsilon;
        let step = Box::new(GroupStep { channels, space, each, epsilon, count: x.count() });
        cx.emit(Emit { step, inputs, scratch: 0, in_place: Some(0), layouts: &[Layout::Plain] })
    }
}

struct GroupStep {
    channels: usize,
    space: usize,
    /// Channels of a group.
    each: usize,
    epsilon: f32,
    count: usize,
}

impl Step for GroupStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let (scale, bias) = (io.input::<f32>(1), io.input::<f32>(2));
        let out = io.overwrite::<f32>()?;
        if out.is_empty() {
            return Ok(());
        }
        let mut pace = Pace::new();
        for group in out.chunks_exact_mut(self.each * self.space) {
            pace.check(group.len())?;
            standardize(group, self.epsilon, true);
        }
        for (index, run) in out.chunks_exact_mut(self.space).enumerate() {
            pace.check(self.space)?;
            let c = index % self.channels;
            for x in run.iter_mut() {
                *x = *x * scale[c] + bias[c];
            }
        }
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        "group norm"
    }

    fn work(&self) -> usize {
        work(&[self.count, 6])
    }
}
