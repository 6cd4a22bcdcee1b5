//! 128-bit vectors, which every x86-64 CPU has: as AVX2, half as wide.

use std::arch::x86_64::*;

use super::Dot4;
use crate::isa::Isa;

/// Proof that this CPU has SSE2, as every x86-64 CPU has: only [`Sse2::new`] makes one.
#[derive(Clone, Copy)]
pub(super) struct Sse2(());

impl Sse2 {
    pub(super) fn new() -> Option<Self> {
        Isa::Sse2.is_available().then_some(Self(()))
    }
}

impl Dot4 for Sse2 {
    const COLUMNS: usize = 16;
    const ROWS: usize = 2;
    type I32 = __m128i;

    #[inline(always)]
    fn splat(self, value: i32) -> __m128i {
        // SAFETY: SSE2 is part of x86-64.
        unsafe { _mm_set1_epi32(value) }
    }

    #[inline(always)]
    fn add(self, a: __m128i, b: __m128i) -> __m128i {
        // SAFETY: SSE2 is part of x86-64.
        unsafe { _mm_add_epi32(a, b) }
    }

    #[inline(always)]
    fn xor(self, a: __m128i, b: __m128i) -> __m128i {
        // SAFETY: SSE2 is part of x86-64.
        unsafe { _mm_xor_si128(a, b) }
    }

    #[inline(always)]
    fn sum(self, a: __m128i) -> i32 {
        // SAFETY: SSE2 is part of x86-64.
        unsafe {
            let pairs = _mm_add_epi32(a, _mm_shuffle_epi32::<0b01_00_11_10>(a));
            let all = _mm_add_epi32(pairs, _mm_shuffle_epi32::<0b10_11_00_01>(pairs));
            _mm_cvtsi128_si32(all)
        }
    }

    #[inline(always)]
    unsafe fn load(self, ptr: *const u8) -> __m128i {
        // SAFETY: the caller vouches for the bytes; SSE2 is part of x86-64.
        unsafe { _mm_loadu_si128(ptr.cast()) }
    }

    #[inline(always)]
    unsafe fn interleave(self, rows: [*const u8; 4]) -> [__m128i; 4] {
        // SAFETY: the caller vouches for 16 bytes of each row; SSE2 is part of x86-64.
        unsafe {
            let a = _mm_loadu_si128(rows[0].cast());
            let b = _mm_loadu_si128(rows[1].cast());
            let c = _mm_loadu_si128(rows[2].cast());
            let d = _mm_loadu_si128(rows[3].cast());
            let (ab, ab_high) = (_mm_unpacklo_epi8(a, b), _mm_unpackhi_epi8(a, b));
            let (cd, cd_high) = (_mm_unpacklo_epi8(c, d), _mm_unpackhi_epi8(c, d));
            [
                _mm_unpacklo_epi16(ab, cd),
                _mm_unpackhi_epi16(ab, cd),
                _mm_unpacklo_epi16(ab_high, cd_high),
                _mm_unpackhi_epi16(ab_high, cd_high),
            ]
        }
    }

    #[inline(always)]
    fn dot(self, acc: __m128i, unsigned: __m128i, signed: __m128i) -> __m128i {
        // SAFETY: SSE2 is part of x86-64.
        unsafe {
            let even = _mm_and_si128(unsigned, _mm_set1_epi16(0xff));
            let odd = _mm_srli_epi16::<8>(unsigned);
            let even_signed = _mm_srai_epi16::<8>(_mm_slli_epi16::<8>(signed));
            let odd_signed = _mm_srai_epi16::<8>(signed);
            let sum = _mm_add_epi32(acc, _mm_madd_epi16(even, even_signed));
            _mm_add_epi32(sum, _mm_madd_epi16(odd, odd_signed))
        }
    }

    #[inline(always)]
    unsafe fn store(self, ptr: *mut i32, sums: [__m128i; 4]) {
        for (index, sums) in sums.into_iter().enumerate() {
            // SAFETY: the caller vouches for 16 integers; SSE2 is part of x86-64.
            unsafe { _mm_storeu_si128(ptr.add(4 * index).cast(), sums) };
        }
    }
}
