//! AVX2: `vpmaddwd` over bytes widened to 16 bits, exact for every operand.
//!
//! `vpmaddubsw` would be faster and saturates. An accumulator holds two partial sums for each of four
//! columns; they are added at the end.

use std::arch::x86_64::*;

use super::{Dot, tile_functions, tile_row};
use crate::gemm::microkernel::{Kernel, Left};
use crate::isa::Isa;

struct Avx2;

impl Dot for Avx2 {
    const UNIT: usize = 4;
    const A_BYTES: usize = 8;
    type Acc = __m256i;
    type A = __m256i;
    type B = __m256i;

    #[inline(always)]
    unsafe fn zero() -> __m256i {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn load_a(ptr: *const u8, _: i32) -> __m256i {
        // SAFETY: the caller vouches for A_BYTES bytes and the instruction set.
        unsafe { _mm256_set1_epi64x(ptr.cast::<i64>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn load_b(ptr: *const i8) -> __m256i {
        // SAFETY: the caller vouches for 4 * UNIT bytes and the instruction set.
        unsafe { _mm256_cvtepi8_epi16(_mm_loadu_si128(ptr.cast())) }
    }

    #[inline(always)]
    unsafe fn dot(acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { _mm256_add_epi32(acc, _mm256_madd_epi16(a, b)) }
    }

    #[inline(always)]
    unsafe fn store(acc: __m256i, start: *const i32, row: i32, c: *mut i32) {
        // SAFETY: the caller vouches for UNIT elements at `start` and `c`, and the instruction set.
        unsafe {
            let (low, high) = (_mm256_castsi256_si128(acc), _mm256_extracti128_si256::<1>(acc));
            let start = _mm_add_epi32(_mm_loadu_si128(start.cast()), _mm_set1_epi32(row));
            _mm_storeu_si128(c.cast(), _mm_add_epi32(_mm_hadd_epi32(low, high), start));
        }
    }
}

tile_functions!(Avx2, "avx2");

pub(in crate::gemm) static KERNEL: Kernel = Kernel {
    id: "x86_64-i8i8s32-avx2-6x8",
    isa: Isa::Avx2,
    left: Left::I16,
    unit: Avx2::UNIT,
    tiles: &[tile_row!(1: 1, 2, 3, 4, 5, 6), tile_row!(2: 1, 2, 3, 4, 5, 6)],
    narrow: tile_row!(4: 1, 2),
    narrow_units: 4,
};
