//! 256-bit vectors. Bytes are widened to 16 bits, in which every product and the sum of two is exact.

use std::arch::x86_64::*;

use super::Dot4;
use crate::isa::Isa;

/// Proof that this CPU has AVX2: only [`Avx2::new`] makes one.
#[derive(Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn new() -> Option<Self> {
        Isa::Avx2.is_available().then_some(Self(()))
    }
}

/// The sum of the lanes, wrapping.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn sum(a: __m256i) -> i32 {
    // SAFETY: the caller vouches for the feature.
    unsafe {
        let half = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256::<1>(a));
        let pairs = _mm_add_epi32(half, _mm_shuffle_epi32::<0b01_00_11_10>(half));
        let all = _mm_add_epi32(pairs, _mm_shuffle_epi32::<0b10_11_00_01>(pairs));
        _mm_cvtsi128_si32(all)
    }
}

/// Four rows of 32 bytes, the four bytes of a column side by side.
///
/// # Safety
/// Each row is valid for reading 32 bytes, and the CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn interleave(rows: [*const u8; 4]) -> [__m256i; 4] {
    // SAFETY: the caller vouches for the rows and for the feature.
    unsafe {
        let a = _mm256_loadu_si256(rows[0].cast());
        let b = _mm256_loadu_si256(rows[1].cast());
        let c = _mm256_loadu_si256(rows[2].cast());
        let d = _mm256_loadu_si256(rows[3].cast());
        let (ab, ab_high) = (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b));
        let (cd, cd_high) = (_mm256_unpacklo_epi8(c, d), _mm256_unpackhi_epi8(c, d));
        [
            _mm256_unpacklo_epi16(ab, cd),
            _mm256_unpackhi_epi16(ab, cd),
            _mm256_unpacklo_epi16(ab_high, cd_high),
            _mm256_unpackhi_epi16(ab_high, cd_high),
        ]
    }
}

/// Stores the sums of interleaved columns in the columns' order.
///
/// # Safety
/// `ptr` is valid for writing 32 integers, and the CPU has AVX2.
#[inline(always)]
pub(super) unsafe fn store(ptr: *mut i32, sums: [__m256i; 4]) {
    // The halves of vector j hold columns 4j to 4j + 3, and the same 16 further on.
    // SAFETY: the caller vouches for the integers and for the feature.
    unsafe {
        let low = _mm256_permute2x128_si256::<0x20>(sums[0], sums[1]);
        _mm256_storeu_si256(ptr.cast(), low);
        let low = _mm256_permute2x128_si256::<0x20>(sums[2], sums[3]);
        _mm256_storeu_si256(ptr.add(8).cast(), low);
        let high = _mm256_permute2x128_si256::<0x31>(sums[0], sums[1]);
        _mm256_storeu_si256(ptr.add(16).cast(), high);
        let high = _mm256_permute2x128_si256::<0x31>(sums[2], sums[3]);
        _mm256_storeu_si256(ptr.add(24).cast(), high);
    }
}

impl Dot4 for Avx2 {
    const COLUMNS: usize = 32;
    const ROWS: usize = 2;
    type I32 = __m256i;

    #[inline(always)]
    fn splat(self, value: i32) -> __m256i {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { _mm256_set1_epi32(value) }
    }

    #[inline(always)]
    fn add(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { _mm256_add_epi32(a, b) }
    }

    #[inline(always)]
    fn xor(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { _mm256_xor_si256(a, b) }
    }

    #[inline(always)]
    fn sum(self, a: __m256i) -> i32 {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { sum(a) }
    }

    #[inline(always)]
    unsafe fn load(self, ptr: *const u8) -> __m256i {
        // SAFETY: the caller vouches for the bytes, `self` for the feature.
        unsafe { _mm256_loadu_si256(ptr.cast()) }
    }

    #[inline(always)]
    unsafe fn interleave(self, rows: [*const u8; 4]) -> [__m256i; 4] {
        // SAFETY: the caller vouches for the rows, `self` for the feature.
        unsafe { interleave(rows) }
    }

    #[inline(always)]
    fn dot(self, acc: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe {
            let even = _mm256_and_si256(unsigned, _mm256_set1_epi16(0xff));
            let odd = _mm256_srli_epi16::<8>(unsigned);
            let even_signed = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(signed));
            let odd_signed = _mm256_srai_epi16::<8>(signed);
            let sum = _mm256_add_epi32(acc, _mm256_madd_epi16(even, even_signed));
            _mm256_add_epi32(sum, _mm256_madd_epi16(odd, odd_signed))
        }
    }

    const EIGHT: bool = true;

    #[inline(always)]
    unsafe fn dot_eight(
        self,
        acc: __m256i,
        rows: [*const u8; 4],
        values: [u8; 4],
        unsigned: bool,
    ) -> __m256i {
        // SAFETY: the caller vouches for eight bytes of each row, `self` for the feature.
        unsafe {
            let first = _mm_loadl_epi64(rows[0].cast());
            let first = _mm_unpacklo_epi8(first, _mm_loadl_epi64(rows[1].cast()));
            let second = _mm_loadl_epi64(rows[2].cast());
            let second = _mm_unpacklo_epi8(second, _mm_loadl_epi64(rows[3].cast()));
            let values = _mm_cvtsi32_si128(i32::from_le_bytes(values));
            // Pairs of each column, and of values in every lane.
            let (first, second, values) = if unsigned {
                let words = _mm_cvtepi8_epi16(values);
                (_mm256_cvtepu8_epi16(first), _mm256_cvtepu8_epi16(second), words)
            } else {
                let words = _mm_cvtepu8_epi16(values);
                (_mm256_cvtepi8_epi16(first), _mm256_cvtepi8_epi16(second), words)
            };
            let low = _mm256_broadcastd_epi32(values);
            let high = _mm256_broadcastd_epi32(_mm_srli_epi64::<32>(values));
            let sum = _mm256_add_epi32(acc, _mm256_madd_epi16(first, low));
            _mm256_add_epi32(sum, _mm256_madd_epi16(second, high))
        }
    }

    #[inline(always)]
    unsafe fn store_eight(self, ptr: *mut i32, sums: __m256i) {
        // SAFETY: the caller vouches for eight integers, `self` for the feature.
        unsafe { _mm256_storeu_si256(ptr.cast(), sums) }
    }

    #[inline(always)]
    unsafe fn store(self, ptr: *mut i32, sums: [__m256i; 4]) {
        // SAFETY: the caller vouches for the integers, `self` for the feature.
        unsafe { store(ptr, sums) }
    }
}
