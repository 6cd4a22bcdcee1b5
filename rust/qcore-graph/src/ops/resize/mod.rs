//! Resizing along axes, one after the other: each place of an axis is a weighted sum of a few.

mod step;

use qcore_kernels::memory;

use crate::dtype::DType;
use crate::error::{Result, dtype_error, shape_error, value_error};
use crate::fact::{Fact, Inputs};
use crate::lower::{Context, Moved};
use crate::op::{Make, Op, Spec};
use crate::shape::{axes, axis, count, product, same};

use step::{ResizeStep, Taps};

pub(super) const OPS: &[(&str, Make)] = &[("Resize", resize)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

/// From a place of the output to one of the input.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    CropAndResize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Nearest {
    PreferFloor,
    PreferCeil,
    Floor,
    Ceil,
}

/// What sizes mean for the ratio of the axes to each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ratio {
    Stretch,
    NotLarger,
    NotSmaller,
}

struct Resize {
    mode: Mode,
    coordinates: Coordinates,
    nearest: Nearest,
    ratio: Ratio,
    cubic: f64,
    exclude_outside: bool,
    antialias: bool,
    outside: f32,
    axes: Option<Vec<i64>>,
}

/// The value of a name, or an error that lists the names.
fn one_of<T: Copy>(what: &str, name: &str, table: &[(&str, T)]) -> Result<T> {
    let found = table.iter().find(|line| line.0 == name).map(|line| line.1);
    found.ok_or_else(|| {
        let names: Vec<_> = table.iter().map(|line| line.0).collect();
        value_error!("{what} is '{name}'; it must be one of '{}'", names.join("', '"))
    })
}

fn resize(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let a = &spec.attributes;
    Ok(Box::new(Resize {
        mode: one_of(
            "mode",
            a.text_or("mode", "nearest")?,
            &[("nearest", Mode::Nearest), ("linear", Mode::Linear), ("cubic", Mode::Cubic)],
        )?,
        coordinates: one_of(
            "coordinate_transformation_mode",
            a.text_or("coordinate_transformation_mode", "half_pixel")?,
            &[
                ("half_pixel", Coordinates::HalfPixel),
                ("half_pixel_symmetric", Coordinates::HalfPixelSymmetric),
                ("pytorch_half_pixel", Coordinates::PytorchHalfPixel),
                ("align_corners", Coordinates::AlignCorners),
                ("asymmetric", Coordinates::Asymmetric),
                ("tf_crop_and_resize", Coordinates::CropAndResize),
            ],
        )?,
        nearest: one_of(
            "nearest_mode",
            a.text_or("nearest_mode", "round_prefer_floor")?,
            &[
                ("round_prefer_floor", Nearest::PreferFloor),
                ("round_prefer_ceil", Nearest::PreferCeil),
                ("floor", Nearest::Floor),
                ("ceil", Nearest::Ceil),
            ],
        )?,
        ratio: one_of(
            "keep_aspect_ratio_policy",
            a.text_or("keep_aspect_ratio_policy", "stretch")?,
            &[
                ("stretch", Ratio::Stretch),
                ("not_larger", Ratio::NotLarger),
                ("not_smaller", Ratio::NotSmaller),
            ],
        )?,
        cubic: a.float_or("cubic_coeff_a", -0.75)?.into(),
        exclude_outside: a.flag("exclude_outside", false)?,
        antialias: a.flag("antialias", false)?,
        outside: a.float_or("extrapolation_value", 0.0)?,
        axes: a.ints("axes")?,
    }))
}

/// One axis: its sizes, how much larger it becomes, which part of it is taken.
#[derive(Clone, Copy)]
struct Stretch {
    axis: usize,
    input: usize,
    output: usize,
    scale: f64,
    part: (f64, f64),
}

/// The most taps of an axis: they are laid out before anything runs.
const MOST_TAPS: usize = 1 << 26;

/// The least and the greatest scale that is taken.
const SCALES: std::ops::RangeInclusive<f64> = 1e-6..=1e6;

impl Resize {
    fn stretches(&self, inputs: Inputs<'_>) -> Result<Vec<Stretch>> {
        let x = inputs.get(0)?;
        let along: Vec<usize> = match &self.axes {
            None => (0..x.rank()).collect(),
            Some(found) => {
                axes(found, x.rank())?;
                found.iter().map(|&a| axis(a, x.rank())).collect::<Result<_>>()?
            }
        };
        let n = along.len();
        let given = |index: usize| -> Result<Option<Vec<f64>>> {
            let Some(fact) = inputs.optional(index) else { return Ok(None) };
            if fact.count() == 0 {
                return Ok(None);
            }
            let value = inputs.value(index)?;
            let values: Vec<f64> = match value.to_ints()? {
                Some(values) => values.iter().map(|&v| v as f64).collect(),
                None => value.elements::<f32>().iter().map(|&v| v.into()).collect(),
            };
            let wanted = if index == 1 { 2 * n } else { n };
            if values.len() == wanted {
                return Ok(Some(values));
            }
            Err(shape_error!("input {index} has {} elements, not {wanted}", values.len()))
        };
        let dims: Vec<usize> = along.iter().map(|&axis| x.dims[axis]).collect();
        let (outputs, scales) = match (given(2)?, given(3)?) {
            (Some(scales), None) => {
                let size = |(&dim, scale): (&usize, &f64)| (dim as f64 * scale).floor();
                (dims.iter().zip(&scales).map(size).collect::<Vec<f64>>(), scales)
            }
            (None, Some(sizes)) => self.sized(&dims, sizes),
            _ => return Err(value_error!("either scales or sizes have to be there")),
        };
        let crop = self.coordinates == Coordinates::CropAndResize;
        let parts = if crop { given(1)? } else { None };
        (0..n)
            .map(|at| {
                let (output, scale) = (outputs[at], scales[at]);
                let sound = SCALES.contains(&scale) || dims[at] == 0;
                if !sound || !(0.0..2e9).contains(&output) {
                    return Err(value_error!("axis {} is resized by {scale}", along[at]));
                }
                let part = parts.as_ref().map_or((0.0, 1.0), |p| (p[at], p[at + n]));
                let (axis, input, output) = (along[at], dims[at], output as usize);
                Ok(Stretch { axis, input, output, scale, part })
            })
            .collect()
    }

    /// Sizes that keep the ratio of the axes where that is asked for, and the scales.
    fn sized(&self, dims: &[usize], sizes: Vec<f64>) -> (Vec<f64>, Vec<f64>) {
        let scale = |(&dim, size): (&usize, &f64)| if dim == 0 { 1.0 } else { size / dim as f64 };
        let scales: Vec<f64> = dims.iter().zip(&sizes).map(scale).collect();
        let common = match self.ratio {
            Ratio::Stretch => return (sizes, scales),
            Ratio::NotLarger => scales.iter().copied().fold(f64::INFINITY, f64::min),
            Ratio::NotSmaller => scales.iter().copied().fold(0.0, f64::max),
        };
        let size = |&dim: &usize| (common * dim as f64 + 0.5).floor();
        (dims.iter().map(size).collect(), same(common, dims.len()))
    }

    /// The place of the input that a place of the output stands for.
    fn place(&self, s: Stretch, at: usize) -> f64 {
        // ONNX's own length of the output is not rounded.
        let (x, input, wide) = (at as f64, s.input as f64, s.scale * s.input as f64);
        let half = (x + 0.5) / s.scale - 0.5;
        match self.coordinates {
            Coordinates::HalfPixel => half,
            Coordinates::HalfPixelSymmetric => input / 2.0 * (1.0 - s.output as f64 / wide) + half,
            Coordinates::PytorchHalfPixel => {
                if s.output > 1 {
                    half
                } else {
                    0.0
                }
            }
            Coordinates::AlignCorners if s.output == 1 => 0.0,
            Coordinates::AlignCorners => x * (input - 1.0) / (wide - 1.0),
            Coordinates::Asymmetric => x / s.scale,
            Coordinates::CropAndResize => {
                let (start, end) = s.part;
                let inside = if s.output == 1 {
                    (end - start) * (input - 1.0) / 2.0
                } else {
                    x * (end - start) * (input - 1.0) / (wide - 1.0)
                };
                start * (input - 1.0) + inside
            }
        }
    }

    fn taps(&self, s: Stretch) -> Result<Taps> {
        let shrink = if self.antialias { s.scale.min(1.0) } else { 1.0 };
        // The reach of the kernel to each side.
        let reach = match self.mode {
            Mode::Nearest => 0,
            Mode::Linear => (1.0 / shrink).ceil() as usize,
            Mode::Cubic => (2.0 / shrink).ceil() as usize,
        };
        let each = (2 * reach).max(1);
        let last = s.input.saturating_sub(1) as f64;
        let n = s.output;
        let all = memory::size(&[n, each])?;
        if all > MOST_TAPS {
            let axis = s.axis;
            return Err(value_error!(
                "axis {axis} would be resized to {n} by {each} taps for each"
            ));
        }
        let mut taps = Taps {
            each,
            index: memory::with_capacity(all)?,
            weight: memory::with_capacity(all)?,
            outside: memory::with_capacity(n)?,
        };
        let mut weights = memory::filled(0.0, each)?;
        for at in 0..n {
            let place = self.place(s, at);
            let crop = self.coordinates == Coordinates::CropAndResize;
            taps.outside.push(crop && !(0.0..=last).contains(&place));
            if self.mode == Mode::Nearest {
                let found = self.nearest(place).clamp(0.0, last);
                taps.index.push(found as usize);
                taps.weight.push(1.0);
                continue;
            }
            let first = place.ceil() - reach as f64;
            for (tap, weight) in weights.iter_mut().enumerate() {
                let at = first + tap as f64;
                let outside = self.exclude_outside && !(0.0..=last).contains(&at);
                let far = (at - place).abs() * shrink;
                *weight = if outside { 0.0 } else { self.weight(far) };
            }
            let sum: f64 = weights.iter().sum();
            for (tap, weight) in weights.iter().enumerate() {
                taps.index.push((first + tap as f64).clamp(0.0, last) as usize);
                taps.weight.push((weight / sum) as f32);
            }
        }
        Ok(taps)
    }

    fn nearest(&self, place: f64) -> f64 {
        match self.nearest {
            Nearest::Floor => place.floor(),
            Nearest::Ceil => place.ceil(),
            Nearest::PreferFloor => (place - 0.5).ceil(),
            Nearest::PreferCeil => (place + 0.5).floor(),
        }
    }

    /// The kernel at a distance.
    fn weight(&self, far: f64) -> f64 {
        let a = self.cubic;
        match self.mode {
            Mode::Nearest | Mode::Linear => (1.0 - far).max(0.0),
            Mode::Cubic if far <= 1.0 => ((a + 2.0) * far - (a + 3.0)) * far * far + 1.0,
            Mode::Cubic if far < 2.0 => ((a * far - 5.0 * a) * far + 8.0 * a) * far - 4.0 * a,
            Mode::Cubic => 0.0,
        }
    }
}

impl Op for Resize {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.get(0)?;
        if self.mode != Mode::Nearest && x.dtype != DType::F32 {
            return Err(dtype_error!("x is {}; only float32 is interpolated", x.dtype));
        }
        let mut dims = x.dims.clone();
        for s in self.stretches(inputs)? {
            if s.input == 0 && s.output > 0 {
                return Err(shape_error!("axis {} has nothing to resize", s.axis));
            }
            dims[s.axis] = s.output;
        }
        Ok(vec![Fact::new(x.dtype, dims)])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let x = cx.inputs.get(0)?.clone();
        let layout = cx.layout(0);
        let crops = self.coordinates == Coordinates::CropAndResize;
        // Codes are interpolated as the floats that they stand for, and rounded once.
        let weighted = self.mode != Mode::Nearest;
        let affines = cx.affine(0).zip(cx.output_affine(0)).filter(|_| weighted && !crops);
        let mut moved = if affines.is_some() {
            Moved { r: cx.codes(0, layout)?, size: 1, coded: true }
        } else if weighted || crops {
            Moved { r: cx.input(0, layout)?, size: x.dtype.size(), coded: false }
        } else {
            cx.moved(0, 0..1, layout)?
        };
        let mut dims = layout.dims(&x.dims);
        let mut stretches = self.stretches(cx.inputs)?;
        // Axes that shrink go first: there is less to do for the others.
        stretches.sort_by(|a, b| a.scale.total_cmp(&b.scale));
        let mut todo = Vec::new();
        for s in stretches {
            let taps = self.taps(s)?;
            let same = taps.each == 1
                && s.input == s.output
                && taps.index.iter().copied().eq(0..s.output)
                && !taps.outside.contains(&true);
            let linear = s.scale == 1.0 && s.input == s.output && s.part == (0.0, 1.0);
            if !same && !linear {
                todo.push((s, taps));
            }
        }
        if todo.is_empty() && affines.is_some() {
            moved = cx.moved(0, 0..1, layout)?;
        }
        let last = todo.len().saturating_sub(1);
        for (index, (s, taps)) in todo.into_iter().enumerate() {
            let at = layout.axis(s.axis, x.rank());
            let (outer, inner) = (product(&dims[..at]), product(&dims[at + 1..]));
            dims[at] = s.output;
            let from = affines.filter(|_| index == 0).map(|(from, _)| from);
            let to =
                affines.filter(|_| index == last).map(|(from, to)| (to, from.scale / to.scale));
            let size = match affines {
                Some(_) if index < last => size_of::<f32>(),
                _ => moved.size,
            };
            let scratch = if to.is_some() { memory::size(&[inner, 4])? } else { 0 };
            let len = memory::size(&[count(&dims)?, size])?;
            let (input, fill) = (s.input, self.outside);
            let step = ResizeStep { taps, outer, inner, input, size, weighted, fill, from, to };
            moved.r = cx.emit_buffers(Box::new(step), vec![moved.r], &[len], scratch, None)?[0];
        }
        cx.put(0, layout, moved)
    }

    fn known_inputs(&self) -> &'static [usize] {
        &[1, 2, 3]
    }
}
