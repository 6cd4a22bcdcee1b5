//! AVX-512 VNNI: `vpdpbusd` of nibbles with broadcast activations.

use std::arch::x86_64::*;

use super::{Nibbles, kernel};

struct Avx512Vnni;

impl Nibbles for Avx512Vnni {
    type Sums = (__m512i, __m512i);
    type Floats = __m512;

    #[inline(always)]
    unsafe fn start(start: i32) -> Self::Sums {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { (_mm512_set1_epi32(start), _mm512_setzero_si512()) }
    }

    #[inline(always)]
    unsafe fn line(sums: Self::Sums, line: *const u8, a: *const i8) -> Self::Sums {
        // SAFETY: the caller vouches for 64 bytes of the line, 8 of a and the instruction set.
        unsafe {
            let bytes = _mm512_loadu_si512(line.cast());
            let nibble = _mm512_set1_epi8(15);
            let low = _mm512_and_si512(bytes, nibble);
            let high = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), nibble);
            let first = _mm512_set1_epi32(a.cast::<i32>().read_unaligned());
            let second = _mm512_set1_epi32(a.add(4).cast::<i32>().read_unaligned());
            (_mm512_dpbusd_epi32(sums.0, low, first), _mm512_dpbusd_epi32(sums.1, high, second))
        }
    }

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn add(total: __m512, sums: Self::Sums, scale: *const u8, half: bool) -> __m512 {
        // SAFETY: the caller vouches for 16 scales and the instruction set.
        unsafe {
            let scale = if half {
                _mm512_cvtph_ps(_mm256_loadu_si256(scale.cast()))
            } else {
                _mm512_loadu_ps(scale.cast())
            };
            let sums = _mm512_cvtepi32_ps(_mm512_add_epi32(sums.0, sums.1));
            _mm512_add_ps(total, _mm512_mul_ps(sums, scale))
        }
    }

    #[inline(always)]
    unsafe fn store(total: __m512, out: *mut f32) {
        // SAFETY: the caller vouches for 16 floats and the instruction set.
        unsafe { _mm512_storeu_ps(out, total) };
    }
}

kernel!(Avx512Vnni, "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni");
