//! AVX-512 VNNI: `vpdpbusd` over 16 columns.

use std::arch::x86_64::*;

use super::{Dot, tile_functions, tile_row};
use crate::gemm::limits;
use crate::gemm::microkernel::{GROUP_BYTES, Kernel, Layout, Left};
use crate::isa::Isa;

pub(super) struct Avx512Vnni;

impl Dot for Avx512Vnni {
    const UNIT: usize = 16;
    const STEPS: usize = 1;
    const A_BYTES: usize = 4;
    const B_BYTES: usize = GROUP_BYTES;
    type Acc = __m512i;
    type A = __m512i;
    type B = __m512i;

    #[inline(always)]
    unsafe fn zero() -> __m512i {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn load_a(ptr: *const u8, flip: i32) -> __m512i {
        // SAFETY: the caller vouches for A_BYTES bytes and the instruction set.
        unsafe {
            let group = _mm512_set1_epi32(ptr.cast::<i32>().read_unaligned());
            _mm512_xor_si512(group, _mm512_set1_epi32(flip))
        }
    }

    #[inline(always)]
    unsafe fn load_b(ptr: *const i8) -> __m512i {
        // SAFETY: the caller vouches for 4 * UNIT bytes and the instruction set.
        unsafe { _mm512_loadu_si512(ptr.cast()) }
    }

    #[inline(always)]
    unsafe fn dot(acc: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { _mm512_dpbusd_epi32(acc, a, b) }
    }

    #[inline(always)]
    unsafe fn store(acc: __m512i, start: *const i32, row: i32, c: *mut i32) {
        // SAFETY: the caller vouches for UNIT elements at `start` and `c`, and the instruction set.
        unsafe {
            let start = _mm512_add_epi32(_mm512_loadu_epi32(start), _mm512_set1_epi32(row));
            _mm512_storeu_epi32(c, _mm512_add_epi32(acc, start));
        }
    }
}

tile_functions!(Avx512Vnni, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni");

pub(in crate::gemm) static KERNEL: Kernel = Kernel {
    id: "x86_64-u8s8s32-avx512_vnni-6x64",
    isa: Isa::Avx512Vnni,
    left: Left::U8,
    layout: Layout::Fours,
    many: None,
    one: None,
    limits: &limits::DOT,
    unit: Avx512Vnni::UNIT,
    tiles: &[
        tile_row!(1: 1, 2, 3, 4, 5, 6),
        tile_row!(2: 1, 2, 3, 4, 5, 6),
        tile_row!(3: 1, 2, 3, 4, 5, 6),
        tile_row!(4: 1, 2, 3, 4, 5, 6),
    ],
    narrow: tile_row!(8: 1, 2),
    narrow_units: 8,
};
