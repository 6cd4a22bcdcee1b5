//! Eight places and four channels, on ARM cores that run instructions in order: pixels are read in halves,
//! one of them by a general register, at distances that registers hold, and beside products.

use std::arch::aarch64::float32x4_t;
use std::arch::asm;

use super::Pixels;

/// Places of a turn.
pub(super) const PLACES: usize = 8;
/// Channels.
pub(super) const LANES: usize = 4;

macro_rules! fma {
    ($sum:literal $pixel:literal $weight:literal) => {
        concat!("fmla v", $sum, ".4s, v", $pixel, ".4s, v", $weight, ".4s\n")
    };
}

/// A pixel by what it is to the places that have it, while the pixel after the next is filled and the one
/// after that read. Other things are done behind each product.
macro_rules! pixel {
    ($filled:literal $next:literal; $low:literal $high:literal $off:literal; $one:expr; $two:expr;
     $($f:expr),+) => {
        concat!(
            "ins v", $filled, ".d[1], {x}\n",
            "ldr d", $next, ", [{", $low, "}", $off, "]\n",
            $($f,)+
            "ldr {x}, [{", $high, "}", $off, "]\n",
            $one, $two,
        )
    };
}

/// A row of the window: ten pixels. `$low` and `$high` are its first pixel and its upper half, then those of
/// the next row.
macro_rules! row {
    ($low:literal $high:literal, $low2:literal $high2:literal; $a:literal $b:literal $c:literal;
     $p3:expr, $p4:expr, $p5:expr, $p6:expr, $p7:expr, $p8:expr, $p9:expr; $on:expr) => {
        concat!(
            pixel!("19" "20"; $low $high ", {o3}"; $on; ""; fma!("9" "17" $a)),
            pixel!("20" "21"; $low $high ", {o4}"; ""; ""; fma!("9" "18" $b), fma!("10" "18" $a)),
            pixel!("21" "17"; $low $high ", {o5}"; ""; ""; fma!("9" "19" $c), fma!("10" "19" $b),
                fma!("11" "19" $a)),
            pixel!("17" "18"; $low $high ", {o6}"; $p3; ""; fma!("10" "20" $c), fma!("11" "20" $b),
                fma!("12" "20" $a)),
            pixel!("18" "19"; $low $high ", {o7}"; $p4; ""; fma!("11" "21" $c), fma!("12" "21" $b),
                fma!("13" "21" $a)),
            pixel!("19" "20"; $low $high ", {o8}"; $p5; ""; fma!("12" "17" $c), fma!("13" "17" $b),
                fma!("14" "17" $a)),
            pixel!("20" "21"; $low $high ", {o9}"; $p6; ""; fma!("13" "18" $c), fma!("14" "18" $b),
                fma!("15" "18" $a)),
            pixel!("21" "17"; $low2 $high2 ""; $p7; ""; fma!("14" "19" $c), fma!("15" "19" $b),
                fma!("16" "19" $a)),
            pixel!("17" "18"; $low2 $high2 ", {o1}"; $p8; ""; fma!("15" "20" $c),
                fma!("16" "20" $b)),
            pixel!("18" "19"; $low2 $high2 ", {o2}"; $p9; ""; fma!("16" "21" $c)),
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
    ($sum:literal $off:literal) => {
        concat!("str q", $sum, ", [{out}", $off, "]\n", "movi v", $sum, ".2d, #0\n")
    };
}

/// The sums of `turns` times [`PLACES`] places, each a chain of fused multiply-adds in the order of the taps.
/// Results are as far from each other as pixels.
///
/// # Safety
/// The pixels are valid for [`LANES`] channels of three rows, of two columns more than places, and so
/// are the sums for writing; there are some. Behind the last column of a row but the last another may be
/// read.
#[inline(never)]
pub(super) unsafe fn eight_places(weights: &[float32x4_t; 9], at: Pixels, turns: usize) {
    let Pixels { first, down, step, out, .. } = at;
    let row = |index: usize| first.cast::<u8>().wrapping_add(index * down);
    // SAFETY: the caller vouches for what is read and written: behind the last column of a row lies the row
    // after it.
    unsafe {
        asm!(
            "ldr q17, [{p}]",
            "ldr q18, [{p}, {o1}]",
            "ldr d19, [{p}, {o2}]",
            "ldr {x}, [{p8}, {o2}]",
            "movi v9.2d, #0",
            "movi v10.2d, #0",
            "movi v11.2d, #0",
            "movi v12.2d, #0",
            "movi v13.2d, #0",
            "movi v14.2d, #0",
            "movi v15.2d, #0",
            "movi v16.2d, #0",
            "2:",
            "subs {turns}, {turns}, #1",
            row!("p" "p8", "q" "q8"; "0" "1" "2"; "", "", "", "", "", "", ""; ""),
            row!("q" "q8", "r" "r8"; "3" "4" "5"; "", "", "", "", "", "", ""; on!("p" "p8")),
            row!("r" "r8", "p" "p8"; "6" "7" "8"; written!("9" ""), written!("10" ", {o1}"),
                written!("11" ", {o2}"), written!("12" ", {o3}"), written!("13" ", {o4}"),
                written!("14" ", {o5}"), written!("15" ", {o6}"); on!("q" "q8")),
            "add {r}, {r}, {o8}",
            "add {r8}, {r8}, {o8}",
            written!("16" ", {o7}"),
            "add {out}, {out}, {o8}",
            "b.ne 2b",
            turns = inout(reg) turns => _,
            p = inout(reg) row(0) => _,
            q = inout(reg) row(1) => _,
            r = inout(reg) row(2) => _,
            p8 = inout(reg) row(0).wrapping_add(8) => _,
            q8 = inout(reg) row(1).wrapping_add(8) => _,
            r8 = inout(reg) row(2).wrapping_add(8) => _,
            out = inout(reg) out => _,
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
            out("v21") _,
            options(nostack),
        );
    }
}
