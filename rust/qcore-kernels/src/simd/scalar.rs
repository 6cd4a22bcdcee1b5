//! One lane of plain Rust: the path of every other machine, and the reference for the rest.

use super::Simd;

/// Vectors of one lane.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

impl Simd for Scalar {
    const LANES: usize = 1;
    type F32 = f32;

    #[inline(always)]
    fn splat_f32(self, value: f32) -> f32 {
        value
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
}
