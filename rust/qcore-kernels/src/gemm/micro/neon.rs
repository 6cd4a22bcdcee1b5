//! NEON, which every `AArch64` CPU has: products of bytes, 16 bits wide, added in pairs to 32 bits.
//!
//! Each product is added by itself: two would not fit 16 bits where all four factors are -128. CPUs
//! that multiply in one pipe add in the other, and lose nothing by it.

use std::arch::aarch64::*;

use super::neon_tile::{self, Fours, UNIT};
use super::tile_row;
use crate::gemm::limits;
use crate::gemm::microkernel::{Kernel, Layout, Left, Tile};
use crate::isa::Isa;

struct Neon;

impl Fours for Neon {
    /// Columns 0 and 1, then 2 and 3: two sums of each.
    type Acc = [int32x4_t; 2];
    type A = int8x16_t;

    #[inline(always)]
    unsafe fn zero() -> [int32x4_t; 2] {
        // SAFETY: every AArch64 CPU has NEON.
        unsafe { [vdupq_n_s32(0); 2] }
    }

    #[inline(always)]
    unsafe fn group<const G: i32>(a: int8x16_t) -> int8x16_t {
        // SAFETY: every AArch64 CPU has NEON.
        unsafe { vreinterpretq_s8_s32(vdupq_laneq_s32::<G>(vreinterpretq_s32_s8(a))) }
    }

    #[inline(always)]
    unsafe fn dot<const G: i32>(acc: [int32x4_t; 2], a: int8x16_t, b: int8x16_t) -> [int32x4_t; 2] {
        // SAFETY: every AArch64 CPU has NEON.
        unsafe {
            let low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
            let high = vmull_high_s8(a, b);
            [vpadalq_s16(acc[0], low), vpadalq_s16(acc[1], high)]
        }
    }

    #[inline(always)]
    unsafe fn sums(acc: [int32x4_t; 2]) -> int32x4_t {
        // SAFETY: every AArch64 CPU has NEON.
        unsafe { vpaddq_s32(acc[0], acc[1]) }
    }
}

/// # Safety
/// As [`crate::gemm::microkernel::TileFn`].
unsafe fn tile<const ROWS: usize, const UNITS: usize>(t: &Tile) {
    // SAFETY: the caller's promise is this function's own.
    unsafe { neon_tile::tile::<Neon, ROWS, UNITS>(t) }
}

pub(in crate::gemm) static KERNEL: Kernel = Kernel {
    id: "aarch64-s8s8s32-neon-2x16",
    isa: Isa::Neon,
    left: Left::Signed,
    layout: Layout::Fours,
    many: None,
    one: None,
    limits: &limits::NEON,
    unit: UNIT,
    tiles: &[tile_row!(1: 1, 2), tile_row!(2: 1, 2), tile_row!(3: 1, 2), tile_row!(4: 1, 2)],
    narrow: tile_row!(8: 1),
    narrow_units: 8,
};
