//! AVX-VNNI: the 256-bit VEX form of `vpdpbusd`.

use std::arch::x86_64::*;

use super::{Dot, tile_functions, tile_row};
use crate::gemm::limits;
use crate::gemm::microkernel::{GROUP_BYTES, Kernel, Layout, Left};
use crate::isa::Isa;

pub(super) struct AvxVnni;

impl Dot for AvxVnni {
    const UNIT: usize = 8;
    const STEPS: usize = 1;
    const A_BYTES: usize = 4;
    const B_BYTES: usize = GROUP_BYTES;
    type Acc = __m256i;
    type A = __m256i;
    type B = __m256i;

    #[inline(always)]
    unsafe fn zero() -> __m256i {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn load_a(ptr: *const u8, flip: i32) -> __m256i {
        // SAFETY: the caller vouches for A_BYTES bytes and the instruction set.
        unsafe {
            let group = _mm256_set1_epi32(ptr.cast::<i32>().read_unaligned());
            _mm256_xor_si256(group, _mm256_set1_epi32(flip))
        }
    }

    #[inline(always)]
    unsafe fn load_b(ptr: *const i8) -> __m256i {
        // SAFETY: the caller vouches for 4 * UNIT bytes and the instruction set.
        unsafe { _mm256_loadu_si256(ptr.cast()) }
    }

    #[inline(always)]
    unsafe fn dot(acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { _mm256_dpbusd_avx_epi32(acc, a, b) }
    }

    #[inline(always)]
    unsafe fn store(acc: __m256i, start: *const i32, row: i32, c: *mut i32) {
        // SAFETY: the caller vouches for UNIT elements at `start` and `c`, and the instruction set.
        unsafe {
            let start = _mm256_add_epi32(_mm256_loadu_si256(start.cast()), _mm256_set1_epi32(row));
            _mm256_storeu_si256(c.cast(), _mm256_add_epi32(acc, start));
        }
    }
}

tile_functions!(AvxVnni, "avx2,avxvnni");

pub(in crate::gemm) static KERNEL: Kernel = Kernel {
    id: "x86_64-u8s8s32-avx_vnni-6x16",
    isa: Isa::AvxVnni,
    left: Left::U8,
    layout: Layout::Fours,
    many: None,
    one: None,
    limits: &limits::DOT,
    unit: AvxVnni::UNIT,
    tiles: &[tile_row!(1: 1, 2, 3, 4, 5, 6), tile_row!(2: 1, 2, 3, 4, 5, 6)],
    narrow: tile_row!(8: 1),
    narrow_units: 8,
};
