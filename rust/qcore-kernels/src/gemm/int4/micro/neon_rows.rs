//! Six rows of activations and a panel of nibbles, on `sdot`. The sums take 24 registers, the nibbles
//! three and the rows five: a compiler keeps the sums in memory.

use std::arch::aarch64::int32x4_t;
use std::arch::asm;

use super::LINE;
use super::neon::VECTORS;

/// Sums of six rows.
type Sums = [[int32x4_t; VECTORS]; 6];

/// Nibbles that were taken apart times eight values of six rows: those of four stay in registers, those
/// of two are read again.
macro_rules! rows {
    ($a:literal $b:literal $c:literal $d:literal $e:literal $f:literal) => {
        concat!(
            rows!(@row $a "3"), rows!(@row $b "4"), rows!(@row $c "5"), rows!(@row $d "6"),
            rows!(@row $e "7"),
            "ldr d7, [{a5}]\n",
            rows!(@row $f "7"),
        )
    };
    (@row $sums:literal $a:literal) => {
        concat!(
            "sdot v", $sums, ".4s, v1.16b, v", $a, ".4b[0]\n",
            "sdot v", $sums, ".4s, v2.16b, v", $a, ".4b[1]\n",
        )
    };
}

/// Reads a register of a line, and takes it apart.
macro_rules! whole {
    ($offset:literal, $next:literal, $after:literal) => {
        concat!(
            "ldr q1, [{w}, #",
            $offset,
            "]\n",
            "ldr d7, [{a4}]\n",
            "ushr v2.16b, v1.16b, #4\n",
            "and v1.16b, v1.16b, v0.16b\n",
        )
    };
}

/// Takes apart what was read before, for cores that run in order, and reads what comes next into
/// general registers, 8 bytes at a time.
macro_rules! halves {
    ($offset:literal, $next:literal, $after:literal) => {
        concat!(
            "fmov d1, {p}\n",
            "ldr d7, [{a4}]\n",
            "ins v1.d[1], {q}\n",
            "ldr {p}, [{w}, #",
            $next,
            "]\n",
            "ushr v2.16b, v1.16b, #4\n",
            "ldr {q}, [{w}, #",
            $after,
            "]\n",
            "and v1.16b, v1.16b, v0.16b\n",
        )
    };
}

/// A function of some lines.
macro_rules! six_rows {
    ($name:ident, $load:ident) => {
        /// Adds the products of `lines` lines, of which there are some.
        ///
        /// # Safety
        /// The rows and the panel have the lines, and the CPU has the dot product.
        #[target_feature(enable = "neon,dotprod")]
        pub(super) unsafe fn $name(
            sums: &mut Sums,
            rows: [*const i8; 6],
            w: *const u8,
            lines: usize,
        ) {
            let [one, two, three, four, five, six] = sums;
            // SAFETY: the caller vouches for what is read: in the last turn what comes next is the same
            // again. Nothing is written but registers that are declared.
            unsafe {
                asm!(
                    "movi v0.16b, #15",
                    "ldr {p}, [{w}]",
                    "ldr {q}, [{w}, #8]",
                    "2:",
                    "ldr d3, [{a0}], #8",
                    "ldr d4, [{a1}], #8",
                    "ldr d5, [{a2}], #8",
                    "ldr d6, [{a3}], #8",
                    "subs {lines}, {lines}, #1",
                    "csel {step}, {step}, xzr, ne",
                    $load!("0", "16", "24"),
                    rows!("8" "12" "16" "20" "24" "28"),
                    $load!("16", "32", "40"),
                    rows!("9" "13" "17" "21" "25" "29"),
                    $load!("32", "48", "56"),
                    rows!("10" "14" "18" "22" "26" "30"),
                    "add {next}, {w}, {step}",
                    six_rows!(@last $load),
                    rows!("11" "15" "19" "23" "27" "31"),
                    "mov {w}, {next}",
                    "add {a4}, {a4}, #8",
                    "add {a5}, {a5}, #8",
                    "cbnz {lines}, 2b",
                    lines = inout(reg) lines => _,
                    step = inout(reg) LINE => _,
                    next = out(reg) _,
                    w = inout(reg) w => _,
                    p = out(reg) _,
                    q = out(reg) _,
                    a0 = inout(reg) rows[0] => _,
                    a1 = inout(reg) rows[1] => _,
                    a2 = inout(reg) rows[2] => _,
                    a3 = inout(reg) rows[3] => _,
                    a4 = inout(reg) rows[4] => _,
                    a5 = inout(reg) rows[5] => _,
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _,
                    out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                    inout("v8") one[0], inout("v9") one[1], inout("v10") one[2],
                    inout("v11") one[3], inout("v12") two[0], inout("v13") two[1],
                    inout("v14") two[2], inout("v15") two[3], inout("v16") three[0],
                    inout("v17") three[1], inout("v18") three[2], inout("v19") three[3],
                    inout("v20") four[0], inout("v21") four[1], inout("v22") four[2],
                    inout("v23") four[3], inout("v24") five[0], inout("v25") five[1],
                    inout("v26") five[2], inout("v27") five[3], inout("v28") six[0],
                    inout("v29") six[1], inout("v30") six[2], inout("v31") six[3],
                    options(readonly, nostack),
                );
            }
        }
    };
    (@last whole) => {
        whole!("48", "", "")
    };
    // The next line is read from its own start.
    (@last halves) => {
        concat!(
            "fmov d1, {p}\n",
            "ldr d7, [{a4}]\n",
            "ins v1.d[1], {q}\n",
            "ldr {p}, [{next}]\n",
            "ushr v2.16b, v1.16b, #4\n",
            "ldr {q}, [{next}, #8]\n",
            "and v1.16b, v1.16b, v0.16b\n",
        )
    };
}

six_rows!(six_rows, whole);
six_rows!(six_rows_in_order, halves);

#[cfg(test)]
mod tests {
    use std::arch::aarch64::{vaddvq_s32, vdupq_n_s32};

    use super::*;
    use crate::gemm::int4::micro::DEPTH;
    use crate::isa::Isa;

    /// Which of them runs depends on the core: both are right on all that can run them.
    #[test]
    fn both_are_the_sums_that_they_are() {
        if !Isa::NeonDot.is_available() {
            return;
        }
        for lines in 1..9 {
            let a: Vec<i8> = (0..6 * lines * DEPTH).map(|at| (at * 37 % 251) as u8 as i8).collect();
            let w: Vec<u8> = (0..lines * LINE).map(|at| (at * 91 % 253) as u8).collect();
            let mut rows = [a.as_ptr(); 6];
            for (index, row) in rows.iter_mut().enumerate() {
                *row = a[index * lines * DEPTH..].as_ptr();
            }
            for function in [six_rows, six_rows_in_order] {
                // SAFETY: the rows and the panel have as many lines, and the CPU has the instructions.
                let found = unsafe {
                    let mut sums = [[vdupq_n_s32(5); VECTORS]; 6];
                    function(&mut sums, rows, w.as_ptr(), lines);
                    sums.map(|sums| sums.map(|sum| vaddvq_s32(sum)))
                };
                for (row, found) in found.iter().enumerate() {
                    for (vector, &found) in found.iter().enumerate() {
                        let mut sum = 20;
                        for line in 0..lines {
                            for at in 0..16 {
                                let byte = w[line * LINE + vector * 16 + at];
                                let first = (row * lines + line) * DEPTH + at % 4;
                                sum += i32::from(byte & 15) * i32::from(a[first]);
                                sum += i32::from(byte >> 4) * i32::from(a[first + 4]);
                            }
                        }
                        assert_eq!(found, sum, "{lines} lines, row {row}, vector {vector}");
                    }
                }
            }
        }
    }
}
