//! Vectors of Avx512: 16 lanes; a mask is a mask register.

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

/// Methods that are intrinsics whose only condition is the CPU feature.
macro_rules! pure {
    ($($name:ident($($arg:ident: $type:ty),*) -> $ret:ty = $body:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: $type),*) -> $ret {
            // SAFETY: `self` proves that the CPU has the feature.
            unsafe { $body }
        }
    )*};
}

/// Methods that are loads and stores.
macro_rules! memory {
    ($($name:ident($($arg:ident: $type:ty),*) $(-> $ret:ty)? = $body:expr;)*) => {$(
        #[inline(always)]
        unsafe fn $name(self, $($arg: $type),*) $(-> $ret)? {
            // SAFETY: the caller vouches for the pointer, `self` for the feature.
            unsafe { $body }
        }
    )*};
}

/// A helper over intrinsics, inlined into the kernel's own function.
macro_rules! helper {
    ($($(#[$doc:meta])* $name:ident($arg:ident: $type:ty) -> $ret:ty $body:block)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// The CPU has AVX-512 F and BW.
        #[inline(always)]
        unsafe fn $name($arg: $type) -> $ret {
            // SAFETY: the caller vouches for the feature.
            unsafe { $body }
        }
    )*};
}

helper! {
    /// Packing works within 128-bit quarters; this puts the dwords back in order.
    in_order(packed: __m512i) -> __m512i {
        let order =
            _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        _mm512_permutexvar_epi32(order, packed)
    }

    to_i8(v: [__m512i; 4]) -> __m512i {
        let low = _mm512_packs_epi32(v[0], v[1]);
        let high = _mm512_packs_epi32(v[2], v[3]);
        in_order(_mm512_packs_epi16(low, high))
    }

    to_u8(v: [__m512i; 4]) -> __m512i {
        let low = _mm512_packs_epi32(v[0], v[1]);
        let high = _mm512_packs_epi32(v[2], v[3]);
        in_order(_mm512_packus_epi16(low, high))
    }

    /// Rounds half to even on the bits; a NaN stays one, with its quiet bit set.
    to_bf16(v: __m512) -> __m256i {
        let bits = _mm512_castps_si512(v);
        let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
        let bias = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
        let rounded = _mm512_add_epi32(bits, bias);
        let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x0040_0000));
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
        let kept = _mm512_mask_blend_epi32(nan, rounded, quiet);
        _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(kept))
    }
}

/// `v + zero` as 16-bit integers, saturated, in the order of packing.
///
/// # Safety
/// The CPU has AVX-512 F and BW.
#[inline(always)]
unsafe fn words_from(v: [__m512i; 4], zero: __m512i) -> [__m512i; 2] {
    // SAFETY: the caller vouches for the feature.
    unsafe {
        let low = _mm512_packs_epi32(v[0], v[1]);
        let high = _mm512_packs_epi32(v[2], v[3]);
        [_mm512_adds_epi16(low, zero), _mm512_adds_epi16(high, zero)]
    }
}

impl Simd for Avx512 {
    const LANES: usize = 16;
    type F32 = __m512;
    type I32 = __m512i;
    type Mask = __mmask16;
    type Bytes = __m512i;

    memory! {
        load_f32(ptr: *const f32) -> __m512 = _mm512_loadu_ps(ptr);
        load_f16(ptr: *const u16) -> __m512 = _mm512_cvtph_ps(_mm256_loadu_si256(ptr.cast()));
        load_bf16(ptr: *const u16) -> __m512 = _mm512_castsi512_ps(
            _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(ptr.cast()))));
        load_i32(ptr: *const i32) -> __m512i = _mm512_loadu_si512(ptr.cast());
        load_i16(ptr: *const i16) -> __m512i = _mm512_cvtepi16_epi32(_mm256_loadu_si256(ptr.cast()));
        load_u16(ptr: *const u16) -> __m512i = _mm512_cvtepu16_epi32(_mm256_loadu_si256(ptr.cast()));
        load_i8(ptr: *const i8) -> __m512i = _mm512_cvtepi8_epi32(_mm_loadu_si128(ptr.cast()));
        load_u8(ptr: *const u8) -> __m512i = _mm512_cvtepu8_epi32(_mm_loadu_si128(ptr.cast()));
        gather_f32(base: *const f32, index: __m512i) -> __m512 = _mm512_i32gather_ps::<4>(index, base);

        store_f32(ptr: *mut f32, v: __m512) = _mm512_storeu_ps(ptr, v);
        stream_f32(ptr: *mut f32, v: __m512) = _mm512_stream_ps(ptr, v);
        store_f16(ptr: *mut u16, v: __m512) =
            _mm256_storeu_si256(ptr.cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v));
        store_bf16(ptr: *mut u16, v: __m512) = _mm256_storeu_si256(ptr.cast(), to_bf16(v));
        store_i32(ptr: *mut i32, v: __m512i) = _mm512_storeu_si512(ptr.cast(), v);
        store_i16(ptr: *mut i16, v: __m512i) =
            _mm256_storeu_si256(ptr.cast(), _mm512_cvtsepi32_epi16(v));
        store_u16(ptr: *mut u16, v: __m512i) = _mm256_storeu_si256(
            ptr.cast(), _mm512_cvtusepi32_epi16(_mm512_max_epi32(v, _mm512_setzero_si512())));
        store_i8(ptr: *mut i8, v: __m512i) = _mm_storeu_si128(ptr.cast(), _mm512_cvtsepi32_epi8(v));
        store_u8(ptr: *mut u8, v: __m512i) = _mm_storeu_si128(
            ptr.cast(), _mm512_cvtusepi32_epi8(_mm512_max_epi32(v, _mm512_setzero_si512())));
        store_i8x4(ptr: *mut i8, v: [__m512i; 4]) = _mm512_storeu_si512(ptr.cast(), to_i8(v));
        store_u8x4(ptr: *mut u8, v: [__m512i; 4]) = _mm512_storeu_si512(ptr.cast(), to_u8(v));
        store_i8x4_from(ptr: *mut i8, v: [__m512i; 4], zero: __m512i, low: __m512i) = {
            let [a, b] = words_from(v, zero);
            _mm512_storeu_si512(ptr.cast(), in_order(_mm512_max_epi8(_mm512_packs_epi16(a, b), low)));
        };
        store_u8x4_from(ptr: *mut u8, v: [__m512i; 4], zero: __m512i, low: __m512i) = {
            let [a, b] = words_from(v, zero);
            _mm512_storeu_si512(ptr.cast(), in_order(_mm512_max_epu8(_mm512_packus_epi16(a, b), low)));
        };
        stream_i8x4(ptr: *mut i8, v: [__m512i; 4]) = _mm512_stream_si512(ptr.cast(), to_i8(v));
        stream_u8x4(ptr: *mut u8, v: [__m512i; 4]) = _mm512_stream_si512(ptr.cast(), to_u8(v));
        store_bytes(ptr: *mut u8, v: __m512i) = _mm512_storeu_si512(ptr.cast(), v);
        stream_bytes(ptr: *mut u8, v: __m512i) = _mm512_stream_si512(ptr.cast(), v);
    }

    pure! {
        splat_f32(value: f32) -> __m512 = _mm512_set1_ps(value);
        splat_i32(value: i32) -> __m512i = _mm512_set1_epi32(value);
        fence() -> () = _mm_sfence();

        add(a: __m512, b: __m512) -> __m512 = _mm512_add_ps(a, b);
        sub(a: __m512, b: __m512) -> __m512 = _mm512_sub_ps(a, b);
        mul(a: __m512, b: __m512) -> __m512 = _mm512_mul_ps(a, b);
        div(a: __m512, b: __m512) -> __m512 = _mm512_div_ps(a, b);
        mul_add(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
        fma(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
        sqrt(a: __m512) -> __m512 = _mm512_sqrt_ps(a);
        min(a: __m512, b: __m512) -> __m512 = _mm512_min_ps(a, b);
        max(a: __m512, b: __m512) -> __m512 = _mm512_max_ps(a, b);
        abs(a: __m512) -> __m512 = _mm512_abs_ps(a);
        round(a: __m512) -> __m512 =
            _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
        // Largest of the sizes, sign cleared.
        max_abs(a: __m512, b: __m512) -> __m512 = _mm512_range_ps::<0b1011>(a, b);
        floor(a: __m512) -> __m512 =
            _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(a);

        lt(a: __m512, b: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b);
        eq(a: __m512, b: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b);
        unordered(a: __m512, b: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, b);
        select(mask: __mmask16, yes: __m512, no: __m512) -> __m512 =
            _mm512_mask_blend_ps(mask, no, yes);
        ne_i32(a: __m512i, b: __m512i) -> __mmask16 = _mm512_cmpneq_epi32_mask(a, b);
        gt_i32(a: __m512i, b: __m512i) -> __mmask16 = _mm512_cmpgt_epi32_mask(a, b);
        select_i32(mask: __mmask16, yes: __m512i, no: __m512i) -> __m512i =
            _mm512_mask_blend_epi32(mask, no, yes);
        and(a: __mmask16, b: __mmask16) -> __mmask16 = _kand_mask16(a, b);
        or(a: __mmask16, b: __mmask16) -> __mmask16 = _kor_mask16(a, b);
        bits(mask: __mmask16) -> u32 = _cvtmask16_u32(mask);

        add_i32(a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi32(a, b);
        sub_i32(a: __m512i, b: __m512i) -> __m512i = _mm512_sub_epi32(a, b);
        min_i32(a: __m512i, b: __m512i) -> __m512i = _mm512_min_epi32(a, b);
        max_i32(a: __m512i, b: __m512i) -> __m512i = _mm512_max_epi32(a, b);
        and_i32(a: __m512i, b: __m512i) -> __m512i = _mm512_and_si512(a, b);

        halves(v: [__m512i; 4], most: i16, least: i8) -> (__m512i, bool) = {
            // What does not fit saturates, and is beyond `most` then, as an unsigned number.
            let two = _mm512_set1_epi16(2);
            let low = _mm512_sub_epi16(_mm512_packs_epi32(v[0], v[1]), two);
            let high = _mm512_sub_epi16(_mm512_packs_epi32(v[2], v[3]), two);
            let most = _mm512_set1_epi16(most);
            let beyond =
                _mm512_or_si512(_mm512_subs_epu16(low, most), _mm512_subs_epu16(high, most));
            let odd = _mm512_and_si512(_mm512_or_si512(low, high), _mm512_set1_epi16(1));
            let bad = _mm512_or_si512(beyond, odd);
            let bytes = _mm512_packus_epi16(
                _mm512_srli_epi16::<1>(low), _mm512_srli_epi16::<1>(high));
            let bytes = in_order(_mm512_add_epi8(bytes, _mm512_set1_epi8(least)));
            (bytes, _mm512_test_epi32_mask(bad, bad) == 0)
        };

        to_i32(a: __m512) -> __m512i = _mm512_cvtps_epi32(a);
        to_f32(a: __m512i) -> __m512 = _mm512_cvtepi32_ps(a);
        bits_of(a: __m512) -> __m512i = _mm512_castps_si512(a);
        float_of(a: __m512i) -> __m512 = _mm512_castsi512_ps(a);

        reduce_add(a: __m512) -> f32 = _mm512_reduce_add_ps(a);
        reduce_min(a: __m512) -> f32 = _mm512_reduce_min_ps(a);
        reduce_max(a: __m512) -> f32 = _mm512_reduce_max_ps(a);
        reduce_max_i32(a: __m512i) -> i32 = _mm512_reduce_max_epi32(a);
    }

    #[inline(always)]
    fn prefetch<T>(self, ptr: *const T) {
        // SAFETY: a prefetch of any address does nothing but that.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(ptr.cast()) }
    }
    #[inline(always)]
    fn shl_i32<const N: u32>(self, a: __m512i) -> __m512i {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { _mm512_slli_epi32::<N>(a) }
    }
    #[inline(always)]
    fn shr_i32<const N: u32>(self, a: __m512i) -> __m512i {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { _mm512_srai_epi32::<N>(a) }
    }
}
