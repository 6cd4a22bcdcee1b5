//! Vectors of Avx512: 16 lanes.

use std::arch::x86_64::*;

use super::Simd;
use crate::isa::Isa;

/// Proof that this CPU has the instructions: only [`Avx512::new`] makes one.
#[derive(Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    pub(crate) fn new() -> Option<Self> {
        Isa::Avx512.is_available().then_some(Self(()))
    }
}

/// An intrinsic whose only condition is the CPU feature.
macro_rules! intrinsic {
    ($call:expr) => {{
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { $call }
    }};
}

impl Simd for Avx512 {
    const LANES: usize = 16;
    type F32 = __m512;

    #[inline(always)]
    fn splat_f32(self, value: f32) -> __m512 {
        intrinsic!(_mm512_set1_ps(value))
    }

    #[inline(always)]
    unsafe fn load_f32(self, ptr: *const f32) -> __m512 {
        // SAFETY: the caller vouches for the pointer, `self` for the feature.
        unsafe { _mm512_loadu_ps(ptr) }
    }

    #[inline(always)]
    unsafe fn store_f32(self, ptr: *mut f32, v: __m512) {
        // SAFETY: the caller vouches for the pointer, `self` for the feature.
        unsafe { _mm512_storeu_ps(ptr, v) }
    }
}
