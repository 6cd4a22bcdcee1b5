//! 512-bit vectors with the dot-product instruction.

use std::arch::x86_64::*;

use super::{Dot4, avx512};
use crate::isa::Isa;

/// Proof that this CPU has AVX-512 VNNI: only [`Avx512Vnni::new`] makes one.
#[derive(Clone, Copy)]
pub(super) struct Avx512Vnni(());

impl Avx512Vnni {
    pub(super) fn new() -> Option<Self> {
        Isa::Avx512Vnni.is_available().then_some(Self(()))
    }
}

impl Dot4 for Avx512Vnni {
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
        unsafe { avx512::interleave(rows) }
    }

    #[inline(always)]
    fn dot(self, acc: __m512i, unsigned: __m512i, signed: __m512i) -> __m512i {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { _mm512_dpbusd_epi32(acc, unsigned, signed) }
    }

    #[inline(always)]
    unsafe fn store(self, ptr: *mut i32, sums: [__m512i; 4]) {
        // SAFETY: the caller vouches for the integers, `self` for the features.
        unsafe { avx512::store(ptr, sums) }
    }
}
