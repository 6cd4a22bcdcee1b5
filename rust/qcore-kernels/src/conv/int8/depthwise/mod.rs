//! Convolutions of codes in which every channel is by itself: lanes run across channels.
//!
//! For each row of places, the rows of the image that it reads are interleaved so that four taps of a
//! channel lie side by side; a place is then a few dot instructions for each vector of channels. Four
//! rows of the window are taken together, or four columns where it has one row. Of a window of three
//! rows the fourth serves the next row of places.
//!
//! | file | what it does |
//! |---|---|
//! | `quads` | rows of an image with four taps of a channel side by side |
//! | `job` | the rows of a task: what is interleaved, summed and finished when |
//! | `sums` | the sums of places side by side |
//! | `slide` | 3 x 3 on AVX-512 VNNI: all of it in registers |

#[cfg(target_arch = "x86_64")]
use std::cell::RefCell;

mod job;
mod quads;
#[cfg(target_arch = "x86_64")]
mod slide;
mod sums;

use job::{Job, SCRATCH};

use super::CodeImages;
use super::output::Target;
#[cfg(target_arch = "x86_64")]
use super::output::ToBytes;
use crate::aligned::AlignedBytes;
use crate::conv::window::Window;
use crate::error::Result;
use crate::isa::Isa;
use crate::memory;
use crate::threads::{self, SendPtr};

/// Multiply-adds below which another thread costs more than it saves.
const GRAIN: usize = 1 << 19;
/// The most taps of a window that is computed so: int32 holds their sum, and no scratch is large.
const MOST_TAPS: usize = 1 << 10;
/// Channels that the widest vector of sums covers.
const LANES: usize = 16;

/// Weights in quads of taps, `[quad][output][4]`, outputs filled up to a vector.
#[derive(Debug)]
pub(super) struct Depthwise {
    weights: AlignedBytes,
    /// The same with each tap a row further down, where there is room for it: for the next row of
    /// places.
    lowered: Option<AlignedBytes>,
    /// The sum of each output's weights.
    sums: Vec<i32>,
    /// Whether no weight is -128: the products of two bytes then fit 16 bits together.
    small: bool,
    outputs: usize,
    /// Outputs of each channel.
    multiplier: usize,
    /// Pixels that are taken as one: of few channels, as many as fill a vector.
    pixels: usize,
    /// Whether four columns of the window make a quad, not four rows.
    along: bool,
    /// Quads of a place.
    quads: usize,
    /// The same for what goes without memory.
    #[cfg(target_arch = "x86_64")]
    slide: Option<slide::Slide>,
}

#[cfg(target_arch = "x86_64")]
thread_local! {
    static ROOM: RefCell<slide::Room> = RefCell::default();
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
        window: &Window,
    ) -> Result<Self> {
        let kernel = window.kernel;
        let outputs = memory::size(&[channels, multiplier])?;
        let [tall, wide] = kernel;
        let along = tall == 1;
        let quads = if along { wide.div_ceil(4) } else { tall.div_ceil(4) * wide };
        let pixels = LANES.div_ceil(outputs.max(1));
        let width = outputs * pixels;
        let bytes = memory::size(&[quads, width, 4])?;
        let mut sums = memory::filled(0, outputs)?;
        for (sum, row) in sums.iter_mut().zip(weights.chunks_exact(tall * wide)) {
            *sum = row.iter().map(|&weight| i32::from(weight)).sum();
        }
        let laid_out = |down: usize| -> Result<AlignedBytes> {
            let mut room = AlignedBytes::zeroed(bytes)?;
            for (output, row) in weights.chunks_exact(tall * wide).enumerate() {
                for (tap, &weight) in row.iter().enumerate() {
                    let (row, column) = (tap / wide + down, tap % wide);
                    let (quad, place) = if along {
                        (column / 4, column % 4)
                    } else {
                        (row / 4 * wide + column, row % 4)
                    };
                    for pixel in 0..pixels {
                        let at = quad * width + pixel * outputs + output;
                        room[4 * at + place] = weight as u8;
                    }
                }
            }
            Ok(room)
        };
        let lowered = if (2..4).contains(&tall) { Some(laid_out(1)?) } else { None };
        let small = !weights.contains(&i8::MIN);
        #[cfg(target_arch = "x86_64")]
        let own = weights;
        let weights = laid_out(0)?;
        #[cfg(target_arch = "x86_64")]
        let slide = match multiplier {
            1 => slide::Slide::new(own, channels, window)?,
            _ => None,
        };
        Ok(Self {
            weights,
            lowered,
            sums,
            small,
            outputs,
            multiplier,
            pixels,
            along,
            quads,
            #[cfg(target_arch = "x86_64")]
            slide,
        })
    }

    /// Bytes in memory.
    pub(super) fn nbytes(&self) -> usize {
        let lowered = self.lowered.as_ref().map_or(0, |lowered| lowered.len());
        let found = self.weights.len() + lowered + size_of_val(&self.sums[..]);
        #[cfg(target_arch = "x86_64")]
        let found = found + self.slide.as_ref().map_or(0, slide::Slide::nbytes);
        found
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
        let [batch, rows, columns, _] = shape;
        let taps = window.kernel[0] * window.kernel[1];
        let tasks = threads::tasks_for(out.len(), taps, GRAIN);
        let all = batch * rows;
        let together = all.div_ceil(tasks.max(1)).max(1);
        let results = SendPtr(out.as_mut_ptr());
        #[cfg(target_arch = "x86_64")]
        if let Some(slide) = &self.slide
            && isa.includes(Isa::Avx512Vnni)
            && let Some(ToBytes { output, residual: None, signed }) = target.bytes()
        {
            return threads::try_for_each(all.div_ceil(together), |task| {
                memory::with_kept(&ROOM, |room| {
                    let range = task * together..((task + 1) * together).min(all);
                    let out = results.get().cast();
                    // SAFETY: the CPU has the instruction set, which is in force; the results are bytes,
                    // and the rows of places are this task's own.
                    unsafe { slide.run(x, [rows, columns], range, output, signed, room, out) }
                })
            });
        }
        threads::try_for_each(all.div_ceil(together), |task| {
            memory::with_kept(&SCRATCH, |scratch| {
                let range = task * together..((task + 1) * together).min(all);
                let mut job = Job::new(self, isa, x, window, [rows, columns], target, scratch)?;
                // SAFETY: the rows of places are this task's own.
                unsafe { job.run(range, target, results) }
            })
        })
    }
}
