//! AVX2: `vpmaddwd` over bytes widened to 16 bits, exact for every operand.
//!
//! `vpmaddubsw` would be faster and saturates. Bytes are widened as they are read, where few rows meet
//! them, or before: the widening takes two of the 26 vector instructions of a step of the tile.

use std::arch::x86_64::*;

use super::{Dot, tile_functions, tile_row};
use crate::gemm::limits;
use crate::gemm::microkernel::{Kernel, Layout, Left};
use crate::isa::Isa;

/// On pairs of bytes, or of words that they were widened to before.
pub(super) struct Avx2<const WIDE: bool>;

impl<const WIDE: bool> Dot for Avx2<WIDE> {
    const UNIT: usize = 8;
    const STEPS: usize = 2;
    const A_BYTES: usize = 4;
    const B_BYTES: usize = if WIDE { 64 } else { 32 };
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
        // SAFETY: the caller vouches for A_BYTES bytes, and the instruction set.
        unsafe { _mm256_set1_epi32(ptr.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn load_b(ptr: *const i8) -> __m256i {
        // SAFETY: the caller vouches for the unit's part of B_BYTES bytes, and the instruction set.
        unsafe {
            if WIDE {
                _mm256_loadu_si256(ptr.cast())
            } else {
                _mm256_cvtepi8_epi16(_mm_loadu_si128(ptr.cast()))
            }
        }
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
            let start = _mm256_add_epi32(_mm256_loadu_si256(start.cast()), _mm256_set1_epi32(row));
            _mm256_storeu_si256(c.cast(), _mm256_add_epi32(acc, start));
        }
    }
}

tile_functions!(Avx2<false>, "avx2");

pub(in crate::gemm) static KERNEL: Kernel = Kernel {
    id: "x86_64-i8i8s32-avx2-6x16",
    isa: Isa::Avx2,
    left: Left::I16,
    layout: Layout::Pairs,
    many: Some(&words::KERNEL),
    limits: &limits::MADD,
    unit: 8,
    tiles: &[tile_row!(1: 1, 2, 3, 4, 5, 6), tile_row!(2: 1, 2, 3, 4, 5, 6)],
    narrow: tile_row!(4: 1, 2),
    narrow_units: 4,
};

/// The same on words.
mod words {
    use super::{Avx2, Isa, Kernel, Layout, Left, limits, tile_functions, tile_row};

    tile_functions!(Avx2<true>, "avx2");

    pub(super) static KERNEL: Kernel = Kernel {
        id: "x86_64-i8i8s32-avx2-6x16-words",
        isa: Isa::Avx2,
        left: Left::I16,
        layout: Layout::WidePairs,
        many: None,
        limits: &limits::MADD,
        unit: 8,
        tiles: &[tile_row!(1: 1, 2, 3, 4, 5, 6), tile_row!(2: 1, 2, 3, 4, 5, 6)],
        narrow: &[],
        narrow_units: 1,
    };
}
