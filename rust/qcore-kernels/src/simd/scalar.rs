//! One lane of plain Rust: the path of every other machine, and the reference for the rest.

use super::Simd;

/// Vectors of one lane.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

/// Adding and taking away 1.5 · 2²³ rounds half to even without an SSE4.1 instruction or a call.
const MAGIC: f32 = 12_582_912.0;

impl Simd for Scalar {
    const LANES: usize = 1;
    type F32 = f32;
    type I32 = i32;
    type Mask = bool;

    #[inline(always)]
    fn splat_f32(self, value: f32) -> f32 {
        value
    }

    #[inline(always)]
    fn splat_i32(self, value: i32) -> i32 {
        value
    }

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
    fn sqrt(self, a: f32) -> f32 {
        a.sqrt()
    }

    #[inline(always)]
    fn mul_add(self, a: f32, b: f32, c: f32) -> f32 {
        a * b + c
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
    fn round(self, a: f32) -> f32 {
        // From 2²³ on every float is an integer; NaN fails the comparison and stays NaN.
        if a.abs() < 8_388_608.0 { ((a + MAGIC) - MAGIC).copysign(a) } else { a }
    }

    #[inline(always)]
    fn abs(self, a: f32) -> f32 {
        a.abs()
    }

    #[inline(always)]
    fn exp2_int(self, a: f32) -> f32 {
        f32::from_bits(((a as i32 + 127) as u32) << 23)
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
    fn select(self, mask: bool, a: f32, b: f32) -> f32 {
        if mask { a } else { b }
    }

    #[inline(always)]
    fn count(self, mask: bool) -> usize {
        mask as usize
    }

    #[inline(always)]
    fn to_i32(self, a: f32) -> i32 {
        a as i32
    }

    #[inline(always)]
    fn to_f32(self, a: i32) -> f32 {
        a as f32
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
    unsafe fn load_f32(self, ptr: *const f32) -> f32 {
        // SAFETY: the caller vouches for the pointer.
        unsafe { ptr.read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store_f32(self, ptr: *mut f32, v: f32) {
        // SAFETY: the caller vouches for the pointer.
        unsafe { ptr.write_unaligned(v) }
    }

    #[inline(always)]
    unsafe fn load_i32(self, ptr: *const i32) -> i32 {
        // SAFETY: the caller vouches for the pointer.
        unsafe { ptr.read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store_i32(self, ptr: *mut i32, v: i32) {
        // SAFETY: the caller vouches for the pointer.
        unsafe { ptr.write_unaligned(v) }
    }

    #[inline(always)]
    unsafe fn load_i8(self, ptr: *const i8) -> i32 {
        // SAFETY: the caller vouches for the pointer.
        unsafe { *ptr as i32 }
    }

    #[inline(always)]
    unsafe fn load_u8(self, ptr: *const u8) -> i32 {
        // SAFETY: the caller vouches for the pointer.
        unsafe { *ptr as i32 }
    }

    #[inline(always)]
    unsafe fn store_i8x4(self, ptr: *mut i8, v: [i32; 4]) {
        // SAFETY: the caller vouches for the pointer.
        unsafe { ptr.cast::<[i8; 4]>().write_unaligned(v.map(|v| v as i8)) }
    }

    #[inline(always)]
    unsafe fn store_u8x4(self, ptr: *mut u8, v: [i32; 4]) {
        // SAFETY: the caller vouches for the pointer.
        unsafe { ptr.cast::<[u8; 4]>().write_unaligned(v.map(|v| v as u8)) }
    }
}
