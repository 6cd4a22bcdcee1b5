//! The vector vocabulary: the operations that kernels use, and nothing else.
//!
//! A kernel is one struct that holds its arguments and implements [`SimdOp`]; its body is written
//! once, over any [`Simd`]. [`dispatch`] runs it compiled for the instruction set it is given.
//!
//! The methods are `inline(always)` and carry no `target_feature` of their own (a trait method that
//! is safe to name cannot): they take the features of the trampoline in [`dispatch`] that they are
//! inlined into. A value of a [`Simd`] type exists only where its instructions do.

mod dispatch;
mod scalar;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

pub use dispatch::{SimdOp, dispatch};

/// Vectors of one instruction set. `self` is the proof that the CPU has it.
///
/// Loads and stores take pointers of any alignment; their callers own the bounds.
pub trait Simd: Copy {
    /// How many 32-bit lanes a vector has.
    const LANES: usize;
    /// Float vectors.
    type F32: Copy;
    /// Integer vectors.
    type I32: Copy;
    /// One truth value a lane.
    type Mask: Copy;

    /// `value` in every lane.
    fn splat_f32(self, value: f32) -> Self::F32;
    /// `value` in every lane.
    fn splat_i32(self, value: i32) -> Self::I32;

    /// `a + b`.
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a - b`.
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b`.
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a / b`, rounded as IEEE 754 says.
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `sqrt(a)`, rounded as IEEE 754 says.
    fn sqrt(self, a: Self::F32) -> Self::F32;
    /// `a * b + c`, with one rounding where the instruction set has it, with two where not.
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// The lesser; `b` where either is NaN.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The greater; `b` where either is NaN.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The nearest integer, half to even.
    fn round(self, a: Self::F32) -> Self::F32;
    /// `|a|`.
    fn abs(self, a: Self::F32) -> Self::F32;
    /// `2^a` for integers `a` in [-126, 127].
    fn exp2_int(self, a: Self::F32) -> Self::F32;

    /// Where `a < b`.
    fn lt(self, a: Self::F32, b: Self::F32) -> Self::Mask;
    /// Where `a == b`.
    fn eq(self, a: Self::F32, b: Self::F32) -> Self::Mask;
    /// `a` where the mask is true, else `b`.
    fn select(self, mask: Self::Mask, a: Self::F32, b: Self::F32) -> Self::F32;
    /// How many lanes are true.
    fn count(self, mask: Self::Mask) -> usize;

    /// Integral floats within int32 to integers.
    fn to_i32(self, a: Self::F32) -> Self::I32;
    /// Integers to the nearest floats.
    fn to_f32(self, a: Self::I32) -> Self::F32;
    /// `a + b`, wrapping.
    fn add_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// `a - b`, wrapping.
    fn sub_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;

    /// `LANES` floats.
    ///
    /// # Safety
    /// `ptr` is valid for reading `LANES` floats.
    unsafe fn load_f32(self, ptr: *const f32) -> Self::F32;
    /// `LANES` floats.
    ///
    /// # Safety
    /// `ptr` is valid for writing `LANES` floats.
    unsafe fn store_f32(self, ptr: *mut f32, v: Self::F32);
    /// `LANES` integers.
    ///
    /// # Safety
    /// `ptr` is valid for reading `LANES` integers.
    unsafe fn load_i32(self, ptr: *const i32) -> Self::I32;
    /// `LANES` integers.
    ///
    /// # Safety
    /// `ptr` is valid for writing `LANES` integers.
    unsafe fn store_i32(self, ptr: *mut i32, v: Self::I32);
    /// `LANES` bytes, sign-extended.
    ///
    /// # Safety
    /// `ptr` is valid for reading `LANES` bytes.
    unsafe fn load_i8(self, ptr: *const i8) -> Self::I32;
    /// `LANES` bytes, zero-extended.
    ///
    /// # Safety
    /// `ptr` is valid for reading `LANES` bytes.
    unsafe fn load_u8(self, ptr: *const u8) -> Self::I32;
    /// `4 * LANES` integers, each within int8, as bytes.
    ///
    /// # Safety
    /// `ptr` is valid for writing `4 * LANES` bytes.
    unsafe fn store_i8x4(self, ptr: *mut i8, v: [Self::I32; 4]);
    /// `4 * LANES` integers, each within uint8, as bytes.
    ///
    /// # Safety
    /// `ptr` is valid for writing `4 * LANES` bytes.
    unsafe fn store_u8x4(self, ptr: *mut u8, v: [Self::I32; 4]);
}
