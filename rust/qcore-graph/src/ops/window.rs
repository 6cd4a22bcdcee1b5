//! Windows that slide over space: kernel, strides, dilations and padding as ONNX has them.

use qcore_kernels::conv::Window;

use crate::error::{Result, shape_error, value_error};
use crate::graph::attributes::Attributes;
use crate::shape::same;

/// The attributes of a window; lists may be absent.
#[derive(Debug, Clone)]
pub(super) struct WindowSpec {
    pub(super) kernel: Option<Vec<usize>>,
    strides: Option<Vec<usize>>,
    dilations: Option<Vec<usize>>,
    pads: Option<Vec<usize>>,
    pub(super) auto: Auto,
    ceil: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Auto {
    Off,
    SameUpper,
    SameLower,
    Valid,
}

/// The attributes of a window, an element for each dim of space.
pub(super) struct Lists {
    pub(super) kernel: Vec<usize>,
    pub(super) strides: Vec<usize>,
    pub(super) dilations: Vec<usize>,
    pub(super) pads: Vec<(usize, usize)>,
}

/// One dim of space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Axis {
    pub(super) input: usize,
    pub(super) output: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) dilation: usize,
    pub(super) before: usize,
    pub(super) after: usize,
}

impl Axis {
    /// A dim that is not there.
    pub(super) const ONE: Axis =
        Axis { input: 1, output: 1, kernel: 1, stride: 1, dilation: 1, before: 0, after: 0 };

    /// The places of the input that the window at `output` covers, with their taps.
    pub(super) fn taps(self, output: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
        let start = output * self.stride;
        let first = self.reaching(self.before, start);
        let last = self.reaching(self.before + self.input, start);
        (first..last).map(move |tap| (tap, start + tap * self.dilation - self.before))
    }

    /// The first tap that lies at a place or behind it, of a window that starts at another.
    fn reaching(self, place: usize, start: usize) -> usize {
        place.saturating_sub(start).div_ceil(self.dilation).min(self.kernel)
    }

    /// How many taps of the window at `output` lie in the input or in its padding.
    pub(super) fn taps_with_padding(self, output: usize) -> usize {
        self.reaching(self.before + self.input + self.after, output * self.stride)
    }
}

/// Sizes above which a window is refused: products of a few of them fit.
const LARGEST: usize = 1 << 31;

/// A list of sizes, each at least `least`, where the attribute is there.
pub(super) fn sizes(
    attributes: Attributes<'_>,
    name: &str,
    least: usize,
) -> Result<Option<Vec<usize>>> {
    let Some(values) = attributes.ints(name)? else { return Ok(None) };
    let size = |&value: &i64| {
        usize::try_from(value).ok().filter(|size| (least..LARGEST).contains(size)).ok_or_else(
            || value_error!("{name} is {values:?}; its elements must be {least} or more"),
        )
    };
    values.iter().map(size).collect::<Result<Vec<_>>>().map(Some)
}

impl WindowSpec {
    /// Reads the attributes.
    pub(super) fn read(attributes: Attributes<'_>) -> Result<Self> {
        let auto = match attributes.text_or("auto_pad", "NOTSET")? {
            "" | "NOTSET" => Auto::Off,
            "SAME_UPPER" => Auto::SameUpper,
            "SAME_LOWER" => Auto::SameLower,
            "VALID" => Auto::Valid,
            found => {
                let allowed = "'NOTSET', 'SAME_UPPER', 'SAME_LOWER' or 'VALID'";
                return Err(value_error!("auto_pad is '{found}'; it must be {allowed}"));
            }
        };
        Ok(Self {
            kernel: sizes(attributes, "kernel_shape", 1)?,
            strides: sizes(attributes, "strides", 1)?,
            dilations: sizes(attributes, "dilations", 1)?,
            pads: sizes(attributes, "pads", 0)?,
            auto,
            ceil: attributes.flag("ceil_mode", false)?,
        })
    }

    /// The lists for so many dims of space; `kernel` is what the weights say.
    pub(super) fn lists(&self, rank: usize, kernel: Option<&[usize]>) -> Result<Lists> {
        let kernel = match (&self.kernel, kernel) {
            (Some(said), Some(found)) if said != found => {
                return Err(shape_error!("kernel_shape is {said:?}; the weights have {found:?}"));
            }
            (_, Some(found)) => found.to_vec(),
            (Some(said), None) => said.clone(),
            (None, None) => return Err(value_error!("attribute 'kernel_shape' is missing")),
        };
        let list = |values: &Option<Vec<usize>>, fill: usize, len: usize, name: &str| {
            let values = values.clone().unwrap_or_else(|| same(fill, len));
            if values.len() == len {
                return Ok(values);
            }
            Err(shape_error!("{name} has {} elements for {rank} dims of space", values.len()))
        };
        let pads = list(&self.pads, 0, 2 * rank, "pads")?;
        if kernel.len() != rank {
            return Err(shape_error!("kernel {kernel:?} is not made for {rank} dims of space"));
        }
        Ok(Lists {
            kernel,
            strides: list(&self.strides, 1, rank, "strides")?,
            dilations: list(&self.dilations, 1, rank, "dilations")?,
            pads: (0..rank).map(|axis| (pads[axis], pads[axis + rank])).collect(),
        })
    }

    /// The axes for the space of an input; `kernel` is what the weights say.
    pub(super) fn axes(&self, space: &[usize], kernel: Option<&[usize]>) -> Result<Vec<Axis>> {
        let Lists { kernel, strides, dilations, pads } = self.lists(space.len(), kernel)?;
        (0..space.len())
            .map(|at| self.axis(space[at], kernel[at], strides[at], dilations[at], pads[at]))
            .collect()
    }

    fn axis(
        &self,
        input: usize,
        kernel: usize,
        stride: usize,
        dilation: usize,
        (mut before, mut after): (usize, usize),
    ) -> Result<Axis> {
        if input >= LARGEST || kernel >= LARGEST {
            return Err(shape_error!("a dim of {} is too large", input.max(kernel)));
        }
        let reach = (kernel.max(1) - 1) * dilation + 1;
        match self.auto {
            Auto::Off => {}
            Auto::Valid => (before, after) = (0, 0),
            Auto::SameUpper | Auto::SameLower => {
                let output = input.div_ceil(stride);
                let total = (output.max(1) - 1) * stride + reach;
                let total = total.saturating_sub(input);
                let (less, more) = (total / 2, total - total / 2);
                (before, after) =
                    if self.auto == Auto::SameUpper { (less, more) } else { (more, less) };
            }
        }
        let padded = before + input + after;
        let Some(room) = padded.checked_sub(reach) else {
            return Err(shape_error!("a window of {reach} does not fit into {padded}"));
        };
        let mut output = room / stride + 1;
        if self.ceil {
            output = room.div_ceil(stride) + 1;
            // No window starts in the padding behind.
            if (output - 1) * stride >= input + before {
                output -= 1;
            }
        }
        Ok(Axis { input, output, kernel, stride, dilation, before, after })
    }
}

/// Three axes, those that are not there in front.
pub(super) fn three(axes: &[Axis]) -> Result<[Axis; 3]> {
    if axes.len() > 3 {
        return Err(shape_error!("{} dims of space are more than 3", axes.len()));
    }
    let mut out = [Axis::ONE; 3];
    out[3 - axes.len()..].copy_from_slice(axes);
    Ok(out)
}

/// The axes of an image, or of a signal as one of height 1.
pub(super) fn two(axes: &[Axis]) -> Option<[Axis; 2]> {
    match *axes {
        [width] => Some([Axis::ONE, width]),
        [height, width] => Some([height, width]),
        _ => None,
    }
}

/// The window as kernels have it.
pub(super) fn window(axes: [Axis; 2]) -> Window {
    Window {
        kernel: axes.map(|axis| axis.kernel),
        stride: axes.map(|axis| axis.stride),
        dilation: axes.map(|axis| axis.dilation),
        padding: axes.map(|axis| [axis.before, axis.after]),
    }
}
