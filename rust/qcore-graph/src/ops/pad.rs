//! Padding and cropping.

use qcore_kernels::interrupt::Pace;
use qcore_kernels::memory;

use crate::dtype::{DType, with_type};
use crate::error::{Result, shape_error, value_error};
use crate::fact::{Fact, Inputs};
use crate::lower::Context;
use crate::memory::Element;
use crate::op::{Make, Op, Spec};
use crate::ops::slice::fill_bytes;
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::region::{CopyStep, Region};
use crate::shape::{axis, count, same, strides};

pub(super) const OPS: &[(&str, Make)] = &[("Pad", pad)];

/// How what lies outside is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Constant,
    Reflect,
    Edge,
    Wrap,
}

/// Elements around; negative ones crop.
struct Pad(Mode);

fn pad(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    Ok(Box::new(Pad(match spec.attributes.text_or("mode", "constant")? {
        "constant" => Mode::Constant,
        "reflect" => Mode::Reflect,
        "edge" => Mode::Edge,
        "wrap" => Mode::Wrap,
        mode => {
            let allowed = "'constant', 'reflect', 'edge', 'wrap'";
            return Err(value_error!("mode is '{mode}'; it must be one of {allowed}"));
        }
    })))
}

impl Pad {
    /// Before and after each axis.
    fn pads(inputs: Inputs<'_>) -> Result<Vec<(i64, i64)>> {
        let rank = inputs.get(0)?.rank();
        let pads = inputs.ints(1)?.ok_or_else(|| shape_error!("input 1 is missing"))?;
        let along = match inputs.ints(3)? {
            Some(found) => {
                crate::shape::axes(&found, rank)?;
                found.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>>>()?
            }
            None => (0..rank).collect(),
        };
        if pads.len() != 2 * along.len() {
            let (found, axes) = (pads.len(), along.len());
            return Err(shape_error!("pads has {found} elements for {axes} axes"));
        }
        let mut out = same((0, 0), rank);
        for (index, &axis) in along.iter().enumerate() {
            out[axis] = (pads[index], pads[index + along.len()]);
        }
        Ok(out)
    }
}

impl Op for Pad {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.get(0)?;
        if inputs.optional(2).is_some() {
            inputs.of(2, x.dtype)?;
        }
        let mut dims = Vec::new();
        for (&dim, (before, after)) in x.dims.iter().zip(Pad::pads(inputs)?) {
            let wide = i128::from(before) + i128::from(after) + dim as i128;
            let long = usize::try_from(wide)
                .map_err(|_| shape_error!("pads {before} and {after} leave nothing of {dim}"))?;
            let reach = before.max(after);
            let far = match self.0 {
                Mode::Constant => false,
                Mode::Reflect | Mode::Edge | Mode::Wrap => dim == 0 && reach > 0,
            };
            if far {
                return Err(shape_error!("a dim of 0 has nothing to pad with"));
            }
            dims.push(long);
        }
        Ok(vec![Fact::new(x.dtype, dims)])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let layout = cx.layout(0);
        let (x, out) = (cx.inputs.get(0)?.clone(), cx.outputs[0].clone());
        let pads = crate::shape::permuted(&Pad::pads(cx.inputs)?, &layout.order(x.rank()));
        let (from, to) = (layout.dims(&x.dims), layout.dims(&out.dims));
        let moved = cx.moved(0, 0..1, layout)?;
        let inputs = vec![moved.r];
        let step: Box<dyn Step> = if self.0 == Mode::Constant {
            let fill = match cx.inputs.optional(2).map(|fact| fact.value.as_ref()) {
                None => Some(filling(cx, x.dtype, moved.coded, None)?),
                Some(Some(value)) => Some(filling(cx, x.dtype, moved.coded, Some(value.bytes()))?),
                Some(None) => None,
            };
            let region = inner(&from, &to, &pads);
            let Some(fill) = fill else {
                return Err(value_error!("input 2 must not depend on what is computed"));
            };
            Box::new(CopyStep::new("pad", moved.size, region)?.filled(fill))
        } else {
            // Every axis has a list of the index that each place is taken from.
            let mut maps = Vec::new();
            // Of no elements there is nothing to list.
            let none = count(&to)? == 0;
            for ((&dim, &long), &(before, _)) in from.iter().zip(&to).zip(&pads) {
                let long = if none { 0 } else { long as i64 };
                let map = (0..long).map(|at| source(self.0, at - before, dim as i64));
                maps.push(memory::collected(map)?);
            }
            let dtype = if moved.coded { DType::U8 } else { x.dtype };
            Box::new(Reflect { dtype, maps, strides: strides(&from) })
        };
        cx.emit_moved(step, inputs, layout, moved)
    }

    fn known_inputs(&self) -> &'static [usize] {
        &[1, 2, 3]
    }
}

/// The bytes of what is filled with: those of its code, where elements are codes.
fn filling(cx: &Context<'_>, dtype: DType, coded: bool, value: Option<&[u8]>) -> Result<[u8; 8]> {
    let fill = fill_bytes(dtype, value)?;
    let Some(affine) = cx.output_affine(0).filter(|_| coded) else { return Ok(fill) };
    let [a, b, c, d, ..] = fill;
    let (code, _) = affine.clamp([f32::from_le_bytes([a, b, c, d]); 2].into());
    Ok([code as u8, 0, 0, 0, 0, 0, 0, 0])
}

/// What is left of the input, and where it goes.
fn inner(from: &[usize], to: &[usize], pads: &[(i64, i64)]) -> Region {
    let (own, wide) = (strides(from), strides(to));
    let (mut dims, mut start, mut at) = (Vec::new(), 0, 0);
    for (axis, &(before, after)) in pads.iter().enumerate() {
        let (cut, rest) = ((-before).max(0) as usize, (-after).max(0) as usize);
        dims.push(from[axis].saturating_sub(cut).saturating_sub(rest));
        start += cut.min(from[axis]) * own[axis];
        at += before.max(0) as usize * wide[axis];
    }
    let signed = |strides: &[usize]| strides.iter().map(|&s| s as isize).collect::<Vec<_>>();
    Region::new(&dims, (start, &signed(&own)), (at, &signed(&wide)))
}

/// The index of a dim that an index outside of it stands for.
fn source(mode: Mode, at: i64, dim: i64) -> usize {
    let last = (dim - 1).max(0);
    let found = match mode {
        Mode::Constant | Mode::Edge => at.clamp(0, last),
        Mode::Wrap => at.rem_euclid(dim.max(1)),
        Mode::Reflect if last == 0 => 0,
        Mode::Reflect => {
            let at = at.rem_euclid(2 * last);
            at.min(2 * last - at)
        }
    };
    found as usize
}

struct Reflect {
    dtype: DType,
    /// For each axis, which index of the input each index of the output has.
    maps: Vec<Vec<usize>>,
    strides: Vec<usize>,
}

impl Reflect {
    fn pad<T: Element>(&self, io: &mut Io<'_>) -> Result<()> {
        let x = io.input::<T>(0);
        let out = io.output::<T>(0)?;
        let mut pace = Pace::new();
        for (at, out) in out.iter_mut().enumerate() {
            pace.check(8)?;
            let (mut rest, mut from) = (at, 0);
            for (map, stride) in self.maps.iter().zip(&self.strides).rev() {
                from += map[rest % map.len()] * stride;
                rest /= map.len();
            }
            *out = x[from];
        }
        Ok(())
    }
}

impl Step for Reflect {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        with_type!(self.dtype, T => self.pad::<T>(io))
    }

    fn kernel(&self) -> &'static str {
        "pad"
    }

    fn work(&self) -> usize {
        self.maps.iter().fold(8, |work, map| work.saturating_mul(map.len()))
    }
}
