//! Convolutions with pruned weights: codes that are zero are neither stored nor multiplied.
//!
//! Some rows of an image are laid out channel by channel, as wide as their padding makes them. What a
//! tap reads for places side by side is then a run of bytes, and so it is for places of several rows:
//! what lies between these is computed and left. Four taps are multiplied at once for a block of
//! places and for as many outputs as share them, and the sums are turned over, for pixels to be finished
//! as those of any convolution.
//!
//! | file | what it does |
//! |---|---|
//! | here | which weights are kept, and whether that pays |
//! | `bands` | some rows of an image after others |
//! | `multiply` | the sums of a block of places |

mod bands;
mod multiply;

use bands::{Bands, PLACES, PLANE};

use super::output::Target;
use super::{CodeImages, ConvI8};
use crate::conv::window::Window;
use crate::error::Result;
use crate::isa::Isa;
use crate::memory;

/// Pixels of a block that are so few that they are multiplied densely sooner.
const MOST_LEFT: usize = 24;

/// The greatest product of two codes, by the code of x.
const REACH: i64 = 255;
/// Outputs that may share their taps.
const TOGETHER: [usize; 3] = [1, 2, 4];

/// What a block of places costs, about, in cycles of a Zen 5 (``python -m benches.tiny sparse``): for
/// an output, for a channel of the image, for a weight of the dense product.
const OF_OUTPUT: f64 = 60.0;
const OF_INPUT: f64 = 30.0;
const OF_WEIGHT: f64 = 0.62;
/// How much faster it has to look.
const GAIN: f64 = 1.1;

/// The same for four taps of so many outputs: they are interleaved once, and multiplied for each.
fn of_step(together: usize) -> f64 {
    1.5 + (2 * together).max(4) as f64
}

/// Weights of one group, without their zeros.
#[derive(Debug)]
pub(in crate::conv::int8) struct Sparse {
    /// Outputs that share their taps: one after the other, the last of them with fewer.
    together: usize,
    /// Where the steps of each such group start, and where the last end.
    starts: Vec<usize>,
    /// Four taps of a channel each: `channel * taps + tap`; where windows are single pixels, where the
    /// channel lies.
    taps: Vec<[u32; 4]>,
    /// Their codes for each output of the group, 0 where it has none.
    codes: Vec<i32>,
    /// The sum of each output's codes, and zeros for those that the last group lacks.
    sums: Vec<i32>,
    /// Channels of the image.
    inputs: usize,
    /// Weights that are not zero.
    stored: usize,
}

impl Sparse {
    /// Weights `[outputs, inputs, taps]`, if so few of them are not zero that this pays.
    pub(in crate::conv::int8) fn new(
        weights: &[i8],
        outputs: usize,
        window: &Window,
    ) -> Result<Option<Self>> {
        let taps = window.kernel[0] * window.kernel[1];
        let size = weights.len().checked_div(outputs).unwrap_or(0);
        let most = weights.chunks(size.max(1)).map(|row| {
            row.iter().map(|&code| i64::from(code).abs()).sum::<i64>().saturating_mul(REACH)
        });
        let fits = most.max().unwrap_or(0) <= i64::from(i32::MAX) && size <= (1 << 31) / PLANE;
        if window.stride != [1; 2] || !fits || size == 0 {
            return Ok(None);
        }
        let cost = |together: usize| -> f64 {
            let groups = weights.chunks(together * size);
            let steps: usize = groups.map(|group| used(group, size).count().div_ceil(4)).sum();
            steps as f64 * of_step(together)
        };
        let found = TOGETHER.map(|together| (together, cost(together)));
        let (mut together, mut least) = found[0];
        for (count, cost) in found {
            if cost < least {
                (together, least) = (count, cost);
            }
        }
        let laid_out = OF_OUTPUT * outputs as f64 + OF_INPUT * (size / taps) as f64;
        if GAIN * (least + laid_out) > OF_WEIGHT * weights.len() as f64 {
            return Ok(None);
        }
        let all = outputs.next_multiple_of(together);
        let mut made = Self {
            together,
            starts: memory::with_capacity(all / together + 1)?,
            taps: Vec::new(),
            codes: Vec::new(),
            sums: memory::filled(0, all)?,
            inputs: size / taps,
            stored: weights.iter().filter(|&&code| code != 0).count(),
        };
        made.starts.push(0);
        let unit = if window.is_point() { PLANE } else { 1 };
        for group in weights.chunks(together * size) {
            let mut used = used(group, size);
            while let Some(first) = used.next() {
                let mut four = [Some(first), used.next(), used.next(), used.next()];
                memory::push(&mut made.taps, four.map(|at| (at.unwrap_or(first) * unit) as u32))?;
                for output in 0..together {
                    let code = |at: &mut Option<usize>| {
                        at.and_then(|at| group.get(output * size + at))
                            .map_or(0, |&code| code as u8)
                    };
                    let codes = four.each_mut().map(code);
                    memory::push(&mut made.codes, i32::from_le_bytes(codes))?;
                }
            }
            made.starts.push(made.taps.len());
        }
        for (sum, row) in made.sums.iter_mut().zip(weights.chunks_exact(size)) {
            *sum = row.iter().map(|&code| i32::from(code)).sum();
        }
        Ok(Some(made))
    }

    /// Convolves; what is not worth it by `conv`'s dense weights.
    pub(in crate::conv::int8) fn run<T: Target>(
        &self,
        conv: &ConvI8,
        isa: Isa,
        x: CodeImages<'_>,
        shape: [usize; 4],
        target: &T,
        out: &mut [T::Element],
    ) -> Result<()> {
        let [outputs, channels] = [shape[3], x.shape[3]];
        let pixels = memory::size(&shape[..3])?;
        let rest = if conv.window.is_point() { pixels % PLACES } else { 0 };
        let head = pixels - rest;
        if (1..=MOST_LEFT).contains(&rest) && head > 0 {
            let (codes, last) = x.codes.split_at(head * channels);
            let (out, last_out) = out.split_at_mut(head * outputs);
            let first = CodeImages { codes, shape: [1, 1, head, channels], ..x };
            self.run(conv, isa, first, [1, 1, head, outputs], target, out)?;
            let last = CodeImages { codes: last, shape: [1, 1, rest, channels], ..x };
            let target = target.after_pixels(head);
            return conv.dense(isa, last, [1, 1, rest, outputs], &target, last_out);
        }
        match Bands::new(self, isa, x, &conv.window, shape)? {
            Some(bands) => bands.run(target, out),
            None => conv.dense(isa, x, shape, target, out),
        }
    }

    /// Bytes in memory.
    pub(in crate::conv::int8) fn nbytes(&self) -> usize {
        size_of_val(&self.starts[..])
            + size_of_val(&self.taps[..])
            + size_of_val(&self.codes[..])
            + size_of_val(&self.sums[..])
    }
}

/// The taps of which any output of a group, `size` weights each, has a weight.
fn used(group: &[i8], size: usize) -> impl Iterator<Item = usize> + '_ {
    (0..size).filter(move |&at| group[at..].iter().step_by(size).any(|&code| code != 0))
}
