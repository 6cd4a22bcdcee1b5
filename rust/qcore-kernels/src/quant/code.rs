//! The integer types that codes are stored in.

use crate::simd::Simd;

/// An integer type for codes.
pub trait Code: Copy + Default + Send + Sync + 'static {
    /// Its least value.
    const MIN: i32;
    /// Its greatest value.
    const MAX: i32;

    /// A code that is known to fit.
    fn from_i32(code: i32) -> Self;
    /// The code as an int32.
    fn to_i32(self) -> i32;

    /// Writes `4 * S::LANES` codes that are known to fit.
    ///
    /// # Safety
    /// `ptr` is valid for writing `4 * S::LANES` codes.
    unsafe fn store4<S: Simd>(simd: S, ptr: *mut Self, v: [S::I32; 4]);

    /// Reads `S::LANES` codes.
    ///
    /// # Safety
    /// `ptr` is valid for reading `S::LANES` codes.
    unsafe fn load<S: Simd>(simd: S, ptr: *const Self) -> S::I32;
}

macro_rules! byte_code {
    ($type:ty, $load:ident, $store:ident) => {
        impl Code for $type {
            const MIN: i32 = <$type>::MIN as i32;
            const MAX: i32 = <$type>::MAX as i32;

            #[inline(always)]
            fn from_i32(code: i32) -> Self {
                code as Self
            }

            #[inline(always)]
            fn to_i32(self) -> i32 {
                self as i32
            }

            #[inline(always)]
            unsafe fn store4<S: Simd>(simd: S, ptr: *mut Self, v: [S::I32; 4]) {
                // SAFETY: the caller's promise is this function's own.
                unsafe { simd.$store(ptr, v) }
            }

            #[inline(always)]
            unsafe fn load<S: Simd>(simd: S, ptr: *const Self) -> S::I32 {
                // SAFETY: the caller's promise is this function's own.
                unsafe { simd.$load(ptr) }
            }
        }
    };
}

byte_code!(i8, load_i8, store_i8x4);
byte_code!(u8, load_u8, store_u8x4);

/// The most lanes that a vector of any instruction set has.
const MAX_LANES: usize = 16;

// 16-bit codes are rare: they go through a small buffer, which the compiler vectorizes.
macro_rules! wide_code {
    ($type:ty) => {
        impl Code for $type {
            const MIN: i32 = <$type>::MIN as i32;
            const MAX: i32 = <$type>::MAX as i32;

            #[inline(always)]
            fn from_i32(code: i32) -> Self {
                code as Self
            }

            #[inline(always)]
            fn to_i32(self) -> i32 {
                self as i32
            }

            #[inline(always)]
            unsafe fn store4<S: Simd>(simd: S, ptr: *mut Self, v: [S::I32; 4]) {
                let mut lanes = [0_i32; 4 * MAX_LANES];
                for (index, v) in v.into_iter().enumerate() {
                    // SAFETY: no vector has more than MAX_LANES lanes, so four fit the buffer.
                    unsafe { simd.store_i32(lanes.as_mut_ptr().add(index * S::LANES), v) };
                }
                for (index, &lane) in lanes[..4 * S::LANES].iter().enumerate() {
                    // SAFETY: the caller vouches for 4 * LANES codes.
                    unsafe { ptr.add(index).write(lane as Self) };
                }
            }

            #[inline(always)]
            unsafe fn load<S: Simd>(simd: S, ptr: *const Self) -> S::I32 {
                let mut lanes = [0_i32; MAX_LANES];
                for (index, lane) in lanes[..S::LANES].iter_mut().enumerate() {
                    // SAFETY: the caller vouches for LANES codes.
                    *lane = unsafe { *ptr.add(index) } as i32;
                }
                // SAFETY: the buffer has at least LANES elements.
                unsafe { simd.load_i32(lanes.as_ptr()) }
            }
        }
    };
}

wide_code!(i16);
wide_code!(u16);
