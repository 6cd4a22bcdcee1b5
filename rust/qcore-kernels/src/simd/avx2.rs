//! Vectors of Avx2: 8 lanes.

use std::arch::x86_64::*;

use super::Simd;
use crate::isa::Isa;

/// Proof that this CPU has the instructions: only [`Avx2::new`] makes one.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(crate) fn new() -> Option<Self> {
        Isa::Avx2.is_available().then_some(Self(()))
    }
}

/// An intrinsic whose only condition is the CPU feature.
macro_rules! intrinsic {
    ($call:expr) => {{
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { $call }
    }};
}

impl Simd for Avx2 {
    const LANES: usize = 8;
    type F32 = __m256;

    #[inline(always)]
    fn splat_f32(self, value: f32) -> __m256 {
        intrinsic!(_mm256_set1_ps(value))
    }

    #[inline(always)]
    unsafe fn load_f32(self, ptr: *const f32) -> __m256 {
        // SAFETY: the caller vouches for the pointer, `self` for the feature.
        unsafe { _mm256_loadu_ps(ptr) }
    }

    #[inline(always)]
    unsafe fn store_f32(self, ptr: *mut f32, v: __m256) {
        // SAFETY: the caller vouches for the pointer, `self` for the feature.
        unsafe { _mm256_storeu_ps(ptr, v) }
    }
}
