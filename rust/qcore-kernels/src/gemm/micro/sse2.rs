//! SSE2: `pmaddwd` over bytes widened to 16 bits, exact for every operand.
//!
//! To widen takes two instructions, which SSE4.1 has as one: so words that were widened before are
//! taken wherever some rows meet them, and one row is all that SSE4.1 would gain.

use std::arch::x86_64::*;

use super::{Dot, tile_functions, tile_row};
use crate::gemm::limits;
use crate::gemm::microkernel::{Kernel, Layout, Left};
use crate::isa::Isa;

/// On pairs of bytes, or of words that they were widened to before.
struct Sse2<const WIDE: bool>;

impl<const WIDE: bool> Dot for Sse2<WIDE> {
    const UNIT: usize = 4;
    const STEPS: usize = 2;
    const A_BYTES: usize = 4;
    const B_BYTES: usize = if WIDE { 64 } else { 32 };
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
        unsafe { _mm_set1_epi32(ptr.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn load_b(ptr: *const i8) -> __m128i {
        // SAFETY: the caller vouches for the unit's part of B_BYTES bytes; SSE2 is part of x86-64.
        unsafe {
            if WIDE {
                _mm_loadu_si128(ptr.cast())
            } else {
                let bytes = _mm_loadl_epi64(ptr.cast());
                _mm_srai_epi16::<8>(_mm_unpacklo_epi8(bytes, bytes))
            }
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
            let start = _mm_add_epi32(_mm_loadu_si128(start.cast()), _mm_set1_epi32(row));
            _mm_storeu_si128(c.cast(), _mm_add_epi32(acc, start));
        }
    }
}

tile_functions!(Sse2<false>, "sse2");

pub(in crate::gemm) static KERNEL: Kernel = Kernel {
    id: "x86_64-i8i8s32-sse2-4x8",
    isa: Isa::Sse2,
    left: Left::I16,
    layout: Layout::Pairs,
    many: Some(&words::KERNEL),
    one: None,
    limits: &limits::MADD_128,
    unit: 4,
    tiles: &[tile_row!(1: 1, 2, 3, 4), tile_row!(2: 1, 2, 3, 4)],
    narrow: tile_row!(4: 1, 2),
    narrow_units: 4,
};

/// The same on words.
mod words {
    use super::{Isa, Kernel, Layout, Left, Sse2, limits, tile_functions, tile_row};

    tile_functions!(Sse2<true>, "sse2");

    pub(super) static KERNEL: Kernel = Kernel {
        id: "x86_64-i8i8s32-sse2-5x8-words",
        isa: Isa::Sse2,
        left: Left::I16,
        layout: Layout::WidePairs,
        many: None,
        one: None,
        limits: &limits::MADD_128,
        unit: 4,
        tiles: &[tile_row!(1: 1, 2, 3, 4, 5), tile_row!(2: 1, 2, 3, 4, 5)],
        narrow: &[],
        narrow_units: 1,
    };
}
