//! Two rows of eight places and four channels, on ARM cores that run instructions in order: pixels are read
//! once for both rows, in halves, one of them by a general register, at distances that registers hold.

use std::arch::aarch64::float32x4_t;
use std::arch::asm;

use super::Pixels;

/// Places of a row and a turn.
pub(super) const PLACES: usize = 8;
/// Channels.
pub(super) const LANES: usize = 4;

macro_rules! fma {
    ($sum:literal $pixel:literal $weight:literal) => {
        concat!("fmla v", $sum, ".4s, v", $pixel, ".4s, v", $weight, ".4s\n")
    };
}

/// A pixel by what it is to the places that have it, while the pixel after the next is filled and the one
/// after that read; then something else.
macro_rules! pixel {
    ($filled:literal $next:literal; $low:literal $high:literal $off:literal; $then:expr;
     $($f:expr),+) => {
        concat!(
            "ins v", $filled, ".d[1], {x}\n",
            "ldr d", $next, ", [{", $low, "}", $off, "]\n",
            $($f,)+
            "ldr {x}, [{", $high, "}", $off, "]\n",
            $then,
        )
    };
}

/// A row of ten pixels. `$low` and `$high` are its first pixel and its upper half, then those of the next
/// row. For each row of places that has it: their sums, and what the row is multiplied with in these.
macro_rules! row {
    ($low:literal $high:literal, $low2:literal $high2:literal;
     $e0:expr, $e3:expr, $e4:expr, $e5:expr, $e6:expr, $e7:expr, $e8:expr, $e9:expr;
     $([$s0:literal $s1:literal $s2:literal $s3:literal $s4:literal $s5:literal $s6:literal $s7:literal;
        $a:literal $b:literal $c:literal])+) => {
        concat!(
            pixel!("27" "28"; $low $high ", {o3}"; $e0; $(fma!($s0 "25" $a)),+),
            pixel!("28" "29"; $low $high ", {o4}"; "";
                $(fma!($s0 "26" $b), fma!($s1 "26" $a)),+),
            pixel!("29" "25"; $low $high ", {o5}"; "";
                $(fma!($s0 "27" $c), fma!($s1 "27" $b), fma!($s2 "27" $a)),+),
            pixel!("25" "26"; $low $high ", {o6}"; $e3;
                $(fma!($s1 "28" $c), fma!($s2 "28" $b), fma!($s3 "28" $a)),+),
            pixel!("26" "27"; $low $high ", {o7}"; $e4;
                $(fma!($s2 "29" $c), fma!($s3 "29" $b), fma!($s4 "29" $a)),+),
            pixel!("27" "28"; $low $high ", {o8}"; $e5;
                $(fma!($s3 "25" $c), fma!($s4 "25" $b), fma!($s5 "25" $a)),+),
            pixel!("28" "29"; $low $high ", {o9}"; $e6;
                $(fma!($s4 "26" $c), fma!($s5 "26" $b), fma!($s6 "26" $a)),+),
            pixel!("29" "25"; $low2 $high2 ""; $e7;
                $(fma!($s5 "27" $c), fma!($s6 "27" $b), fma!($s7 "27" $a)),+),
            pixel!("25" "26"; $low2 $high2 ", {o1}"; $e8;
                $(fma!($s6 "28" $c), fma!($s7 "28" $b)),+),
            pixel!("26" "27"; $low2 $high2 ", {o2}"; $e9; $(fma!($s7 "29" $c)),+),
        )
    };
}

/// Goes on to the places after these, in a row.
macro_rules! on {
    ($low:literal $high:literal) => {
        concat!(
            "add {",
            $low,
            "}, {",
            $low,
            "}, {o8}\n",
            "add {",
            $high,
            "}, {",
            $high,
            "}, {o8}\n",
        )
    };
}

/// Writes a place, and starts the sum of another.
macro_rules! written {
    ($sum:literal $out:literal $off:literal) => {
        concat!("str q", $sum, ", [{", $out, "}", $off, "]\n", "movi v", $sum, ".2d, #0\n")
    };
}

/// The sums of `turns` times [`PLACES`] places of two rows, each a chain of fused multiply-adds in the order
/// of the taps. Results are as far from each other as pixels; `below` is where those of the second
/// row go.
///
/// # Safety
/// The pixels are valid for [`LANES`] channels of four rows, of two columns more than places, and so are
/// both rows of sums for writing; there are some. Behind the last column of a row but the last another
/// may be read.
#[inline(never)]
pub(super) unsafe fn two_rows(
    weights: &[float32x4_t; 9],
    at: Pixels,
    below: *mut f32,
    turns: usize,
) {
    let Pixels { first, down, step, out, .. } = at;
    let row = |index: usize| first.cast::<u8>().wrapping_add(index * down);
    // SAFETY: the caller vouches for what is read and written, behind the last column of the first row too,
    // where the next turn would begin.
    unsafe {
        asm!(
            "ldr q25, [{p}]",
            "ldr q26, [{p}, {o1}]",
            "ldr d27, [{p}, {o2}]",
            "ldr {x}, [{p8}, {o2}]",
            "movi v9.2d, #0",
            "movi v10.2d, #0",
            "movi v11.2d, #0",
            "movi v12.2d, #0",
            "movi v13.2d, #0",
            "movi v14.2d, #0",
            "movi v15.2d, #0",
            "movi v16.2d, #0",
            "movi v17.2d, #0",
            "movi v18.2d, #0",
            "movi v19.2d, #0",
            "movi v20.2d, #0",
            "movi v21.2d, #0",
            "movi v22.2d, #0",
            "movi v23.2d, #0",
            "movi v24.2d, #0",
            "2:",
            "subs {turns}, {turns}, #1",
            row!("p" "p8", "q" "q8"; "", "", "", "", "", "", "", "";
                ["9" "10" "11" "12" "13" "14" "15" "16"; "0" "1" "2"]),
            row!("q" "q8", "r" "r8"; on!("p" "p8"), "", "", "", "", "", "", "";
                ["9" "10" "11" "12" "13" "14" "15" "16"; "3" "4" "5"]
                ["17" "18" "19" "20" "21" "22" "23" "24"; "0" "1" "2"]),
            row!("r" "r8", "s" "s8"; on!("q" "q8"), written!("9" "out" ""),
                written!("10" "out" ", {o1}"), written!("11" "out" ", {o2}"),
                written!("12" "out" ", {o3}"), written!("13" "out" ", {o4}"),
                written!("14" "out" ", {o5}"), written!("15" "out" ", {o6}");
                ["9" "10" "11" "12" "13" "14" "15" "16"; "6" "7" "8"]
                ["17" "18" "19" "20" "21" "22" "23" "24"; "3" "4" "5"]),
            row!("s" "s8", "p" "p8";
                concat!(written!("16" "out" ", {o7}"), on!("r" "r8")), written!("17" "below" ""),
                written!("18" "below" ", {o1}"), written!("19" "below" ", {o2}"),
                written!("20" "below" ", {o3}"), written!("21" "below" ", {o4}"),
                written!("22" "below" ", {o5}"), written!("23" "below" ", {o6}");
                ["17" "18" "19" "20" "21" "22" "23" "24"; "6" "7" "8"]),
            on!("s" "s8"),
            "add {out}, {out}, {o8}",
            written!("24" "below" ", {o7}"),
            "add {below}, {below}, {o8}",
            "b.ne 2b",
            turns = inout(reg) turns => _,
            p = inout(reg) row(0) => _,
            q = inout(reg) row(1) => _,
            r = inout(reg) row(2) => _,
            s = inout(reg) row(3) => _,
            p8 = inout(reg) row(0).wrapping_add(8) => _,
            q8 = inout(reg) row(1).wrapping_add(8) => _,
            r8 = inout(reg) row(2).wrapping_add(8) => _,
            s8 = inout(reg) row(3).wrapping_add(8) => _,
            out = inout(reg) out => _,
            below = inout(reg) below => _,
            o1 = in(reg) step,
            o2 = in(reg) 2 * step,
            o3 = in(reg) 3 * step,
            o4 = in(reg) 4 * step,
            o5 = in(reg) 5 * step,
            o6 = in(reg) 6 * step,
            o7 = in(reg) 7 * step,
            o8 = in(reg) 8 * step,
            o9 = in(reg) 9 * step,
            x = out(reg) _,
            in("v0") weights[0], in("v1") weights[1], in("v2") weights[2],
            in("v3") weights[3], in("v4") weights[4], in("v5") weights[5],
            in("v6") weights[6], in("v7") weights[7], in("v8") weights[8],
            out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _,
            out("v15") _, out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _,
            out("v21") _, out("v22") _, out("v23") _, out("v24") _, out("v25") _, out("v26") _,
            out("v27") _, out("v28") _, out("v29") _,
            options(nostack),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::arch::aarch64::{vdupq_n_f32, vld1q_f32};

    use super::*;

    /// Which cores run it does not matter: it is right on all.
    #[test]
    fn sums_of_two_rows_are_those_of_each_place_by_itself() {
        const CHANNELS: usize = 12;
        let value = |at: usize| (at * 37 % 101) as f32 * 0.37 - 9.0;
        let w: Vec<f32> = (0..9 * LANES).map(|at| value(3 * at + 5)).collect();
        let mut weights = [0.0; 9].map(|zero: f32| {
            // SAFETY: every AArch64 CPU has NEON.
            unsafe { vdupq_n_f32(zero) }
        });
        for (weight, from) in weights.iter_mut().zip(w.chunks_exact(LANES)) {
            // SAFETY: there are four.
            *weight = unsafe { vld1q_f32(from.as_ptr()) };
        }
        // The last channels.
        let first = CHANNELS - LANES;
        for turns in 1..4 {
            let count = turns * PLACES;
            let width = count + 2;
            let picture: Vec<f32> = (0..4 * width * CHANNELS).map(value).collect();
            let mut found = vec![7.0_f32; 2 * count * CHANNELS];
            let out = found[first..].as_mut_ptr();
            let at = Pixels {
                first: picture[first..].as_ptr(),
                down: width * CHANNELS * size_of::<f32>(),
                step: CHANNELS * size_of::<f32>(),
                out,
                pitch: CHANNELS * size_of::<f32>(),
            };
            // SAFETY: so many columns of four rows are there, and two rows of results have room.
            unsafe { two_rows(&weights, at, out.add(count * CHANNELS), turns) };
            for (index, found) in found.iter().enumerate() {
                let (row, place) = (index / CHANNELS / count, index / CHANNELS % count);
                let channel = index % CHANNELS;
                let sum = match channel.checked_sub(first) {
                    Some(lane) => (0..9).fold(0.0_f32, |sum, tap| {
                        let pixel = (row + tap / 3) * width + place + tap % 3;
                        picture[pixel * CHANNELS + channel].mul_add(w[tap * LANES + lane], sum)
                    }),
                    None => 7.0,
                };
                assert_eq!(found.to_bits(), sum.to_bits(), "row {row}, {place}, {channel}");
            }
        }
    }
}
