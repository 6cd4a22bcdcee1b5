//! AVX-512 without the dot product: `vpmaddwd` over bytes widened to 16 bits, exact for every operand.
//!
//! An accumulator holds two partial sums for each of eight columns; they are added at the end.

use std::arch::x86_64::*;

use super::{Dot, tile_functions, tile_row};
use crate::gemm::microkernel::{Kernel, Left};
use crate::isa::Isa;

struct Avx512;

impl Dot for Avx512 {
    const UNIT: usize = 8;
    const A_BYTES: usize = 8;
    type Acc = __m512i;
    type A = __m512i;
    type B = __m512i;

    #[inline(always)]
    unsafe fn zero() -> __m512i {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn load_a(ptr: *const u8, _: i32) -> __m512i {
        // SAFETY: the caller vouches for A_BYTES bytes and the instruction set.
        unsafe { _mm512_set1_epi64(ptr.cast::<i64>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn load_b(ptr: *const i8) -> __m512i {
        // SAFETY: the caller vouches for 4 * UNIT bytes and the instruction set.
        unsafe { _mm512_cvtepi8_epi16(_mm256_loadu_si256(ptr.cast())) }
    }

    #[inline(always)]
    unsafe fn dot(acc: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { _mm512_add_epi32(acc, _mm512_madd_epi16(a, b)) }
    }

    #[inline(always)]
    unsafe fn store(acc: __m512i, start: *const i32, row: i32, c: *mut i32) {
        // SAFETY: the caller vouches for UNIT elements at `start` and `c`, and the instruction set.
        unsafe {
            // The sum of each pair, in both of its halves; then the low half of each 64 bits.
            let pairs = _mm512_add_epi32(acc, _mm512_srli_epi64::<32>(acc));
            let start = _mm256_add_epi32(_mm256_loadu_si256(start.cast()), _mm256_set1_epi32(row));
            let sums = _mm256_add_epi32(_mm512_cvtepi64_epi32(pairs), start);
            _mm256_storeu_si256(c.cast(), sums);
        }
    }
}

tile_functions!(Avx512, "avx512f,avx512bw,avx512dq,avx512vl,avx2");

pub(in crate::gemm) static KERNEL: Kernel = Kernel {
    id: "x86_64-i8i8s32-avx512-6x32",
    isa: Isa::Avx512,
    left: Left::I16,
    unit: Avx512::UNIT,
    tiles: &[
        tile_row!(1: 1, 2, 3, 4, 5, 6),
        tile_row!(2: 1, 2, 3, 4, 5, 6),
        tile_row!(3: 1, 2, 3, 4, 5, 6),
        tile_row!(4: 1, 2, 3, 4, 5, 6),
    ],
    narrow: tile_row!(8: 1, 2),
    narrow_units: 8,
};
