//! One lane of plain Rust: the path of every other machine, the reference for the rest, and what
//! every kernel takes for the elements that fill no vector.

use half::{bf16, f16};

use super::Simd;

/// Vectors of one lane.
#[derive(Debug, Clone, Copy)]
pub struct Scalar;

/// From 2^23 on every float is an integer, so adding and subtracting it rounds what lies below.
const MAGIC: f32 = 8_388_608.0;

/// Loads and stores of one element, given by name, pointer type and what lies between.
macro_rules! one_lane {
    ($(load $name:ident: $from:ty => $to:ty, $convert:expr;)*) => {$(
        #[inline(always)]
        unsafe fn $name(self, ptr: *const $from) -> $to {
            // SAFETY: the caller vouches for the pointer.
            $convert(unsafe { ptr.read_unaligned() })
        }
    )*};
    ($(store $name:ident: $from:ty => $to:ty, $convert:expr;)*) => {$(
        #[inline(always)]
        unsafe fn $name(self, ptr: *mut $to, v: $from) {
            // SAFETY: the caller vouches for the pointer.
            unsafe { ptr.write_unaligned($convert(v)) }
        }
    )*};
}

#[inline(always)]
fn saturate_i8(v: i32) -> i8 {
    v.clamp(i8::MIN.into(), i8::MAX.into()) as i8
}

#[inline(always)]
fn saturate_u8(v: i32) -> u8 {
    v.clamp(0, u8::MAX.into()) as u8
}

impl Simd for Scalar {
    const LANES: usize = 1;
    type F32 = f32;
    type I32 = i32;
    type Mask = bool;
    type Bytes = [u8; 4];

    #[inline(always)]
    fn splat_f32(self, value: f32) -> f32 {
        value
    }
    #[inline(always)]
    fn splat_i32(self, value: i32) -> i32 {
        value
    }

    one_lane! {
        load load_f32: f32 => f32, |v| v;
        load load_f16: u16 => f32, |v| f16::from_bits(v).to_f32();
        load load_bf16: u16 => f32, |v| bf16::from_bits(v).to_f32();
        load load_i32: i32 => i32, |v| v;
        load load_i16: i16 => i32, i32::from;
        load load_u16: u16 => i32, i32::from;
        load load_i8: i8 => i32, i32::from;
        load load_u8: u8 => i32, i32::from;
    }

    #[inline(always)]
    unsafe fn gather_f32(self, base: *const f32, index: i32) -> f32 {
        // SAFETY: the caller vouches for the pointer at this index.
        unsafe { base.add(index as usize).read_unaligned() }
    }

    one_lane! {
        store store_f32: f32 => f32, |v| v;
        store stream_f32: f32 => f32, |v| v;
        store store_f16: f32 => u16, |v| f16::from_f32(v).to_bits();
        store store_bf16: f32 => u16, |v| bf16::from_f32(v).to_bits();
        store store_i32: i32 => i32, |v| v;
        store store_i16: i32 => i16, |v: i32| v.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
        store store_u16: i32 => u16, |v: i32| v.clamp(0, u16::MAX.into()) as u16;
        store store_i8: i32 => i8, saturate_i8;
        store store_u8: i32 => u8, saturate_u8;
    }

    #[inline(always)]
    unsafe fn store_i8x4(self, ptr: *mut i8, v: [i32; 4]) {
        // SAFETY: the caller vouches for the pointer.
        unsafe { ptr.cast::<[i8; 4]>().write_unaligned(v.map(saturate_i8)) }
    }
    #[inline(always)]
    unsafe fn store_u8x4(self, ptr: *mut u8, v: [i32; 4]) {
        // SAFETY: the caller vouches for the pointer.
        unsafe { ptr.cast::<[u8; 4]>().write_unaligned(v.map(saturate_u8)) }
    }
    #[inline(always)]
    unsafe fn store_i8x4_from(self, ptr: *mut i8, v: [i32; 4], zero: i32, low: i32) {
        let byte = |v: i32| saturate_i8(v.saturating_add(i32::from(zero as i16))).max(low as i8);
        // SAFETY: the caller vouches for the pointer.
        unsafe { ptr.cast::<[i8; 4]>().write_unaligned(v.map(byte)) }
    }
    #[inline(always)]
    unsafe fn store_u8x4_from(self, ptr: *mut u8, v: [i32; 4], zero: i32, low: i32) {
        let byte = |v: i32| saturate_u8(v.saturating_add(i32::from(zero as i16))).max(low as u8);
        // SAFETY: the caller vouches for the pointer.
        unsafe { ptr.cast::<[u8; 4]>().write_unaligned(v.map(byte)) }
    }
    #[inline(always)]
    unsafe fn stream_i8x4(self, ptr: *mut i8, v: [i32; 4]) {
        // SAFETY: the caller vouches for the pointer.
        unsafe { self.store_i8x4(ptr, v) }
    }
    #[inline(always)]
    unsafe fn stream_u8x4(self, ptr: *mut u8, v: [i32; 4]) {
        // SAFETY: the caller vouches for the pointer.
        unsafe { self.store_u8x4(ptr, v) }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, ptr: *mut u8, v: [u8; 4]) {
        // SAFETY: the caller vouches for the pointer.
        unsafe { ptr.cast::<[u8; 4]>().write(v) }
    }
    #[inline(always)]
    unsafe fn stream_bytes(self, ptr: *mut u8, v: [u8; 4]) {
        // SAFETY: the caller vouches for the pointer.
        unsafe { ptr.cast::<[u8; 4]>().write(v) }
    }
    #[inline(always)]
    fn fence(self) {}

    #[inline(always)]
    fn add(self, a: f32, b: f32) -> f32 {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: f32, b: f32) -> f32 {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: f32, b: f32) -> f32 {
        a * b
    }
    #[inline(always)]
    fn div(self, a: f32, b: f32) -> f32 {
        a / b
    }
    #[inline(always)]
    fn mul_add(self, a: f32, b: f32, c: f32) -> f32 {
        a * b + c
    }
    #[inline(always)]
    fn fma(self, a: f32, b: f32, c: f32) -> f32 {
        super::fused::fma(a, b, c)
    }
    #[inline(always)]
    fn sqrt(self, a: f32) -> f32 {
        a.sqrt()
    }
    #[inline(always)]
    fn min(self, a: f32, b: f32) -> f32 {
        if a < b { a } else { b }
    }
    #[inline(always)]
    fn max(self, a: f32, b: f32) -> f32 {
        if a > b { a } else { b }
    }
    #[inline(always)]
    fn abs(self, a: f32) -> f32 {
        a.abs()
    }
    #[inline(always)]
    fn round(self, a: f32) -> f32 {
        // Without SSE4.1, f32::round_ties_even is a call into the C library.
        // NaN fails the comparison and stays NaN.
        if a.abs() < MAGIC { ((a.abs() + MAGIC) - MAGIC).copysign(a) } else { a }
    }
    #[inline(always)]
    fn floor(self, a: f32) -> f32 {
        let nearest = self.round(a);
        if nearest > a { nearest - 1.0 } else { nearest }
    }

    #[inline(always)]
    fn lt(self, a: f32, b: f32) -> bool {
        a < b
    }
    #[inline(always)]
    fn eq(self, a: f32, b: f32) -> bool {
        a == b
    }
    #[inline(always)]
    fn unordered(self, a: f32, b: f32) -> bool {
        a.is_nan() || b.is_nan()
    }
    #[inline(always)]
    fn select(self, mask: bool, yes: f32, no: f32) -> f32 {
        if mask { yes } else { no }
    }
    #[inline(always)]
    fn ne_i32(self, a: i32, b: i32) -> bool {
        a != b
    }
    #[inline(always)]
    fn gt_i32(self, a: i32, b: i32) -> bool {
        a > b
    }
    #[inline(always)]
    fn select_i32(self, mask: bool, yes: i32, no: i32) -> i32 {
        if mask { yes } else { no }
    }
    #[inline(always)]
    fn and(self, a: bool, b: bool) -> bool {
        a & b
    }
    #[inline(always)]
    fn or(self, a: bool, b: bool) -> bool {
        a | b
    }
    #[inline(always)]
    fn bits(self, mask: bool) -> u32 {
        u32::from(mask)
    }

    #[inline(always)]
    fn add_i32(self, a: i32, b: i32) -> i32 {
        a.wrapping_add(b)
    }
    #[inline(always)]
    fn sub_i32(self, a: i32, b: i32) -> i32 {
        a.wrapping_sub(b)
    }
    #[inline(always)]
    fn min_i32(self, a: i32, b: i32) -> i32 {
        a.min(b)
    }
    #[inline(always)]
    fn max_i32(self, a: i32, b: i32) -> i32 {
        a.max(b)
    }
    #[inline(always)]
    fn and_i32(self, a: i32, b: i32) -> i32 {
        a & b
    }
    #[inline(always)]
    fn shl_i32<const N: u32>(self, a: i32) -> i32 {
        a << N
    }
    #[inline(always)]
    fn shr_i32<const N: u32>(self, a: i32) -> i32 {
        a >> N
    }

    #[inline(always)]
    fn halves(self, v: [i32; 4], most: i16, least: i8) -> ([u8; 4], bool) {
        let (mut bytes, mut good) = ([0; 4], true);
        for (byte, v) in bytes.iter_mut().zip(v) {
            let v = v.wrapping_sub(2);
            good &= v & 1 == 0 && (0..=i32::from(most)).contains(&v);
            *byte = ((v >> 1) as u8).wrapping_add(least.cast_unsigned());
        }
        (bytes, good)
    }

    #[inline(always)]
    fn to_i32(self, a: f32) -> i32 {
        let nearest = self.round(a);
        // 2^31 is the first float that does not fit; NaN fails both.
        if (-2_147_483_648.0..2_147_483_648.0).contains(&nearest) {
            nearest as i32
        } else {
            i32::MIN
        }
    }
    #[inline(always)]
    fn to_f32(self, a: i32) -> f32 {
        a as f32
    }
    #[inline(always)]
    fn bits_of(self, a: f32) -> i32 {
        a.to_bits() as i32
    }
    #[inline(always)]
    fn float_of(self, a: i32) -> f32 {
        f32::from_bits(a as u32)
    }

    #[inline(always)]
    fn reduce_add(self, a: f32) -> f32 {
        a
    }
    #[inline(always)]
    fn reduce_min(self, a: f32) -> f32 {
        a
    }
    #[inline(always)]
    fn reduce_max(self, a: f32) -> f32 {
        a
    }
    #[inline(always)]
    fn reduce_max_i32(self, a: i32) -> i32 {
        a
    }
}
