//! Convolutions in which every channel is by itself: lanes run across channels.

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
        let mut at = 0;
        while at < outputs {
            let count = S::LANES.min(outputs - at);
            for column in 0..self.columns {
                self.place(s, column, at, count);
            }
            at += count;
        }
    }
}

impl Places<'_> {
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
