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
    type I32 = __m256i;
    type Mask = __m256;

    #[inline(always)]
    fn splat_f32(self, value: f32) -> __m256 {
        intrinsic!(_mm256_set1_ps(value))
    }

    #[inline(always)]
    fn splat_i32(self, value: i32) -> __m256i {
        intrinsic!(_mm256_set1_epi32(value))
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        intrinsic!(_mm256_add_ps(a, b))
    }

    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        intrinsic!(_mm256_sub_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        intrinsic!(_mm256_mul_ps(a, b))
    }

    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        intrinsic!(_mm256_div_ps(a, b))
    }

    #[inline(always)]
    fn sqrt(self, a: __m256) -> __m256 {
        intrinsic!(_mm256_sqrt_ps(a))
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        intrinsic!(_mm256_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        intrinsic!(_mm256_min_ps(a, b))
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        intrinsic!(_mm256_max_ps(a, b))
    }

    #[inline(always)]
    fn round(self, a: __m256) -> __m256 {
        intrinsic!(_mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a))
    }

    #[inline(always)]
    fn abs(self, a: __m256) -> __m256 {
        intrinsic!(_mm256_andnot_ps(_mm256_set1_ps(-0.0), a))
    }

    #[inline(always)]
    fn exp2_int(self, a: __m256) -> __m256 {
        intrinsic!(_mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(
            _mm256_cvtps_epi32(a),
            _mm256_set1_epi32(127)
        ))))
    }

    #[inline(always)]
    fn lt(self, a: __m256, b: __m256) -> __m256 {
        intrinsic!(_mm256_cmp_ps::<_CMP_LT_OQ>(a, b))
    }

    #[inline(always)]
    fn eq(self, a: __m256, b: __m256) -> __m256 {
        intrinsic!(_mm256_cmp_ps::<_CMP_EQ_OQ>(a, b))
    }

    #[inline(always)]
    fn select(self, mask: __m256, a: __m256, b: __m256) -> __m256 {
        intrinsic!(_mm256_blendv_ps(b, a, mask))
    }

    #[inline(always)]
    fn count(self, mask: __m256) -> usize {
        intrinsic!(_mm256_movemask_ps(mask).count_ones() as usize)
    }

    #[inline(always)]
    unsafe fn load_i8(self, ptr: *const i8) -> __m256i {
        // SAFETY: the caller vouches for the pointer, `self` for the feature.
        unsafe { _mm256_cvtepi8_epi32(_mm_loadl_epi64(ptr.cast())) }
    }

    #[inline(always)]
    unsafe fn load_u8(self, ptr: *const u8) -> __m256i {
        // SAFETY: the caller vouches for the pointer, `self` for the feature.
        unsafe { _mm256_cvtepu8_epi32(_mm_loadl_epi64(ptr.cast())) }
    }

    #[inline(always)]
    fn to_i32(self, a: __m256) -> __m256i {
        intrinsic!(_mm256_cvtps_epi32(a))
    }

    #[inline(always)]
    fn to_f32(self, a: __m256i) -> __m256 {
        intrinsic!(_mm256_cvtepi32_ps(a))
    }

    #[inline(always)]
    fn add_i32(self, a: __m256i, b: __m256i) -> __m256i {
        intrinsic!(_mm256_add_epi32(a, b))
    }

    #[inline(always)]
    fn sub_i32(self, a: __m256i, b: __m256i) -> __m256i {
        intrinsic!(_mm256_sub_epi32(a, b))
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

    #[inline(always)]
    unsafe fn load_i32(self, ptr: *const i32) -> __m256i {
        // SAFETY: the caller vouches for the pointer, `self` for the feature.
        unsafe { _mm256_loadu_si256(ptr.cast()) }
    }

    #[inline(always)]
    unsafe fn store_i32(self, ptr: *mut i32, v: __m256i) {
        // SAFETY: the caller vouches for the pointer, `self` for the feature.
        unsafe { _mm256_storeu_si256(ptr.cast(), v) }
    }

    #[inline(always)]
    unsafe fn store_i8x4(self, ptr: *mut i8, v: [__m256i; 4]) {
        // SAFETY: the caller vouches for the pointer, `self` for the feature.
        unsafe {
            let low = _mm256_packs_epi32(v[0], v[1]);
            let high = _mm256_packs_epi32(v[2], v[3]);
            // Packing works within 128-bit halves; the permutation puts the quads in order.
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            let bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
            _mm256_storeu_si256(ptr.cast(), bytes);
        }
    }

    #[inline(always)]
    unsafe fn store_u8x4(self, ptr: *mut u8, v: [__m256i; 4]) {
        // SAFETY: the caller vouches for the pointer, `self` for the feature.
        unsafe {
            let low = _mm256_packs_epi32(v[0], v[1]);
            let high = _mm256_packs_epi32(v[2], v[3]);
            // Packing works within 128-bit halves; the permutation puts the quads in order.
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            let bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order);
            _mm256_storeu_si256(ptr.cast(), bytes);
        }
    }
}
