//! Normalization: of batches as a factor and a shift, of groups and instances by their own mean and
//! variance.

use qcore_kernels::interrupt::Pace;

use crate::dtype::DType;
use crate::error::{Result, shape_error, spec_error, value_error};
use crate::fact::{Fact, Inputs};
use crate::lower::{Context, Emit, Layout};
use crate::op::{Make, Op, Spec};
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::{product, work};

pub(super) const OPS: &[(&str, Make)] = &[
    ("BatchNormalization", batch),
    ("GroupNormalization", group),
    ("InstanceNormalization", instance),
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

/// Replaces values by themselves less their mean, over their deviation; returns the mean and the
/// inverse of the deviation.
pub(super) fn standardize(row: &mut [f32], epsilon: f32, centred: bool) -> (f32, f32) {
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
