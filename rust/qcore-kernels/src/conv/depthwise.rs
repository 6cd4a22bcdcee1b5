//! Convolutions in which every channel is by itself: lanes run across channels.

use std::ops::Range;

use super::window::Window;
use crate::aligned::AlignedBytes;
use crate::elementwise::map_row;
use crate::epilogue::Epilogue;
use crate::error::Result;
use crate::isa::Isa;
use crate::math::{MAX_LANES, clip};
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
        let bytes = memory::size(&[taps, stride, size_of::<f32>()])?;
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
        threads::try_for_each(all.div_ceil(together), |task| {
            for row in task * together..((task + 1) * together).min(all) {
                let first = row * columns * outputs;
                // SAFETY: the row of results is this task's own.
                let part = unsafe {
                    std::slice::from_raw_parts_mut(target.get().add(first), columns * outputs)
                };
                let residual = match epilogue.residual {
                    [] => &[],
                    all => &all[first..][..columns * outputs],
                };
                let size = image[1] * image[2] * image[3];
                let picture = &x[row / rows * size..][..size];
                let job = Places {
                    weights: self,
                    picture,
                    image,
                    window,
                    row: row % rows,
                    columns,
                    epilogue: Epilogue { residual, ..epilogue },
                    out: part,
                };
                dispatch(isa, job);
                if let Some(function) = epilogue.activation.rest() {
                    // SAFETY: as above; the row's borrow has ended.
                    let part = unsafe {
                        std::slice::from_raw_parts_mut(target.get().add(first), columns * outputs)
                    };
                    map_row(isa, function, part);
                }
            }
            Ok(())
        })
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
    out: &'a mut [f32],
}

impl SimdOp for Places<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(mut self, s: S) {
        let outputs = self.weights.outputs;
        let taps = self.window.kernel[0].saturating_mul(self.window.kernel[1]);
        if outputs < S::LANES || self.weights.multiplier > 1 || taps > MOST_TAPS {
            for at in (0..outputs).step_by(S::LANES) {
                let count = S::LANES.min(outputs - at);
                for column in 0..self.columns {
                    self.place(s, column, at, count);
                }
            }
            return;
        }
        let inside = self.inside();
        let (stride, left) = (self.window.stride[1], self.window.padding[1][0]);
        let channels = self.image[3];
        for column in (0..inside.start).chain(inside.end..self.columns) {
            // At an edge: the taps that lie in the image.
            let x = column * stride;
            let taps = self.taps(x, left);
            let mut at = 0;
            while at < outputs {
                // The last vector ends with the channels and so repeats some.
                at = at.min(outputs - S::LANES);
                self.group::<S, 1>(s, &taps, at, column, at);
                at += S::LANES;
            }
        }
        let taps = self.taps(0, 0);
        // Channels side by side, as they lie in memory; so many that their weights stay in the cache.
        // Of few channels each vector goes along the row by itself.
        let most = if outputs <= FEW { 1 } else { WEIGHTS / taps.count.max(1) / S::LANES };
        let block = most.max(1) * S::LANES;
        for first in (0..outputs).step_by(block) {
            let end = (first + block).min(outputs);
            let mut column = inside.start;
            while column < inside.end {
                let together = if column + TOGETHER <= inside.end { TOGETHER } else { 1 };
                let mut at = first;
                while at < end {
                    at = at.min(outputs - S::LANES);
                    let origin = (column * stride - left) * channels + at;
                    if together == TOGETHER {
                        self.group::<S, TOGETHER>(s, &taps, origin, column, at);
                    } else {
                        self.group::<S, 1>(s, &taps, origin, column, at);
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

/// The most taps of windows that are computed so.
const MOST_TAPS: usize = 64;

/// The taps of a place that lie in the image.
struct Taps {
    /// The elements that they read, counted from the place's origin.
    pixels: [usize; MOST_TAPS],
    /// Their weights.
    weights: [usize; MOST_TAPS],
    count: usize,
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

    /// Where the taps of this row of places lie that are in the image, for a place that begins at
    /// pixel `x - left`.
    fn taps(&self, x: usize, left: usize) -> Taps {
        let Window { kernel, stride, dilation, padding } = *self.window;
        let [_, height, width, channels] = self.image;
        let mut taps = Taps { pixels: [0; MOST_TAPS], weights: [0; MOST_TAPS], count: 0 };
        for row_tap in 0..kernel[0] {
            let y = (self.row * stride[0] + row_tap * dilation[0]).wrapping_sub(padding[0][0]);
            if y >= height {
                continue;
            }
            for column_tap in 0..kernel[1] {
                let x = (x + column_tap * dilation[1]).wrapping_sub(left);
                if x < width {
                    taps.pixels[taps.count] = (y * width + x) * channels;
                    taps.weights[taps.count] =
                        (row_tap * kernel[1] + column_tap) * self.weights.stride;
                    taps.count += 1;
                }
            }
        }
        taps
    }

    /// A vector of outputs, from `at` on, of `N` places from `column` on; what the taps of the first
    /// read lies `origin` elements on.
    #[allow(clippy::needless_range_loop, reason = "loops over indices are unrolled whole")]
    #[inline(always)]
    fn group<S: Simd, const N: usize>(
        &mut self,
        s: S,
        taps: &Taps,
        origin: usize,
        column: usize,
        at: usize,
    ) {
        let outputs = self.weights.outputs;
        let step = self.window.stride[1] * self.image[3];
        let pixels = taps.pixels[..taps.count].iter().zip(&taps.weights[..taps.count]);
        let last = taps.pixels[taps.count.saturating_sub(1)] + origin + (N - 1) * step + S::LANES;
        assert!(taps.count == 0 || last <= self.picture.len());
        let mut sums = [s.splat_f32(0.0); N];
        for (&pixel, &weight) in pixels {
            // SAFETY: the last tap of the last place lies within the picture, as was just checked, and
            // the others before it; each tap has weights filled up to whole vectors.
            unsafe {
                let weight = s.load_f32(self.weights.weights.as_floats().add(weight + at));
                let from = self.picture.as_ptr().add(pixel + origin);
                for place in 0..N {
                    let value = s.load_f32(from.add(place * step));
                    sums[place] = s.fma(value, weight, sums[place]);
                }
            }
        }
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

    /// Up to a vector of outputs of one place.
    #[inline(always)]
    fn place<S: Simd>(&mut self, s: S, column: usize, at: usize, count: usize) {
        let Window { kernel, stride, dilation, padding } = *self.window;
        let [_, height, width, channels] = self.image;
        let multiplier = self.weights.multiplier;
        let weights = self.weights.weights.as_floats();
        let mut sum = s.splat_f32(0.0);
        for row_tap in 0..kernel[0] {
            let y = (self.row * stride[0] + row_tap * dilation[0]).wrapping_sub(padding[0][0]);
            if y >= height {
                continue;
            }
            for column_tap in 0..kernel[1] {
                let x = (column * stride[1] + column_tap * dilation[1]).wrapping_sub(padding[1][0]);
                if x >= width {
                    continue;
                }
                let pixel = &self.picture[(y * width + x) * channels..][..channels];
                let tap = row_tap * kernel[1] + column_tap;
                let mut room = [0.0_f32; MAX_LANES];
                // SAFETY: a vector of the pixel, or of the room; weights are filled up to whole
                // vectors.
                unsafe {
                    let value = if multiplier == 1 && count == S::LANES {
                        s.load_f32(pixel[at..].as_ptr())
                    } else {
                        for (lane, room) in room[..count].iter_mut().enumerate() {
                            *room = pixel[(at + lane) / multiplier];
                        }
                        s.load_f32(room.as_ptr())
                    };
                    let weight = s.load_f32(weights.add(tap * self.weights.stride + at));
                    sum = s.fma(value, weight, sum);
                }
            }
        }
        let first = column * self.weights.outputs + at;
        let mut room = [-0.0_f32; MAX_LANES];
        let Epilogue { bias, residual, activation } = self.epilogue;
        match bias {
            [] => {}
            [one] => room.fill(*one),
            each => room[..count].copy_from_slice(&each[at..at + count]),
        }
        let (low, high) = activation.bounds().unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        // SAFETY: the room has MAX_LANES elements.
        unsafe {
            sum = s.add(sum, s.load_f32(room.as_ptr()));
            if !residual.is_empty() {
                room[..count].copy_from_slice(&residual[first..first + count]);
                sum = s.add(sum, s.load_f32(room.as_ptr()));
            }
            sum = clip(s, sum, s.splat_f32(low), s.splat_f32(high));
            s.store_f32(room.as_mut_ptr(), sum);
        }
        self.out[first..first + count].copy_from_slice(&room[..count]);
    }
}
