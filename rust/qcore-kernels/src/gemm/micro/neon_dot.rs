//! NEON with the dot product: `sdot` of four columns with one depth group of a register of A.
//!
//! It takes bytes of one sign only: unsigned ones of A have their top bit flipped as they are read.

use std::arch::aarch64::*;
use std::arch::asm;

use super::neon_tile::{self, Fours, UNIT};
use super::tile_row;
use crate::gemm::limits;
use crate::gemm::microkernel::{Kernel, Layout, Left, Tile};
use crate::isa::Isa;

struct NeonDot;

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

/// # Safety
/// As [`crate::gemm::microkernel::TileFn`].
#[target_feature(enable = "neon,dotprod")]
unsafe fn tile<const ROWS: usize, const UNITS: usize>(t: &Tile) {
    // SAFETY: the caller's promise is this function's own.
    unsafe { neon_tile::tile::<NeonDot, ROWS, UNITS>(t) }
}

pub(in crate::gemm) static KERNEL: Kernel = Kernel {
    id: "aarch64-s8s8s32-neon_dot-6x16",
    isa: Isa::NeonDot,
    left: Left::Signed,
    layout: Layout::Fours,
    many: None,
    one: None,
    limits: &limits::NEON,
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
