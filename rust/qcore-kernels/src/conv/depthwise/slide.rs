//! Windows of 3 x 3 that move by single pixels, on NEON: four places side by side, eight channels. Weights
//! stay in registers, and each pixel is read once for all places of its row of the window.

mod any;
mod in_order;

use std::arch::aarch64::{float32x4_t, vdupq_n_f32, vld1q_f32};
use std::arch::asm;
use std::ops::Range;

use super::Places;
use crate::conv::pool::taps;
use crate::conv::window::Window;
use crate::isa::runs_in_order;
use crate::simd::Simd;
use crate::simd::neon_asm::zip;

/// Places that are summed together.
const PLACES: usize = 4;

/// Where the pixels of a first place lie; distances in bytes.
#[derive(Clone, Copy)]
struct Pixels {
    first: *const f32,
    /// From a row to the next.
    down: usize,
    /// From a pixel to the next.
    step: usize,
    /// Where the sums go, and from a place to the next.
    out: *mut f32,
    pitch: usize,
}

/// Products beside the reading of a pixel, then `$on`.
macro_rules! whole {
    ($a:literal $b:literal $p:literal; $on:expr; $($f:expr),+) => {
        zip!($($f),+; concat!("ldp q", $a, ", q", $b, ", [{", $p, "}]\n"), $on)
    };
}

/// The same in halves, for cores that run in order.
macro_rules! halves {
    ($a:literal $b:literal $p:literal; $on:expr; $($f:expr),+) => {
        zip!(
            $($f),+;
            concat!("ldr d", $a, ", [{", $p, "}]\n"),
            concat!("ldr {x}, [{", $p, "}, #8]\n"),
            concat!("ldr {y}, [{", $p, "}, #24]\n"),
            concat!("ins v", $a, ".d[1], {x}\n", "ldr d", $b, ", [{", $p, "}, #16]\n"),
            $on,
            concat!("ins v", $b, ".d[1], {y}\n")
        )
    };
}

/// On to the next pixel of a row.
macro_rules! next {
    ($p:literal) => {
        concat!("add {", $p, "}, {", $p, "}, {step}\n")
    };
}

macro_rules! fma {
    ($sum:literal $pixel:literal $weight:literal) => {
        concat!("fmla v", $sum, ".4s, v", $pixel, ".4s, v", $weight, ".4s\n")
    };
}

/// A row of the window: six pixels, each by what it is to the places that have it, in the order in which
/// these take them. The pixel after the next is read meanwhile, at the end those of the next row. `$p`
/// stops at the first pixel of the places after these.
macro_rules! row {
    ($load:ident $p:literal $next:literal; $done:expr, $third:expr, $fourth:expr;
     $a:literal $b:literal $c:literal $d:literal $e:literal $f:literal) => {
        concat!(
            $load!("30" "31" $p; next!($p); fma!("18" "26" $a), fma!("19" "27" $b)),
            $load!("26" "27" $p; next!($p); fma!("18" "28" $c), fma!("19" "29" $d),
                fma!("20" "28" $a), fma!("21" "29" $b)),
            $load!("28" "29" $p; concat!("add {z}, {", $p, "}, {step}\n");
                fma!("18" "30" $e), fma!("19" "31" $f),
                fma!("20" "30" $c), fma!("21" "31" $d), fma!("22" "30" $a), fma!("23" "31" $b)),
            $load!("30" "31" "z"; ""; fma!("20" "26" $e), fma!("21" "27" $f),
                fma!("22" "26" $c), fma!("23" "27" $d), fma!("24" "26" $a), fma!("25" "27" $b)),
            $done,
            $load!("26" "27" $next; next!($next); fma!("22" "28" $e), fma!("23" "29" $f),
                fma!("24" "28" $c), fma!("25" "29" $d)),
            $third,
            $load!("28" "29" $next; next!($next); fma!("24" "30" $e), fma!("25" "31" $f)),
            $fourth,
        )
    };
}

/// Writes a place, and goes on to the next.
macro_rules! written {
    ($low:literal $high:literal) => {
        concat!("stp q", $low, ", q", $high, ", [{out}]\n", "add {out}, {out}, {pitch}\n")
    };
}

macro_rules! places {
    ($name:ident, $load:ident) => {
        /// The sums of `turns` times [`PLACES`] places, each a chain of fused multiply-adds in the order of
        /// the taps.
        ///
        /// # Safety
        /// The pixels are valid for eight channels of three rows, of two columns more than places, and so
        /// are the sums for writing; there are some.
        #[inline(never)]
        unsafe fn $name(weights: &[float32x4_t; 18], at: Pixels, turns: usize) {
            let Pixels { first, down, step, out, pitch } = at;
            let first: *const u8 = first.cast();
            // SAFETY: the caller vouches for what is read and written: what is read of a turn after the
            // last are the last two columns again.
            unsafe {
                asm!(
                    $load!("26" "27" "p"; next!("p"); ""),
                    $load!("28" "29" "p"; next!("p"); ""),
                    "2:",
                    "subs {turns}, {turns}, #1",
                    "movi v18.2d, #0",
                    "movi v19.2d, #0",
                    "movi v20.2d, #0",
                    "movi v21.2d, #0",
                    "movi v22.2d, #0",
                    "movi v23.2d, #0",
                    "movi v24.2d, #0",
                    "movi v25.2d, #0",
                    row!($load "p" "q"; "", "", ""; "0" "1" "2" "3" "4" "5"),
                    row!($load "q" "r"; "", "", ""; "6" "7" "8" "9" "10" "11"),
                    row!($load "r" "p"; written!("18" "19"), written!("20" "21"),
                        concat!(written!("22" "23"), written!("24" "25"));
                        "12" "13" "14" "15" "16" "17"),
                    "b.ne 2b",
                    "/* {x} {y} */",
                    turns = inout(reg) turns => _,
                    step = in(reg) step,
                    p = inout(reg) first => _,
                    q = inout(reg) first.wrapping_add(down) => _,
                    r = inout(reg) first.wrapping_add(2 * down) => _,
                    out = inout(reg) out => _,
                    pitch = in(reg) pitch,
                    x = out(reg) _,
                    y = out(reg) _,
                    z = out(reg) _,
                    in("v0") weights[0], in("v1") weights[1], in("v2") weights[2],
                    in("v3") weights[3], in("v4") weights[4], in("v5") weights[5],
                    in("v6") weights[6], in("v7") weights[7], in("v8") weights[8],
                    in("v9") weights[9], in("v10") weights[10], in("v11") weights[11],
                    in("v12") weights[12], in("v13") weights[13], in("v14") weights[14],
                    in("v15") weights[15], in("v16") weights[16], in("v17") weights[17],
                    out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _,
                    out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _,
                    out("v28") _, out("v29") _, out("v30") _, out("v31") _,
                    options(nostack),
                );
            }
        }
    };
}

places!(at_once, whole);
places!(in_halves, halves);

impl Places<'_> {
    /// Whether the window is one of 3 x 3 that moves by single pixels along the row, and this row of places
    /// and those after it, `more` of them, have all its rows.
    #[inline(always)]
    fn slides<S: Simd>(&self, more: usize) -> bool {
        let Window { kernel, stride, dilation, .. } = *self.window;
        let whole = |row| matches!(taps(self.window, 0, row, self.image[1]), (0, 3, _));
        let fits = S::BY_LANE && kernel == [3; 2] && stride[1] == 1 && dilation == [1; 2];
        fits && (self.row..=self.row + more).all(whole)
    }

    /// The first place of a row whose taps all lie in the picture, from its start.
    fn origin(&self, column: usize) -> usize {
        let Window { stride, padding, .. } = *self.window;
        let y = self.row * stride[0] - padding[0][0];
        (y * self.image[2] + column - padding[1][0]) * self.image[3]
    }

    /// The sums of places of this row and the next, which `out` has too, on cores that run in order; returns
    /// how many of each.
    #[inline(always)]
    pub(super) fn two_rows<S: Simd>(&mut self, _: S) -> usize {
        let (outputs, inside) = (self.weights.outputs, self.inside());
        let turns = inside.len() / in_order::PLACES;
        let alone = self.weights.multiplier == 1 && outputs % S::LANES == 0;
        let fits = alone && turns > 0 && self.window.stride[0] == 1 && self.slides::<S>(1);
        if !fits || !runs_in_order() {
            return 0;
        }
        let [_, _, width, channels] = self.image;
        let (count, origin) = (turns * in_order::PLACES, self.origin(inside.start));
        let below = (self.columns + inside.start) * outputs;
        assert!(origin + (3 * width + count + 2) * channels <= self.picture.len());
        assert!(below + count * outputs <= self.out.len());
        for at in (0..outputs).step_by(in_order::LANES) {
            // SAFETY: the last tap of the last place of the second row lies within the picture, as was just
            // checked, and the others before it; so do both rows of results. Each tap has weights of
            // all outputs.
            unsafe {
                let from = self.weights.weights.as_floats().add(at);
                let mut weights = [vdupq_n_f32(0.0); 9];
                for (tap, weight) in weights.iter_mut().enumerate() {
                    *weight = vld1q_f32(from.add(tap * self.weights.stride));
                }
                let out = self.out.as_mut_ptr().add(at);
                let pixels = Pixels {
                    first: self.picture.as_ptr().add(origin + at),
                    down: width * channels * size_of::<f32>(),
                    step: channels * size_of::<f32>(),
                    out: out.add(inside.start * outputs),
                    pitch: outputs * size_of::<f32>(),
                };
                in_order::two_rows(&weights, pixels, out.add(below), turns);
            }
        }
        count
    }

    /// Places of windows of 3 x 3 that move by single pixels, as many of `inside` as are computed together;
    /// returns those that are left.
    #[inline(always)]
    pub(super) fn slide<S: Simd>(
        &mut self,
        s: S,
        rows: &Range<usize>,
        inside: Range<usize>,
    ) -> Range<usize> {
        let (outputs, summed) = (self.weights.outputs, inside.start + self.summed);
        if self.summed > 0 {
            for at in (0..outputs).step_by(S::LANES) {
                self.finish_row(s, inside.start..summed, at);
            }
        }
        let inside = summed..inside.end;
        let turns = inside.len() / PLACES;
        if turns == 0 || !self.slides::<S>(0) {
            return self.any(s, rows, inside);
        }
        let [_, _, width, channels] = self.image;
        let (end, origin) = (inside.start + turns * PLACES, self.origin(inside.start));
        let reach = (2 * width + turns * PLACES + 2) * channels;
        assert!(origin + reach <= self.picture.len() && end * outputs <= self.out.len());
        let mut at = 0;
        while at < outputs {
            at = at.min(outputs - S::LANES);
            // SAFETY: the last tap of the last place lies within the picture, as was just checked, and the
            // others before it, and so do results; each tap has weights filled up to whole vectors, which
            // here are two registers.
            unsafe {
                let mut weights = [s.splat_f32(0.0); 9];
                for (tap, weight) in weights.iter_mut().enumerate() {
                    let from = self.weights.weights.as_floats();
                    *weight = s.load_f32(from.add(tap * self.weights.stride + at));
                }
                let pixels = Pixels {
                    first: self.picture.as_ptr().add(origin + at),
                    down: width * channels * size_of::<f32>(),
                    step: channels * size_of::<f32>(),
                    out: self.out.as_mut_ptr().add(inside.start * outputs + at),
                    pitch: outputs * size_of::<f32>(),
                };
                let weights: &[float32x4_t; 18] = &*weights.as_ptr().cast();
                if runs_in_order() {
                    in_halves(weights, pixels, turns);
                } else {
                    at_once(weights, pixels, turns);
                }
            }
            self.finish_row(s, inside.start..end, at);
            at += S::LANES;
        }
        end..inside.end
    }

    /// Makes results of a vector of sums of each of these places, which lie where results go.
    #[inline(always)]
    fn finish_row<S: Simd>(&mut self, s: S, columns: Range<usize>, at: usize) {
        let outputs = self.weights.outputs;
        assert!(columns.end * outputs <= self.out.len() && at + S::LANES <= outputs);
        for column in columns.step_by(PLACES) {
            let mut sums = [s.splat_f32(0.0); PLACES];
            for (place, sum) in sums.iter_mut().enumerate() {
                let from = (column + place) * outputs + at;
                // SAFETY: there are as many columns of results, a multiple of places that are finished
                // together.
                *sum = unsafe { s.load_f32(self.out.as_ptr().add(from)) };
            }
            self.finish(s, sums, column, at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::arch::aarch64::vld1q_f32;

    use super::*;

    type Run = unsafe fn(&[float32x4_t; 18], Pixels, usize);

    /// Which cores run it does not matter: it is right on all.
    #[test]
    fn sums_of_places_are_those_of_each_by_itself() {
        const CHANNELS: usize = 12;
        let value = |at: usize| (at * 37 % 101) as f32 * 0.37 - 9.0;
        let w: Vec<f32> = (0..9 * 8).map(|at| value(3 * at + 5)).collect();
        // The third channel on.
        let first = 3;
        for count in [4, 8, 12] {
            let width = count + 2;
            let picture: Vec<f32> = (0..3 * width * CHANNELS).map(value).collect();
            for run in [at_once as Run, in_halves as Run] {
                let mut found = vec![7.0_f32; CHANNELS * count];
                let at = Pixels {
                    first: picture[first..].as_ptr(),
                    down: width * CHANNELS * size_of::<f32>(),
                    step: CHANNELS * size_of::<f32>(),
                    out: found[first..].as_mut_ptr(),
                    pitch: CHANNELS * size_of::<f32>(),
                };
                // SAFETY: so many columns of three rows are there, and the results have room.
                unsafe {
                    let mut weights = [vdupq_n_f32(0.0); 18];
                    for (weight, from) in weights.iter_mut().zip(w.chunks_exact(4)) {
                        *weight = vld1q_f32(from.as_ptr());
                    }
                    run(&weights, at, count / PLACES);
                }
                for (index, found) in found.iter().enumerate() {
                    let (place, channel) = (index / CHANNELS, index % CHANNELS);
                    let sum = match channel.checked_sub(first) {
                        Some(lane @ 0..8) => (0..9).fold(0.0_f32, |sum, tap| {
                            let pixel = (tap / 3 * width + tap % 3 + place) * CHANNELS + channel;
                            picture[pixel].mul_add(w[tap * 8 + lane], sum)
                        }),
                        _ => 7.0,
                    };
                    assert_eq!(found.to_bits(), sum.to_bits(), "place {place}, {channel}");
                }
            }
        }
    }
}
