//! NEON with the dot product: `sdot` of four columns with one depth group of a register of A.
//!
//! It takes bytes of one sign only: unsigned ones of A have their top bit flipped as they are read.

use std::arch::aarch64::*;
use std::arch::asm;

use super::neon_tile::{self, Fours, InOrder, UNIT};
use super::{neon_row, tile_row};
use crate::gemm::limits;
use crate::gemm::microkernel::{DEPTH, GROUP_BYTES, Kernel, Layout, Left, Tile};
use crate::isa::Isa;

pub(super) struct NeonDot;

impl Fours for NeonDot {
    type Acc = int32x4_t;
    /// The whole register: the instruction takes the group from it.
    type A = int8x16_t;

    #[inline(always)]
    unsafe fn zero() -> int32x4_t {
        // SAFETY: every AArch64 CPU has NEON.
        unsafe { vdupq_n_s32(0) }
    }

    #[inline(always)]
    unsafe fn group<const G: i32>(a: int8x16_t) -> int8x16_t {
        a
    }

    #[inline(always)]
    unsafe fn dot<const G: i32>(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
        // SAFETY: the caller vouches for the instruction, which touches registers alone. Stable Rust has
        // no intrinsic for it.
        unsafe {
            asm!(
                "sdot {acc:v}.4s, {b:v}.16b, {a:v}.4b[{group}]",
                acc = inout(vreg) acc,
                a = in(vreg) a,
                b = in(vreg) b,
                group = const G,
                options(pure, nomem, nostack, preserves_flags),
            );
        }
        acc
    }

    #[inline(always)]
    unsafe fn fours<const ROWS: usize, const UNITS: usize>(
        acc: &mut [[int32x4_t; UNITS]; ROWS],
        t: &Tile,
    ) -> usize {
        let fours = t.groups / 4;
        if ROWS == 6 && UNITS == 4 && fours > 0 {
            // SAFETY: the caller vouches for the operands; these are the sums of six rows, four
            // registers each.
            unsafe { six_by_sixteen(&mut *acc.as_mut_ptr().cast(), t, fours) };
            return fours;
        }
        0
    }

    #[inline(always)]
    unsafe fn fours_in_order<const ROWS: usize, const UNITS: usize>(
        acc: &mut [[int32x4_t; UNITS]; ROWS],
        t: &Tile,
    ) -> usize {
        let fours = t.groups / 4;
        if ROWS == 6 && UNITS == 4 && fours > 0 {
            // SAFETY: as above.
            unsafe { six_by_sixteen_in_order(&mut *acc.as_mut_ptr().cast(), t, 2 * fours) };
            return fours;
        }
        if ROWS == 1 && UNITS == 8 && fours > 0 {
            // SAFETY: as above, of one row and eight registers.
            unsafe { neon_row::dots(&mut *acc.as_mut_ptr().cast(), t, fours) };
            return fours;
        }
        0
    }

    #[inline(always)]
    unsafe fn sums(acc: int32x4_t) -> int32x4_t {
        acc
    }
}

/// A register of B times one group of six rows, while the next is read.
macro_rules! columns {
    ($group:literal, $b:literal, $next:literal; $($acc:literal $a:literal),+) => {
        concat!(
            $next, "\n",
            $("sdot v", $acc, ".4s, v", $b, ".16b, v", $a, ".4b[", $group, "]\n",)+
        )
    };
}

/// A line of B: 16 columns of a depth group. `$last` reads what follows it.
macro_rules! line {
    ($group:literal, $second:literal, $third:literal, $fourth:literal, $last:literal) => {
        concat!(
            columns!($group, "0", $second; "8" "2", "12" "3", "16" "4", "20" "5", "24" "6", "28" "7"),
            columns!($group, "1", $third; "9" "2", "13" "3", "17" "4", "21" "5", "25" "6", "29" "7"),
            columns!($group, "0", $fourth; "10" "2", "14" "3", "18" "4", "22" "5", "26" "6", "30" "7"),
            columns!($group, "1", $last; "11" "2", "15" "3", "19" "4", "23" "5", "27" "6", "31" "7"),
        )
    };
}

/// `fours` times four depth groups of six rows and 16 columns. The sums take 24 registers and the rows
/// six: what a compiler makes of it moves sums to memory and back.
///
/// # Safety
/// - The rows of `t` are valid for as many groups, and so are 16 columns of B; there are some.
/// - The CPU has the dot product.
#[target_feature(enable = "neon,dotprod")]
unsafe fn six_by_sixteen(acc: &mut [int32x4_t; 24], t: &Tile, fours: usize) {
    let row = |index: usize| t.a.wrapping_add(index * t.a_stride);
    // SAFETY: the caller vouches for what is read; nothing is written but registers that are declared.
    unsafe {
        asm!(
            "2:",
            "dup v1.4s, {flip:w}",
            "ldr q2, [{a0}], #16",
            "ldr q3, [{a1}], #16",
            "ldr q4, [{a2}], #16",
            "ldr q5, [{a3}], #16",
            "ldr q6, [{a4}], #16",
            "ldr q7, [{a5}], #16",
            "ldr q0, [{b}]",
            "eor v2.16b, v2.16b, v1.16b",
            "eor v3.16b, v3.16b, v1.16b",
            "eor v4.16b, v4.16b, v1.16b",
            "eor v5.16b, v5.16b, v1.16b",
            "eor v6.16b, v6.16b, v1.16b",
            "eor v7.16b, v7.16b, v1.16b",
            line!("0", "ldr q1, [{b}, #16]", "ldr q0, [{b}, #32]", "ldr q1, [{b}, #48]",
                "ldr q0, [{b}, #64]"),
            line!("1", "ldr q1, [{b}, #80]", "ldr q0, [{b}, #96]", "ldr q1, [{b}, #112]",
                "ldr q0, [{b}, #128]"),
            line!("2", "ldr q1, [{b}, #144]", "ldr q0, [{b}, #160]", "ldr q1, [{b}, #176]",
                "ldr q0, [{b}, #192]"),
            line!("3", "ldr q1, [{b}, #208]", "ldr q0, [{b}, #224]", "ldr q1, [{b}, #240]",
                "add {b}, {b}, #256"),
            "subs {fours}, {fours}, #1",
            "b.ne 2b",
            fours = inout(reg) fours => _,
            flip = in(reg) t.flip,
            b = inout(reg) t.b => _,
            a0 = inout(reg) row(0) => _,
            a1 = inout(reg) row(1) => _,
            a2 = inout(reg) row(2) => _,
            a3 = inout(reg) row(3) => _,
            a4 = inout(reg) row(4) => _,
            a5 = inout(reg) row(5) => _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            inout("v8") acc[0], inout("v9") acc[1], inout("v10") acc[2], inout("v11") acc[3],
            inout("v12") acc[4], inout("v13") acc[5], inout("v14") acc[6], inout("v15") acc[7],
            inout("v16") acc[8], inout("v17") acc[9], inout("v18") acc[10], inout("v19") acc[11],
            inout("v20") acc[12], inout("v21") acc[13], inout("v22") acc[14], inout("v23") acc[15],
            inout("v24") acc[16], inout("v25") acc[17], inout("v26") acc[18], inout("v27") acc[19],
            inout("v28") acc[20], inout("v29") acc[21], inout("v30") acc[22], inout("v31") acc[23],
            options(readonly, nostack),
        );
    }
}

/// A register of B times one group of six rows, while the next is read in halves.
macro_rules! halves {
    ($group:literal, $b:literal, $next:literal, $low:literal, $high:literal, $one:literal, $two:literal;
     $($acc:literal),+) => {
        halves!(@ $group, $b, $next, $low, $high, $one, $two; $($acc)+)
    };
    (@ $group:literal, $b:literal, $next:literal, $low:literal, $high:literal, $one:literal,
     $two:literal; $a:literal $c:literal $d:literal $e:literal $f:literal $g:literal) => {
        concat!(
            "sdot v", $a, ".4s, v", $b, ".16b, v2.4b[", $group, "]\n",
            $one, "\n",
            "ldr d", $next, ", [{b}, #", $low, "]\n",
            "sdot v", $c, ".4s, v", $b, ".16b, v3.4b[", $group, "]\n",
            "ldr {x}, [{b}, #", $high, "]\n",
            "sdot v", $d, ".4s, v", $b, ".16b, v4.4b[", $group, "]\n",
            $two, "\n",
            "sdot v", $e, ".4s, v", $b, ".16b, v5.4b[", $group, "]\n",
            "sdot v", $f, ".4s, v", $b, ".16b, v6.4b[", $group, "]\n",
            "ins v", $next, ".d[1], {x}\n",
            "sdot v", $g, ".4s, v", $b, ".16b, v7.4b[", $group, "]\n",
        )
    };
}

/// `pairs` times two depth groups of six rows and 16 columns, for cores that run in order: beside each
/// product something issues that needs no vector pipe, or loads 8 bytes. What the next turn needs of A
/// is read and flipped in general registers.
///
/// # Safety
/// - The rows of `t` are valid for as many groups, and so are 16 columns of B; there are some.
/// - The CPU has the dot product.
#[target_feature(enable = "neon,dotprod")]
unsafe fn six_by_sixteen_in_order(acc: &mut [int32x4_t; 24], t: &Tile, pairs: usize) {
    let row = |index: usize| t.a.wrapping_add(index * t.a_stride);
    let flip = u64::from(t.flip.cast_unsigned()) << 32 | u64::from(t.flip.cast_unsigned());
    // SAFETY: the caller vouches for what is read: in the last turn what comes next is the same again.
    // Nothing is written but registers that are declared.
    unsafe {
        asm!(
            "ldr {w0}, [{a0}]",
            "ldr {w1}, [{a1}]",
            "ldr {w2}, [{a2}]",
            "ldr {w3}, [{a3}]",
            "ldr {w4}, [{a4}]",
            "ldr {w5}, [{a5}]",
            "ldr q0, [{b}]",
            "2:",
            "eor {w0}, {w0}, {flip}",
            "eor {w1}, {w1}, {flip}",
            "fmov d2, {w0}",
            "eor {w2}, {w2}, {flip}",
            "fmov d3, {w1}",
            "eor {w3}, {w3}, {flip}",
            "fmov d4, {w2}",
            "eor {w4}, {w4}, {flip}",
            "fmov d5, {w3}",
            "eor {w5}, {w5}, {flip}",
            "fmov d6, {w4}",
            "subs {pairs}, {pairs}, #1",
            "fmov d7, {w5}",
            halves!("0", "0", "1", "16", "24", "csel {step}, {step}, xzr, ne",
                "add {off}, {off}, {step}, lsr #4"; "8", "12", "16", "20", "24", "28"),
            halves!("0", "1", "0", "32", "40", "ldr {w0}, [{a0}, {off}]", "";
                "9", "13", "17", "21", "25", "29"),
            halves!("0", "0", "1", "48", "56", "ldr {w1}, [{a1}, {off}]", "";
                "10", "14", "18", "22", "26", "30"),
            halves!("0", "1", "0", "64", "72", "ldr {w2}, [{a2}, {off}]", "";
                "11", "15", "19", "23", "27", "31"),
            halves!("1", "0", "1", "80", "88", "ldr {w3}, [{a3}, {off}]", "";
                "8", "12", "16", "20", "24", "28"),
            halves!("1", "1", "0", "96", "104", "ldr {w4}, [{a4}, {off}]", "";
                "9", "13", "17", "21", "25", "29"),
            halves!("1", "0", "1", "112", "120", "ldr {w5}, [{a5}, {off}]", "";
                "10", "14", "18", "22", "26", "30"),
            halves!("1", "1", "0", "0", "8", "add {b}, {b}, {step}", "";
                "11", "15", "19", "23", "27", "31"),
            "cbnz {pairs}, 2b",
            pairs = inout(reg) pairs => _,
            step = inout(reg) 2 * GROUP_BYTES => _,
            off = inout(reg) 0_usize => _,
            flip = in(reg) flip,
            b = inout(reg) t.b => _,
            x = out(reg) _,
            a0 = in(reg) row(0),
            a1 = in(reg) row(1),
            a2 = in(reg) row(2),
            a3 = in(reg) row(3),
            a4 = in(reg) row(4),
            a5 = in(reg) row(5),
            w0 = out(reg) _, w1 = out(reg) _, w2 = out(reg) _,
            w3 = out(reg) _, w4 = out(reg) _, w5 = out(reg) _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            inout("v8") acc[0], inout("v9") acc[1], inout("v10") acc[2], inout("v11") acc[3],
            inout("v12") acc[4], inout("v13") acc[5], inout("v14") acc[6], inout("v15") acc[7],
            inout("v16") acc[8], inout("v17") acc[9], inout("v18") acc[10], inout("v19") acc[11],
            inout("v20") acc[12], inout("v21") acc[13], inout("v22") acc[14], inout("v23") acc[15],
            inout("v24") acc[16], inout("v25") acc[17], inout("v26") acc[18], inout("v27") acc[19],
            inout("v28") acc[20], inout("v29") acc[21], inout("v30") acc[22], inout("v31") acc[23],
            options(readonly, nostack),
        );
    }
}

// The offset into the rows moves on by a sixteenth of that into B.
const _: () = assert!((2 * GROUP_BYTES) >> 4 == 2 * DEPTH);

/// The table of a kernel.
macro_rules! kernel {
    ($name:ident, $fours:ty, $id:literal) => {
        /// # Safety
        /// As [`crate::gemm::microkernel::TileFn`].
        #[target_feature(enable = "neon,dotprod")]
        unsafe fn tile<const ROWS: usize, const UNITS: usize>(t: &Tile) {
            // SAFETY: the caller's promise is this function's own.
            unsafe { neon_tile::tile::<$fours, ROWS, UNITS>(t) }
        }

        pub(in crate::gemm) static $name: Kernel = Kernel {
            id: $id,
            isa: Isa::NeonDot,
            left: Left::Signed,
            layout: Layout::Fours,
            many: None,
            one: None,
            limits: &limits::NEON_DOT,
            unit: UNIT,
            tiles: &[
        tile_row!(1: 1, 2, 3, 4, 5, 6),
        tile_row!(2: 1, 2, 3, 4, 5, 6),
        tile_row!(3: 1, 2, 3, 4, 5, 6),
        tile_row!(4: 1, 2, 3, 4, 5, 6),
            ],
    narrow: tile_row!(8: 1, 2),
            narrow_units: 8,
        };
    };
}

mod plain {
    use super::*;
    kernel!(KERNEL, NeonDot, "aarch64-s8s8s32-neon_dot-6x16");
}

mod in_order {
    use super::*;
    kernel!(IN_ORDER, InOrder<NeonDot>, "aarch64-s8s8s32-neon_dot_in_order-6x16");
}

pub(in crate::gemm) use in_order::IN_ORDER;
pub(in crate::gemm) use plain::KERNEL;
