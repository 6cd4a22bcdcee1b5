//! The largest or the mean of a window, by channel.

use super::window::Window;
use crate::error::{KernelError, Result};
use crate::isa::{self, Isa};
use crate::math::MAX_LANES;
use crate::memory;
use crate::simd::{Simd, SimdOp, dispatch};
use crate::threads;

/// What becomes of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// Its largest element; NaN if there is one. Padding does not count.
    Max,
    /// The mean of its elements.
    Average {
        /// Whether zeros of the padding count; what reaches past the padding never does.
        padding: bool,
    },
}

/// Elements of windows below which another thread costs more than it saves.
const GRAIN: usize = 1 << 17;

/// [`pool_f32_with`] on the instruction set in force.
pub fn pool_f32(
    pool: Pool,
    window: &Window,
    x: &[f32],
    image: [usize; 4],
    places: [usize; 2],
    out: &mut [f32],
) -> Result<()> {
    pool_f32_with(isa::active()?, pool, window, x, image, places, out)
}

/// Pools images `[batch, height, width, channels]` into `out`, `[batch, places.., channels]`.
///
/// `places` are those of [`Window::places`], or fewer or more: where windows reach past the padding
/// (ONNX's `ceil_mode`), what lies there does not count.
pub fn pool_f32_with(
    isa: Isa,
    pool: Pool,
    window: &Window,
    x: &[f32],
    image: [usize; 4],
    places: [usize; 2],
    out: &mut [f32],
) -> Result<()> {
    let [batch, _, _, channels] = image;
    let shape = [batch, places[0], places[1], channels];
    if memory::size(&image)? != x.len() || memory::size(&shape)? != out.len() {
        return Err(KernelError::Shape(format!(
            "x has {} elements and out {}; they must have shapes {image:?} and {shape:?}",
            x.len(),
            out.len()
        )));
    }
    let Window { kernel, stride, dilation, .. } = *window;
    if kernel.contains(&0) || stride.contains(&0) || dilation.contains(&0) {
        return Err(KernelError::Value(format!(
            "kernel, stride and dilation of {window:?} must be at least 1"
        )));
    }
    let row = places[1] * channels;
    if out.is_empty() {
        return Ok(());
    }
    let rows = batch * places[0];
    let taps = kernel[0].min(image[1]).saturating_mul(kernel[1].min(image[2]));
    let tasks = threads::tasks_for(out.len(), taps, GRAIN);
    let cost = row.saturating_mul(taps);
    threads::for_each_chunk(out, threads::share(rows, tasks, cost) * row, |start, out| {
        for (index, out) in out.chunks_exact_mut(row).enumerate() {
            let index = start / row + index;
            let size = image[1] * image[2] * channels;
            let picture = &x[index / places[0] * size..][..size];
            let job = Places { pool, window, picture, image, row: index % places[0], out };
            dispatch(isa, job);
        }
    });
    Ok(())
}

/// One row of places.
struct Places<'a> {
    pool: Pool,
    window: &'a Window,
    picture: &'a [f32],
    image: [usize; 4],
    row: usize,
    out: &'a mut [f32],
}

/// The taps of a window along an axis that lie in the image: the first, their end, and how many count
/// with the padding.
pub(crate) fn taps(
    window: &Window,
    axis: usize,
    place: usize,
    size: usize,
) -> (usize, usize, usize) {
    let (step, kernel) = (window.dilation[axis], window.kernel[axis]);
    let [before, after] = window.padding[axis];
    let first = place * window.stride[axis];
    // Tap t lies at first + t * step - before.
    let start = before.saturating_sub(first).div_ceil(step).min(kernel);
    let end = (size + before).saturating_sub(first).div_ceil(step).min(kernel);
    let padded = (size + before + after).saturating_sub(first).div_ceil(step).min(kernel);
    (start, end.max(start), padded)
}

impl SimdOp for Places<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let Places { pool, window, picture, image: [_, height, width, channels], row, out } = self;
        let (top, bottom, tall) = taps(window, 0, row, height);
        for (column, out) in out.chunks_exact_mut(channels).enumerate() {
            let (left, right, wide) = taps(window, 1, column, width);
            let count = match pool {
                Pool::Average { padding: true } => tall * wide,
                _ => (bottom - top) * (right - left),
            };
            let nothing = match pool {
                Pool::Max => f32::NEG_INFINITY,
                Pool::Average { .. } => 0.0,
            };
            // Of no taps nothing is read, and where they would be is not said.
            let (mut first, mut steps) = (0, [0; 2]);
            if top < bottom && left < right {
                let y = row * window.stride[0] + top * window.dilation[0];
                let x = column * window.stride[1] + left * window.dilation[1];
                let (y, x) = (y - window.padding[0][0], x - window.padding[1][0]);
                first = (y * width + x) * channels;
                // From a tap to another, of which there may be one.
                let pitch = width * channels;
                steps = [
                    window.dilation[0].min(height) * pitch,
                    window.dilation[1].min(width) * channels,
                ];
            }
            let mut at = 0;
            while at < channels {
                let lanes = S::LANES.min(channels);
                // The last vector ends with the channels and so repeats some.
                at = at.min(channels - lanes);
                let mut value = s.splat_f32(nothing);
                let mut room = [0.0_f32; MAX_LANES];
                for row in 0..bottom - top {
                    for column in 0..right - left {
                        let from = &picture[first + row * steps[0] + column * steps[1] + at..];
                        // SAFETY: a vector of the pixel, or the room.
                        let next = unsafe {
                            if lanes == S::LANES {
                                s.load_f32(from[..S::LANES].as_ptr())
                            } else {
                                room[..lanes].copy_from_slice(&from[..lanes]);
                                s.load_f32(room.as_ptr())
                            }
                        };
                        value = match pool {
                            // The larger, and NaN if either is.
                            Pool::Max => s.select(s.eq(next, next), s.max(next, value), next),
                            Pool::Average { .. } => s.add(value, next),
                        };
                    }
                }
                if matches!(pool, Pool::Average { .. }) {
                    value = s.div(value, s.splat_f32(count as f32));
                }
                let to = &mut out[at..at + lanes];
                // SAFETY: a vector of results, or the room.
                unsafe {
                    if lanes == S::LANES {
                        s.store_f32(to.as_mut_ptr(), value);
                    } else {
                        s.store_f32(room.as_mut_ptr(), value);
                        to.copy_from_slice(&room[..lanes]);
                    }
                }
                at += lanes;
            }
        }
    }
}
