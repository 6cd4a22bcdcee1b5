//! Values of images at places that a grid names.

use qcore_kernels::interrupt::Pace;

use crate::dtype::DType;
use crate::error::{Result, dtype_error, shape_error, value_error};
use crate::fact::{Fact, Inputs};
use crate::lower::Context;
use crate::op::{Make, Op, Spec};
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::work;

pub(super) const OPS: &[(&str, Make)] = &[("GridSample", make)];

/// The most places of an image that one value is made of, along an axis.
const TAPS: usize = 4;
/// The cubic's parameter, as in `PyTorch` and ONNX.
const CUBIC: f32 = -0.75;

#[derive(Clone, Copy)]
enum Mode {
    Linear,
    Nearest,
    Cubic,
}

/// What is there outside of an image.
#[derive(Clone, Copy)]
enum Outside {
    Zeros,
    Border,
    Reflection,
}

#[derive(Clone, Copy)]
struct Sampling {
    mode: Mode,
    outside: Outside,
    /// Whether -1 and 1 are the middles of the outermost pixels, not their edges.
    corners: bool,
}

/// Reads the attributes of a `GridSample`.
fn make(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let a = &spec.attributes;
    let mode = match a.text_or("mode", "linear")? {
        "linear" | "bilinear" => Mode::Linear,
        "nearest" => Mode::Nearest,
        "cubic" | "bicubic" => Mode::Cubic,
        found => {
            return Err(value_error!("mode is '{found}'; not 'linear', 'nearest' or 'cubic'"));
        }
    };
    let outside = match a.text_or("padding_mode", "zeros")? {
        "zeros" => Outside::Zeros,
        "border" => Outside::Border,
        "reflection" => Outside::Reflection,
        found => {
            let allowed = "'zeros', 'border' or 'reflection'";
            return Err(value_error!("padding_mode is '{found}'; not {allowed}"));
        }
    };
    let corners = a.int_or("align_corners", 0)? != 0;
    Ok(Box::new(GridSample(Sampling { mode, outside, corners })))
}

struct GridSample(Sampling);

impl Op for GridSample {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let (x, grid) = (inputs.get(0)?, inputs.get(1)?);
        for (name, fact) in [("x", x), ("grid", grid)] {
            if fact.dtype != DType::F32 {
                return Err(dtype_error!("{name} is {}; it must be float32", fact.dtype));
            }
        }
        if x.rank() != 4 || grid.rank() != 4 || grid.dims[3] != 2 || grid.dims[0] != x.dims[0] {
            let (dims, found) = (&x.dims, &grid.dims);
            return Err(shape_error!(
                "x is {dims:?} and grid {found:?}; they must be (n, c, h, w) and (n, h, w, 2)"
            ));
        }
        if x.dims[2] == 0 || x.dims[3] == 0 {
            return Err(shape_error!("x is {:?}; it has no pixel", x.dims));
        }
        let dims = vec![x.dims[0], x.dims[1], grid.dims[1], grid.dims[2]];
        Ok(vec![Fact::new(x.dtype, dims)])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let (x, grid) = (cx.inputs.get(0)?, cx.inputs.get(1)?);
        let step = Sample {
            sampling: self.0,
            images: x.dims[0],
            channels: x.dims[1],
            sides: [x.dims[2], x.dims[3]],
            places: grid.dims[1] * grid.dims[2],
        };
        let inputs = vec![cx.plain(0)?, cx.plain(1)?];
        cx.emit_plain(Box::new(step), inputs)
    }
}

/// Pixels along an axis and their weights; a pixel that is outside is none.
type Taps = [(Option<usize>, f32); TAPS];

impl Sampling {
    /// The place in pixels of one between -1 and 1.
    fn place(self, x: f32, side: usize) -> f32 {
        let side = side as f32;
        if self.corners { (x + 1.0) * 0.5 * (side - 1.0) } else { ((x + 1.0) * side - 1.0) * 0.5 }
    }

    /// A place that is reflected, or held, at the borders; pixels that are left out otherwise.
    fn inside(self, at: f32, side: usize) -> f32 {
        let last = side as f32 - 1.0;
        match self.outside {
            Outside::Zeros => at,
            Outside::Border => at.clamp(0.0, last),
            Outside::Reflection => {
                let (low, high) = if self.corners { (0.0, last) } else { (-0.5, last + 0.5) };
                let length = high - low;
                if length <= 0.0 {
                    return 0.0;
                }
                let off = (at - low).abs();
                let rest = off % length;
                // How often it is reflected: an odd number of times it runs backwards.
                let odd = (off / length).floor() % 2.0 == 1.0;
                let found = if odd { high - rest } else { low + rest };
                found.clamp(0.0, last)
            }
        }
    }

    /// The pixels that a place takes, with their weights. Of a place that is no number: pixel 0.
    fn taps(self, x: f32, side: usize) -> Taps {
        let mut taps = [(None, 0.0); TAPS];
        let pixel = |at: f32| {
            let at = self.inside(at, side);
            (at >= 0.0 && at < side as f32).then_some(at as usize)
        };
        let at = self.place(x, side);
        match self.mode {
            Mode::Nearest => {
                let at = self.inside(at, side);
                taps[0] = (pixel(at.round_ties_even()), 1.0);
            }
            Mode::Linear => {
                let at = self.inside(at, side);
                let first = at.floor();
                let part = at - first;
                taps[0] = (pixel(first), 1.0 - part);
                taps[1] = (pixel(first + 1.0), part);
            }
            Mode::Cubic => {
                let first = at.floor();
                for (place, (tap, weight)) in taps.iter_mut().zip(cubic(at - first)).enumerate() {
                    *tap = (pixel(first + place as f32 - 1.0), weight);
                }
            }
        }
        taps
    }
}

/// The weights of the four pixels around a place, which is past the second by this part.
fn cubic(part: f32) -> [f32; TAPS] {
    let far = |x: f32| ((CUBIC * x - 5.0 * CUBIC) * x + 8.0 * CUBIC) * x - 4.0 * CUBIC;
    let near = |x: f32| ((CUBIC + 2.0) * x - (CUBIC + 3.0)) * x * x + 1.0;
    [far(part + 1.0), near(part), near(1.0 - part), far(2.0 - part)]
}

struct Sample {
    sampling: Sampling,
    images: usize,
    channels: usize,
    /// Height and width.
    sides: [usize; 2],
    /// Of each image.
    places: usize,
}

impl Step for Sample {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let (x, grid) = (io.input::<f32>(0), io.input::<f32>(1));
        let out = io.output::<f32>(0)?;
        let [height, width] = self.sides;
        let area = height * width;
        let mut pace = Pace::new();
        for image in 0..self.images {
            for place in 0..self.places {
                pace.check(16 * (1 + self.channels))?;
                let at = (image * self.places + place) * 2;
                let columns = self.sampling.taps(grid[at], width);
                let rows = self.sampling.taps(grid[at + 1], height);
                for channel in 0..self.channels {
                    let plane = &x[(image * self.channels + channel) * area..][..area];
                    let mut sum = 0.0;
                    for &(row, down) in &rows {
                        let Some(row) = row else { continue };
                        let mut line = 0.0;
                        for &(column, across) in &columns {
                            if let Some(column) = column {
                                line += across * plane[row * width + column];
                            }
                        }
                        sum += down * line;
                    }
                    out[(image * self.channels + channel) * self.places + place] = sum;
                }
            }
        }
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        "grid sample"
    }

    fn work(&self) -> usize {
        work(&[self.images, self.places, 32 * (1 + self.channels)])
    }
}
