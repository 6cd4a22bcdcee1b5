//! AVX2: `vpmaddubsw` of nibbles, which cannot saturate: two products are 15 · 128 · 2 at most.

use std::arch::x86_64::*;

use super::{Nibbles, kernel};

struct Avx2;

/// The products of 32 bytes of a line with 8 activations, as 8 int32.
///
/// # Safety
/// `line` is valid for 32 bytes, and the CPU has AVX2.
#[inline(always)]
unsafe fn products(line: *const u8, first: __m256i, second: __m256i) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let bytes = _mm256_loadu_si256(line.cast());
        let nibble = _mm256_set1_epi8(15);
        let low = _mm256_and_si256(bytes, nibble);
        let high = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), nibble);
        let pairs =
            _mm256_add_epi16(_mm256_maddubs_epi16(low, first), _mm256_maddubs_epi16(high, second));
        _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
    }
}

impl Nibbles for Avx2 {
    type Sums = (__m256i, __m256i);
    type Floats = (__m256, __m256);

    #[inline(always)]
    unsafe fn start(start: i32) -> Self::Sums {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { (_mm256_set1_epi32(start), _mm256_set1_epi32(start)) }
    }

    #[inline(always)]
    unsafe fn line(sums: Self::Sums, line: *const u8, a: *const i8) -> Self::Sums {
        // SAFETY: the caller vouches for 64 bytes of the line, 8 of a and the instruction set.
        unsafe {
            let first = _mm256_set1_epi32(a.cast::<i32>().read_unaligned());
            let second = _mm256_set1_epi32(a.add(4).cast::<i32>().read_unaligned());
            let low = products(line, first, second);
            let high = products(line.add(32), first, second);
            (_mm256_add_epi32(sums.0, low), _mm256_add_epi32(sums.1, high))
        }
    }

    #[inline(always)]
    unsafe fn zero() -> Self::Floats {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { (_mm256_setzero_ps(), _mm256_setzero_ps()) }
    }

    #[inline(always)]
    unsafe fn add(
        total: Self::Floats,
        sums: Self::Sums,
        scale: *const u8,
        half: bool,
    ) -> Self::Floats {
        // SAFETY: the caller vouches for 16 scales and the instruction set.
        unsafe {
            let (low, high) = if half {
                let halves = _mm256_loadu_si256(scale.cast());
                (
                    _mm256_cvtph_ps(_mm256_castsi256_si128(halves)),
                    _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(halves)),
                )
            } else {
                (_mm256_loadu_ps(scale.cast()), _mm256_loadu_ps(scale.add(32).cast()))
            };
            let low = _mm256_mul_ps(_mm256_cvtepi32_ps(sums.0), low);
            let high = _mm256_mul_ps(_mm256_cvtepi32_ps(sums.1), high);
            (_mm256_add_ps(total.0, low), _mm256_add_ps(total.1, high))
        }
    }

    #[inline(always)]
    unsafe fn store(total: Self::Floats, out: *mut f32) {
        // SAFETY: the caller vouches for 16 floats and the instruction set.
        unsafe {
            _mm256_storeu_ps(out, total.0);
            _mm256_storeu_ps(out.add(8), total.1);
        }
    }
}

kernel!(Avx2, "avx2,fma,f16c");
