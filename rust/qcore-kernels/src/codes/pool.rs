//! The largest or the mean of a window of codes, by channel; channels last.

use crate::conv::{Window, taps};
use crate::epilogue::{Requantize, requantize_rows_with};
use crate::error::{KernelError, Result};
use crate::isa::Isa;
use crate::memory;
use crate::quant::Code;
use crate::simd::{Simd, SimdOp, dispatch};
use crate::threads;

use super::ToCodes;

/// Elements of windows below which another thread costs more than it saves.
const GRAIN: usize = 1 << 18;

/// Channels whose sums are kept at a time.
const SUMS: usize = 64;

/// How the mean of codes becomes a code.
#[derive(Debug, Clone, Copy)]
pub struct MeanCodes {
    /// The code of 0 of what is read.
    pub zero: i32,
    /// The scale of what is read over that of the result.
    pub ratio: f32,
    /// Whether zeros of the padding count; what reaches past the padding never does.
    pub padding: bool,
    /// How the mean becomes a code.
    pub to: ToCodes,
}

/// A pool's images and places, checked.
#[derive(Clone, Copy)]
struct Job<'a, C> {
    window: &'a Window,
    x: &'a [C],
    image: [usize; 4],
    places: [usize; 2],
}

impl<'a, C: Code> Job<'a, C> {
    fn new(
        window: &'a Window,
        x: &'a [C],
        image: [usize; 4],
        places: [usize; 2],
        out: usize,
    ) -> Result<Self> {
        let shape = [image[0], places[0], places[1], image[3]];
        if memory::size(&image)? != x.len() || memory::size(&shape)? != out {
            return Err(KernelError::Shape(format!(
                "x has {} codes and out {out}; they must have shapes {image:?} and {shape:?}",
                x.len()
            )));
        }
        let Window { kernel, stride, dilation, .. } = *window;
        if kernel.contains(&0) || stride.contains(&0) || dilation.contains(&0) {
            return Err(KernelError::Value(format!(
                "kernel, stride and dilation of {window:?} must be at least 1"
            )));
        }
        Ok(Self { window, x, image, places })
    }

    /// Calls `each` for every place of a thread's part: the place in the result, the taps that lie in
    /// the image, how many count with the padding.
    fn for_places(&self, out: &mut [C], each: impl Fn(Taps<'a, C>, usize, &mut [C]) + Sync + Send) {
        let channels = self.image[3];
        if out.is_empty() {
            return;
        }
        let Window { kernel, .. } = *self.window;
        let count = out.len() / channels;
        let tasks = threads::tasks_for(out.len(), kernel[0] * kernel[1], GRAIN);
        threads::for_each_chunk(out, count.div_ceil(tasks.max(1)) * channels, |start, out| {
            for (index, out) in out.chunks_exact_mut(channels).enumerate() {
                let (taps, padded) = self.taps(start / channels + index);
                each(taps, padded, out);
            }
        });
    }

    fn taps(&self, index: usize) -> (Taps<'a, C>, usize) {
        let Self { window, x, image: [_, height, width, channels], places } = *self;
        let (column, row) = (index % places[1], index / places[1] % places[0]);
        let size = height * width * channels;
        let picture = &x[index / (places[0] * places[1]) * size..][..size];
        let (top, bottom, tall) = taps(window, 0, row, height);
        let (left, right, wide) = taps(window, 1, column, width);
        let [dy, dx] = window.dilation;
        // Of no taps nothing is read, and where they would be is not said.
        let y = (row * window.stride[0] + top * dy).saturating_sub(window.padding[0][0]);
        let column = (column * window.stride[1] + left * dx).saturating_sub(window.padding[1][0]);
        let found = Taps {
            picture,
            channels,
            first: (y * width + column) * channels,
            steps: [dy * width * channels, dx * channels],
            counts: [bottom - top, right - left],
        };
        (found, tall * wide)
    }
}

/// The pixels that a window covers.
#[derive(Clone, Copy)]
struct Taps<'a, C> {
    picture: &'a [C],
    channels: usize,
    first: usize,
    steps: [usize; 2],
    counts: [usize; 2],
}

impl<'a, C: Code> Taps<'a, C> {
    fn count(&self) -> usize {
        self.counts[0] * self.counts[1]
    }

    /// Calls `each` with every pixel.
    #[inline(always)]
    fn for_each(self, mut each: impl FnMut(&'a [C])) {
        for row in 0..self.counts[0] {
            for column in 0..self.counts[1] {
                let at = self.first + row * self.steps[0] + column * self.steps[1];
                each(&self.picture[at..at + self.channels]);
            }
        }
    }
}

/// The largest code of each window of images `[batch, height, width, channels]`; the least of the type
/// where a window covers padding only. `places` are as in [`crate::conv::pool_f32_with`].
pub fn max_codes_with<C: Code + Ord>(
    isa: Isa,
    window: &Window,
    x: &[C],
    image: [usize; 4],
    places: [usize; 2],
    out: &mut [C],
) -> Result<()> {
    let job = Job::new(window, x, image, places, out.len())?;
    job.for_places(out, |taps, _, out| dispatch(isa, Largest { taps, out }));
    Ok(())
}

struct Largest<'a, C> {
    taps: Taps<'a, C>,
    out: &'a mut [C],
}

impl<C: Code + Ord> SimdOp for Largest<'_, C> {
    type Output = ();

    /// Plain loops over bytes, which the compiler makes vectors of.
    #[inline(always)]
    fn eval<S: Simd>(self, _: S) {
        let Largest { taps, out } = self;
        out.fill(C::from_i32(C::MIN));
        taps.for_each(
            #[inline(always)]
            |pixel| {
                for (out, &x) in out.iter_mut().zip(pixel) {
                    *out = (*out).max(x);
                }
            },
        );
    }
}

/// The mean of each window of images, as codes of other parameters: integer sums, rounded once.
pub fn mean_codes_with<C: Code>(
    isa: Isa,
    window: &Window,
    mean: MeanCodes,
    x: &[C],
    image: [usize; 4],
    places: [usize; 2],
    out: &mut [C],
) -> Result<()> {
    mean.to.check::<C>()?;
    let job = Job::new(window, x, image, places, out.len())?;
    let most = window.kernel[0].saturating_mul(window.kernel[1]);
    if most > MOST_TAPS || !(C::MIN..=C::MAX).contains(&mean.zero) {
        return Err(KernelError::Value(format!(
            "windows of {most} taps with zero point {}; there are at most {MOST_TAPS}, and the zero \
             point is a code",
            mean.zero
        )));
    }
    job.for_places(out, |taps, padded, out| {
        let count = if mean.padding { padded } else { taps.count() };
        let MeanCodes { zero, ratio, to, .. } = mean;
        for at in (0..out.len()).step_by(SUMS) {
            let out = &mut out[at..];
            let channels = out.len().min(SUMS);
            let mut sums = [0; SUMS];
            let sums = &mut sums[..channels];
            dispatch(isa, Sums { taps, at, out: sums });
            let output = Requantize {
                bias: &[-zero * taps.count() as i32],
                multiplier: &[ratio / count.max(1) as f32],
                zero_point: to.zero_point,
                min: to.min,
                max: to.max,
            };
            let rows = requantize_rows_with(isa, sums, channels, output, &mut out[..channels]);
            debug_assert!(rows.is_ok(), "one row of {channels} channels");
        }
    });
    Ok(())
}

/// Taps whose sum fits int32.
const MOST_TAPS: usize = 1 << 22;

struct Sums<'a, C> {
    taps: Taps<'a, C>,
    at: usize,
    out: &'a mut [i32],
}

impl<C: Code> SimdOp for Sums<'_, C> {
    type Output = ();

    /// Plain loops, as those of [`Largest`].
    #[inline(always)]
    fn eval<S: Simd>(self, _: S) {
        let Sums { taps, at, out } = self;
        taps.for_each(
            #[inline(always)]
            |pixel| {
                for (sum, &x) in out.iter_mut().zip(&pixel[at..]) {
                    *sum += x.to_i32();
                }
            },
        );
    }
}
