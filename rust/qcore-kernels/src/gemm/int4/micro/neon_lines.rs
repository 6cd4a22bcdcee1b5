//! One row of activations and a panel of nibbles on ARM cores that run instructions in order, without
//! the dot product. Sixteen bits hold the products of four lines, both halves of a register added:
//! 16 · 15 · 128 at most. So many are added to 32 bits at once.

use std::arch::aarch64::int32x4_t;
use std::arch::asm;

use super::neon::VECTORS;
use super::{DEPTH, LINE};

/// Lines that are added to 32 bits at once.
pub(super) const LINES: usize = 4;

const _: () = assert!(VECTORS == 4 && LINE == 64 && DEPTH == 8);

/// A register of a line: its low and its high nibbles times four values each. The next register is taken
/// apart, the one after it filled, and the one after that read; `$mul` begins sums or adds to them.
macro_rules! register {
    ($mul:literal $lo:literal $hi:literal; $a:literal $b:literal; $raw:literal $low:literal;
     $raw1:literal $low1:literal; $raw2:literal; $raw3:literal, $offset:literal; $beside:expr) => {
        concat!(
            $mul,
            " v",
            $lo,
            ".8h, v",
            $low,
            ".8b, v",
            $a,
            ".8b\n",
            "ins v",
            $raw2,
            ".d[1], {x}\n",
            "ldr d",
            $raw3,
            ", [{w}, #",
            $offset,
            "]\n",
            $mul,
            "2 v",
            $hi,
            ".8h, v",
            $low,
            ".16b, v",
            $a,
            ".16b\n",
            "ldr {x}, [{w}, #",
            $offset,
            "+8]\n",
            "and v",
            $low1,
            ".16b, v",
            $raw1,
            ".16b, v0.16b\n",
            "smlal v",
            $lo,
            ".8h, v",
            $raw,
            ".8b, v",
            $b,
            ".8b\n",
            "ushr v",
            $raw1,
            ".16b, v",
            $raw1,
            ".16b, #4\n",
            "smlal2 v",
            $hi,
            ".8h, v",
            $raw,
            ".16b, v",
            $b,
            ".16b\n",
            $beside,
            "\n",
        )
    };
}

/// A line, of whose eight values `$a` and `$b` hold copies of four each, while its last register and three
/// of the next line are read; other things are done in between.
macro_rules! line {
    ($mul:literal $a:literal $b:literal; $o:literal $p:literal $q:literal $r:literal;
     $one:expr, $two:expr, $three:expr, $four:expr) => {
        concat!(
            register!($mul "8" "9"; $a $b; "20" "24"; "21" "25"; "22"; "23", $o; $one),
            register!($mul "10" "11"; $a $b; "21" "25"; "22" "26"; "23"; "20", $p; $two),
            register!($mul "12" "13"; $a $b; "22" "26"; "23" "27"; "20"; "21", $q; $three),
            register!($mul "14" "15"; $a $b; "23" "27"; "20" "24"; "21"; "22", $r; $four),
        )
    };
}

/// Adds the products of `fours` times four lines.
///
/// # Safety
/// `a` and `w` are valid for so many lines; there are some.
#[inline(never)]
pub(super) unsafe fn one_row(
    sums: &mut [int32x4_t; VECTORS],
    a: *const i8,
    w: *const u8,
    fours: usize,
) {
    // SAFETY: the caller vouches for what is read: in the last turn what comes next is the same again.
    // Nothing is written but registers that are declared.
    unsafe {
        asm!(
            "movi v0.16b, #15",
            "ldr q20, [{w}]",
            "ldr q21, [{w}, #16]",
            "ldr d22, [{w}, #32]",
            "ldr {x}, [{w}, #40]",
            "ldr {y}, [{a}]",
            "dup v1.4s, {y:w}",
            "lsr {y}, {y}, #32",
            "dup v2.4s, {y:w}",
            "and v24.16b, v20.16b, v0.16b",
            "ushr v20.16b, v20.16b, #4",
            "movi v14.2d, #0",
            "movi v15.2d, #0",
            "movi v30.2d, #0",
            "2:",
            "subs {fours}, {fours}, #1",
            "csel {step}, {step}, xzr, ne",
            line!("smull" "1" "2"; "48" "64" "80" "96";
                "ldr {y}, [{a}, #8]\nsadalp v18.4s, v30.8h\naddp v31.8h, v14.8h, v15.8h",
                "dup v3.4s, {y:w}\nsadalp v19.4s, v31.8h", "lsr {y}, {y}, #32", "dup v4.4s, {y:w}"),
            line!("smlal" "3" "4"; "112" "128" "144" "160"; "ldr {y}, [{a}, #16]", "dup v1.4s, {y:w}",
                "lsr {y}, {y}, #32", "dup v2.4s, {y:w}"),
            line!("smlal" "1" "2"; "176" "192" "208" "224"; "ldr {y}, [{a}, #24]", "dup v3.4s, {y:w}",
                "lsr {y}, {y}, #32\nadd {a}, {a}, {step}, lsr #3", "dup v4.4s, {y:w}"),
            line!("smlal" "3" "4"; "240" "0" "16" "32";
                "ldr {y}, [{a}]\nadd {w}, {w}, {step}",
                "dup v1.4s, {y:w}\naddp v28.8h, v8.8h, v9.8h",
                "lsr {y}, {y}, #32\nsadalp v16.4s, v28.8h\naddp v29.8h, v10.8h, v11.8h",
                "dup v2.4s, {y:w}\nsadalp v17.4s, v29.8h\naddp v30.8h, v12.8h, v13.8h"),
            "cbnz {fours}, 2b",
            "sadalp v18.4s, v30.8h",
            "addp v31.8h, v14.8h, v15.8h",
            "sadalp v19.4s, v31.8h",
            fours = inout(reg) fours => _,
            step = inout(reg) LINES * LINE => _,
            a = inout(reg) a => _,
            w = inout(reg) w => _,
            x = out(reg) _,
            y = out(reg) _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _,
            out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            inout("v16") sums[0], inout("v17") sums[1], inout("v18") sums[2], inout("v19") sums[3],
            out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(readonly, nostack),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::arch::aarch64::{vdupq_n_s32, vst1q_s32};

    use super::*;

    fn check(a: &[i8], w: &[u8], lines: usize) {
        let mut found = [0; 4 * VECTORS];
        // SAFETY: the row and the panel have as many lines.
        unsafe {
            let mut sums = [vdupq_n_s32(5); VECTORS];
            one_row(&mut sums, a.as_ptr(), w.as_ptr(), lines / LINES);
            for (sum, to) in sums.into_iter().zip(found.chunks_exact_mut(4)) {
                vst1q_s32(to.as_mut_ptr(), sum);
            }
        }
        for (output, &found) in found.iter().enumerate() {
            let mut sum = 5;
            for line in 0..lines {
                for at in 0..4 {
                    let byte = w[line * LINE + 4 * output + at];
                    sum += i32::from(byte & 15) * i32::from(a[line * DEPTH + at]);
                    sum += i32::from(byte >> 4) * i32::from(a[line * DEPTH + at + 4]);
                }
            }
            assert_eq!(found, sum, "{lines} lines, output {output}");
        }
    }

    /// Which cores run it does not matter: it is right on all, of the greatest products too.
    #[test]
    fn sums_of_lines_are_those_of_each_by_itself() {
        for fours in 1..5 {
            let lines = fours * LINES;
            let a: Vec<i8> = (0..lines * DEPTH).map(|at| (at * 37 % 251) as u8 as i8).collect();
            let w: Vec<u8> = (0..lines * LINE).map(|at| (at * 91 % 253) as u8).collect();
            check(&a, &w, lines);
            check(&vec![i8::MIN; lines * DEPTH], &vec![0xff; lines * LINE], lines);
        }
    }
}
