//! Convolutions of codes in which every channel is by itself: lanes run across channels.
//!
//! For each row of places, the rows of the image that it reads are interleaved so that four taps of a
//! channel lie side by side; a place is then a few dot instructions for each vector of channels. Four
//! rows of the window are taken together, or four columns where it has one row.

use std::cell::RefCell;

use super::CodeImages;
use super::output::{At, Parameters, Target};
use super::quads::interleave;
use crate::aligned::AlignedBytes;
use crate::conv::window::Window;
use crate::epilogue::SumBlock;
use crate::error::Result;
use crate::isa::Isa;
use crate::memory;
use crate::simd::{Dot4, Dot4Op, dispatch_dot};
use crate::threads::{self, SendPtr};

/// Multiply-adds below which another thread costs more than it saves.
const GRAIN: usize = 1 << 19;
/// The most taps of a window that is computed so: int32 holds their sum, and no scratch is large.
const MOST_TAPS: usize = 1 << 10;
/// Channels that the widest vector of sums covers.
const LANES: usize = 16;
/// Sums of a row that are computed before they are finished: they stay in the first cache.
const SUMS: usize = 1 << 12;
/// Channels from which on a row of sums is finished pixel by pixel.
const WIDE: usize = 64;
/// Places that are computed at once: each weight is loaded once for all of them.
const TOGETHER: usize = 4;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Memory that a thread keeps from call to call.
#[derive(Default)]
struct Scratch {
    quads: AlignedBytes,
    /// Rows of the image with every channel as often as it has outputs, or with padding; a row of
    /// zeros.
    rows: AlignedBytes,
    sums: Vec<i32>,
    /// What the sums of a place start from.
    start: Vec<i32>,
    /// Where the quads of a place lie.
    taps: Vec<usize>,
    parameters: Parameters,
}

/// Weights in quads of taps, `[quad][output][4]`, outputs filled up to a vector.
#[derive(Debug)]
pub(super) struct Depthwise {
    weights: AlignedBytes,
    /// The sum of each output's weights.
    sums: Vec<i32>,
    outputs: usize,
    /// Outputs of each channel.
    multiplier: usize,
    /// Pixels that are taken as one: of few channels, as many as fill a vector.
    pixels: usize,
    /// Whether four columns of the window make a quad, not four rows.
    along: bool,
    /// Quads of a place.
    quads: usize,
}

impl Depthwise {
    /// Whether such windows are computed so.
    pub(super) fn takes(kernel: [usize; 2]) -> bool {
        kernel[0].saturating_mul(kernel[1]) <= MOST_TAPS
    }

    /// Weights `[channels * multiplier, taps]`.
    pub(super) fn new(
        weights: &[i8],
        channels: usize,
        multiplier: usize,
        kernel: [usize; 2],
    ) -> Result<Self> {
        let outputs = memory::size(&[channels, multiplier])?;
        let [tall, wide] = kernel;
        let along = tall == 1;
        let quads = if along { wide.div_ceil(4) } else { tall.div_ceil(4) * wide };
        let pixels = LANES.div_ceil(outputs.max(1));
        let width = outputs * pixels;
        let mut room = AlignedBytes::zeroed(memory::size(&[quads, width, 4])?)?;
        let mut sums = memory::filled(0, outputs)?;
        for (output, row) in weights.chunks_exact(tall * wide).enumerate() {
            for (tap, &weight) in row.iter().enumerate() {
                let (row, column) = (tap / wide, tap % wide);
                let (quad, place) = if along {
                    (column / 4, column % 4)
                } else {
                    (row / 4 * wide + column, row % 4)
                };
                for pixel in 0..pixels {
                    let at = quad * width + pixel * outputs + output;
                    room[4 * at + place] = weight as u8;
                }
                sums[output] += i32::from(weight);
            }
        }
        Ok(Self { weights: room, sums, outputs, multiplier, pixels, along, quads })
    }

    /// Bytes in memory.
    pub(super) fn nbytes(&self) -> usize {
        self.weights.len() + size_of_val(&self.sums[..])
    }

    /// Convolves images; shapes were checked.
    pub(super) fn run<T: Target>(
        &self,
        isa: Isa,
        x: CodeImages<'_>,
        window: &Window,
        shape: [usize; 4],
        target: &T,
        out: &mut [T::Element],
    ) -> Result<()> {
        let [batch, rows, columns, outputs] = shape;
        let taps = window.kernel[0] * window.kernel[1];
        let tasks = threads::tasks_for(out.len(), taps, GRAIN);
        let all = batch * rows;
        let together = all.div_ceil(tasks.max(1)).max(1);
        // Of few channels several pixels are finished as one row.
        let repeat = WIDE.div_ceil(outputs);
        let results = SendPtr(out.as_mut_ptr());
        threads::try_for_each(all.div_ceil(together), |task| {
            memory::with_kept(&SCRATCH, |scratch| {
                target.prepare(repeat, &mut scratch.parameters)?;
                let mut job = Job::new(self, x, window, columns, target.start(), scratch)?;
                for row in task * together..((task + 1) * together).min(all) {
                    job.interleave(isa, row / rows, row % rows);
                    for first in (0..columns).step_by(job.block) {
                        let count = job.block.min(columns - first);
                        job.sums(isa, first, count);
                        let at = (row * columns + first) * outputs;
                        let width = repeat * outputs;
                        let (whole, rest) = (count / repeat, count % repeat * outputs);
                        let sums = &job.scratch.sums[..];
                        let parameters = &job.scratch.parameters;
                        for (rows, columns, done) in [(whole, width, 0), (1, rest, whole * width)] {
                            let sums = &sums[done..];
                            let block = SumBlock { rows, columns, sums, stride: width };
                            let place = At { first: at + done, column: 0, stride: width };
                            if columns == 0 || rows == 0 {
                                continue;
                            }
                            // SAFETY: these places are this task's own, and within the result.
                            unsafe {
                                let out = results.get().add(at + done);
                                target.finish(isa, parameters, block, place, out);
                            }
                        }
                    }
                }
                Ok(())
            })
        })
    }
}

/// The rows that a task computes, one after the other.
struct Job<'a> {
    weights: &'a Depthwise,
    x: CodeImages<'a>,
    window: &'a Window,
    scratch: &'a mut Scratch,
    /// Columns of the padded image that places read.
    wide: usize,
    /// Places that are computed before they are finished.
    block: usize,
    /// What turns a code into an unsigned byte.
    flip: u8,
}

/// Rows of the room: four, and one of zeros.
const ROWS: usize = 5;

impl<'a> Job<'a> {
    fn new(
        weights: &'a Depthwise,
        x: CodeImages<'a>,
        window: &'a Window,
        columns: usize,
        bias: &[i32],
        scratch: &'a mut Scratch,
    ) -> Result<Self> {
        let Depthwise { outputs, pixels, along, .. } = *weights;
        let Window { kernel, stride, dilation, .. } = *window;
        let before = memory::size(&[columns - 1, stride[1]])?;
        let wide = memory::sum(&[before, window.extent(1)])?;
        let groups = if along { 1 } else { kernel[0].div_ceil(4) };
        // The last quad of a row may read three taps past the window, with weights of 0.
        let past = memory::size(&[3, dilation[1]])?;
        let line = memory::size(&[memory::sum(&[wide.max(x.shape[2]), past])?, outputs])?;
        let quads = memory::size(&[wide, outputs, 4])?;
        scratch.quads.resize_scratch(memory::size(&[groups, quads])?)?;
        scratch.rows.resize_scratch(memory::size(&[ROWS, line])?)?;
        scratch.rows[(ROWS - 1) * line..].fill(x.zero_point as u8);
        let block = (SUMS / outputs).clamp(1, columns).next_multiple_of(TOGETHER).min(columns);
        scratch.sums.clear();
        memory::resize(&mut scratch.sums, memory::size(&[block, outputs])?, 0)?;
        let zero = if x.signed { x.zero_point + 128 } else { x.zero_point };
        scratch.start.clear();
        for _ in 0..pixels {
            for (output, sum) in weights.sums.iter().enumerate() {
                let bias = match bias {
                    [one] => *one,
                    each => each.get(output).copied().unwrap_or(0),
                };
                memory::push(&mut scratch.start, bias.wrapping_sub(zero * sum))?;
            }
        }
        scratch.taps.clear();
        for quad in 0..weights.quads {
            let (group, column) =
                if along { (0, 4 * quad) } else { (quad / kernel[1], quad % kernel[1]) };
            let tap = group * quads + 4 * column * dilation[1] * outputs;
            memory::push(&mut scratch.taps, tap)?;
        }
        let flip = if x.signed { 0x80 } else { 0 };
        Ok(Self { weights, x, window, scratch, wide, block, flip })
    }

    /// Interleaves what a row of places of image `n` reads.
    fn interleave(&mut self, isa: Isa, n: usize, row: usize) {
        let Depthwise { outputs, multiplier, along, .. } = *self.weights;
        let Window { kernel, stride, dilation, padding } = *self.window;
        let [_, height, width, channels] = self.x.shape;
        let Scratch { quads, rows, .. } = &mut *self.scratch;
        let line = rows.len() / ROWS;
        let (rows, zeros) = rows.split_at_mut((ROWS - 1) * line);
        let left = padding[1][0].min(self.wide);
        let picture = &self.x.codes[n * height * width * channels..][..height * width * channels];
        let line_of = |tap: usize| {
            let y = (row * stride[0] + tap * dilation[0]).wrapping_sub(padding[0][0]);
            (tap < kernel[0] && y < height)
                .then(|| &picture[y * width * channels..][..width * channels])
        };
        if along {
            let padded = &mut rows[..line];
            match line_of(0) {
                None => padded.copy_from_slice(&zeros[..line]),
                Some(from) => {
                    let first = padding[1][0].min(line / outputs) * outputs;
                    let count = (width * outputs).min(line - first);
                    padded[..first].copy_from_slice(&zeros[..first]);
                    widen(from, multiplier, &mut padded[first..first + count]);
                    padded[first + count..].copy_from_slice(&zeros[first + count..line]);
                }
            }
            let from = [0, 1, 2, 3].map(|tap| &rows[tap * dilation[1] * outputs..]);
            let len = self.wide * outputs;
            dispatch_dot(
                isa,
                Interleave { from: from.map(|row| &row[..len]), flip: self.flip, out: quads },
            );
            return;
        }
        let count = width.min(self.wide - left) * outputs;
        let size = self.wide * outputs * 4;
        let around = self.x.zero_point as u8 ^ self.flip;
        for (group, quads) in quads.chunks_exact_mut(size).enumerate() {
            if multiplier > 1 {
                for (tap, to) in rows.chunks_exact_mut(line).enumerate() {
                    if let Some(from) = line_of(4 * group + tap) {
                        widen(from, multiplier, &mut to[..width * outputs]);
                    }
                }
            }
            let from = [0, 1, 2, 3].map(|tap| match line_of(4 * group + tap) {
                None => &zeros[..count],
                Some(from) if multiplier == 1 => &from[..count],
                Some(_) => &rows[tap * line..][..count],
            });
            quads[..4 * left * outputs].fill(around);
            let (inside, behind) = quads[4 * left * outputs..].split_at_mut(4 * count);
            dispatch_dot(isa, Interleave { from, flip: self.flip, out: inside });
            behind.fill(around);
        }
    }

    /// The sums of `count` places of the row from place `first` on.
    fn sums(&mut self, isa: Isa, first: usize, count: usize) {
        let Depthwise { outputs, pixels, .. } = *self.weights;
        let step = 4 * self.window.stride[1] * outputs;
        let Scratch { quads, sums, start, taps, .. } = &mut *self.scratch;
        let quads = &quads[first * step..];
        let weights = &self.weights.weights[..];
        if pixels == 1 {
            let places = Places { quads, taps, weights, start, step, count };
            dispatch_dot(isa, Sums { places, sums });
        } else if self.window.stride[1] == 1 && count >= pixels {
            // Several pixels as one; the last end with the row, and so repeat some.
            let whole = count / pixels;
            let places = Places { quads, taps, weights, start, step: step * pixels, count: whole };
            dispatch_dot(isa, Sums { places, sums });
            if whole * pixels < count {
                let last = count - pixels;
                let places = Places { quads: &quads[last * step..], count: 1, ..places };
                dispatch_dot(isa, Sums { places, sums: &mut sums[last * outputs..] });
            }
        } else {
            Places { quads, taps, weights, start, step, count }.one_by_one(outputs, sums);
        }
    }
}

/// Each byte as often as a channel has outputs, as far as there is room.
fn widen(from: &[u8], multiplier: usize, to: &mut [u8]) {
    if multiplier == 1 {
        to.copy_from_slice(&from[..to.len()]);
        return;
    }
    for (to, &byte) in to.chunks_mut(multiplier).zip(from) {
        to.fill(byte);
    }
}

/// Four rows of the same length, and the room for their quads.
struct Interleave<'a> {
    from: [&'a [u8]; 4],
    flip: u8,
    out: &'a mut [u8],
}

impl Dot4Op for Interleave<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<D: Dot4>(self, d: D) {
        let [a, b, c, e] = self.from;
        let len = a.len();
        assert!(b.len() == len && c.len() == len && e.len() == len && self.out.len() >= 4 * len);
        let rows = [a.as_ptr(), b.as_ptr(), c.as_ptr(), e.as_ptr()];
        // SAFETY: the lengths were just checked.
        unsafe { interleave(d, rows, len, self.flip, self.out.as_mut_ptr()) };
    }
}

/// Places side by side: where their quads lie, and what these are multiplied with.
#[derive(Clone, Copy)]
struct Places<'a> {
    /// From the first quad of the first place on.
    quads: &'a [u8],
    /// Bytes from the first quad of a place to each that is summed.
    taps: &'a [usize],
    /// As many quads of weights for each tap as there are starts.
    weights: &'a [u8],
    /// What the sums start from.
    start: &'a [i32],
    /// Bytes from a place to the next.
    step: usize,
    count: usize,
}

impl Places<'_> {
    /// Few channels, without vectors.
    fn one_by_one(&self, outputs: usize, sums: &mut [i32]) {
        for (place, sums) in sums.chunks_exact_mut(outputs).take(self.count).enumerate() {
            for (output, sum) in sums.iter_mut().enumerate() {
                *sum = self.start[output];
                for (index, tap) in self.taps.iter().enumerate() {
                    let quad = &self.quads[place * self.step + tap + 4 * output..][..4];
                    let weights = &self.weights[4 * (index * self.start.len() + output)..][..4];
                    for (&code, &weight) in quad.iter().zip(weights) {
                        *sum += i32::from(code) * i32::from(weight as i8);
                    }
                }
            }
        }
    }
}

/// The sums of places, as many for each as there are starts.
struct Sums<'a> {
    places: Places<'a>,
    sums: &'a mut [i32],
}

impl Dot4Op for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<D: Dot4>(self, d: D) {
        let Places { quads, taps, weights, start, step, count } = self.places;
        let (width, lanes) = (start.len(), D::COLUMNS / 4);
        let reach = taps.iter().copied().max().unwrap_or(0);
        let last = count.saturating_sub(1) * step + reach + 4 * width;
        assert!(width >= lanes && self.sums.len() >= count * width);
        assert!(quads.len() >= last && weights.len() >= 4 * taps.len() * width);
        let mut at = 0;
        while at < width {
            // The last vector ends with the channels and so repeats some.
            at = at.min(width - lanes);
            let mut place = 0;
            while place < count {
                let to = &mut self.sums[place * width + at..];
                // SAFETY: the quads of the last place, the weights and the sums were just checked, and
                // those of the places before it lie before them.
                unsafe {
                    if place + TOGETHER <= count {
                        self.places.group::<D, TOGETHER>(d, place, at, to.as_mut_ptr());
                        place += TOGETHER;
                    } else {
                        self.places.group::<D, 1>(d, place, at, to.as_mut_ptr());
                        place += 1;
                    }
                }
            }
            at += lanes;
        }
    }
}

impl Places<'_> {
    /// A vector of sums, from `at` on, of `N` places.
    ///
    /// # Safety
    /// The places have their quads and weights; `out` is valid for writing a vector of each place.
    #[allow(clippy::needless_range_loop, reason = "loops over indices are unrolled whole")]
    #[inline(always)]
    unsafe fn group<D: Dot4, const N: usize>(&self, d: D, place: usize, at: usize, out: *mut i32) {
        let width = self.start.len();
        // SAFETY: the caller's promise; a vector of D is lanes of int32.
        unsafe {
            let start = self.start.as_ptr().add(at).cast::<D::I32>().read_unaligned();
            let mut sums = [start; N];
            let origin = self.quads.as_ptr().add(place * self.step + 4 * at);
            let mut weights = self.weights.as_ptr().add(4 * at);
            for &tap in self.taps {
                let weight = d.load(weights);
                weights = weights.wrapping_add(4 * width);
                let from = origin.add(tap);
                for index in 0..N {
                    sums[index] = d.dot(sums[index], d.load(from.add(index * self.step)), weight);
                }
            }
            for index in 0..N {
                out.add(index * width).cast::<D::I32>().write_unaligned(sums[index]);
            }
        }
    }
}
