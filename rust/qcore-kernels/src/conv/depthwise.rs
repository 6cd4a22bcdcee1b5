//! Convolutions in which every channel is by itself: lanes run across channels.

mod place;
#[cfg(target_arch = "aarch64")]
mod slide;

use std::ops::Range;

use super::pool::taps;
use super::window::Window;
use crate::aligned::AlignedBytes;
use crate::elementwise::map_row;
use crate::epilogue::Epilogue;
use crate::error::Result;
use crate::interrupt::Pace;
use crate::isa::Isa;
use crate::math::MAX_LANES;
use crate::memory;
use crate::simd::{Simd, SimdOp, dispatch};
use crate::threads::{self, SendPtr};

/// Multiply-adds below which another thread costs more than it saves.
const GRAIN: usize = 1 << 18;

/// Weights by tap, `[tap][output]`, rows filled up to whole vectors.
#[derive(Debug)]
pub(super) struct Depthwise {
    weights: AlignedBytes,
    outputs: usize,
    /// Outputs of each channel.
    multiplier: usize,
    /// Elements from a tap to the next.
    stride: usize,
}

impl Depthwise {
    /// Weights `[channels * multiplier, taps]`.
    pub(super) fn new(
        weights: &[f32],
        channels: usize,
        multiplier: usize,
        taps: usize,
    ) -> Result<Self> {
        let outputs = memory::size(&[channels, multiplier])?;
        let stride = outputs.next_multiple_of(MAX_LANES);
        // A tap more, which loops read ahead.
        let bytes = memory::size(&[memory::sum(&[taps, 1])?, stride, size_of::<f32>()])?;
        let mut room = AlignedBytes::zeroed(bytes)?;
        let to = room.as_mut_floats();
        for (output, row) in weights.chunks_exact(taps).enumerate() {
            for (tap, &weight) in row.iter().enumerate() {
                // SAFETY: the room has `stride` floats for each tap, aligned to cache lines.
                unsafe { to.add(tap * stride + output).write(weight) };
            }
        }
        Ok(Self { weights: room, outputs, multiplier, stride })
    }

    /// Convolves images; shapes were checked.
    pub(super) fn run(
        &self,
        isa: Isa,
        x: &[f32],
        image: [usize; 4],
        window: &Window,
        shape: [usize; 4],
        epilogue: Epilogue<'_>,
        out: &mut [f32],
    ) -> Result<()> {
        let [batch, rows, columns, outputs] = shape;
        let taps = window.kernel[0] * window.kernel[1];
        let tasks = threads::tasks_for(out.len(), taps, GRAIN);
        let all = batch * rows;
        let together = all.div_ceil(tasks.max(1)).max(1);
        let target = SendPtr(out.as_mut_ptr());
        // Rows that are finished while the cache still has them.
        let line = columns * outputs;
        let block = (BLOCK / line).max(1).next_multiple_of(ROWS);
        threads::try_for_each(all.div_ceil(together), |task| {
            let mut pace = Pace::of(STEPS);
            let end = ((task + 1) * together).min(all);
            for first in (task * together..end).step_by(block) {
                let last = (first + block).min(end);
                let range = first * line..last * line;
                // SAFETY: the rows of results are this task's own.
                let part = unsafe {
                    std::slice::from_raw_parts_mut(target.get().add(range.start), range.len())
                };
                let residual = epilogue.residual.get(range).unwrap_or(&[]);
                let job = Rows {
                    weights: self,
                    x,
                    image,
                    window,
                    shape: [rows, columns],
                    range: first..last,
                    epilogue: Epilogue { residual, ..epilogue },
                    out: part,
                };
                dispatch(isa, job);
                if let Some(function) = epilogue.activation.rest() {
                    // SAFETY: as above; the first borrow has ended.
                    let part = unsafe {
                        let from = target.get().add(first * line);
                        std::slice::from_raw_parts_mut(from, (last - first) * line)
                    };
                    map_row(isa, function, part);
                }
                pace.check((last - first) * line * taps)?;
            }
            Ok(())
        })
    }
}

/// Results that are finished together.
const BLOCK: usize = 1 << 13;
/// Rows of places that are summed together where there is a way for it.
const ROWS: usize = if cfg!(target_arch = "aarch64") { 2 } else { 1 };
/// Multiply-adds between two looks at whether to stop.
const STEPS: usize = 1 << 22;

/// Rows of places, counted over all images, and their results.
struct Rows<'a> {
    weights: &'a Depthwise,
    x: &'a [f32],
    image: [usize; 4],
    window: &'a Window,
    shape: [usize; 2],
    range: Range<usize>,
    epilogue: Epilogue<'a>,
    out: &'a mut [f32],
}

impl SimdOp for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let Self { weights, x, image, window, shape: [rows, columns], range, epilogue, out } = self;
        let size = image[1] * image[2] * image[3];
        let line = columns * weights.outputs;
        // What is summed already of the row that is next.
        let mut ahead = 0;
        for (index, row) in range.clone().enumerate() {
            let residual = epilogue.residual.get(index * line..(index + 1) * line).unwrap_or(&[]);
            let mut places = Places {
                weights,
                picture: &x[row / rows * size..][..size],
                image,
                window,
                row: row % rows,
                columns,
                epilogue: Epilogue { residual, ..epilogue },
                summed: std::mem::take(&mut ahead),
                out: &mut out[index * line..],
            };
            if places.summed == 0 && row + 1 < range.end && places.row + 1 < rows {
                ahead = places.two_rows(s);
                places.summed = ahead;
            }
            places.all(s);
        }
    }
}

/// One row of places.
struct Places<'a> {
    weights: &'a Depthwise,
    picture: &'a [f32],
    image: [usize; 4],
    window: &'a Window,
    row: usize,
    columns: usize,
    epilogue: Epilogue<'a>,
    /// Of how many of the places whose taps all lie in the image the sums are there.
    summed: usize,
    /// The results of the row, and of those after it.
    out: &'a mut [f32],
}

impl Places<'_> {
    #[inline(always)]
    fn all<S: Simd>(mut self, s: S) {
        let outputs = self.weights.outputs;
        if outputs < S::LANES || self.weights.multiplier > 1 {
            for at in (0..outputs).step_by(S::LANES) {
                let count = S::LANES.min(outputs - at);
                for column in 0..self.columns {
                    self.place(s, column, at, count);
                }
            }
            return;
        }
        let inside = self.inside();
        let (top, bottom, _) = taps(self.window, 0, self.row, self.image[1]);
        let rows = top..bottom;
        for column in (0..inside.start).chain(inside.end..self.columns) {
            // At an edge: the taps that lie in the image.
            let (left, right, _) = taps(self.window, 1, column, self.image[2]);
            let taps = Taps { rows: rows.clone(), columns: left..right };
            let mut at = 0;
            while at < outputs {
                // The last vector ends with the channels and so repeats some.
                at = at.min(outputs - S::LANES);
                self.group::<S, 1>(s, &taps, column, at);
                at += S::LANES;
            }
        }
        let taps = Taps { rows, columns: 0..self.window.kernel[1] };
        let inside = self.slide(s, &taps.rows, inside);
        // Channels side by side, as they lie in memory; so many that their weights stay in the cache.
        // Of few channels each vector goes along the row by itself.
        let count = (taps.rows.len() * taps.columns.len()).max(1);
        let most = if outputs <= FEW { 1 } else { WEIGHTS / count / S::LANES };
        let block = most.max(1) * S::LANES;
        for first in (0..outputs).step_by(block) {
            let end = (first + block).min(outputs);
            let mut column = inside.start;
            while column < inside.end {
                let together = match inside.end - column {
                    MANY.. if S::BY_LANE => MANY,
                    TOGETHER.. => TOGETHER,
                    2.. => 2,
                    _ => 1,
                };
                let mut at = first;
                while at < end {
                    at = at.min(outputs - S::LANES);
                    match together {
                        MANY if S::BY_LANE => self.group::<S, MANY>(s, &taps, column, at),
                        TOGETHER => self.group::<S, TOGETHER>(s, &taps, column, at),
                        2 => self.group::<S, 2>(s, &taps, column, at),
                        _ => self.group::<S, 1>(s, &taps, column, at),
                    }
                    at += S::LANES;
                }
                column += together;
            }
        }
    }
}

/// Weights that are read again and again for a row of places.
const WEIGHTS: usize = 1 << 12;
/// Channels whose vectors go along the row one by one.
const FEW: usize = 32;

/// Places that are computed at once: each weight is loaded once for all of them.
const TOGETHER: usize = 4;
/// The same on 32 registers of half the size of the largest.
const MANY: usize = 8;

/// Windows that slide have loops of their own on one architecture: elsewhere nothing is summed ahead.
#[cfg(not(target_arch = "aarch64"))]
#[allow(clippy::unused_self, reason = "where there are loops, they are of the places")]
impl Places<'_> {
    #[inline(always)]
    fn two_rows<S: Simd>(&mut self, _: S) -> usize {
        0
    }

    #[inline(always)]
    fn slide<S: Simd>(&mut self, _: S, _: &Range<usize>, inside: Range<usize>) -> Range<usize> {
        inside
    }
}

/// The taps of a place that lie in the image.
struct Taps {
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Places<'_> {
    /// The places whose taps all lie between the left and the right edge.
    fn inside(&self) -> Range<usize> {
        let (stride, left) = (self.window.stride[1], self.window.padding[1][0]);
        let from = left.div_ceil(stride).min(self.columns);
        let to = match (self.image[2] + left).checked_sub(self.window.extent(1)) {
            Some(room) => (room / stride + 1).min(self.columns),
            None => 0,
        };
        from..to.max(from)
    }

    /// A vector of outputs, from `at` on, of `N` places from `column` on, all of these taps.
    #[allow(clippy::needless_range_loop, reason = "loops over indices are unrolled whole")]
    #[inline(always)]
    fn group<S: Simd, const N: usize>(&mut self, s: S, taps: &Taps, column: usize, at: usize) {
        let Window { kernel, stride, dilation, padding } = *self.window;
        let [_, _, width, channels] = self.image;
        let mut sums = [s.splat_f32(0.0); N];
        if !taps.rows.is_empty() && !taps.columns.is_empty() {
            let y = self.row * stride[0] + taps.rows.start * dilation[0] - padding[0][0];
            let x = column * stride[1] + taps.columns.start * dilation[1] - padding[1][0];
            let origin = (y * width + x) * channels + at;
            let [down, along] = [dilation[0] * width * channels, dilation[1] * channels];
            let step = stride[1] * channels;
            let reach = (taps.rows.len() - 1) * down + (taps.columns.len() - 1) * along;
            assert!(origin + reach + (N - 1) * step + S::LANES <= self.picture.len());
            let tap = taps.rows.start * kernel[1] + taps.columns.start;
            // SAFETY: the last tap of the last place lies within the picture, as was just checked, and
            // the others before it; each tap has weights filled up to whole vectors.
            unsafe {
                let mut pixels = self.picture.as_ptr().add(origin);
                let mut weights =
                    self.weights.weights.as_floats().add(tap * self.weights.stride + at);
                for _ in taps.rows.clone() {
                    let (mut from, mut weight) = (pixels, weights);
                    for _ in taps.columns.clone() {
                        let factor = s.load_f32(weight);
                        for place in 0..N {
                            let value = s.load_f32(from.add(place * step));
                            sums[place] = s.fma(value, factor, sums[place]);
                        }
                        from = from.wrapping_add(along);
                        weight = weight.wrapping_add(self.weights.stride);
                    }
                    pixels = pixels.wrapping_add(down);
                    weights = weights.wrapping_add(kernel[1] * self.weights.stride);
                }
            }
        }
        self.finish(s, sums, column, at);
    }

    /// Writes sums of `N` places from `column` on, a vector from `at` on of each.
    #[allow(clippy::needless_range_loop, reason = "loops over indices are unrolled whole")]
    #[inline(always)]
    fn finish<S: Simd, const N: usize>(
        &mut self,
        s: S,
        sums: [S::F32; N],
        column: usize,
        at: usize,
    ) {
        let outputs = self.weights.outputs;
        let Epilogue { bias, residual, activation } = self.epilogue;
        let clamp = activation.clamp(s);
        let first = column * outputs + at;
        let reach = (N - 1) * outputs + S::LANES;
        let out = &mut self.out[first..][..reach];
        let residual = if residual.is_empty() { residual } else { &residual[first..][..reach] };
        // SAFETY: a vector of biases, or one for all; the slices hold a vector of each place.
        unsafe {
            let bias = match bias {
                [] => s.splat_f32(-0.0),
                [one] => s.splat_f32(*one),
                each => s.load_f32(each[at..at + S::LANES].as_ptr()),
            };
            for place in 0..N {
                let mut sum = s.add(sums[place], bias);
                if !residual.is_empty() {
                    sum = s.add(sum, s.load_f32(residual.as_ptr().add(place * outputs)));
                }
                s.store_f32(out.as_mut_ptr().add(place * outputs), clamp.apply(s, sum));
            }
        }
    }
}
