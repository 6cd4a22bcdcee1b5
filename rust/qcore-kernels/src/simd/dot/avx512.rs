//! 512-bit vectors without dot-product instructions: as AVX2, twice as wide.

use std::arch::x86_64::*;

use super::Dot4;
use crate::isa::Isa;

/// Proof that this CPU has AVX-512 F and BW: only [`Avx512::new`] makes one.
#[derive(Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn new() -> Option<Self> {
        Isa::Avx512.is_available().then_some(Self(()))
    }
}

/// Four rows of 64 bytes, the four bytes of a column side by side.
///
/// # Safety
/// Each row is valid for reading 64 bytes, and the CPU has AVX-512 F and BW.
#[inline(always)]
pub(super) unsafe fn interleave(rows: [*const u8; 4]) -> [__m512i; 4] {
    // SAFETY: the caller vouches for the rows and for the features.
    unsafe {
        let a = _mm512_loadu_si512(rows[0].cast());
        let b = _mm512_loadu_si512(rows[1].cast());
        let c = _mm512_loadu_si512(rows[2].cast());
        let d = _mm512_loadu_si512(rows[3].cast());
        let (ab, ab_high) = (_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b));
        let (cd, cd_high) = (_mm512_unpacklo_epi8(c, d), _mm512_unpackhi_epi8(c, d));
        [
            _mm512_unpacklo_epi16(ab, cd),
            _mm512_unpackhi_epi16(ab, cd),
            _mm512_unpacklo_epi16(ab_high, cd_high),
            _mm512_unpackhi_epi16(ab_high, cd_high),
        ]
    }
}

/// Stores the sums of interleaved columns in the columns' order.
///
/// # Safety
/// `ptr` is valid for writing 64 integers, and the CPU has AVX-512 F.
#[inline(always)]
pub(super) unsafe fn store(ptr: *mut i32, sums: [__m512i; 4]) {
    // Quarter q of vector j holds columns 16q + 4j to 16q + 4j + 3: a transposition of quarters.
    // SAFETY: the caller vouches for the integers and for the features.
    unsafe {
        let low = _mm512_shuffle_i32x4::<0b01_00_01_00>(sums[0], sums[1]);
        let low_next = _mm512_shuffle_i32x4::<0b01_00_01_00>(sums[2], sums[3]);
        let high = _mm512_shuffle_i32x4::<0b11_10_11_10>(sums[0], sums[1]);
        let high_next = _mm512_shuffle_i32x4::<0b11_10_11_10>(sums[2], sums[3]);
        let quarters = [
            _mm512_shuffle_i32x4::<0b10_00_10_00>(low, low_next),
            _mm512_shuffle_i32x4::<0b11_01_11_01>(low, low_next),
            _mm512_shuffle_i32x4::<0b10_00_10_00>(high, high_next),
            _mm512_shuffle_i32x4::<0b11_01_11_01>(high, high_next),
        ];
        _mm512_storeu_si512(ptr.cast(), quarters[0]);
        _mm512_storeu_si512(ptr.add(16).cast(), quarters[1]);
        _mm512_storeu_si512(ptr.add(32).cast(), quarters[2]);
        _mm512_storeu_si512(ptr.add(48).cast(), quarters[3]);
    }
}

impl Dot4 for Avx512 {
    const COLUMNS: usize = 64;
    const ROWS: usize = 6;
    type I32 = __m512i;

    #[inline(always)]
    fn splat(self, value: i32) -> __m512i {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { _mm512_set1_epi32(value) }
    }

    #[inline(always)]
    fn add(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { _mm512_add_epi32(a, b) }
    }

    #[inline(always)]
    fn xor(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { _mm512_xor_si512(a, b) }
    }

    #[inline(always)]
    fn sum(self, a: __m512i) -> i32 {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { _mm512_reduce_add_epi32(a) }
    }

    #[inline(always)]
    unsafe fn load(self, ptr: *const u8) -> __m512i {
        // SAFETY: the caller vouches for the bytes, `self` for the feature.
        unsafe { _mm512_loadu_si512(ptr.cast()) }
    }

    #[inline(always)]
    unsafe fn interleave(self, rows: [*const u8; 4]) -> [__m512i; 4] {
        // SAFETY: the caller vouches for the rows, `self` for the features.
        unsafe { interleave(rows) }
    }

    #[inline(always)]
    fn dot(self, acc: __m512i, unsigned: __m512i, signed: __m512i) -> __m512i {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe {
            let even = _mm512_and_si512(unsigned, _mm512_set1_epi16(0xff));
            let odd = _mm512_srli_epi16::<8>(unsigned);
            let even_signed = _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(signed));
            let odd_signed = _mm512_srai_epi16::<8>(signed);
            let sum = _mm512_add_epi32(acc, _mm512_madd_epi16(even, even_signed));
            _mm512_add_epi32(sum, _mm512_madd_epi16(odd, odd_signed))
        }
    }

    #[inline(always)]
    unsafe fn store(self, ptr: *mut i32, sums: [__m512i; 4]) {
        // SAFETY: the caller vouches for the integers, `self` for the features.
        unsafe { store(ptr, sums) }
    }
}
