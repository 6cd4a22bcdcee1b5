//! SSE2: `pmaddwd` over bytes widened to 16 bits, exact for every operand.
//!
//! An accumulator holds two partial sums for each of two columns; they are added at the end.

use std::arch::x86_64::*;

use super::{Dot, tile_functions, tile_row};
use crate::gemm::microkernel::{Kernel, Left};
use crate::isa::Isa;

struct Sse2;

impl Dot for Sse2 {
    const UNIT: usize = 2;
    const A_BYTES: usize = 8;
    type Acc = __m128i;
    type A = __m128i;
    type B = __m128i;

    #[inline(always)]
    unsafe fn zero() -> __m128i {
        // SAFETY: SSE2 is part of x86-64.
        unsafe { _mm_setzero_si128() }
    }

    #[inline(always)]
    unsafe fn load_a(ptr: *const u8, _: i32) -> __m128i {
        // SAFETY: the caller vouches for A_BYTES bytes; SSE2 is part of x86-64.
        unsafe {
            let row = _mm_loadl_epi64(ptr.cast());
            _mm_unpacklo_epi64(row, row)
        }
    }

    #[inline(always)]
    unsafe fn load_b(ptr: *const i8) -> __m128i {
        // SAFETY: the caller vouches for 4 * UNIT bytes; SSE2 is part of x86-64.
        unsafe {
            let bytes = _mm_loadl_epi64(ptr.cast());
            _mm_srai_epi16::<8>(_mm_unpacklo_epi8(bytes, bytes))
        }
    }

    #[inline(always)]
    unsafe fn dot(acc: __m128i, a: __m128i, b: __m128i) -> __m128i {
        // SAFETY: SSE2 is part of x86-64.
        unsafe { _mm_add_epi32(acc, _mm_madd_epi16(a, b)) }
    }

    #[inline(always)]
    unsafe fn store(acc: __m128i, start: *const i32, row: i32, c: *mut i32) {
        // SAFETY: the caller vouches for UNIT elements at `start` and `c`; SSE2 is part of x86-64.
        unsafe {
            let even = _mm_shuffle_epi32::<0b10_00_10_00>(acc);
            let odd = _mm_shuffle_epi32::<0b11_01_11_01>(acc);
            let start = _mm_add_epi32(_mm_loadl_epi64(start.cast()), _mm_set1_epi32(row));
            _mm_storel_epi64(c.cast(), _mm_add_epi32(_mm_add_epi32(even, odd), start));
        }
    }
}

tile_functions!(Sse2, "sse2");

pub(in crate::gemm) static KERNEL: Kernel = Kernel {
    id: "x86_64-i8i8s32-sse2-4x4",
    isa: Isa::Sse2,
    left: Left::I16,
    unit: Sse2::UNIT,
    tiles: &[tile_row!(1: 1, 2, 3, 4), tile_row!(2: 1, 2, 3, 4)],
    narrow: tile_row!(4: 1, 2),
    narrow_units: 4,
};
