//! AVX-512 without the dot product: `vpmaddwd` over bytes widened to 16 bits, exact for every operand.

use std::arch::x86_64::*;

use super::{Dot, tile_functions, tile_row};
use crate::gemm::limits;
use crate::gemm::microkernel::{Kernel, Layout, Left};
use crate::isa::Isa;

/// On pairs of bytes, or of words that they were widened to before.
pub(super) struct Avx512<const WIDE: bool>;

impl<const WIDE: bool> Dot for Avx512<WIDE> {
    const UNIT: usize = 16;
    const STEPS: usize = 2;
    const A_BYTES: usize = 4;
    const B_BYTES: usize = if WIDE { 64 } else { 32 };
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
        // SAFETY: the caller vouches for A_BYTES bytes, and the instruction set.
        unsafe { _mm512_set1_epi32(ptr.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn load_b(ptr: *const i8) -> __m512i {
        // SAFETY: the caller vouches for the unit's part of B_BYTES bytes, and the instruction set.
        unsafe {
            if WIDE {
                _mm512_loadu_si512(ptr.cast())
            } else {
                _mm512_cvtepi8_epi16(_mm256_loadu_si256(ptr.cast()))
            }
        }
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
            let start = _mm512_add_epi32(_mm512_loadu_si512(start.cast()), _mm512_set1_epi32(row));
            _mm512_storeu_si512(c.cast(), _mm512_add_epi32(acc, start));
        }
    }
}

tile_functions!(Avx512<false>, "avx512f,avx512bw,avx512dq,avx512vl,avx2");

pub(in crate::gemm) static KERNEL: Kernel = Kernel {
    id: "x86_64-i8i8s32-avx512-6x64",
    isa: Isa::Avx512,
    left: Left::I16,
    layout: Layout::Pairs,
    many: Some(&words::KERNEL),
    one: None,
    limits: &limits::MADD_512,
    unit: 16,
    tiles: &[
        tile_row!(1: 1, 2, 3, 4, 5, 6),
        tile_row!(2: 1, 2, 3, 4, 5, 6),
        tile_row!(3: 1, 2, 3, 4, 5, 6),
        tile_row!(4: 1, 2, 3, 4, 5, 6),
    ],
    narrow: tile_row!(4: 1, 2),
    narrow_units: 4,
};

/// The same on words.
mod words {
    use super::{Avx512, Isa, Kernel, Layout, Left, limits, tile_functions, tile_row};

    tile_functions!(Avx512<true>, "avx512f,avx512bw,avx512dq,avx512vl,avx2");

    pub(super) static KERNEL: Kernel = Kernel {
        id: "x86_64-i8i8s32-avx512-6x64-words",
        isa: Isa::Avx512,
        left: Left::I16,
        layout: Layout::WidePairs,
        many: None,
        one: None,
        limits: &limits::MADD_512,
        unit: 16,
        tiles: &[
            tile_row!(1: 1, 2, 3, 4, 5, 6),
            tile_row!(2: 1, 2, 3, 4, 5, 6),
            tile_row!(3: 1, 2, 3, 4, 5, 6),
            tile_row!(4: 1, 2, 3, 4, 5, 6),
        ],
        narrow: &[],
        narrow_units: 1,
    };
}
