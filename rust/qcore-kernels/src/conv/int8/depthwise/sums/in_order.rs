//! Places that slide, on ARM cores that run instructions in order and have the dot product: two places at
//! a time, whose quads stay in registers for those after them. Each quad is read once, in halves, and
//! what is not a product issues beside one.

use std::arch::aarch64::int32x4_t;
use std::arch::asm;

use super::{Kept, Places, TOGETHER, pairs};
use crate::simd::Dot4;
use crate::simd::neon_asm::zip;

/// Where the quads of a first place lie, and where its sums go; in bytes.
#[derive(Clone, Copy)]
pub(super) struct Along {
    pub(super) quads: *const u8,
    /// From a place to the next.
    pub(super) step: usize,
    pub(super) out: *mut i32,
    pub(super) pitch: usize,
}

macro_rules! start {
    ($sum:literal $start:literal) => {
        concat!("mov v", $sum, ".16b, v", $start, ".16b\n")
    };
}

macro_rules! dot {
    ($sum:literal $quads:literal $weights:literal) => {
        concat!("sdot v", $sum, ".4s, v", $quads, ".16b, v", $weights, ".16b\n")
    };
}

/// Reads of 8 bytes, by a vector register and by a general one, and how the two become one.
macro_rules! low {
    ($quads:literal $from:literal) => {
        concat!("ldr d", $quads, ", [", $from, "]\n")
    };
}
macro_rules! high {
    ($room:literal $from:literal) => {
        concat!("ldr {", $room, "}, [", $from, "]\n")
    };
}
macro_rules! fill {
    ($quads:literal $room:literal) => {
        concat!("ins v", $quads, ".d[1], {", $room, "}\n")
    };
}

/// Two places of a window three wide, two vectors of each, from the columns `a` to `d`; those before them
/// are written, and two columns are read to where the first two were.
macro_rules! three {
    ($s:literal $t:literal $u:literal $v:literal; $before:literal; $after:literal;
     $a:literal $a2:literal $b:literal $b2:literal $c:literal $c2:literal $d:literal $d2:literal;
     $on:literal $then:literal; $beside:literal) => {
        zip!(
            start!($s "6"), start!($t "7"), start!($u "6"), start!($v "7"),
            dot!($s $a "0"), dot!($t $a2 "1"), dot!($u $b "0"), dot!($v $b2 "1"),
            dot!($s $b "2"), dot!($t $b2 "3"), dot!($u $c "2"), dot!($v $c2 "3"),
            dot!($s $c "4"), dot!($t $c2 "5"), dot!($u $d "4"), dot!($v $d2 "5");
            concat!("stp ", $before, ", [{out}]\n"), "add {out}, {out}, {adv}\n",
            concat!("stp ", $after, ", [{out}]\n"), "add {out}, {out}, {adv}\n",
            $beside, "",
            low!($a "{p}"), high!("x" "{p}, #8"), low!($a2 "{p}, #16"), high!("y" "{p}, #24"),
            concat!("add {p}, {p}, {", $on, "}\n"), fill!($a "x"), fill!($a2 "y"),
            low!($b "{p}"), high!("x" "{p}, #8"), low!($b2 "{p}, #16"), high!("y" "{p}, #24"),
            concat!("add {p}, {p}, {", $then, "}\n"), fill!($b "x"), fill!($b2 "y")
        )
    };
}

/// Places that [`three_wide`] computes in a turn.
const THREE: usize = 4;

/// `turns` times [`THREE`] places of three quads, two vectors of channels; `weights` by column.
///
/// # Safety
/// The quads are valid for two columns more than places, `out` for writing two vectors of each; there are
/// some. The CPU has the dot product.
#[target_feature(enable = "neon,dotprod")]
unsafe fn three_wide(
    weights: &[[int32x4_t; 2]; 3],
    start: &[int32x4_t; 2],
    at: Along,
    turns: usize,
) {
    let [[a, b], [c, d], [e, f]] = *weights;
    // SAFETY: the caller vouches for what is read and written: in the last turn what is past the last column
    // is that column again, and what the first turn writes of sums before it goes where its first
    // goes then.
    unsafe {
        asm!(
            "ldp q8, q9, [{p}]",
            "add {p}, {p}, {step}",
            "ldp q10, q11, [{p}]",
            "add {p}, {p}, {step}",
            "ldp q12, q13, [{p}]",
            "add {p}, {p}, {step}",
            "ldp q14, q15, [{p}]",
            "add {p}, {p}, {step}",
            "2:",
            "subs {turns}, {turns}, #1",
            "csel {last}, {step}, xzr, ne",
            three!("16" "17" "18" "19"; "q20, q21"; "q22, q23";
                "8" "9" "10" "11" "12" "13" "14" "15"; "step" "last"; "mov {adv}, {pitch}\n"),
            three!("20" "21" "22" "23"; "q16, q17"; "q18, q19";
                "12" "13" "14" "15" "8" "9" "10" "11"; "last" "last"; ""),
            "cbnz {turns}, 2b",
            "stp q20, q21, [{out}]",
            "add {out}, {out}, {adv}",
            "stp q22, q23, [{out}]",
            turns = inout(reg) turns => _,
            step = in(reg) at.step,
            last = out(reg) _,
            p = inout(reg) at.quads => _,
            out = inout(reg) at.out => _,
            pitch = in(reg) at.pitch,
            adv = inout(reg) 0_usize => _,
            x = out(reg) _,
            y = out(reg) _,
            in("v0") a, in("v1") b, in("v2") c, in("v3") d, in("v4") e, in("v5") f,
            in("v6") start[0], in("v7") start[1],
            out("v8") _, out("v9") _, out("v10") _, out("v11") _,
            out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            options(nostack),
        );
    }
}

/// Two places of a window five wide and of two rows of quads, a vector of each, as [`three`] does it; the
/// second of a column's registers is that of the second row.
macro_rules! five {
    ($s:literal $t:literal; $before:literal $after:literal;
     $a:literal $a2:literal $b:literal $b2:literal $c:literal $c2:literal
     $d:literal $d2:literal $e:literal $e2:literal $f:literal $f2:literal;
     $on:literal $then:literal; $beside:literal) => {
        zip!(
            start!($s "10"), start!($t "10"),
            dot!($s $a "0"), dot!($t $b "0"), dot!($s $a2 "5"), dot!($t $b2 "5"),
            dot!($s $b "1"), dot!($t $c "1"), dot!($s $b2 "6"), dot!($t $c2 "6"),
            dot!($s $c "2"), dot!($t $d "2"), dot!($s $c2 "7"), dot!($t $d2 "7"),
            dot!($s $d "3"), dot!($t $e "3"), dot!($s $d2 "8"), dot!($t $e2 "8"),
            dot!($s $e "4"), dot!($t $f "4"), dot!($s $e2 "9"), dot!($t $f2 "9");
            concat!("str q", $before, ", [{out}]\n"), "add {out}, {out}, {adv}\n",
            concat!("str q", $after, ", [{out}]\n"), "add {out}, {out}, {adv}\n",
            $beside,
            low!($a "{p}"), high!("x" "{p}, #8"), low!($a2 "{p}, {down}"), high!("y" "{p}, {high}"),
            concat!("add {p}, {p}, {", $on, "}\n"), fill!($a "x"), fill!($a2 "y"),
            low!($b "{p}"), high!("x" "{p}, #8"), low!($b2 "{p}, {down}"), high!("y" "{p}, {high}"),
            concat!("add {p}, {p}, {", $then, "}\n"), fill!($b "x"), fill!($b2 "y")
        )
    };
}

/// Places that [`five_wide`] computes in a turn.
const FIVE: usize = 6;

/// `turns` times [`FIVE`] places of five quads of two rows, `down` bytes apart, a vector of channels;
/// `weights` by row.
///
/// # Safety
/// The quads are valid for four columns more than places, `out` for writing a vector of each; there are
/// some. The CPU has the dot product.
#[target_feature(enable = "neon,dotprod")]
unsafe fn five_wide(
    weights: &[int32x4_t; 10],
    start: int32x4_t,
    at: Along,
    down: usize,
    turns: usize,
) {
    // SAFETY: as above.
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
            "ldr q21, [{p}]",
            "ldr q22, [{p}, {down}]",
            "add {p}, {p}, {step}",
            "2:",
            "subs {turns}, {turns}, #1",
            "csel {last}, {step}, xzr, ne",
            five!("23" "24"; "27" "28";
                "11" "12" "13" "14" "15" "16" "17" "18" "19" "20" "21" "22";
                "step" "step"; "mov {adv}, {pitch}\n"),
            five!("25" "26"; "23" "24";
                "15" "16" "17" "18" "19" "20" "21" "22" "11" "12" "13" "14";
                "step" "last"; ""),
            five!("27" "28"; "25" "26";
                "19" "20" "21" "22" "11" "12" "13" "14" "15" "16" "17" "18";
                "last" "last"; ""),
            "cbnz {turns}, 2b",
            "str q27, [{out}]",
            "add {out}, {out}, {adv}",
            "str q28, [{out}]",
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
            options(nostack),
        );
    }
}

impl Places<'_> {
    /// The first places, on ARM cores that run in order; returns how many.
    ///
    /// # Safety
    /// As [`Places::slide`].
    #[inline(always)]
    pub(super) unsafe fn slid_in_order<
        D: Dot4,
        const GROUPS: usize,
        const WIDE: usize,
        const VECTORS: usize,
    >(
        &self,
        d: D,
        kept: &Kept<D, GROUPS, WIDE, VECTORS>,
        at: usize,
        out: *mut i32,
    ) -> usize {
        let width = self.start.len();
        let pitch = size_of_val(self.start);
        let along = Along { quads: kept.rows[0], step: self.step, out, pitch };
        let (weights, start) = (kept.weights.as_ptr(), kept.start.as_ptr());
        let down = kept.rows[1 % GROUPS].addr().wrapping_sub(kept.rows[0].addr());
        let small = D::PAIRS && self.small;
        // SAFETY: the caller's promise; vectors of CPUs that have the dot product, or add
        // pairs, are four integers, and there are as many of them as the window has.
        unsafe {
            match (D::DOT, GROUPS, WIDE, VECTORS) {
                (true, 1, 3, 2) => {
                    let turns = self.count / THREE;
                    if turns > 0 {
                        three_wide(&*weights.cast(), &*start.cast(), along, turns);
                    }
                    turns * THREE
                }
                (true, 2, 5, 1) => {
                    let turns = self.count / FIVE;
                    if turns > 0 {
                        five_wide(&*weights.cast(), *start.cast(), along, down, turns);
                    }
                    turns * FIVE
                }
                (false, 2, 5, 1) if small => {
                    let turns = self.count / pairs::FIVE;
                    if turns > 0 {
                        pairs::five_wide(&*weights.cast(), *start.cast(), along, down, turns);
                    }
                    turns * pairs::FIVE
                }
                _ => {
                    let whole = self.count / TOGETHER * TOGETHER;
                    for place in (0..whole).step_by(TOGETHER) {
                        let to = out.add(place * width);
                        if small {
                            self.slid::<D, GROUPS, WIDE, VECTORS, TOGETHER, true, true>(
                                d, kept, place, at, to,
                            );
                        } else {
                            self.slid::<D, GROUPS, WIDE, VECTORS, TOGETHER, false, true>(
                                d, kept, place, at, to,
                            );
                        }
                    }
                    whole
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::arch::aarch64::{vdupq_n_s32, vld1q_s32};

    use super::*;
    use crate::isa::Isa;

    const WIDTH: usize = 12;

    fn bytes(seed: usize, len: usize) -> Vec<i8> {
        (0..len).map(|at| ((at * 37 + seed) % 256) as u8 as i8).collect()
    }

    /// The sums of places by plain code, of `groups` rows and `wide` columns of quads.
    fn plain(quads: &[i8], weights: &[i8], groups: usize, wide: usize, count: usize) -> Vec<i32> {
        let row = (count + wide - 1) * 4 * WIDTH;
        let sum = |at: usize| {
            let (place, channel) = (at / WIDTH, at % WIDTH);
            let mut sum = 100 * channel as i32;
            for tap in 0..groups * wide {
                for byte in 4 * channel..4 * channel + 4 {
                    let quad = tap / wide * row + (place + tap % wide) * 4 * WIDTH + byte;
                    sum += i32::from(quads[quad]) * i32::from(weights[tap * 4 * WIDTH + byte]);
                }
            }
            sum
        };
        (0..count * WIDTH).map(sum).collect()
    }

    /// Which cores run it does not matter: it is right on all that have the instructions.
    #[test]
    fn their_sums_are_those_of_plain_code() {
        if !Isa::NeonDot.is_available() {
            return;
        }
        let start: Vec<i32> = (0..WIDTH as i32).map(|channel| 100 * channel).collect();
        for turns in 1..4 {
            for (groups, wide, each, vectors) in [(1, 3, THREE, 2), (2, 5, FIVE, 1)] {
                let count = turns * each;
                let row = (count + wide - 1) * 4 * WIDTH;
                let (quads, weights) =
                    (bytes(3, groups * row), bytes(11, groups * wide * 4 * WIDTH));
                let wanted = plain(&quads, &weights, groups, wide, count);
                let mut found = vec![7; count * WIDTH];
                // The last vectors of a place.
                let first = WIDTH - 4 * vectors;
                let at = Along {
                    quads: quads[4 * first..].as_ptr().cast(),
                    step: 4 * WIDTH,
                    out: found[first..].as_mut_ptr(),
                    pitch: 4 * WIDTH,
                };
                // SAFETY: rows, weights and sums are as long as places take them to be, and the CPU has
                // the dot product.
                unsafe {
                    let of = |tap: usize, vector: usize| {
                        vld1q_s32(weights[4 * (tap * WIDTH + first + 4 * vector)..].as_ptr().cast())
                    };
                    let start = |vector: usize| vld1q_s32(start[first + 4 * vector..].as_ptr());
                    if wide == 3 {
                        let weights = [0, 1, 2].map(|tap| [of(tap, 0), of(tap, 1)]);
                        three_wide(&weights, &[start(0), start(1)], at, turns);
                    } else {
                        let mut all = [vdupq_n_s32(0); 10];
                        for (tap, weight) in all.iter_mut().enumerate() {
                            *weight = of(tap, 0);
                        }
                        five_wide(&all, start(0), at, row, turns);
                    }
                }
                for (at, (&found, &wanted)) in found.iter().zip(&wanted).enumerate() {
                    let wanted = if at % WIDTH < first { 7 } else { wanted };
                    assert_eq!(found, wanted, "{groups} x {wide}, {turns} turns: {at}");
                }
            }
        }
    }
}
