//! Five rows and 16 columns on ARM cores that run instructions in order. A load of 16 bytes stops these
//! for two cycles: registers are read in halves, one of them by a general register, beside products.

use std::arch::aarch64::float32x4_t;
use std::arch::asm;

/// Rows of the tile.
pub(super) const ROWS: usize = 5;
/// Registers of sums of a row.
pub(super) const VECTORS: usize = 4;
/// Inputs of a turn of the loop.
pub(super) const INPUTS: usize = 8;

/// A register of columns times one input of five rows, while the next columns are read; `$one` and
/// `$two` go beside products too.
macro_rules! products {
    ($lane:literal, $b:literal, $next:literal, $low:literal, $high:literal, $one:expr, $two:expr;
     $s0:literal $s1:literal $s2:literal $s3:literal $s4:literal;
     $a0:literal $a1:literal $a2:literal $a3:literal $a4:literal) => {
        concat!(
            "fmla v",
            $s0,
            ".4s, v",
            $b,
            ".4s, v",
            $a0,
            ".s[",
            $lane,
            "]\n",
            "ldr d",
            $next,
            ", [{w}",
            $low,
            "]\n",
            "fmla v",
            $s1,
            ".4s, v",
            $b,
            ".4s, v",
            $a1,
            ".s[",
            $lane,
            "]\n",
            "ldr {x}, [{w}",
            $high,
            "]\n",
            "fmla v",
            $s2,
            ".4s, v",
            $b,
            ".4s, v",
            $a2,
            ".s[",
            $lane,
            "]\n",
            $one,
            "\n",
            "fmla v",
            $s3,
            ".4s, v",
            $b,
            ".4s, v",
            $a3,
            ".s[",
            $lane,
            "]\n",
            "ins v",
            $next,
            ".d[1], {x}\n",
            "fmla v",
            $s4,
            ".4s, v",
            $b,
            ".4s, v",
            $a4,
            ".s[",
            $lane,
            "]\n",
            $two,
            "\n",
        )
    };
}

/// All columns times one input of five rows, then on to the next input's columns by `$on`; what else
/// goes beside products.
macro_rules! input {
    ($lane:literal, $on:literal; $($a:literal)+; $p:expr, $q:expr, $r:expr, $s:expr, $t:expr, $u:expr,
     $v:expr) => {
        concat!(
            products!($lane, "5", "6", ", #16", ", #24", $p, $q; "8" "12" "16" "20" "24"; $($a)+),
            products!($lane, "6", "5", ", #32", ", #40", $r, $s; "9" "13" "17" "21" "25"; $($a)+),
            products!($lane, "5", "6", ", #48", ", #56", $t, $on; "10" "14" "18" "22" "26"; $($a)+),
            products!($lane, "6", "5", "", ", #8", $u, $v; "11" "15" "19" "23" "27"; $($a)+),
        )
    };
}

/// The lower half of a row's four inputs.
macro_rules! low {
    ($a:literal $row:literal) => {
        concat!("ldr d", $a, ", [{x", $row, "}, {o}]")
    };
}

/// The upper half, in its place.
macro_rules! high {
    ($a:literal) => {
        concat!("ins v", $a, ".d[1], {y}")
    };
}

/// Four inputs, while the four after them are read.
macro_rules! four {
    ($a0:literal $a1:literal $a2:literal $a3:literal $a4:literal;
     $n0:literal $n1:literal $n2:literal $n3:literal $n4:literal; $on:literal, $o:literal, $p:literal) => {
        concat!(
            input!("0", "add {w}, {w}, {step}"; $a0 $a1 $a2 $a3 $a4; low!($n0 "0"),
                "ldr {y}, [{x0}, {p}]", "", high!($n0), low!($n1 "1"), "ldr {y}, [{x1}, {p}]", ""),
            input!("1", "add {w}, {w}, {step}"; $a0 $a1 $a2 $a3 $a4; high!($n1), low!($n2 "2"),
                "ldr {y}, [{x2}, {p}]", "", high!($n2), low!($n3 "3"), "ldr {y}, [{x3}, {p}]"),
            input!("2", "add {w}, {w}, {step}"; $a0 $a1 $a2 $a3 $a4; "", high!($n3), low!($n4 "4"),
                "ldr {y}, [{x4}, {p}]", "", high!($n4), ""),
            input!("3", $on; $a0 $a1 $a2 $a3 $a4; $o, $p, "", "", "", "", ""),
        )
    };
}

/// Adds the products of `turns` times [`INPUTS`] inputs, each a chain of fused multiply-adds in the order
/// of the inputs.
///
/// # Safety
/// Each row is valid for reading as many inputs, `w` for 16 columns of each, `w_step` floats apart; there
/// are some.
#[inline(never)]
pub(super) unsafe fn five_rows(
    sums: &mut [[float32x4_t; VECTORS]; ROWS],
    rows: [*const f32; ROWS],
    w: *const f32,
    w_step: usize,
    turns: usize,
) {
    let [one, two, three, four, five] = sums;
    // SAFETY: the caller vouches for what is read: in the last turn what comes next is the same again.
    // Nothing is written but registers that are declared.
    unsafe {
        asm!(
            "ldr q0, [{x0}]",
            "ldr q1, [{x1}]",
            "ldr q2, [{x2}]",
            "ldr q3, [{x3}]",
            "ldr q4, [{x4}]",
            "ldr q5, [{w}]",
            "2:",
            "subs {turns}, {turns}, #1",
            "mov {move}, #16",
            "csel {last}, {step}, xzr, ne",
            "csel {move}, {move}, xzr, ne",
            four!("0" "1" "2" "3" "4"; "28" "29" "30" "31" "7"; "add {w}, {w}, {step}",
                "add {o}, {o}, {move}", "add {p}, {p}, {move}"),
            four!("28" "29" "30" "31" "7"; "0" "1" "2" "3" "4"; "add {w}, {w}, {last}",
                "add {o}, {o}, #16", "add {p}, {p}, #16"),
            "cbnz {turns}, 2b",
            turns = inout(reg) turns => _,
            step = in(reg) w_step * size_of::<f32>(),
            last = out(reg) _,
            move = out(reg) _,
            o = inout(reg) 16_usize => _,
            p = inout(reg) 24_usize => _,
            w = inout(reg) w => _,
            x = out(reg) _,
            y = out(reg) _,
            x0 = in(reg) rows[0],
            x1 = in(reg) rows[1],
            x2 = in(reg) rows[2],
            x3 = in(reg) rows[3],
            x4 = in(reg) rows[4],
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            inout("v8") one[0], inout("v9") one[1], inout("v10") one[2], inout("v11") one[3],
            inout("v12") two[0], inout("v13") two[1], inout("v14") two[2], inout("v15") two[3],
            inout("v16") three[0], inout("v17") three[1], inout("v18") three[2],
            inout("v19") three[3], inout("v20") four[0], inout("v21") four[1],
            inout("v22") four[2], inout("v23") four[3], inout("v24") five[0],
            inout("v25") five[1], inout("v26") five[2], inout("v27") five[3],
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(readonly, nostack),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::arch::aarch64::{vdupq_n_f32, vst1q_f32};

    use super::*;

    /// Which cores run it does not matter: it is right on all.
    #[test]
    fn its_sums_are_those_of_each_by_itself() {
        for (turns, w_step) in [(1, 16), (1, 20), (2, 16), (3, 33), (7, 16)] {
            let inputs = turns * INPUTS;
            let value = |at: usize| (at * 37 % 101) as f32 * 0.37 - 9.0;
            let x: Vec<f32> = (0..ROWS * inputs).map(value).collect();
            let w: Vec<f32> = (0..(inputs - 1) * w_step + 16).map(|at| value(3 * at + 5)).collect();
            let rows = [0, 1, 2, 3, 4].map(|row| x[row * inputs..].as_ptr());
            let mut found = [0.0_f32; 16 * ROWS];
            // SAFETY: the rows and columns are there; the sums have room.
            unsafe {
                let mut sums = [[vdupq_n_f32(0.5); VECTORS]; ROWS];
                five_rows(&mut sums, rows, w.as_ptr(), w_step, turns);
                for (at, sum) in sums.as_flattened().iter().enumerate() {
                    vst1q_f32(found[4 * at..].as_mut_ptr(), *sum);
                }
            }
            for (at, found) in found.iter().enumerate() {
                let (row, column) = (at / 16, at % 16);
                let sum = (0..inputs).fold(0.5_f32, |sum, input| {
                    x[row * inputs + input].mul_add(w[input * w_step + column], sum)
                });
                assert_eq!(found.to_bits(), sum.to_bits(), "{turns} turns: {row}, {column}");
            }
        }
    }
}
