//! The vector vocabulary: the operations that kernels use, and nothing else.
//!
//! A kernel is one struct that holds its arguments and implements [`SimdOp`]; its body is written
//! once, over any [`Simd`]. [`dispatch`] runs it compiled for the instruction set it is given.
//!
//! A body has up to three loops: blocks of four vectors, single vectors, and what is left over,
//! which is the same code over [`Scalar`], whose vectors have one lane. So there are no masked
//! loads, and nothing is read or written outside of the slices.
//!
//! The methods are `inline(always)` and carry no `target_feature` of their own (a trait method that
//! is safe to name cannot): they take the features of the trampoline in [`dispatch`] that they are
//! inlined into. A value of a [`Simd`] type exists only where its instructions do.

mod dispatch;
mod dot;
mod fused;
mod scalar;
mod transpose;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon_asm;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon_bytes;

pub use dispatch::{SimdOp, dispatch};
pub use dot::{Dot4, Dot4Op, dispatch_dot};
pub(crate) use dot::{columns_of, data_of};
pub use scalar::Scalar;
pub(crate) use transpose::transpose;

/// Vectors of one instruction set. `self` is the proof that the CPU has it.
///
/// Every operation gives the same bits on every instruction set, [`Simd::mul_add`] apart, and the
/// order in which the `reduce_*` combine lanes. Loads and stores take pointers of any alignment,
/// but for `stream_*`; their callers own the bounds.
pub trait Simd: Copy {
    /// How many 32-bit lanes a vector has.
    const LANES: usize;
    /// Float vectors.
    type F32: Copy;
    /// Vectors of 32-bit integers.
    type I32: Copy;
    /// One truth value for each lane.
    type Mask: Copy;
    /// The lanes of four vectors, a byte each.
    type Bytes: Copy;

    /// `value` in every lane.
    fn splat_f32(self, value: f32) -> Self::F32;
    /// `value` in every lane.
    fn splat_i32(self, value: i32) -> Self::I32;

    /// `LANES` floats from `ptr`.
    ///
    /// # Safety
    /// `ptr` is valid for reading `LANES` floats.
    unsafe fn load_f32(self, ptr: *const f32) -> Self::F32;
    /// `LANES` half floats from `ptr`, given by their bits, widened.
    ///
    /// # Safety
    /// `ptr` is valid for reading `LANES` elements.
    unsafe fn load_f16(self, ptr: *const u16) -> Self::F32;
    /// `LANES` bfloat16 from `ptr`, given by their bits, widened.
    ///
    /// # Safety
    /// `ptr` is valid for reading `LANES` elements.
    unsafe fn load_bf16(self, ptr: *const u16) -> Self::F32;
    /// `LANES` integers from `ptr`.
    ///
    /// # Safety
    /// `ptr` is valid for reading `LANES` elements.
    unsafe fn load_i32(self, ptr: *const i32) -> Self::I32;
    /// `LANES` integers from `ptr`, widened.
    ///
    /// # Safety
    /// `ptr` is valid for reading `LANES` elements.
    unsafe fn load_i16(self, ptr: *const i16) -> Self::I32;
    /// `LANES` integers from `ptr`, widened.
    ///
    /// # Safety
    /// `ptr` is valid for reading `LANES` elements.
    unsafe fn load_u16(self, ptr: *const u16) -> Self::I32;
    /// `LANES` integers from `ptr`, widened.
    ///
    /// # Safety
    /// `ptr` is valid for reading `LANES` elements.
    unsafe fn load_i8(self, ptr: *const i8) -> Self::I32;
    /// `LANES` integers from `ptr`, widened.
    ///
    /// # Safety
    /// `ptr` is valid for reading `LANES` elements.
    unsafe fn load_u8(self, ptr: *const u8) -> Self::I32;
    /// `base[index]` for each lane.
    ///
    /// # Safety
    /// `base` is valid for reading at every index; none is negative.
    unsafe fn gather_f32(self, base: *const f32, index: Self::I32) -> Self::F32;

    /// `base[place]` for each of eight places, loaded one by one: sooner done than by
    /// [`Simd::gather_f32`]. Only where there are eight lanes.
    ///
    /// # Safety
    /// `base` is valid for reading at every place.
    #[inline(always)]
    unsafe fn pick_f32(self, base: *const f32, low: [usize; 4], high: [usize; 4]) -> Self::F32 {
        let _ = (base, low, high);
        unreachable!("vectors of {} lanes", Self::LANES)
    }

    /// `LANES` floats to `ptr`.
    ///
    /// # Safety
    /// `ptr` is valid for writing `LANES` floats.
    unsafe fn store_f32(self, ptr: *mut f32, v: Self::F32);
    /// `LANES` floats past the cache to `ptr`. End a run of these with [`Simd::fence`].
    ///
    /// # Safety
    /// `ptr` is valid for writing `LANES` floats and aligned to their size.
    unsafe fn stream_f32(self, ptr: *mut f32, v: Self::F32);
    /// `LANES` floats to `ptr`, rounded to half floats, half to even.
    ///
    /// # Safety
    /// `ptr` is valid for writing `LANES` elements.
    unsafe fn store_f16(self, ptr: *mut u16, v: Self::F32);
    /// `LANES` floats to `ptr`, rounded to bfloat16, half to even.
    ///
    /// # Safety
    /// `ptr` is valid for writing `LANES` elements.
    unsafe fn store_bf16(self, ptr: *mut u16, v: Self::F32);
    /// `LANES` integers to `ptr`.
    ///
    /// # Safety
    /// `ptr` is valid for writing `LANES` elements.
    unsafe fn store_i32(self, ptr: *mut i32, v: Self::I32);
    /// `LANES` integers to `ptr`, saturated.
    ///
    /// # Safety
    /// `ptr` is valid for writing `LANES` elements.
    unsafe fn store_i16(self, ptr: *mut i16, v: Self::I32);
    /// `LANES` integers to `ptr`, saturated.
    ///
    /// # Safety
    /// `ptr` is valid for writing `LANES` elements.
    unsafe fn store_u16(self, ptr: *mut u16, v: Self::I32);
    /// `LANES` integers to `ptr`, saturated.
    ///
    /// # Safety
    /// `ptr` is valid for writing `LANES` elements.
    unsafe fn store_i8(self, ptr: *mut i8, v: Self::I32);
    /// `LANES` integers to `ptr`, saturated.
    ///
    /// # Safety
    /// `ptr` is valid for writing `LANES` elements.
    unsafe fn store_u8(self, ptr: *mut u8, v: Self::I32);
    /// `4 * LANES` integers to `ptr`, saturated.
    ///
    /// # Safety
    /// `ptr` is valid for writing `4 * LANES` elements.
    unsafe fn store_i8x4(self, ptr: *mut i8, v: [Self::I32; 4]);
    /// `4 * LANES` integers to `ptr`, saturated.
    ///
    /// # Safety
    /// `ptr` is valid for writing `4 * LANES` elements.
    unsafe fn store_u8x4(self, ptr: *mut u8, v: [Self::I32; 4]);
    /// `max(v + zero, low)` of `4 * LANES` integers to `ptr`, saturated. `zero` is 16 bits wide and lies
    /// twice in each lane, `low` is a byte and lies four times in it.
    ///
    /// # Safety
    /// `ptr` is valid for writing `4 * LANES` elements.
    unsafe fn store_i8x4_from(
        self,
        ptr: *mut i8,
        v: [Self::I32; 4],
        zero: Self::I32,
        low: Self::I32,
    );
    /// [`Simd::store_i8x4_from`] of unsigned bytes.
    ///
    /// # Safety
    /// As there.
    unsafe fn store_u8x4_from(
        self,
        ptr: *mut u8,
        v: [Self::I32; 4],
        zero: Self::I32,
        low: Self::I32,
    );
    /// `4 * LANES` integers past the cache to `ptr`, saturated. End a run with [`Simd::fence`].
    ///
    /// # Safety
    /// `ptr` is valid for writing `4 * LANES` elements and aligned to their size.
    unsafe fn stream_i8x4(self, ptr: *mut i8, v: [Self::I32; 4]);
    /// `4 * LANES` integers past the cache to `ptr`, saturated. End a run with [`Simd::fence`].
    ///
    /// # Safety
    /// `ptr` is valid for writing `4 * LANES` elements and aligned to their size.
    unsafe fn stream_u8x4(self, ptr: *mut u8, v: [Self::I32; 4]);
    /// `4 * LANES` bytes to `ptr`.
    ///
    /// # Safety
    /// `ptr` is valid for writing `4 * LANES` bytes.
    unsafe fn store_bytes(self, ptr: *mut u8, v: Self::Bytes);
    /// `4 * LANES` bytes past the cache to `ptr`. End a run with [`Simd::fence`].
    ///
    /// # Safety
    /// `ptr` is valid for writing `4 * LANES` bytes and aligned to as many.
    unsafe fn stream_bytes(self, ptr: *mut u8, v: Self::Bytes);
    /// Tells the CPU that the line at `ptr` will soon be read; any address will do.
    #[inline(always)]
    fn prefetch<T>(self, _ptr: *const T) {}
    /// Makes `stream_*` visible in order with later stores.
    fn fence(self);

    /// `a + b`.
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a - b`.
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b`.
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a / b`, correctly rounded.
    fn div(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a * b + c`, with one rounding where the CPU has it and two where it has not.
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// `a * b + c` with one rounding, on every instruction set; without speed where the CPU cannot.
    fn fma(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// Whether a lane of a register is a factor for all of another: [`Simd::fma_lane`] is there.
    const BY_LANE: bool = false;
    /// Four floats from `ptr`, of which [`Simd::fma_lane`] takes one. Only where [`Simd::BY_LANE`].
    ///
    /// # Safety
    /// `ptr` is valid for reading four floats.
    #[inline(always)]
    unsafe fn load_four(self, ptr: *const f32) -> Self::F32 {
        let _ = ptr;
        unreachable!("vectors of {} lanes", Self::LANES)
    }
    /// `a[N] * b + c` with one rounding, of four that were loaded together. Only where
    /// [`Simd::BY_LANE`].
    #[inline(always)]
    fn fma_lane<const N: i32>(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        let _ = (a, b, c);
        unreachable!("vectors of {} lanes", Self::LANES)
    }
    /// The square root, correctly rounded.
    fn sqrt(self, a: Self::F32) -> Self::F32;
    /// The smaller; `b` where either is NaN.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The larger; `b` where either is NaN.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The absolute value.
    fn abs(self, a: Self::F32) -> Self::F32;
    /// The nearest integer, half to even.
    fn round(self, a: Self::F32) -> Self::F32;
    /// The larger of the absolute values, if neither is NaN.
    #[inline(always)]
    fn max_abs(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        self.max(self.abs(a), self.abs(b))
    }
    /// The largest integer that is not above.
    fn floor(self, a: Self::F32) -> Self::F32;
    /// `2^a` for integers `a` in [-126, 127].
    #[inline(always)]
    fn exp2_int(self, a: Self::F32) -> Self::F32 {
        let exponent = self.add_i32(self.to_i32(a), self.splat_i32(127));
        self.float_of(self.shl_i32::<23>(exponent))
    }

    /// `a < b`; false where either is NaN.
    fn lt(self, a: Self::F32, b: Self::F32) -> Self::Mask;
    /// `a == b`; false where either is NaN.
    fn eq(self, a: Self::F32, b: Self::F32) -> Self::Mask;
    /// Whether either is NaN.
    fn unordered(self, a: Self::F32, b: Self::F32) -> Self::Mask;
    /// `yes` where `mask`, else `no`.
    fn select(self, mask: Self::Mask, yes: Self::F32, no: Self::F32) -> Self::F32;
    /// `a != b`.
    fn ne_i32(self, a: Self::I32, b: Self::I32) -> Self::Mask;
    /// `a > b`.
    fn gt_i32(self, a: Self::I32, b: Self::I32) -> Self::Mask;
    /// `yes` where `mask`, else `no`.
    fn select_i32(self, mask: Self::Mask, yes: Self::I32, no: Self::I32) -> Self::I32;
    /// Both.
    fn and(self, a: Self::Mask, b: Self::Mask) -> Self::Mask;
    /// Either.
    fn or(self, a: Self::Mask, b: Self::Mask) -> Self::Mask;
    /// One bit for each lane, the first lane lowest.
    fn bits(self, mask: Self::Mask) -> u32;
    /// How many lanes are true.
    #[inline(always)]
    fn count(self, mask: Self::Mask) -> usize {
        self.bits(mask).count_ones() as usize
    }

    /// `a + b`, wrapping.
    fn add_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// `a - b`, wrapping.
    fn sub_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// The smaller.
    fn min_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// The larger.
    fn max_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// Bitwise and.
    fn and_i32(self, a: Self::I32, b: Self::I32) -> Self::I32;
    /// Shifted left by `N` bits.
    fn shl_i32<const N: u32>(self, a: Self::I32) -> Self::I32;
    /// Shifted right by `N` bits, copies of the sign coming in.
    fn shr_i32<const N: u32>(self, a: Self::I32) -> Self::I32;

    /// `v / 2 - 1 + least` of each lane, wrapping, as a byte; and whether every lane is even, and from 2
    /// to `most + 2`. `most` is even and fits 15 bits.
    fn halves(self, v: [Self::I32; 4], most: i16, least: i8) -> (Self::Bytes, bool);

    /// The nearest integer, half to even; `i32::MIN` for NaN and what does not fit.
    fn to_i32(self, a: Self::F32) -> Self::I32;
    /// The nearest integer of the lesser of `a` and `high`, which fits; `i32::MIN` for NaN.
    #[inline(always)]
    fn to_i32_below(self, a: Self::F32, high: Self::F32) -> Self::I32 {
        self.to_i32(self.min(high, a))
    }
    /// The nearest integer of `a` between two that fit; that of `low` for NaN.
    #[inline(always)]
    fn to_i32_between(self, a: Self::F32, low: Self::F32, high: Self::F32) -> Self::I32 {
        self.to_i32(self.min(self.max(a, low), high))
    }
    /// The nearest float, half to even.
    fn to_f32(self, a: Self::I32) -> Self::F32;
    /// The same bits.
    fn bits_of(self, a: Self::F32) -> Self::I32;
    /// The same bits.
    fn float_of(self, a: Self::I32) -> Self::F32;

    /// The sum of the lanes.
    fn reduce_add(self, a: Self::F32) -> f32;
    /// The smallest lane; no lane is NaN.
    fn reduce_min(self, a: Self::F32) -> f32;
    /// The largest lane; no lane is NaN.
    fn reduce_max(self, a: Self::F32) -> f32;
    /// The largest lane.
    fn reduce_max_i32(self, a: Self::I32) -> i32;
}
