//! Windows of 3 x 3 over 64 bytes of channels at a time, on AVX-512 VNNI: from the codes of the image to
//! those of the result nothing goes through memory.
//!
//! Four rows of the image are interleaved in registers, in the order of `vpunpck`; sums keep that order
//! until packing them to bytes undoes it. A fourth row of the image serves the next row of places, with
//! weights a row further down. Of 64 channels and more, each block of 64 goes along the row, and the
//! columns of the window move on with it; of 8, 16 and 32, pixels side by side make the 64 bytes, and
//! rows are copied to where they have room for what lies around them. `rows` has the loops.

mod rows;

use std::ops::Range;

use rows::{blocks, pixels};

use crate::aligned::AlignedBytes;
use crate::conv::int8::CodeImages;
use crate::conv::window::Window;
use crate::epilogue::Requantize;
use crate::error::Result;
use crate::interrupt::Pace;
use crate::isa::Isa;
use crate::memory;

/// Bytes of channels, or of pixels, that are computed at once.
const WIDE: usize = 64;
/// Channels from which on a block of so many is filled well enough.
const LEAST: usize = 48;
/// Bytes of the weights of a block: for two rows of places, three columns, four vectors.
const LINES: usize = 2 * 3 * 4 * WIDE;
/// Multiply-adds between two looks at whether to stop.
const STEPS: usize = 1 << 22;

/// Weights as the vectors want them.
#[derive(Debug)]
pub(super) struct Slide {
    lines: AlignedBytes,
    channels: usize,
    /// The sum of the weights of each channel, in the order of the vectors.
    sums: Vec<i32>,
    window: Window,
}

/// Memory that a thread keeps from call to call.
#[derive(Default)]
pub(super) struct Room {
    /// What the sums of a block start from and are multiplied with, in the order of the vectors.
    start: AlignedBytes,
    factor: AlignedBytes,
    /// A row of what lies around the image, or four rows of it with what lies around them.
    rows: AlignedBytes,
}

/// Values by channel in the order of the vectors: four that follow one another stay together.
fn order<T: Copy + Default>(values: &[T], channels: usize, to: &mut [T]) {
    if let [one] = values {
        return to.fill(*one);
    }
    for (block, to) in to.chunks_exact_mut(WIDE).enumerate() {
        for (at, to) in to.chunks_exact_mut(4).enumerate() {
            let (vector, quarter) = (at / 4, at % 4);
            let first = (block * WIDE + quarter * 16 + vector * 4) % round(channels);
            match values.get(first..first + 4) {
                Some(four) => to.copy_from_slice(four),
                None => {
                    for (to, place) in to.iter_mut().zip(first..) {
                        *to = values.get(place).copied().unwrap_or_default();
                    }
                }
            }
        }
    }
}

/// Where channels start again: few do so within a block.
fn round(channels: usize) -> usize {
    if channels < LEAST { channels } else { channels.next_multiple_of(WIDE) }
}

impl Slide {
    /// The weights `[channels, 9]` of a window, where it is computed so.
    pub(super) fn new(weights: &[i8], channels: usize, window: &Window) -> Result<Option<Self>> {
        let few = matches!(channels, 8 | 16 | 32) && window.stride[1] == 1;
        let fits = window.kernel == [3; 2]
            && window.dilation == [1; 2]
            && window.stride[1] <= 2
            && (few || channels >= LEAST);
        if !fits || weights.len() != 9 * channels {
            return Ok(None);
        }
        let blocks = channels.div_ceil(WIDE);
        let mut lines = AlignedBytes::zeroed(memory::size(&[blocks, LINES])?)?;
        // Which channel each lane is.
        let all: Vec<usize> = (0..channels).collect();
        let mut lanes = memory::filled(0, memory::size(&[blocks, WIDE])?)?;
        order(&all, channels, &mut lanes);
        for (at, line) in lines.chunks_exact_mut(4).enumerate() {
            let (block, rest) = (at * 4 / LINES, at * 4 % LINES / 4);
            let (lower, column, lane) = (rest / (3 * WIDE), rest / WIDE % 3, rest % WIDE);
            let place = lanes[block * WIDE + lane];
            for row in 0..3 {
                line[row + lower] = weights[9 * place + 3 * row + column] as u8;
            }
        }
        let each = weights.chunks_exact(9).map(|taps| taps.iter().map(|&w| i32::from(w)).sum());
        let each: Vec<i32> = memory::collected(each)?;
        let mut sums = memory::filled(0, lanes.len())?;
        order(&each, channels, &mut sums);
        Ok(Some(Self { lines, channels, sums, window: *window }))
    }

    /// Bytes in memory.
    pub(super) fn nbytes(&self) -> usize {
        self.lines.len() + size_of_val(&self.sums[..])
    }

    /// Computes rows of places, counted over all images, to codes that are int8 if `signed`, else uint8.
    ///
    /// # Safety
    /// The CPU has [`Isa::Avx512Vnni`]; shapes were checked; `out` is the whole result, of which nobody
    /// else touches these rows.
    pub(super) unsafe fn run(
        &self,
        x: CodeImages<'_>,
        shape: [usize; 2],
        rows: Range<usize>,
        output: &Requantize<'_>,
        signed: bool,
        room: &mut Room,
        out: *mut u8,
    ) -> Result<()> {
        debug_assert!(Isa::Avx512Vnni.is_available());
        self.prepare(&x, output, room)?;
        let [_, _, width, channels] = x.shape;
        let few = channels < LEAST;
        let flip = if x.signed { 0x80 } else { 0 };
        let around = x.zero_point as u8;
        let pitch = if few {
            // Two more columns than places, and what the last vectors read.
            let line = memory::size(&[shape[1], channels])?.next_multiple_of(WIDE);
            memory::sum(&[line, 2 * channels, WIDE])?
        } else {
            memory::size(&[width, channels])?
        };
        room.rows.resize_scratch(memory::size(&[if few { 4 } else { 1 }, pitch])?)?;
        room.rows.fill(if few { around ^ flip } else { around });
        let job = Job {
            slide: self,
            x,
            shape,
            flip,
            around,
            pitch,
            start: room.start.as_ptr(),
            factor: room.factor.as_ptr(),
            room: room.rows.as_mut_ptr(),
            zero: output.zero_point as i16,
            low: output.min as i8,
            high: (output.max - output.zero_point) as f32,
            out,
        };
        let work = memory::size(&[shape[1], channels, 9])?;
        let most = (STEPS / work.max(1)).max(1).next_multiple_of(2);
        let mut pace = Pace::of(STEPS);
        for first in rows.clone().step_by(most) {
            let rows = first..(first + most).min(rows.end);
            // SAFETY: the caller's promise; the room is as large as the job takes it to be.
            unsafe {
                match (few, signed) {
                    (false, false) => blocks::<false>(&job, rows),
                    (false, true) => blocks::<true>(&job, rows),
                    (true, false) => pixels::<false>(&job, rows),
                    (true, true) => pixels::<true>(&job, rows),
                }
            }
            pace.check(most * work)?;
        }
        Ok(())
    }

    /// What sums start from, and are multiplied with, in the order of the vectors.
    fn prepare(&self, x: &CodeImages<'_>, output: &Requantize<'_>, room: &mut Room) -> Result<()> {
        let blocks = self.channels.div_ceil(WIDE);
        let bytes = memory::size(&[blocks, WIDE, size_of::<i32>()])?;
        room.start.resize_scratch(bytes)?;
        room.factor.resize_scratch(bytes)?;
        let zero = x.zero_point + if x.signed { 128 } else { 0 };
        // SAFETY: the rooms are of so many numbers, on cache lines, and nobody else's; any bytes are one.
        let (start, factor) = unsafe {
            let start = room.start.as_mut_floats().cast::<i32>();
            let factor = room.factor.as_mut_floats();
            (
                std::slice::from_raw_parts_mut(start, blocks * WIDE),
                std::slice::from_raw_parts_mut(factor, blocks * WIDE),
            )
        };
        order(output.bias, self.channels, start);
        order(output.multiplier, self.channels, factor);
        for (start, sum) in start.iter_mut().zip(&self.sums) {
            *start = start.wrapping_sub(zero * sum);
        }
        Ok(())
    }
}

/// What a task works with.
struct Job<'a> {
    slide: &'a Slide,
    x: CodeImages<'a>,
    /// Rows and columns of places of an image.
    shape: [usize; 2],
    /// What turns a code into an unsigned byte.
    flip: u8,
    /// The code of 0.
    around: u8,
    /// Bytes of a row of the room.
    pitch: usize,
    start: *const u8,
    factor: *const u8,
    room: *mut u8,
    zero: i16,
    low: i8,
    high: f32,
    out: *mut u8,
}

impl Job<'_> {
    /// How many rows of places, from `row` on, are computed together.
    fn together(&self, row: usize, end: usize) -> usize {
        let pair = self.slide.window.stride[0] == 1
            && row % self.shape[0] + 1 < self.shape[0]
            && row + 1 < end;
        1 + usize::from(pair)
    }

    /// Row `tap` of the image that a row of places reads; none where it lies outside.
    fn line(&self, row: usize, tap: usize) -> Option<*const u8> {
        let [_, height, width, channels] = self.x.shape;
        let Window { stride, padding, .. } = self.slide.window;
        let (n, row) = (row / self.shape[0], row % self.shape[0]);
        let y = (row * stride[0] + tap).wrapping_sub(padding[0][0]);
        let inside = y < height;
        inside.then(|| self.x.codes[(n * height + y) * width * channels..].as_ptr())
    }
}
