//! The integer types that codes are stored in.

use crate::simd::Simd;

/// An integer type for codes.
pub trait Code: Copy + Default + Send + Sync + 'static {
    /// Its least value.
    const MIN: i32;
    /// Its greatest value.
    const MAX: i32;
    /// Whether it is a byte.
    const BYTE: bool = size_of::<Self>() == 1;

    /// A code that is known to fit.
    fn from_i32(code: i32) -> Self;
    /// The code as an int32.
    fn to_i32(self) -> i32;

    /// Reads `S::LANES` codes.
    ///
    /// # Safety
    /// `ptr` is valid for reading `S::LANES` codes.
    unsafe fn load<S: Simd>(simd: S, ptr: *const Self) -> S::I32;

    /// Writes `S::LANES` codes, saturated.
    ///
    /// # Safety
    /// `ptr` is valid for writing `S::LANES` codes.
    unsafe fn store<S: Simd>(simd: S, ptr: *mut Self, v: S::I32);

    /// Writes `4 * S::LANES` codes, saturated.
    ///
    /// # Safety
    /// `ptr` is valid for writing `4 * S::LANES` codes.
    unsafe fn store4<S: Simd>(simd: S, ptr: *mut Self, v: [S::I32; 4]);

    /// A zero point and the least code, as [`Code::store4_from`] takes them.
    fn from_zero<S: Simd>(simd: S, zero: i32, low: i32) -> [S::I32; 2];

    /// Writes `max(v + zero, low)` of `4 * S::LANES` integers, saturated; `from` is
    /// [`Code::from_zero`] of both.
    ///
    /// # Safety
    /// `ptr` is valid for writing `4 * S::LANES` codes.
    unsafe fn store4_from<S: Simd>(simd: S, ptr: *mut Self, v: [S::I32; 4], from: [S::I32; 2]);

    /// Writes `4 * S::LANES` codes past the cache, saturated, where the type can.
    ///
    /// # Safety
    /// `ptr` is valid for writing `4 * S::LANES` codes and aligned to their size.
    unsafe fn stream4<S: Simd>(simd: S, ptr: *mut Self, v: [S::I32; 4]);
}

/// What all code types share; `$store4` and `$stream4` are their ways to write four vectors.
macro_rules! code {
    ($type:ty, $load:ident, $store:ident, $store4:expr, $stream4:expr, $from:expr, $store4_from:expr) => {
        impl Code for $type {
            const MIN: i32 = <$type>::MIN as i32;
            const MAX: i32 = <$type>::MAX as i32;

            #[inline(always)]
            fn from_i32(code: i32) -> Self {
                code as Self
            }

            #[inline(always)]
            fn to_i32(self) -> i32 {
                i32::from(self)
            }

            #[inline(always)]
            unsafe fn load<S: Simd>(simd: S, ptr: *const Self) -> S::I32 {
                // SAFETY: the caller's promise is this function's own.
                unsafe { simd.$load(ptr) }
            }

            #[inline(always)]
            unsafe fn store<S: Simd>(simd: S, ptr: *mut Self, v: S::I32) {
                // SAFETY: the caller's promise is this function's own.
                unsafe { simd.$store(ptr, v) }
            }

            #[inline(always)]
            unsafe fn store4<S: Simd>(simd: S, ptr: *mut Self, v: [S::I32; 4]) {
                // SAFETY: the caller's promise is this function's own.
                unsafe { $store4(simd, ptr, v) }
            }

            #[inline(always)]
            fn from_zero<S: Simd>(simd: S, zero: i32, low: i32) -> [S::I32; 2] {
                $from(simd, zero, low)
            }

            #[inline(always)]
            unsafe fn store4_from<S: Simd>(
                simd: S,
                ptr: *mut Self,
                v: [S::I32; 4],
                from: [S::I32; 2],
            ) {
                // SAFETY: the caller's promise is this function's own.
                unsafe { $store4_from(simd, ptr, v, from) }
            }

            #[inline(always)]
            unsafe fn stream4<S: Simd>(simd: S, ptr: *mut Self, v: [S::I32; 4]) {
                // SAFETY: the caller's promise is this function's own.
                unsafe { $stream4(simd, ptr, v) }
            }
        }
    };
}

/// Four vectors of 16-bit codes, one after the other.
///
/// # Safety
/// `ptr` is valid for writing `4 * S::LANES` codes.
#[inline(always)]
unsafe fn each_of_four<S: Simd, C: Code>(simd: S, ptr: *mut C, v: [S::I32; 4]) {
    for (index, v) in v.into_iter().enumerate() {
        // SAFETY: the caller vouches for four vectors.
        unsafe { C::store(simd, ptr.add(index * S::LANES), v) };
    }
}

/// A zero point twice in each lane, and a byte four times.
#[inline(always)]
fn narrow_from<S: Simd>(simd: S, zero: i32, low: i32) -> [S::I32; 2] {
    let [low, ..] = low.to_le_bytes();
    let [first, second, ..] = zero.to_le_bytes();
    let twice = i32::from_le_bytes([first, second, first, second]);
    [simd.splat_i32(twice), simd.splat_i32(i32::from_le_bytes([low; 4]))]
}

/// Both as they are.
#[inline(always)]
fn wide_from<S: Simd>(simd: S, zero: i32, low: i32) -> [S::I32; 2] {
    [simd.splat_i32(zero), simd.splat_i32(low)]
}

/// Four vectors of 16-bit codes. What does not fit 31 bits stands at either end, where codes end too.
///
/// # Safety
/// `ptr` is valid for writing `4 * S::LANES` codes.
#[inline(always)]
unsafe fn wide_of_four<S: Simd, C: Code>(
    simd: S,
    ptr: *mut C,
    v: [S::I32; 4],
    [zero, low]: [S::I32; 2],
) {
    let bottom = simd.splat_i32(i32::MIN / 2);
    for (index, v) in v.into_iter().enumerate() {
        let code = simd.max_i32(simd.add_i32(simd.max_i32(v, bottom), zero), low);
        // SAFETY: the caller vouches for four vectors.
        unsafe { C::store(simd, ptr.add(index * S::LANES), code) };
    }
}

/// Four vectors of bytes.
///
/// # Safety
/// `ptr` is valid for writing `4 * S::LANES` codes.
#[inline(always)]
unsafe fn i8_of_four<S: Simd>(simd: S, ptr: *mut i8, v: [S::I32; 4], [zero, low]: [S::I32; 2]) {
    // SAFETY: the caller's promise is this function's own.
    unsafe { simd.store_i8x4_from(ptr, v, zero, low) }
}

/// [`i8_of_four`] of unsigned ones.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn u8_of_four<S: Simd>(simd: S, ptr: *mut u8, v: [S::I32; 4], [zero, low]: [S::I32; 2]) {
    // SAFETY: the caller's promise is this function's own.
    unsafe { simd.store_u8x4_from(ptr, v, zero, low) }
}

code!(i8, load_i8, store_i8, S::store_i8x4, S::stream_i8x4, narrow_from, i8_of_four);
code!(u8, load_u8, store_u8, S::store_u8x4, S::stream_u8x4, narrow_from, u8_of_four);
code!(i16, load_i16, store_i16, each_of_four, each_of_four, wide_from, wide_of_four);
code!(u16, load_u16, store_u16, each_of_four, each_of_four, wide_from, wide_of_four);
