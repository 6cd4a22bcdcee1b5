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

    /// Writes `4 * S::LANES` codes past the cache, saturated, where the type can.
    ///
    /// # Safety
    /// `ptr` is valid for writing `4 * S::LANES` codes and aligned to their size.
    unsafe fn stream4<S: Simd>(simd: S, ptr: *mut Self, v: [S::I32; 4]);
}

/// What all code types share; `$store4` and `$stream4` are their ways to write four vectors.
macro_rules! code {
    ($type:ty, $load:ident, $store:ident, $store4:expr, $stream4:expr) => {
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

code!(i8, load_i8, store_i8, S::store_i8x4, S::stream_i8x4);
code!(u8, load_u8, store_u8, S::store_u8x4, S::stream_u8x4);
code!(i16, load_i16, store_i16, each_of_four, each_of_four);
code!(u16, load_u16, store_u16, each_of_four, each_of_four);
