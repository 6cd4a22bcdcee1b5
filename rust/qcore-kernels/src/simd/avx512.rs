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
    type I32 = __m512i;
    type Mask = __mmask16;

    #[inline(always)]
    fn splat_f32(self, value: f32) -> __m512 {
        intrinsic!(_mm512_set1_ps(value))
    }

    #[inline(always)]
    fn splat_i32(self, value: i32) -> __m512i {
        intrinsic!(_mm512_set1_epi32(value))
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_div_ps(a, b))
    }

    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        intrinsic!(_mm512_sqrt_ps(a))
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        intrinsic!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_min_ps(a, b))
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_max_ps(a, b))
    }

    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        intrinsic!(_mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a))
    }

    #[inline(always)]
    fn abs(self, a: __m512) -> __m512 {
        intrinsic!(_mm512_abs_ps(a))
    }

    #[inline(always)]
    fn exp2_int(self, a: __m512) -> __m512 {
        intrinsic!(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_add_epi32(
            _mm512_cvtps_epi32(a),
            _mm512_set1_epi32(127)
        ))))
    }

    #[inline(always)]
    fn lt(self, a: __m512, b: __m512) -> __mmask16 {
        intrinsic!(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b))
    }

    #[inline(always)]
    fn eq(self, a: __m512, b: __m512) -> __mmask16 {
        intrinsic!(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b))
    }

    #[inline(always)]
    fn select(self, mask: __mmask16, a: __m512, b: __m512) -> __m512 {
        intrinsic!(_mm512_mask_blend_ps(mask, b, a))
    }

    #[inline(always)]
    fn count(self, mask: __mmask16) -> usize {
        mask.count_ones() as usize
    }

    #[inline(always)]
    unsafe fn load_i8(self, ptr: *const i8) -> __m512i {
        // SAFETY: the caller vouches for the pointer, `self` for the feature.
        unsafe { _mm512_cvtepi8_epi32(_mm_loadu_si128(ptr.cast())) }
    }

    #[inline(always)]
    unsafe fn load_u8(self, ptr: *const u8) -> __m512i {
        // SAFETY: the caller vouches for the pointer, `self` for the feature.
        unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(ptr.cast())) }
    }

    #[inline(always)]
    fn to_i32(self, a: __m512) -> __m512i {
        intrinsic!(_mm512_cvtps_epi32(a))
    }

    #[inline(always)]
    fn to_f32(self, a: __m512i) -> __m512 {
        intrinsic!(_mm512_cvtepi32_ps(a))
    }

    #[inline(always)]
    fn add_i32(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsic!(_mm512_add_epi32(a, b))
    }

    #[inline(always)]
    fn sub_i32(self, a: __m512i, b: __m512i) -> __m512i {
        intrinsic!(_mm512_sub_epi32(a, b))
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

    #[inline(always)]
    unsafe fn load_i32(self, ptr: *const i32) -> __m512i {
        // SAFETY: the caller vouches for the pointer, `self` for the feature.
        unsafe { _mm512_loadu_epi32(ptr) }
    }

    #[inline(always)]
    unsafe fn store_i32(self, ptr: *mut i32, v: __m512i) {
        // SAFETY: the caller vouches for the pointer, `self` for the feature.
        unsafe { _mm512_storeu_epi32(ptr, v) }
    }

    #[inline(always)]
    unsafe fn store_i8x4(self, ptr: *mut i8, v: [__m512i; 4]) {
        // SAFETY: the caller vouches for the pointer, `self` for the feature.
        unsafe {
            let low = _mm512_packs_epi32(v[0], v[1]);
            let high = _mm512_packs_epi32(v[2], v[3]);
            // Packing works within 128-bit quarters; the permutation puts the quads in order.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let bytes = _mm512_permutexvar_epi32(order, _mm512_packs_epi16(low, high));
            _mm512_storeu_si512(ptr.cast(), bytes);
        }
    }

    #[inline(always)]
    unsafe fn store_u8x4(self, ptr: *mut u8, v: [__m512i; 4]) {
        // SAFETY: the caller vouches for the pointer, `self` for the feature.
        unsafe {
            let low = _mm512_packs_epi32(v[0], v[1]);
            let high = _mm512_packs_epi32(v[2], v[3]);
            // Packing works within 128-bit quarters; the permutation puts the quads in order.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            let bytes = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(low, high));
            _mm512_storeu_si512(ptr.cast(), bytes);
        }
    }
}
