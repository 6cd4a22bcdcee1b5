//! Sixteen places and four channels of any window, on ARM cores that run instructions in order: registers are
//! read in halves, one of them by a general register, beside products.

use std::arch::asm;
use std::ops::Range;

use super::{Pixels, Places};
use crate::conv::window::Window;
use crate::isa::runs_in_order;
use crate::simd::Simd;

/// Places that are summed together.
const PLACES: usize = 16;
/// Channels.
const LANES: usize = 4;

/// The taps of a window: how many rows of so many, and the bytes from a tap to the next, of pixels and of
/// weights.
#[derive(Clone, Copy)]
struct Shape {
    rows: usize,
    taps: usize,
    along: usize,
    weight: usize,
}

/// A pixel times the weight of a tap, while the one after the next is filled and the one after that read;
/// then something else.
macro_rules! pixel {
    ($sum:literal $pixel:literal, $filled:literal $next:literal;
     $low:literal $high:literal $off:literal; $then:expr) => {
        concat!(
            "ins v",
            $filled,
            ".d[1], {x}\n",
            "ldr d",
            $next,
            ", [{",
            $low,
            "}",
            $off,
            "]\n",
            "fmla v",
            $sum,
            ".4s, v",
            $pixel,
            ".4s, v0.4s\n",
            "ldr {x}, [{",
            $high,
            "}",
            $off,
            "]\n",
            $then,
            "\n",
        )
    };
}

/// Writes a sum, and goes on to the next place.
macro_rules! written {
    ($($sum:literal)+) => {
        concat!($("str q", $sum, ", [{out}]\n", "add {out}, {out}, {pitch}\n",)+)
    };
}

/// Starts sums.
macro_rules! zero {
    ($($sum:literal)+) => {
        concat!($("movi v", $sum, ".2d, #0\n",)+)
    };
}

/// The sums of [`PLACES`] places, each a chain of fused multiply-adds in the order of the taps.
///
/// # Safety
/// `weights` is valid for [`LANES`] floats of each tap and of one more, `at` for the pixels of so many places,
/// of which the third may be read a tap too far; and for writing their sums. There are some taps.
#[inline(never)]
unsafe fn sixteen_places(weights: *const f32, at: Pixels, window: Shape) {
    let Pixels { first, down, step, out, pitch } = at;
    let first: *const u8 = first.cast();
    // From the end of a row of weights to its start.
    let back = 0_usize.wrapping_sub(window.taps * window.weight);
    let end = weights.cast::<u8>().wrapping_sub(back);
    // SAFETY: the caller vouches for what is read and written.
    unsafe {
        asm!(
            zero!("16" "17" "18" "19" "20" "21" "22" "23" "24" "25" "26" "27" "28" "29" "30" "31"),
            "3:",
            "mov {p}, {row}",
            "add {p8}, {row}, #8",
            "add {q}, {row}, {o8}",
            "add {q8}, {p8}, {o8}",
            "mov {index}, {back}",
            "ldr q0, [{end}, {index}]",
            "ldr q2, [{p}]",
            "ldr q3, [{p}, {o1}]",
            "ldr d4, [{p}, {o2}]",
            "ldr {x}, [{p8}, {o2}]",
            "2:",
            pixel!("16" "2", "4" "5"; "p" "p8" ", {o3}"; "adds {index}, {index}, {weight}"),
            pixel!("17" "3", "5" "2"; "p" "p8" ", {o4}"; "ldr d1, [{end}, {index}]"),
            pixel!("18" "4", "2" "3"; "p" "p8" ", {o5}"; "ldr {y}, [{end8}, {index}]"),
            pixel!("19" "5", "3" "4"; "p" "p8" ", {o6}"; ""),
            pixel!("20" "2", "4" "5"; "p" "p8" ", {o7}"; "add {p}, {p}, {along}"),
            pixel!("21" "3", "5" "2"; "q" "q8" ""; "add {p8}, {p8}, {along}"),
            pixel!("22" "4", "2" "3"; "q" "q8" ", {o1}"; "ins v1.d[1], {y}"),
            pixel!("23" "5", "3" "4"; "q" "q8" ", {o2}"; ""),
            pixel!("24" "2", "4" "5"; "q" "q8" ", {o3}"; ""),
            pixel!("25" "3", "5" "2"; "q" "q8" ", {o4}"; ""),
            pixel!("26" "4", "2" "3"; "q" "q8" ", {o5}"; ""),
            pixel!("27" "5", "3" "4"; "q" "q8" ", {o6}"; ""),
            pixel!("28" "2", "4" "5"; "q" "q8" ", {o7}"; "add {q}, {q}, {along}"),
            pixel!("29" "3", "5" "2"; "p" "p8" ""; "add {q8}, {q8}, {along}"),
            pixel!("30" "4", "2" "3"; "p" "p8" ", {o1}"; ""),
            pixel!("31" "5", "3" "4"; "p" "p8" ", {o2}"; "mov v0.16b, v1.16b"),
            "b.ne 2b",
            "add {row}, {row}, {down}",
            "sub {end}, {end}, {back}",
            "sub {end8}, {end8}, {back}",
            "sub {rows}, {rows}, #1",
            "cbnz {rows}, 3b",
            written!("16" "17" "18" "19" "20" "21" "22" "23" "24" "25" "26" "27" "28" "29" "30" "31"),
            rows = inout(reg) window.rows => _,
            row = inout(reg) first => _,
            p = out(reg) _,
            p8 = out(reg) _,
            q = out(reg) _,
            q8 = out(reg) _,
            o1 = in(reg) step,
            o2 = in(reg) 2 * step,
            o3 = in(reg) 3 * step,
            o4 = in(reg) 4 * step,
            o5 = in(reg) 5 * step,
            o6 = in(reg) 6 * step,
            o7 = in(reg) 7 * step,
            o8 = in(reg) 8 * step,
            along = in(reg) window.along,
            down = in(reg) down,
            end = inout(reg) end => _,
            end8 = inout(reg) end.wrapping_add(8) => _,
            index = out(reg) _,
            weight = in(reg) window.weight,
            back = in(reg) back,
            out = inout(reg) out => _,
            pitch = in(reg) pitch,
            x = out(reg) _,
            y = out(reg) _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _,
            out("v22") _, out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack),
        );
    }
}

impl Places<'_> {
    /// Places of windows of which `rows` lie in the picture, as many of `inside` as cores that run in order
    /// compute together; returns those that are left.
    #[inline(always)]
    pub(super) fn any<S: Simd>(
        &mut self,
        s: S,
        rows: &Range<usize>,
        inside: Range<usize>,
    ) -> Range<usize> {
        let Window { kernel, stride, dilation, padding } = *self.window;
        let count = inside.len() / PLACES * PLACES;
        // The third place's tap past its last is one of the last place, or before one.
        let fits = S::BY_LANE && count > 0 && !rows.is_empty() && dilation[1] <= 13 * stride[1];
        if !fits || !runs_in_order() {
            return inside;
        }
        let [_, _, width, channels] = self.image;
        let outputs = self.weights.outputs;
        let (y, x) = (self.row * stride[0] + rows.start * dilation[0], inside.start * stride[1]);
        let origin = ((y - padding[0][0]) * width + x - padding[1][0]) * channels;
        let [down, along] = [dilation[0] * width * channels, dilation[1] * channels];
        let step = stride[1] * channels;
        let reach = (rows.len() - 1) * down + (kernel[1] - 1) * along + (count - 1) * step;
        let end = inside.start + count;
        assert!(origin + reach + channels <= self.picture.len() && end * outputs <= self.out.len());
        let window = Shape {
            rows: rows.len(),
            taps: kernel[1],
            along: along * size_of::<f32>(),
            weight: self.weights.stride * size_of::<f32>(),
        };
        let mut at = 0;
        while at < outputs {
            at = at.min(outputs - S::LANES);
            for first in [at, at + LANES] {
                for place in (0..count).step_by(PLACES) {
                    // SAFETY: the last tap of the last place lies within the picture, as was just checked,
                    // and the others before it, and so do results; there are weights of all taps, and
                    // room for those of one more.
                    unsafe {
                        let tap = rows.start * kernel[1] * self.weights.stride + first;
                        let column = (inside.start + place) * outputs + first;
                        let pixels = Pixels {
                            first: self.picture.as_ptr().add(origin + place * step + first),
                            down: down * size_of::<f32>(),
                            step: step * size_of::<f32>(),
                            out: self.out.as_mut_ptr().add(column),
                            pitch: outputs * size_of::<f32>(),
                        };
                        let weights = self.weights.weights.as_floats().add(tap);
                        sixteen_places(weights, pixels, window);
                    }
                }
            }
            self.finish_row(s, inside.start..end, at);
            at += S::LANES;
        }
        end..inside.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which cores run it does not matter: it is right on all.
    #[test]
    fn sums_of_sixteen_places_are_those_of_each_by_itself() {
        const CHANNELS: usize = 12;
        let value = |at: usize| (at * 37 % 101) as f32 * 0.37 - 9.0;
        // The last channels.
        let first = CHANNELS - LANES;
        let size = size_of::<f32>();
        for (rows, taps, step, dilation) in [(1, 1, 1, 1), (3, 3, 2, 1), (5, 5, 1, 1), (2, 4, 1, 3)]
        {
            let width = (PLACES - 1) * step + (taps - 1) * dilation + 1;
            let len = ((rows - 1) * dilation + 1) * width * CHANNELS;
            let picture: Vec<f32> = (0..len).map(value).collect();
            let weights: Vec<f32> = (0..(rows * taps + 1) * CHANNELS).map(value).collect();
            let mut found = vec![7.0_f32; PLACES * CHANNELS];
            let at = Pixels {
                first: picture[first..].as_ptr(),
                down: dilation * width * CHANNELS * size,
                step: step * CHANNELS * size,
                out: found[first..].as_mut_ptr(),
                pitch: CHANNELS * size,
            };
            let along = dilation * CHANNELS * size;
            let window = Shape { rows, taps, along, weight: CHANNELS * size };
            // SAFETY: the rows have the pixels of so many places, there are weights of a tap more, and
            // the results have room.
            unsafe { sixteen_places(weights[first..].as_ptr(), at, window) };
            for (index, found) in found.iter().enumerate() {
                let (place, channel) = (index / CHANNELS, index % CHANNELS);
                let mut sum = 7.0;
                if channel >= first {
                    sum = (0..rows * taps).fold(0.0_f32, |sum, tap| {
                        let pixel =
                            tap / taps * dilation * width + tap % taps * dilation + place * step;
                        let weight = weights[tap * CHANNELS + channel];
                        picture[pixel * CHANNELS + channel].mul_add(weight, sum)
                    });
                }
                assert_eq!(found.to_bits(), sum.to_bits(), "{rows} x {taps}: {place}, {channel}");
            }
        }
    }
}
