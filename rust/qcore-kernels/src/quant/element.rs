//! The float types that arrays come in, and the one in which each is computed.

use half::{bf16, f16};

use crate::simd::Simd;

/// A float type of arrays.
pub trait Element: Copy + Default + Send + Sync + 'static {
    /// float64 arithmetic if true, float32 if not.
    const WIDE: bool;
    /// One value as float32; exact, but for float64.
    fn to_f32(self) -> f32;
    /// One value as float64; exact.
    fn to_f64(self) -> f64;
    /// The value nearest to a float32.
    fn from_f32(value: f32) -> Self;
    /// The value nearest to a float64.
    fn from_f64(value: f64) -> Self;

    /// `S::LANES` values as float32; exact, but for float64.
    ///
    /// # Safety
    /// `ptr` is valid for reading `S::LANES` values.
    unsafe fn load<S: Simd>(simd: S, ptr: *const Self) -> S::F32;

    /// Writes `S::LANES` values, each the nearest.
    ///
    /// # Safety
    /// `ptr` is valid for writing `S::LANES` values.
    unsafe fn store<S: Simd>(simd: S, ptr: *mut Self, v: S::F32);

    /// Writes `S::LANES` values, each the nearest, past the cache where the type can.
    ///
    /// # Safety
    /// `ptr` is valid for writing `S::LANES` values and aligned to their size.
    #[inline(always)]
    unsafe fn stream<S: Simd>(simd: S, ptr: *mut Self, v: S::F32) {
        // SAFETY: the caller's promise is more than this asks for.
        unsafe { Self::store(simd, ptr, v) }
    }
}

/// The conversions of a type that vectors load and store themselves.
macro_rules! element {
    ($type:ty, $bits:ty, $load:ident, $store:ident, $to:expr, $from:expr, $wide:expr $(, $stream:ident)?) => {
        impl Element for $type {
            const WIDE: bool = false;

            #[inline(always)]
            fn to_f32(self) -> f32 {
                $to(self)
            }

            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from($to(self))
            }

            #[inline(always)]
            fn from_f32(value: f32) -> Self {
                $from(value)
            }

            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                $wide(value)
            }

            #[inline(always)]
            unsafe fn load<S: Simd>(simd: S, ptr: *const Self) -> S::F32 {
                // SAFETY: the caller's promise is this function's own.
                unsafe { simd.$load(ptr.cast::<$bits>()) }
            }

            #[inline(always)]
            unsafe fn store<S: Simd>(simd: S, ptr: *mut Self, v: S::F32) {
                // SAFETY: the caller's promise is this function's own.
                unsafe { simd.$store(ptr.cast::<$bits>(), v) }
            }

            $(
                #[inline(always)]
                unsafe fn stream<S: Simd>(simd: S, ptr: *mut Self, v: S::F32) {
                    // SAFETY: the caller's promise is this function's own.
                    unsafe { simd.$stream(ptr, v) }
                }
            )?
        }
    };
}

element!(f32, f32, load_f32, store_f32, |v| v, |v| v, |v| v as f32, stream_f32);
element!(f16, u16, load_f16, store_f16, f16::to_f32, f16::from_f32, f16::from_f64);
element!(bf16, u16, load_bf16, store_bf16, bf16::to_f32, bf16::from_f32, bf16::from_f64);

/// The most lanes that a vector of any instruction set has.
const MAX_LANES: usize = 16;

impl Element for f64 {
    const WIDE: bool = true;

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self as f32
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        f64::from(value)
    }

    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value
    }

    #[inline(always)]
    unsafe fn load<S: Simd>(simd: S, ptr: *const Self) -> S::F32 {
        let mut lanes = [0.0; MAX_LANES];
        for (index, lane) in lanes[..S::LANES].iter_mut().enumerate() {
            // SAFETY: the caller vouches for LANES values.
            *lane = unsafe { *ptr.add(index) } as f32;
        }
        // SAFETY: the buffer has at least LANES elements.
        unsafe { simd.load_f32(lanes.as_ptr()) }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(simd: S, ptr: *mut Self, v: S::F32) {
        let mut lanes = [0.0; MAX_LANES];
        // SAFETY: the buffer has at least LANES elements.
        unsafe { simd.store_f32(lanes.as_mut_ptr(), v) };
        for (index, &lane) in lanes[..S::LANES].iter().enumerate() {
            // SAFETY: the caller vouches for LANES values.
            unsafe { ptr.add(index).write(f64::from(lane)) };
        }
    }
}
