//! The rows of places of a task: their rows of the image are interleaved, summed and finished in turn.

use std::cell::RefCell;
use std::ops::Range;

use super::Depthwise;
use super::quads::Interleave;
use super::sums::{Places, Sums};
use crate::aligned::AlignedBytes;
use crate::conv::int8::CodeImages;
use crate::conv::int8::output::{At, Parameters, Target};
use crate::conv::window::Window;
use crate::epilogue::SumBlock;
use crate::error::Result;
use crate::interrupt::Pace;
use crate::isa::Isa;
use crate::memory;
use crate::simd::dispatch_dot;
use crate::threads::SendPtr;

/// Sums that are computed before they are finished: they stay in the first cache.
const SUMS: usize = 1 << 12;
/// Channels from which on sums are finished pixel by pixel.
const WIDE: usize = 64;
/// Rows of the room: four, and one of zeros.
const ROWS: usize = 5;
/// Multiply-adds between two looks at whether to stop.
const STEPS: usize = 1 << 22;

thread_local! {
    pub(super) static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Memory that a thread keeps from call to call.
#[derive(Default)]
pub(super) struct Scratch {
    quads: AlignedBytes,
    /// Rows of the image with every channel as often as it has outputs, or with padding; a row of
    /// zeros.
    rows: AlignedBytes,
    sums: AlignedBytes,
    /// What the sums of a place start from.
    start: Vec<i32>,
    /// Where the quads of a place lie.
    taps: Vec<usize>,
    parameters: Parameters,
}

/// What a task works with.
pub(super) struct Job<'a> {
    weights: &'a Depthwise,
    isa: Isa,
    x: CodeImages<'a>,
    window: &'a Window,
    /// Rows and columns of places of an image.
    shape: [usize; 2],
    scratch: &'a mut Scratch,
    /// Columns of the padded image that places read.
    wide: usize,
    /// Places whose sums there is room for.
    room: usize,
    /// Pixels that are finished as one row: of few channels more than one.
    repeat: usize,
    /// What turns a code into an unsigned byte.
    flip: u8,
}

impl<'a> Job<'a> {
    pub(super) fn new<T: Target>(
        weights: &'a Depthwise,
        isa: Isa,
        x: CodeImages<'a>,
        window: &'a Window,
        shape: [usize; 2],
        target: &T,
        scratch: &'a mut Scratch,
    ) -> Result<Self> {
        let Depthwise { outputs, pixels, along, .. } = *weights;
        let Window { kernel, stride, dilation, .. } = *window;
        let repeat = WIDE.div_ceil(outputs);
        target.prepare(repeat, &mut scratch.parameters)?;
        let before = memory::size(&[shape[1] - 1, stride[1]])?;
        let wide = memory::sum(&[before, window.extent(1)])?;
        let groups = if along { 1 } else { kernel[0].div_ceil(4) };
        // The last quad of a row may read three taps past the window, with weights of 0.
        let past = memory::size(&[3, dilation[1]])?;
        let line = memory::size(&[memory::sum(&[wide.max(x.shape[2]), past])?, outputs])?;
        let quads = memory::size(&[wide, outputs, 4])?;
        scratch.quads.resize_scratch(memory::size(&[groups, quads])?)?;
        scratch.rows.resize_scratch(memory::size(&[ROWS, line])?)?;
        let flip = if x.signed { 0x80 } else { 0 };
        let around = x.zero_point as u8;
        // What lies to the left and to the right of the image stays from row to row.
        let left = window.padding[1][0].min(wide);
        let inside = x.shape[2].min(wide - left);
        for quads in scratch.quads.chunks_exact_mut(quads) {
            quads[..4 * left * outputs].fill(around ^ flip);
            quads[4 * (left + inside) * outputs..].fill(around ^ flip);
        }
        scratch.rows[(ROWS - 1) * line..].fill(around);
        let room = (SUMS / outputs).max(4);
        scratch.sums.resize_scratch(memory::size(&[room, outputs, size_of::<i32>()])?)?;
        let zero = x.zero_point + if x.signed { 128 } else { 0 };
        scratch.start.clear();
        for _ in 0..pixels {
            for (output, sum) in weights.sums.iter().enumerate() {
                let bias = match target.start() {
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
        Ok(Self { weights, isa, x, window, shape, scratch, wide, room, repeat, flip })
    }

    /// Computes rows of places, counted over all images.
    ///
    /// # Safety
    /// `out` is the whole result, of which nobody else touches these rows.
    pub(super) unsafe fn run<T: Target>(
        &mut self,
        range: Range<usize>,
        target: &T,
        out: SendPtr<T::Element>,
    ) -> Result<()> {
        let [rows, columns] = self.shape;
        let weights = self.weights;
        let Window { stride, dilation, .. } = *self.window;
        let lowered = weights.lowered.as_ref().filter(|_| stride[0] == 1 && dilation[0] == 1);
        let both = [Some(&weights.weights), lowered];
        let mut pace = Pace::of(STEPS);
        let (mut first, mut pending) = (range.start * columns, 0);
        let mut row = range.start;
        while row < range.end {
            let together = match lowered {
                Some(_) if row % rows + 1 < rows && row + 1 < range.end => 2,
                _ => 1,
            };
            self.interleave(row / rows, row % rows, together - 1);
            for weights in both.into_iter().flatten().take(together) {
                let mut column = 0;
                while column < columns {
                    // A row is not cut where it fits as a whole.
                    if pending == self.room || (column == 0 && pending + columns > self.room) {
                        // SAFETY: the caller's promise.
                        unsafe { self.finish(first, pending, target, out) };
                        (first, pending) = (first + pending, 0);
                    }
                    let count = (columns - column).min(self.room - pending);
                    self.sums(weights, column, pending, count);
                    column += count;
                    pending += count;
                }
            }
            pace.check(together * columns * weights.outputs * weights.quads)?;
            row += together;
        }
        // SAFETY: the caller's promise.
        unsafe { self.finish(first, pending, target, out) };
        Ok(())
    }

    /// Turns sums of `count` places, from `first` on, into results.
    ///
    /// # Safety
    /// As [`Job::run`].
    unsafe fn finish<T: Target>(
        &self,
        first: usize,
        count: usize,
        target: &T,
        out: SendPtr<T::Element>,
    ) {
        let outputs = self.weights.outputs;
        let width = self.repeat * outputs;
        let (whole, rest) = (count / self.repeat, count % self.repeat * outputs);
        for (rows, columns, done) in [(whole, width, 0), (1, rest, whole * width)] {
            if rows == 0 || columns == 0 {
                continue;
            }
            let place = first * outputs + done;
            let at = At { first: place, column: 0, stride: width };
            // SAFETY: the room has sums of so many places, on a cache line; the places are within the
            // result, and this task's own.
            unsafe {
                let sums = self.scratch.sums.as_floats().cast::<i32>();
                let sums = std::slice::from_raw_parts(sums.add(done), count * outputs - done);
                let block = SumBlock { rows, columns, sums, stride: width };
                let parameters = &self.scratch.parameters;
                target.finish(self.isa, parameters, block, at, out.get().add(place));
            }
        }
    }

    /// Interleaves what a row of places of image `n` reads, and `more` rows of the image for the next.
    fn interleave(&mut self, n: usize, row: usize, more: usize) {
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
            let inside = tap < kernel[0] + more && y < height;
            inside.then(|| &picture[y * width * channels..][..width * channels])
        };
        if along {
            let padded = &mut rows[..line];
            padded.copy_from_slice(&zeros[..line]);
            if let Some(from) = line_of(0) {
                let first = padding[1][0].min(line / outputs) * outputs;
                let count = (width * outputs).min(line - first);
                widen(from, multiplier, &mut padded[first..first + count]);
            }
            let len = self.wide * outputs;
            let from = [0, 1, 2, 3].map(|tap| &rows[tap * dilation[1] * outputs..][..len]);
            dispatch_dot(self.isa, Interleave { from, flip: self.flip, out: quads });
            return;
        }
        let count = width.min(self.wide - left) * outputs;
        let size = self.wide * outputs * 4;
        for (group, quads) in quads.chunks_exact_mut(size).enumerate() {
            if multiplier > 1 {
                for (tap, to) in rows.chunks_exact_mut(line).enumerate() {
                    if let Some(from) = line_of(4 * group + tap) {
                        widen(from, multiplier, &mut to[..width * outputs]);
                    }
                }
            }
            let mut from = [&zeros[..count]; 4];
            for (tap, from) in from.iter_mut().enumerate() {
                match line_of(4 * group + tap) {
                    None => {}
                    Some(row) if multiplier == 1 => *from = &row[..count],
                    Some(_) => *from = &rows[tap * line..][..count],
                }
            }
            let out = &mut quads[4 * left * outputs..][..4 * count];
            dispatch_dot(self.isa, Interleave { from, flip: self.flip, out });
        }
    }

    /// The sums of `count` places of a row from `column` on, behind `pending` others.
    fn sums(&mut self, weights: &AlignedBytes, column: usize, pending: usize, count: usize) {
        let Depthwise { outputs, pixels, .. } = *self.weights;
        let step = 4 * self.window.stride[1] * outputs;
        let Scratch { quads, sums, start, taps, .. } = &mut *self.scratch;
        let quads = &quads[column * step..];
        // SAFETY: the room has sums of so many places, on a cache line.
        let sums = unsafe {
            let first = sums.as_mut_floats().cast::<i32>();
            std::slice::from_raw_parts_mut(first.add(pending * outputs), count * outputs)
        };
        let places = Places { quads, taps, weights, start, step, count };
        if pixels == 1 {
            dispatch_dot(self.isa, Sums { places, sums });
        } else if self.window.stride[1] == 1 && count >= pixels {
            // Several pixels as one; the last end with the row, and so repeat some.
            let whole = count / pixels;
            let places = Places { step: step * pixels, count: whole, ..places };
            dispatch_dot(self.isa, Sums { places, sums });
            if whole * pixels < count {
                let last = count - pixels;
                let places = Places { quads: &quads[last * step..], count: 1, ..places };
                dispatch_dot(self.isa, Sums { places, sums: &mut sums[last * outputs..] });
            }
        } else {
            places.one_by_one(outputs, sums);
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
