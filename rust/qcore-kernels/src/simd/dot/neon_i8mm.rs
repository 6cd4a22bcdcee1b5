//! 128-bit vectors with the dot product of unsigned and signed bytes.

use std::arch::aarch64::*;
use std::arch::asm;

use super::Dot4;
use super::neon::vectors;
use crate::isa::Isa;

/// Proof that this CPU has the mixed dot product: only [`NeonI8mm::new`] makes one.
#[derive(Clone, Copy)]
pub(super) struct NeonI8mm(());

impl NeonI8mm {
    pub(super) fn new() -> Option<Self> {
        Isa::NeonI8mm.is_available().then_some(Self(()))
    }
}

/// `acc` and the products of the four bytes of each lane. Stable Rust has no intrinsic for it.
///
/// # Safety
/// The CPU has the matrix products, of which this is a part.
#[inline]
#[target_feature(enable = "neon,i8mm")]
unsafe fn usdot(mut acc: int32x4_t, unsigned: uint8x16_t, signed: int8x16_t) -> int32x4_t {
    // SAFETY: the caller vouches for the feature; no memory is touched.
    unsafe {
        asm!(
            "usdot {acc:v}.4s, {a:v}.16b, {b:v}.16b",
            acc = inout(vreg) acc,
            a = in(vreg) unsigned,
            b = in(vreg) signed,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    acc
}

impl Dot4 for NeonI8mm {
    vectors!();
    const ROWS: usize = 6;

    #[inline(always)]
    fn dot(self, acc: int32x4_t, unsigned: int32x4_t, signed: int32x4_t) -> int32x4_t {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { usdot(acc, vreinterpretq_u8_s32(unsigned), vreinterpretq_s8_s32(signed)) }
    }
}
