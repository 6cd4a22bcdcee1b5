//! Places of which a vector would reach past the channels, or of which a channel has several outputs.

use super::Places;
use crate::conv::window::Window;
use crate::epilogue::Epilogue;
use crate::math::{MAX_LANES, clip};
use crate::simd::Simd;

impl Places<'_> {
    /// Up to a vector of outputs of one place.
    #[inline(always)]
    pub(super) fn place<S: Simd>(&mut self, s: S, column: usize, at: usize, count: usize) {
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
