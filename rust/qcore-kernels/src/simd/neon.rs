//! Vectors of NEON: 8 lanes, in pairs of registers; a mask is a pair of all ones or zeros.
//!
//! Eight lanes, as AVX2 has them, so that kernels written for eight lanes and the order in which
//! those combine serve here too. There are registers for sixteen pairs.

use std::arch::aarch64::*;
use std::arch::asm;

use super::Simd;
use crate::isa::Isa;

/// Proof that this CPU has the instructions: only [`Neon::new`] makes one.
#[derive(Clone, Copy)]
pub(crate) struct Neon(());

impl Neon {
    pub(crate) fn new() -> Option<Self> {
        Isa::Neon.is_available().then_some(Self(()))
    }
}

/// Lanes 0 to 3, and 4 to 7, side by side.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Pair<T>(T, T);

type Floats = Pair<float32x4_t>;
type Integers = Pair<int32x4_t>;
type Truths = Pair<uint32x4_t>;

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

/// Methods that do one thing to both registers of each argument.
macro_rules! each {
    ($($name:ident($($arg:ident: $type:ty),*) -> $ret:ty = $body:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: $type),*) -> $ret {
            // SAFETY: `self` proves that the CPU has the feature.
            unsafe {
                Pair(
                    { $(let $arg = $arg.0;)* $body },
                    { $(let $arg = $arg.1;)* $body },
                )
            }
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

/// Helpers over intrinsics, inlined into the kernel's own function.
macro_rules! helper {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $ret:ty $body:block)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// The CPU has NEON.
        #[inline(always)]
        unsafe fn $name($($arg: $type),*) -> $ret {
            // SAFETY: the caller vouches for the feature.
            unsafe { $body }
        }
    )*};
}

helper! {
    /// Four half floats, widened. The intrinsic needs a type that stable Rust does not have.
    widen_f16(v: uint16x4_t) -> float32x4_t {
        let wide: float32x4_t;
        asm!(
            "fcvtl {wide:v}.4s, {v:v}.4h",
            v = in(vreg) v,
            wide = lateout(vreg) wide,
            options(pure, nomem, nostack, preserves_flags),
        );
        wide
    }

    /// The nearest half floats, half to even.
    narrow_f16(v: float32x4_t) -> uint16x4_t {
        let narrow: uint16x4_t;
        asm!(
            "fcvtn {narrow:v}.4h, {v:v}.4s",
            v = in(vreg) v,
            narrow = lateout(vreg) narrow,
            options(pure, nomem, nostack, preserves_flags),
        );
        narrow
    }

    /// Rounds half to even on the bits; a NaN stays one, with its quiet bit set.
    narrow_bf16(v: float32x4_t) -> uint16x4_t {
        let bits = vreinterpretq_u32_f32(v);
        let odd = vandq_u32(vshrq_n_u32::<16>(bits), vdupq_n_u32(1));
        let rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
        let quiet = vorrq_u32(bits, vdupq_n_u32(0x0040_0000));
        vshrn_n_u32::<16>(vbslq_u32(vceqq_f32(v, v), rounded, quiet))
    }

    /// As 16-bit integers, saturated.
    words(v: Integers) -> int16x8_t {
        vqmovn_high_s32(vqmovn_s32(v.0), v.1)
    }

    widen_i16(v: int16x8_t) -> Integers {
        Pair(vmovl_s16(vget_low_s16(v)), vmovl_high_s16(v))
    }

    widen_u16(v: uint16x8_t) -> Integers {
        Pair(
            vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(v))),
            vreinterpretq_s32_u32(vmovl_high_u16(v)),
        )
    }

    /// Two vectors of words as bytes, saturated.
    bytes_i8(low: int16x8_t, high: int16x8_t) -> int8x16_t {
        vqmovn_high_s16(vqmovn_s16(low), high)
    }

    bytes_u8(low: int16x8_t, high: int16x8_t) -> uint8x16_t {
        vqmovun_high_s16(vqmovun_s16(low), high)
    }

    /// The smaller; `b` where either is NaN, which the instruction for it would give on.
    smaller(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vbslq_f32(vcltq_f32(a, b), a, b)
    }

    larger(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vbslq_f32(vcgtq_f32(a, b), a, b)
    }

    /// Sixteen numbers less 2; and what is not 0 where one is odd, or beyond `most` as an unsigned one.
    /// What did not fit a word saturated, and is beyond `most` then.
    less_two(v: int16x8_t, most: uint16x8_t) -> (uint16x8_t, uint16x8_t) {
        let v = vreinterpretq_u16_s16(vsubq_s16(v, vdupq_n_s16(2)));
        (v, vorrq_u16(vcgtq_u16(v, most), vandq_u16(v, vdupq_n_u16(1))))
    }
}

impl Simd for Neon {
    const LANES: usize = 8;
    type F32 = Floats;
    type I32 = Integers;
    type Mask = Truths;
    type Bytes = Pair<uint8x16_t>;

    const BY_LANE: bool = true;

    #[inline(always)]
    unsafe fn load_four(self, ptr: *const f32) -> Floats {
        // SAFETY: the caller vouches for the pointer, `self` for the feature.
        let four = unsafe { vld1q_f32(ptr) };
        Pair(four, four)
    }

    #[inline(always)]
    fn fma_lane<const N: i32>(self, a: Floats, b: Floats, c: Floats) -> Floats {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { Pair(vfmaq_laneq_f32::<N>(c.0, b.0, a.0), vfmaq_laneq_f32::<N>(c.1, b.1, a.1)) }
    }

    memory! {
        load_f32(ptr: *const f32) -> Floats = Pair(vld1q_f32(ptr), vld1q_f32(ptr.add(4)));
        load_f16(ptr: *const u16) -> Floats = {
            let v = vld1q_u16(ptr);
            Pair(widen_f16(vget_low_u16(v)), widen_f16(vget_high_u16(v)))
        };
        load_bf16(ptr: *const u16) -> Floats = {
            let v = vld1q_u16(ptr);
            let (low, high) = (vshll_n_u16::<16>(vget_low_u16(v)), vshll_high_n_u16::<16>(v));
            Pair(vreinterpretq_f32_u32(low), vreinterpretq_f32_u32(high))
        };
        load_i32(ptr: *const i32) -> Integers = Pair(vld1q_s32(ptr), vld1q_s32(ptr.add(4)));
        load_i16(ptr: *const i16) -> Integers = widen_i16(vld1q_s16(ptr));
        load_u16(ptr: *const u16) -> Integers = widen_u16(vld1q_u16(ptr));
        load_i8(ptr: *const i8) -> Integers = widen_i16(vmovl_s8(vld1_s8(ptr)));
        load_u8(ptr: *const u8) -> Integers = widen_u16(vmovl_u8(vld1_u8(ptr)));
        pick_f32(base: *const f32, low: [usize; 4], high: [usize; 4]) -> Floats = {
            let a = vld1q_lane_f32::<1>(base.add(low[1]), vld1q_dup_f32(base.add(low[0])));
            let a = vld1q_lane_f32::<2>(base.add(low[2]), a);
            let b = vld1q_lane_f32::<1>(base.add(high[1]), vld1q_dup_f32(base.add(high[0])));
            let b = vld1q_lane_f32::<2>(base.add(high[2]), b);
            Pair(
                vld1q_lane_f32::<3>(base.add(low[3]), a),
                vld1q_lane_f32::<3>(base.add(high[3]), b),
            )
        };

        store_f32(ptr: *mut f32, v: Floats) = { vst1q_f32(ptr, v.0); vst1q_f32(ptr.add(4), v.1) };
        store_f16(ptr: *mut u16, v: Floats) =
            vst1q_u16(ptr, vcombine_u16(narrow_f16(v.0), narrow_f16(v.1)));
        store_bf16(ptr: *mut u16, v: Floats) =
            vst1q_u16(ptr, vcombine_u16(narrow_bf16(v.0), narrow_bf16(v.1)));
        store_i32(ptr: *mut i32, v: Integers) = { vst1q_s32(ptr, v.0); vst1q_s32(ptr.add(4), v.1) };
        store_i16(ptr: *mut i16, v: Integers) = vst1q_s16(ptr, words(v));
        store_u16(ptr: *mut u16, v: Integers) =
            vst1q_u16(ptr, vqmovun_high_s32(vqmovun_s32(v.0), v.1));
        store_i8(ptr: *mut i8, v: Integers) = vst1_s8(ptr, vqmovn_s16(words(v)));
        store_u8(ptr: *mut u8, v: Integers) = vst1_u8(ptr, vqmovun_s16(words(v)));
        store_i8x4(ptr: *mut i8, v: [Integers; 4]) = {
            vst1q_s8(ptr, bytes_i8(words(v[0]), words(v[1])));
            vst1q_s8(ptr.add(16), bytes_i8(words(v[2]), words(v[3])));
        };
        store_u8x4(ptr: *mut u8, v: [Integers; 4]) = {
            vst1q_u8(ptr, bytes_u8(words(v[0]), words(v[1])));
            vst1q_u8(ptr.add(16), bytes_u8(words(v[2]), words(v[3])));
        };
        store_i8x4_from(ptr: *mut i8, v: [Integers; 4], zero: Integers, low: Integers) = {
            let (zero, low) = (vreinterpretq_s16_s32(zero.0), vreinterpretq_s8_s32(low.0));
            let [a, b] = [vqaddq_s16(words(v[0]), zero), vqaddq_s16(words(v[1]), zero)];
            let [c, d] = [vqaddq_s16(words(v[2]), zero), vqaddq_s16(words(v[3]), zero)];
            vst1q_s8(ptr, vmaxq_s8(bytes_i8(a, b), low));
            vst1q_s8(ptr.add(16), vmaxq_s8(bytes_i8(c, d), low));
        };
        store_u8x4_from(ptr: *mut u8, v: [Integers; 4], zero: Integers, low: Integers) = {
            let (zero, low) = (vreinterpretq_s16_s32(zero.0), vreinterpretq_u8_s32(low.0));
            let [a, b] = [vqaddq_s16(words(v[0]), zero), vqaddq_s16(words(v[1]), zero)];
            let [c, d] = [vqaddq_s16(words(v[2]), zero), vqaddq_s16(words(v[3]), zero)];
            vst1q_u8(ptr, vmaxq_u8(bytes_u8(a, b), low));
            vst1q_u8(ptr.add(16), vmaxq_u8(bytes_u8(c, d), low));
        };
        store_bytes(ptr: *mut u8, v: Pair<uint8x16_t>) = { vst1q_u8(ptr, v.0); vst1q_u8(ptr.add(16), v.1) };
    }

    each! {
        add(a: Floats, b: Floats) -> Floats = vaddq_f32(a, b);
        sub(a: Floats, b: Floats) -> Floats = vsubq_f32(a, b);
        mul(a: Floats, b: Floats) -> Floats = vmulq_f32(a, b);
        div(a: Floats, b: Floats) -> Floats = vdivq_f32(a, b);
        mul_add(a: Floats, b: Floats, c: Floats) -> Floats = vfmaq_f32(c, a, b);
        fma(a: Floats, b: Floats, c: Floats) -> Floats = vfmaq_f32(c, a, b);
        sqrt(a: Floats) -> Floats = vsqrtq_f32(a);
        min(a: Floats, b: Floats) -> Floats = smaller(a, b);
        max(a: Floats, b: Floats) -> Floats = larger(a, b);
        abs(a: Floats) -> Floats = vabsq_f32(a);
        max_abs(a: Floats, b: Floats) -> Floats = vmaxnmq_f32(vabsq_f32(a), vabsq_f32(b));
        round(a: Floats) -> Floats = vrndnq_f32(a);
        floor(a: Floats) -> Floats = vrndmq_f32(a);
        // Of an integer every conversion is exact.
        exp2_int(a: Floats) -> Floats = vreinterpretq_f32_s32(vshlq_n_s32::<23>(
            vaddq_s32(vcvtq_s32_f32(a), vdupq_n_s32(127))));

        lt(a: Floats, b: Floats) -> Truths = vcltq_f32(a, b);
        eq(a: Floats, b: Floats) -> Truths = vceqq_f32(a, b);
        unordered(a: Floats, b: Floats) -> Truths =
            vmvnq_u32(vandq_u32(vceqq_f32(a, a), vceqq_f32(b, b)));
        select(mask: Truths, yes: Floats, no: Floats) -> Floats = vbslq_f32(mask, yes, no);
        ne_i32(a: Integers, b: Integers) -> Truths = vmvnq_u32(vceqq_s32(a, b));
        gt_i32(a: Integers, b: Integers) -> Truths = vcgtq_s32(a, b);
        select_i32(mask: Truths, yes: Integers, no: Integers) -> Integers =
            vbslq_s32(mask, yes, no);
        and(a: Truths, b: Truths) -> Truths = vandq_u32(a, b);
        or(a: Truths, b: Truths) -> Truths = vorrq_u32(a, b);

        add_i32(a: Integers, b: Integers) -> Integers = vaddq_s32(a, b);
        sub_i32(a: Integers, b: Integers) -> Integers = vsubq_s32(a, b);
        min_i32(a: Integers, b: Integers) -> Integers = vminq_s32(a, b);
        max_i32(a: Integers, b: Integers) -> Integers = vmaxq_s32(a, b);
        and_i32(a: Integers, b: Integers) -> Integers = vandq_s32(a, b);

        // What is too small saturates to the least by itself; NaN fails the comparison.
        to_i32(a: Floats) -> Integers = vbslq_s32(
            vcltq_f32(a, vdupq_n_f32(2_147_483_648.0)), vcvtnq_s32_f32(a), vdupq_n_s32(i32::MIN));
        // Of a number and NaN this maximum is the number.
        to_i32_below(a: Floats, high: Floats) -> Integers =
            vcvtnq_s32_f32(vminq_f32(vmaxnmq_f32(a, vdupq_n_f32(-2_147_483_648.0)), high));
        to_i32_between(a: Floats, low: Floats, high: Floats) -> Integers =
            vcvtnq_s32_f32(vminq_f32(vmaxnmq_f32(a, low), high));
        to_f32(a: Integers) -> Floats = vcvtq_f32_s32(a);
        bits_of(a: Floats) -> Integers = vreinterpretq_s32_f32(a);
        float_of(a: Integers) -> Floats = vreinterpretq_f32_s32(a);
    }

    pure! {
        splat_f32(value: f32) -> Floats = Pair(vdupq_n_f32(value), vdupq_n_f32(value));
        splat_i32(value: i32) -> Integers = Pair(vdupq_n_s32(value), vdupq_n_s32(value));

        bits(mask: Truths) -> u32 = {
            let low = vld1q_u32([1, 2, 4, 8].as_ptr());
            let low = vandq_u32(mask.0, low);
            let high = vandq_u32(mask.1, vld1q_u32([16, 32, 64, 128].as_ptr()));
            vaddvq_u32(vorrq_u32(low, high))
        };
        // A true lane is minus one.
        count(mask: Truths) -> usize = vaddvq_u32(vaddq_u32(mask.0, mask.1)).wrapping_neg() as usize;

        halves(v: [Integers; 4], most: i16, least: i8) -> (Pair<uint8x16_t>, bool) = {
            let most = vdupq_n_u16(most as u16);
            let [(a, bad_a), (b, bad_b)] = [less_two(words(v[0]), most), less_two(words(v[1]), most)];
            let [(c, bad_c), (d, bad_d)] = [less_two(words(v[2]), most), less_two(words(v[3]), most)];
            let bad = vorrq_u16(vorrq_u16(bad_a, bad_b), vorrq_u16(bad_c, bad_d));
            let least = vdupq_n_u8(least as u8);
            let low = vshrn_high_n_u16::<1>(vshrn_n_u16::<1>(a), b);
            let high = vshrn_high_n_u16::<1>(vshrn_n_u16::<1>(c), d);
            (Pair(vaddq_u8(low, least), vaddq_u8(high, least)), vmaxvq_u16(bad) == 0)
        };

        // In the order of AVX2: the halves, then lanes two apart, then what is left.
        reduce_add(a: Floats) -> f32 = {
            let half = vaddq_f32(a.0, a.1);
            vpadds_f32(vadd_f32(vget_low_f32(half), vget_high_f32(half)))
        };
        reduce_min(a: Floats) -> f32 = vminnmvq_f32(smaller(a.0, a.1));
        reduce_max(a: Floats) -> f32 = vmaxnmvq_f32(larger(a.0, a.1));
        reduce_max_i32(a: Integers) -> i32 = vmaxvq_s32(vmaxq_s32(a.0, a.1));
    }

    #[inline(always)]
    unsafe fn gather_f32(self, base: *const f32, index: Integers) -> Floats {
        // There is no instruction for it.
        let mut places = [0_i32; 8];
        // SAFETY: there are eight places; the caller vouches for the pointer at each.
        unsafe {
            self.store_i32(places.as_mut_ptr(), index);
            let [a, b, c, d, e, f, g, h] = places;
            let low = [a as usize, b as usize, c as usize, d as usize];
            self.pick_f32(base, low, [e as usize, f as usize, g as usize, h as usize])
        }
    }

    // A CPU that sees line after line written whole leaves them out of its caches by itself: stores
    // past the cache are stores, in the order of all others.
    #[inline(always)]
    unsafe fn stream_f32(self, ptr: *mut f32, v: Floats) {
        // SAFETY: the caller's promise.
        unsafe { self.store_f32(ptr, v) }
    }
    #[inline(always)]
    unsafe fn stream_i8x4(self, ptr: *mut i8, v: [Integers; 4]) {
        // SAFETY: the caller's promise.
        unsafe { self.store_i8x4(ptr, v) }
    }
    #[inline(always)]
    unsafe fn stream_u8x4(self, ptr: *mut u8, v: [Integers; 4]) {
        // SAFETY: the caller's promise.
        unsafe { self.store_u8x4(ptr, v) }
    }
    #[inline(always)]
    unsafe fn stream_bytes(self, ptr: *mut u8, v: Pair<uint8x16_t>) {
        // SAFETY: the caller's promise.
        unsafe { self.store_bytes(ptr, v) }
    }
    #[inline(always)]
    fn fence(self) {}

    #[inline(always)]
    fn prefetch<T>(self, ptr: *const T) {
        // SAFETY: a prefetch of any address does nothing but that.
        unsafe {
            asm!(
                "prfm pldl1keep, [{ptr}]",
                ptr = in(reg) ptr,
                options(readonly, nostack, preserves_flags),
            );
        }
    }

    #[inline(always)]
    fn shl_i32<const N: u32>(self, a: Integers) -> Integers {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe {
            let by = vdupq_n_s32(N as i32);
            Pair(vshlq_s32(a.0, by), vshlq_s32(a.1, by))
        }
    }

    #[inline(always)]
    fn shr_i32<const N: u32>(self, a: Integers) -> Integers {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe {
            // To the left by a negative number.
            let by = vdupq_n_s32(-(N as i32));
            Pair(vshlq_s32(a.0, by), vshlq_s32(a.1, by))
        }
    }
}
