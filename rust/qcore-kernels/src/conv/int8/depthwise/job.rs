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
use crate::simd::{Dot4, Dot4Op, data_of, dispatch_dot};
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
    /// What turns a code into the data of dot products.
    flip: u8,
    /// The row of places whose rows of the image are interleaved, and whether they serve the next too.
    held: Option<(usize, bool)>,
}

/// As many places as there is room for: returns how many.
struct Batch<'j, 'a> {
    job: &'j mut Job<'a>,
    places: Range<usize>,
}

impl Dot4Op for Batch<'_, '_> {
    type Output = usize;

    #[inline(always)]
    fn eval<D: Dot4>(self, d: D) -> usize {
        let Self { job, places } = self;
        let columns = job.shape[1];
        let (mut at, mut pending) = (places.start, 0);
        while at < places.end {
            let (row, column) = (at / columns, at % columns);
            let left = job.room - pending;
            // A row is not cut where it fits as a whole.
            if left == 0 || (column == 0 && columns > left && pending > 0) {
                break;
            }
            let count = (columns - column).min(left);
            let weights = job.ready(d, row, places.end.div_ceil(columns));
            job.sums(d, weights, column, pending, count);
            at += count;
            pending += count;
        }
        pending
    }
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
        let (flip, moved) = data_of(isa, x.signed);
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
        let zero = x.zero_point + moved;
        scratch.start.clear();
        memory::resize(&mut scratch.start, memory::size(&[pixels, outputs])?, 0)?;
        for start in scratch.start.chunks_exact_mut(outputs) {
            match target.start() {
                [] => {}
                [one] => start.fill(*one),
                each => start.copy_from_slice(&each[..outputs]),
            }
            for (start, sum) in start.iter_mut().zip(&weights.sums) {
                *start = start.wrapping_sub(zero * sum);
            }
        }
        scratch.taps.clear();
        for quad in 0..weights.quads {
            let (group, column) =
                if along { (0, 4 * quad) } else { (quad / kernel[1], quad % kernel[1]) };
            let tap = group * quads + 4 * column * dilation[1] * outputs;
            memory::push(&mut scratch.taps, tap)?;
        }
        Ok(Self { weights, isa, x, window, shape, scratch, wide, room, repeat, flip, held: None })
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
        let columns = self.shape[1];
        let steps = self.weights.outputs * self.weights.quads;
        let mut pace = Pace::of(STEPS);
        let mut at = range.start * columns;
        let end = range.end * columns;
        while at < end {
            let count = dispatch_dot(self.isa, Batch { job: self, places: at..end });
            // SAFETY: the caller's promise.
            unsafe { self.finish(at, count, target, out) };
            pace.check(count * steps)?;
            at += count;
        }
        Ok(())
    }

    /// The weights for a row of places, whose rows of the image are interleaved now.
    #[inline(always)]
    fn ready<D: Dot4>(&mut self, d: D, row: usize, end: usize) -> &'a AlignedBytes {
        let (weights, rows) = (self.weights, self.shape[0]);
        let Window { stride, dilation, .. } = *self.window;
        let lowered = weights.lowered.as_ref().filter(|_| stride[0] == 1 && dilation[0] == 1);
        match (self.held, lowered) {
            (Some((held, _)), _) if held == row => &weights.weights,
            (Some((held, true)), Some(lowered)) if held + 1 == row => lowered,
            _ => {
                let more = lowered.is_some() && row % rows + 1 < rows && row + 1 < end;
                self.interleave(d, row / rows, row % rows, usize::from(more));
                self.held = Some((row, more));
                &weights.weights
            }
        }
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
    #[inline(always)]
    fn interleave<D: Dot4>(&mut self, d: D, n: usize, row: usize, more: usize) {
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
            Interleave { from, flip: self.flip, out: quads }.eval(d);
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
            Interleave { from, flip: self.flip, out }.eval(d);
        }
    }

    /// The sums of `count` places of a row from `column` on, behind `pending` others.
    #[inline(always)]
    fn sums<D: Dot4>(
        &mut self,
        d: D,
        weights: &AlignedBytes,
        column: usize,
        pending: usize,
        count: usize,
    ) {
        let Depthwise { outputs, pixels, .. } = *self.weights;
        let step = 4 * self.window.stride[1] * outputs;
        let Scratch { quads, sums, start, taps, .. } = &mut *self.scratch;
        let quads = &quads[column * step..];
        // SAFETY: the room has sums of so many places, on a cache line.
        let sums = unsafe {
            let first = sums.as_mut_floats().cast::<i32>();
            std::slice::from_raw_parts_mut(first.add(pending * outputs), count * outputs)
        };
        let small = self.weights.small;
        let places = Places { quads, taps, weights, start, step, count, small };
        if pixels > 1 && (self.window.stride[1] > 1 || count < pixels) {
            places.one_by_one(outputs, self.x.signed == (self.flip == 0), sums);
            return;
        }
        // Several pixels as one; the last end with the row, and so repeat some.
        let (whole, last) = (count / pixels, count - pixels);
        let parts = [(0, whole), (last, usize::from(whole * pixels < count))];
        for (at, count) in parts {
            if count > 0 {
                let quads = &quads[at * step..];
                let places = Places { quads, step: step * pixels, count, ..places };
                Sums { places, sums: &mut sums[at * outputs..] }.eval(d);
            }
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
