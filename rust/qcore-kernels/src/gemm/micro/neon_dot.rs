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
    unsafe fn sums(acc: int32x4_t) -> int32x4_t {
        acc
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
