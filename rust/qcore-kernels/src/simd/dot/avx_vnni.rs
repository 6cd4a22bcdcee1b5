//! 256-bit vectors with the VEX form of the dot-product instruction.

use std::arch::x86_64::*;

use super::{Dot4, avx2};
use crate::isa::Isa;

/// Proof that this CPU has AVX2 and AVX-VNNI: only [`AvxVnni::new`] makes one.
#[derive(Clone, Copy)]
pub(super) struct AvxVnni(());

impl AvxVnni {
    pub(super) fn new() -> Option<Self> {
        Isa::AvxVnni.is_available().then_some(Self(()))
    }
}

impl Dot4 for AvxVnni {
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
        unsafe { avx2::sum(a) }
    }

    #[inline(always)]
    unsafe fn load(self, ptr: *const u8) -> __m256i {
        // SAFETY: the caller vouches for the bytes, `self` for the feature.
        unsafe { _mm256_loadu_si256(ptr.cast()) }
    }

    #[inline(always)]
    unsafe fn interleave(self, rows: [*const u8; 4]) -> [__m256i; 4] {
        // SAFETY: the caller vouches for the rows, `self` for the feature.
        unsafe { avx2::interleave(rows) }
    }

    #[inline(always)]
    fn dot(self, acc: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { _mm256_dpbusd_avx_epi32(acc, unsigned, signed) }
    }

    #[inline(always)]
    unsafe fn store(self, ptr: *mut i32, sums: [__m256i; 4]) {
        // SAFETY: the caller vouches for the integers, `self` for the feature.
        unsafe { avx2::store(ptr, sums) }
    }
}
