//! Vectors of Avx2: 8 lanes; a mask is a float vector of all ones or zeros.

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
        /// The CPU has AVX2.
        #[inline(always)]
        unsafe fn $name($arg: $type) -> $ret {
            // SAFETY: the caller vouches for the feature.
            unsafe { $body }
        }
    )*};
}

helper! {
    /// The first words of both 128-bit halves, side by side.
    low_words(packed: __m256i) -> __m128i {
        _mm256_castsi256_si128(_mm256_permute4x64_epi64::<0b1000>(packed))
    }

    /// Packing works within 128-bit halves; this puts the dwords back in order.
    in_order(packed: __m256i) -> __m256i {
        _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
    }

    to_i8(v: [__m256i; 4]) -> __m256i {
        let low = _mm256_packs_epi32(v[0], v[1]);
        let high = _mm256_packs_epi32(v[2], v[3]);
        in_order(_mm256_packs_epi16(low, high))
    }

    to_u8(v: [__m256i; 4]) -> __m256i {
        let low = _mm256_packs_epi32(v[0], v[1]);
        let high = _mm256_packs_epi32(v[2], v[3]);
        in_order(_mm256_packus_epi16(low, high))
    }

    /// Rounds half to even on the bits; a NaN stays one, with its quiet bit set.
    to_bf16(v: __m256) -> __m128i {
        let bits = _mm256_castps_si256(v);
        let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
        let bias = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
        let rounded = _mm256_add_epi32(bits, bias);
        let quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000));
        let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
        let high = _mm256_srli_epi32::<16>(_mm256_blendv_epi8(rounded, quiet, nan));
        low_words(_mm256_packus_epi32(high, high))
    }
}

/// `v + zero` as 16-bit integers, saturated, in the order of packing.
///
/// # Safety
/// The CPU has AVX2.
#[inline(always)]
unsafe fn words_from(v: [__m256i; 4], zero: __m256i) -> [__m256i; 2] {
    // SAFETY: the caller vouches for the feature.
    unsafe {
        let low = _mm256_packs_epi32(v[0], v[1]);
        let high = _mm256_packs_epi32(v[2], v[3]);
        [_mm256_adds_epi16(low, zero), _mm256_adds_epi16(high, zero)]
    }
}

impl Simd for Avx2 {
    const LANES: usize = 8;
    type F32 = __m256;
    type I32 = __m256i;
    type Mask = __m256;
    type Bytes = __m256i;

    memory! {
        load_f32(ptr: *const f32) -> __m256 = _mm256_loadu_ps(ptr);
        load_f16(ptr: *const u16) -> __m256 = _mm256_cvtph_ps(_mm_loadu_si128(ptr.cast()));
        load_bf16(ptr: *const u16) -> __m256 = _mm256_castsi256_ps(
            _mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(ptr.cast()))));
        load_i32(ptr: *const i32) -> __m256i = _mm256_loadu_si256(ptr.cast());
        load_i16(ptr: *const i16) -> __m256i = _mm256_cvtepi16_epi32(_mm_loadu_si128(ptr.cast()));
        load_u16(ptr: *const u16) -> __m256i = _mm256_cvtepu16_epi32(_mm_loadu_si128(ptr.cast()));
        load_i8(ptr: *const i8) -> __m256i = _mm256_cvtepi8_epi32(_mm_loadl_epi64(ptr.cast()));
        load_u8(ptr: *const u8) -> __m256i = _mm256_cvtepu8_epi32(_mm_loadl_epi64(ptr.cast()));
        gather_f32(base: *const f32, index: __m256i) -> __m256 = _mm256_i32gather_ps::<4>(base, index);

        store_f32(ptr: *mut f32, v: __m256) = _mm256_storeu_ps(ptr, v);
        stream_f32(ptr: *mut f32, v: __m256) = _mm256_stream_ps(ptr, v);
        store_f16(ptr: *mut u16, v: __m256) =
            _mm_storeu_si128(ptr.cast(), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v));
        store_bf16(ptr: *mut u16, v: __m256) = _mm_storeu_si128(ptr.cast(), to_bf16(v));
        store_i32(ptr: *mut i32, v: __m256i) = _mm256_storeu_si256(ptr.cast(), v);
        store_i16(ptr: *mut i16, v: __m256i) =
            _mm_storeu_si128(ptr.cast(), low_words(_mm256_packs_epi32(v, v)));
        store_u16(ptr: *mut u16, v: __m256i) =
            _mm_storeu_si128(ptr.cast(), low_words(_mm256_packus_epi32(v, v)));
        store_i8(ptr: *mut i8, v: __m256i) = {
            let words = low_words(_mm256_packs_epi32(v, v));
            _mm_storel_epi64(ptr.cast(), _mm_packs_epi16(words, words));
        };
        store_u8(ptr: *mut u8, v: __m256i) = {
            let words = low_words(_mm256_packs_epi32(v, v));
            _mm_storel_epi64(ptr.cast(), _mm_packus_epi16(words, words));
        };
        store_i8x4(ptr: *mut i8, v: [__m256i; 4]) = _mm256_storeu_si256(ptr.cast(), to_i8(v));
        store_u8x4(ptr: *mut u8, v: [__m256i; 4]) = _mm256_storeu_si256(ptr.cast(), to_u8(v));
        store_i8x4_from(ptr: *mut i8, v: [__m256i; 4], zero: __m256i, low: __m256i) = {
            let [a, b] = words_from(v, zero);
            _mm256_storeu_si256(ptr.cast(), in_order(_mm256_max_epi8(_mm256_packs_epi16(a, b), low)));
        };
        store_u8x4_from(ptr: *mut u8, v: [__m256i; 4], zero: __m256i, low: __m256i) = {
            let [a, b] = words_from(v, zero);
            _mm256_storeu_si256(ptr.cast(), in_order(_mm256_max_epu8(_mm256_packus_epi16(a, b), low)));
        };
        stream_i8x4(ptr: *mut i8, v: [__m256i; 4]) = _mm256_stream_si256(ptr.cast(), to_i8(v));
        stream_u8x4(ptr: *mut u8, v: [__m256i; 4]) = _mm256_stream_si256(ptr.cast(), to_u8(v));
        store_bytes(ptr: *mut u8, v: __m256i) = _mm256_storeu_si256(ptr.cast(), v);
        stream_bytes(ptr: *mut u8, v: __m256i) = _mm256_stream_si256(ptr.cast(), v);
    }

    pure! {
        splat_f32(value: f32) -> __m256 = _mm256_set1_ps(value);
        splat_i32(value: i32) -> __m256i = _mm256_set1_epi32(value);
        fence() -> () = _mm_sfence();

        add(a: __m256, b: __m256) -> __m256 = _mm256_add_ps(a, b);
        sub(a: __m256, b: __m256) -> __m256 = _mm256_sub_ps(a, b);
        mul(a: __m256, b: __m256) -> __m256 = _mm256_mul_ps(a, b);
        div(a: __m256, b: __m256) -> __m256 = _mm256_div_ps(a, b);
        mul_add(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c);
        fma(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c);
        sqrt(a: __m256) -> __m256 = _mm256_sqrt_ps(a);
        min(a: __m256, b: __m256) -> __m256 = _mm256_min_ps(a, b);
        max(a: __m256, b: __m256) -> __m256 = _mm256_max_ps(a, b);
        abs(a: __m256) -> __m256 = _mm256_andnot_ps(_mm256_set1_ps(-0.0), a);
        round(a: __m256) -> __m256 =
            _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
        floor(a: __m256) -> __m256 = _mm256_floor_ps(a);

        lt(a: __m256, b: __m256) -> __m256 = _mm256_cmp_ps::<_CMP_LT_OQ>(a, b);
        eq(a: __m256, b: __m256) -> __m256 = _mm256_cmp_ps::<_CMP_EQ_OQ>(a, b);
        unordered(a: __m256, b: __m256) -> __m256 = _mm256_cmp_ps::<_CMP_UNORD_Q>(a, b);
        select(mask: __m256, yes: __m256, no: __m256) -> __m256 = _mm256_blendv_ps(no, yes, mask);
        ne_i32(a: __m256i, b: __m256i) -> __m256 = _mm256_castsi256_ps(
            _mm256_xor_si256(_mm256_cmpeq_epi32(a, b), _mm256_set1_epi32(-1)));
        gt_i32(a: __m256i, b: __m256i) -> __m256 = _mm256_castsi256_ps(_mm256_cmpgt_epi32(a, b));
        select_i32(mask: __m256, yes: __m256i, no: __m256i) -> __m256i =
            _mm256_blendv_epi8(no, yes, _mm256_castps_si256(mask));
        and(a: __m256, b: __m256) -> __m256 = _mm256_and_ps(a, b);
        or(a: __m256, b: __m256) -> __m256 = _mm256_or_ps(a, b);
        bits(mask: __m256) -> u32 = _mm256_movemask_ps(mask) as u32;

        add_i32(a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi32(a, b);
        sub_i32(a: __m256i, b: __m256i) -> __m256i = _mm256_sub_epi32(a, b);
        min_i32(a: __m256i, b: __m256i) -> __m256i = _mm256_min_epi32(a, b);
        max_i32(a: __m256i, b: __m256i) -> __m256i = _mm256_max_epi32(a, b);
        and_i32(a: __m256i, b: __m256i) -> __m256i = _mm256_and_si256(a, b);

        halves(v: [__m256i; 4], most: i16, least: i8) -> (__m256i, bool) = {
            // What does not fit saturates, and is beyond `most` then, as an unsigned number.
            let two = _mm256_set1_epi16(2);
            let low = _mm256_sub_epi16(_mm256_packs_epi32(v[0], v[1]), two);
            let high = _mm256_sub_epi16(_mm256_packs_epi32(v[2], v[3]), two);
            let most = _mm256_set1_epi16(most);
            let beyond =
                _mm256_or_si256(_mm256_subs_epu16(low, most), _mm256_subs_epu16(high, most));
            let odd = _mm256_and_si256(_mm256_or_si256(low, high), _mm256_set1_epi16(1));
            let bad = _mm256_or_si256(beyond, odd);
            let bytes = _mm256_packus_epi16(
                _mm256_srli_epi16::<1>(low), _mm256_srli_epi16::<1>(high));
            let bytes = in_order(_mm256_add_epi8(bytes, _mm256_set1_epi8(least)));
            (bytes, _mm256_testz_si256(bad, bad) == 1)
        };

        to_i32(a: __m256) -> __m256i = _mm256_cvtps_epi32(a);
        to_f32(a: __m256i) -> __m256 = _mm256_cvtepi32_ps(a);
        bits_of(a: __m256) -> __m256i = _mm256_castps_si256(a);
        float_of(a: __m256i) -> __m256 = _mm256_castsi256_ps(a);

        reduce_add(a: __m256) -> f32 = {
            let half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)))
        };
        reduce_min(a: __m256) -> f32 = {
            let half = _mm_min_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let pair = _mm_min_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_min_ss(pair, _mm_movehdup_ps(pair)))
        };
        reduce_max(a: __m256) -> f32 = {
            let half = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let pair = _mm_max_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_max_ss(pair, _mm_movehdup_ps(pair)))
        };
        reduce_max_i32(a: __m256i) -> i32 = {
            let half =
                _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256::<1>(a));
            let pair = _mm_max_epi32(half, _mm_shuffle_epi32::<0b1110>(half));
            _mm_cvtsi128_si32(_mm_max_epi32(pair, _mm_shuffle_epi32::<0b01>(pair)))
        };
    }

    #[inline(always)]
    unsafe fn pick_f32(self, base: *const f32, low: [usize; 4], high: [usize; 4]) -> __m256 {
        // Volatile, or the compiler makes a gather of the loads, which takes longer than they do. Each
        // by itself: what closures call is not compiled for the kernel's features.
        // SAFETY: the caller vouches for the places, `self` for the feature.
        unsafe {
            let low = _mm_setr_ps(
                base.add(low[0]).read_volatile(),
                base.add(low[1]).read_volatile(),
                base.add(low[2]).read_volatile(),
                base.add(low[3]).read_volatile(),
            );
            let high = _mm_setr_ps(
                base.add(high[0]).read_volatile(),
                base.add(high[1]).read_volatile(),
                base.add(high[2]).read_volatile(),
                base.add(high[3]).read_volatile(),
            );
            _mm256_set_m128(high, low)
        }
    }
    #[inline(always)]
    fn prefetch<T>(self, ptr: *const T) {
        // SAFETY: a prefetch of any address does nothing but that.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(ptr.cast()) }
    }
    #[inline(always)]
    fn shl_i32<const N: u32>(self, a: __m256i) -> __m256i {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { _mm256_sll_epi32(a, _mm_cvtsi32_si128(N as i32)) }
    }
    #[inline(always)]
    fn shr_i32<const N: u32>(self, a: __m256i) -> __m256i {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { _mm256_sra_epi32(a, _mm_cvtsi32_si128(N as i32)) }
    }
}
