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
/// Loads and stores take pointers; their callers own the bounds.
pub trait Simd: Copy {
    /// How many 32-bit lanes a vector has.
    const LANES: usize;
    /// Float vectors.
    type F32: Copy;

    /// `value` in every lane.
    fn splat_f32(self, value: f32) -> Self::F32;

    /// `LANES` floats from `ptr`, of any alignment.
    ///
    /// # Safety
    /// `ptr` is valid for reading `LANES` floats.
    unsafe fn load_f32(self, ptr: *const f32) -> Self::F32;

    /// `LANES` floats to `ptr`, of any alignment.
    ///
    /// # Safety
    /// `ptr` is valid for writing `LANES` floats.
    unsafe fn store_f32(self, ptr: *mut f32, v: Self::F32);
}
