//! 128-bit vectors with the dot product of signed bytes.

use std::arch::aarch64::*;
use std::arch::asm;

use super::Dot4;
use super::neon::{less_128, vectors};
use crate::isa::Isa;

/// Proof that this CPU has the dot product: only [`NeonDot::new`] makes one.
#[derive(Clone, Copy)]
pub(super) struct NeonDot(());

impl NeonDot {
    pub(super) fn new() -> Option<Self> {
        Isa::NeonDot.is_available().then_some(Self(()))
    }
}

/// `acc` and the products of the four signed bytes of each lane. Stable Rust has no intrinsic for it.
///
/// # Safety
/// The CPU has the dot product.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn sdot(mut acc: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: the caller vouches for the feature; no memory is touched.
    unsafe {
        asm!(
            "sdot {acc:v}.4s, {a:v}.16b, {b:v}.16b",
            acc = inout(vreg) acc,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

/// `acc` and the products of the four unsigned bytes of each lane. Stable Rust has no intrinsic for it.
///
/// # Safety
/// The CPU has the dot product.
#[inline]
#[target_feature(enable = "neon,dotprod")]
unsafe fn udot(mut acc: int32x4_t, a: uint8x16_t, b: uint8x16_t) -> int32x4_t {
    // SAFETY: the caller vouches for the feature; no memory is touched.
    unsafe {
        asm!(
            "udot {acc:v}.4s, {a:v}.16b, {b:v}.16b",
            acc = inout(vreg) acc,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

impl Dot4 for NeonDot {
    vectors!();
    const ROWS: usize = 6;
    const DOT: bool = true;

    #[inline(always)]
    fn dot(self, acc: int32x4_t, unsigned: int32x4_t, signed: int32x4_t) -> int32x4_t {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe {
            let (a, b) = (less_128(unsigned), vreinterpretq_s8_s32(signed));
            // What the unsigned bytes lack: 128 times each signed one.
            let half = vdupq_n_s8(64);
            let lacking = sdot(sdot(vdupq_n_s32(0), b, half), b, half);
            sdot(vaddq_s32(acc, lacking), a, b)
        }
    }

    const SIGNED_DATA: bool = true;

    #[inline(always)]
    fn dot_data(self, acc: int32x4_t, data: int32x4_t, signed: int32x4_t) -> int32x4_t {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { sdot(acc, vreinterpretq_s8_s32(data), vreinterpretq_s8_s32(signed)) }
    }

    #[inline(always)]
    fn dot_unsigned(self, acc: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { udot(acc, vreinterpretq_u8_s32(a), vreinterpretq_u8_s32(b)) }
    }
}
