//! Places of a window five wide that slide, on ARM cores that run instructions in order without the dot
//! product. Two products are added in 16 bits before they are widened: no weight may be -128. Each quad
//! is read once, in halves, and stays in a register for the places after it.

use std::arch::aarch64::int32x4_t;
use std::arch::asm;

use super::in_order::Along;

/// Places that [`five_wide`] computes in a turn.
pub(super) const FIVE: usize = 5;

/// Two quads times their weights, the lower half and the upper.
macro_rules! pair {
    ($low:literal $high:literal; $a:literal $b:literal, $c:literal $d:literal) => {
        concat!(
            "smull v", $low, ".8h, v", $a, ".8b, v", $b, ".8b\n", "smull2 v", $high, ".8h, v", $a,
            ".16b, v", $b, ".16b\n", "smlal v", $low, ".8h, v", $c, ".8b, v", $d, ".8b\n",
            "smlal2 v", $high, ".8h, v", $c, ".16b, v", $d, ".16b\n",
        )
    };
}

/// Adds a pair to the sums of both halves.
macro_rules! added {
    ($low:literal $high:literal) => {
        concat!("sadalp v25.4s, v", $low, ".8h\n", "sadalp v26.4s, v", $high, ".8h\n")
    };
}

/// Makes one sum of both halves, from the start on.
macro_rules! sum {
    () => {
        concat!("addp v27.4s, v25.4s, v26.4s\n", "add v27.4s, v27.4s, v10.4s\n")
    };
}

/// A place, of the columns `a` to `e` of both rows. The place before it gets its last pair and is written, and
/// the column after these is read to where the first one was.
macro_rules! place {
    ($a:literal $a2:literal $b:literal $b2:literal $c:literal $c2:literal $d:literal $d2:literal
     $e:literal $e2:literal; $on:literal; $beside:literal) => {
        concat!(
            pair!("28" "29"; $a "0", $b "1"),
            added!("21" "22"),
            pair!("23" "24"; $c "2", $d "3"),
            sum!(),
            "saddlp v25.4s, v28.8h\n",
            "saddlp v26.4s, v29.8h\n",
            pair!("21" "22"; $e "4", $a2 "5"),
            "str q27, [{out}]\n",
            "add {out}, {out}, {adv}\n",
            $beside,
            "ldr d", $a, ", [{p}]\n",
            added!("23" "24"),
            "ldr {x}, [{p}, #8]\n",
            pair!("23" "24"; $b2 "6", $c2 "7"),
            "ins v", $a, ".d[1], {x}\n",
            "ldr d", $a2, ", [{p}, {down}]\n",
            added!("21" "22"),
            "ldr {y}, [{p}, {high}]\n",
            pair!("21" "22"; $d2 "8", $e2 "9"),
            "add {p}, {p}, {", $on, "}\n",
            added!("23" "24"),
            "ins v", $a2, ".d[1], {y}\n",
        )
    };
}

/// `turns` times [`FIVE`] places of five quads of two rows, `down` bytes apart, a vector of channels;
/// `weights` by row.
///
/// # Safety
/// The quads are valid for four columns more than places, `out` for writing a vector of each; there are
/// some.
#[inline(never)]
pub(super) unsafe fn five_wide(
    weights: &[int32x4_t; 10],
    start: int32x4_t,
    at: Along,
    down: usize,
    turns: usize,
) {
    // SAFETY: the caller vouches for what is read and written: in the last turn what is past the last column
    // is that column again, and what the first turn writes of a sum before it goes where its first
    // goes then.
    unsafe {
        asm!(
            "ldr q11, [{p}]",
            "ldr q12, [{p}, {down}]",
            "add {p}, {p}, {step}",
            "ldr q13, [{p}]",
            "ldr q14, [{p}, {down}]",
            "add {p}, {p}, {step}",
            "ldr q15, [{p}]",
            "ldr q16, [{p}, {down}]",
            "add {p}, {p}, {step}",
            "ldr q17, [{p}]",
            "ldr q18, [{p}, {down}]",
            "add {p}, {p}, {step}",
            "ldr q19, [{p}]",
            "ldr q20, [{p}, {down}]",
            "add {p}, {p}, {step}",
            "2:",
            "subs {turns}, {turns}, #1",
            "csel {last}, {step}, xzr, ne",
            place!("11" "12" "13" "14" "15" "16" "17" "18" "19" "20"; "step"; "mov {adv}, {pitch}\n"),
            place!("13" "14" "15" "16" "17" "18" "19" "20" "11" "12"; "step"; ""),
            place!("15" "16" "17" "18" "19" "20" "11" "12" "13" "14"; "step"; ""),
            place!("17" "18" "19" "20" "11" "12" "13" "14" "15" "16"; "last"; ""),
            place!("19" "20" "11" "12" "13" "14" "15" "16" "17" "18"; "step"; ""),
            "cbnz {turns}, 2b",
            added!("21" "22"),
            sum!(),
            "str q27, [{out}]",
            turns = inout(reg) turns => _,
            step = in(reg) at.step,
            last = out(reg) _,
            p = inout(reg) at.quads => _,
            down = in(reg) down,
            high = in(reg) down.wrapping_add(8),
            out = inout(reg) at.out => _,
            pitch = in(reg) at.pitch,
            adv = inout(reg) 0_usize => _,
            x = out(reg) _,
            y = out(reg) _,
            in("v0") weights[0], in("v1") weights[1], in("v2") weights[2], in("v3") weights[3],
            in("v4") weights[4], in("v5") weights[5], in("v6") weights[6], in("v7") weights[7],
            in("v8") weights[8], in("v9") weights[9], in("v10") start,
            out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _, out("v16") _,
            out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _,
            out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _,
            out("v29") _,
            options(nostack),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::arch::aarch64::{vdupq_n_s32, vld1q_s32};

    use super::*;

    const WIDTH: usize = 8;

    /// Which cores run it does not matter: it is right on all, of the greatest products too.
    #[test]
    fn their_sums_are_those_of_plain_code() {
        for turns in 1..4 {
            let count = turns * FIVE;
            let row = (count + 4) * 4 * WIDTH;
            let byte = |at: usize| if at % 3 == 0 { -128 } else { (at * 37 % 251) as u8 as i8 };
            let quads: Vec<i8> = (0..2 * row).map(byte).collect();
            let weights: Vec<i8> = (0..10 * 4 * WIDTH).map(|at| byte(at + 1).max(-127)).collect();
            let mut found = vec![7; count * WIDTH];
            // The second vector of a place.
            let at = Along {
                quads: quads[16..].as_ptr().cast(),
                step: 4 * WIDTH,
                out: found[4..].as_mut_ptr(),
                pitch: 4 * WIDTH,
            };
            // SAFETY: rows, weights and sums are as long as places take them to be.
            unsafe {
                let mut each = [vdupq_n_s32(0); 10];
                for (tap, weight) in each.iter_mut().enumerate() {
                    *weight = vld1q_s32(weights[tap * 4 * WIDTH + 16..].as_ptr().cast());
                }
                five_wide(&each, vdupq_n_s32(11), at, row, turns);
            }
            for (at, &found) in found.iter().enumerate() {
                let (place, channel) = (at / WIDTH, at % WIDTH);
                let (mut sum, taps) = if channel < 4 { (7, 0) } else { (11, 10) };
                for tap in 0..taps {
                    for byte in 4 * channel..4 * channel + 4 {
                        let quad = tap / 5 * row + (place + tap % 5) * 4 * WIDTH + byte;
                        sum += i32::from(quads[quad]) * i32::from(weights[tap * 4 * WIDTH + byte]);
                    }
                }
                assert_eq!(found, sum, "{turns} turns: {place}, {channel}");
            }
        }
    }
}
