//! 128-bit vectors, which every `AArch64` CPU has. Products of bytes are 16 bits wide, which holds each
//! of them, and summed in 32.

use std::arch::aarch64::*;
use std::arch::asm;

use super::Dot4;
use crate::isa::Isa;
use crate::simd::neon_bytes::{add_products_of_upper, pairs_added, products_of_upper};

/// Proof that this CPU has NEON, as every `AArch64` CPU has: only [`Neon::new`] makes one.
#[derive(Clone, Copy)]
pub(super) struct Neon(());

impl Neon {
    pub(super) fn new() -> Option<Self> {
        Isa::Neon.is_available().then_some(Self(()))
    }
}

/// The bytes of `a` less 128, of unsigned ones: as signed ones.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
pub(super) unsafe fn less_128(a: int32x4_t) -> int8x16_t {
    // SAFETY: the caller vouches for the feature.
    unsafe { veorq_s8(vreinterpretq_s8_s32(a), vdupq_n_s8(-128)) }
}

/// Four rows of 16 bytes, the four bytes of a column side by side, in the order of the columns.
///
/// # Safety
/// Each row is valid for reading 16 bytes, and the CPU has NEON.
#[inline(always)]
pub(super) unsafe fn interleave(rows: [*const u8; 4]) -> [int32x4_t; 4] {
    // SAFETY: the caller vouches for the rows and for the feature.
    unsafe {
        let (a, b) = (vld1q_u8(rows[0]), vld1q_u8(rows[1]));
        let (c, d) = (vld1q_u8(rows[2]), vld1q_u8(rows[3]));
        let ab = vreinterpretq_u16_u8(vzip1q_u8(a, b));
        let cd = vreinterpretq_u16_u8(vzip1q_u8(c, d));
        let ab_high = vreinterpretq_u16_u8(vzip2q_u8(a, b));
        let cd_high = vreinterpretq_u16_u8(vzip2q_u8(c, d));
        [
            vreinterpretq_s32_u16(vzip1q_u16(ab, cd)),
            vreinterpretq_s32_u16(vzip2q_u16(ab, cd)),
            vreinterpretq_s32_u16(vzip1q_u16(ab_high, cd_high)),
            vreinterpretq_s32_u16(vzip2q_u16(ab_high, cd_high)),
        ]
    }
}

/// Stores the sums of interleaved columns.
///
/// # Safety
/// `ptr` is valid for writing 16 integers, and the CPU has NEON.
#[inline(always)]
pub(super) unsafe fn store(ptr: *mut i32, sums: [int32x4_t; 4]) {
    // SAFETY: the caller vouches for the integers and for the feature.
    unsafe {
        vst1q_s32(ptr, sums[0]);
        vst1q_s32(ptr.add(4), sums[1]);
        vst1q_s32(ptr.add(8), sums[2]);
        vst1q_s32(ptr.add(12), sums[3]);
    }
}

/// Four integers, which a compiler would keep in a register of their own, and copy from there.
///
/// # Safety
/// `ptr` is valid for reading them, and the CPU has NEON.
#[inline(always)]
pub(super) unsafe fn read(ptr: *const i32) -> int32x4_t {
    let found: int32x4_t;
    // SAFETY: the caller's promise. It is not `pure`, so that each time it is read.
    unsafe {
        asm!(
            "ldr {found:q}, [{ptr}]",
            found = lateout(vreg) found,
            ptr = in(reg) ptr,
            options(readonly, nostack, preserves_flags),
        );
    }
    found
}

/// What is the same with and without dot products: everything but those.
macro_rules! vectors {
    () => {
        const COLUMNS: usize = 16;
        const KEEPS: bool = true;
        type I32 = int32x4_t;

        #[inline(always)]
        unsafe fn read(self, ptr: *const i32) -> int32x4_t {
            // SAFETY: the caller vouches for the integers; NEON is part of AArch64.
            unsafe { $crate::simd::dot::neon::read(ptr) }
        }

        #[inline(always)]
        fn splat(self, value: i32) -> int32x4_t {
            // SAFETY: NEON is part of AArch64.
            unsafe { vdupq_n_s32(value) }
        }

        #[inline(always)]
        fn add(self, a: int32x4_t, b: int32x4_t) -> int32x4_t {
            // SAFETY: NEON is part of AArch64.
            unsafe { vaddq_s32(a, b) }
        }

        #[inline(always)]
        fn xor(self, a: int32x4_t, b: int32x4_t) -> int32x4_t {
            // SAFETY: NEON is part of AArch64.
            unsafe { veorq_s32(a, b) }
        }

        #[inline(always)]
        fn sum(self, a: int32x4_t) -> i32 {
            // SAFETY: NEON is part of AArch64.
            unsafe { vaddvq_s32(a) }
        }

        #[inline(always)]
        unsafe fn load(self, ptr: *const u8) -> int32x4_t {
            // SAFETY: the caller vouches for the bytes; NEON is part of AArch64.
            unsafe { vreinterpretq_s32_u8(vld1q_u8(ptr)) }
        }

        #[inline(always)]
        unsafe fn load_in_halves(self, ptr: *const u8) -> int32x4_t {
            // SAFETY: the caller vouches for the bytes; NEON is part of AArch64.
            unsafe { vreinterpretq_s32_s8($crate::simd::neon_bytes::load_in_halves(ptr.cast())) }
        }

        #[inline(always)]
        unsafe fn interleave(self, rows: [*const u8; 4]) -> [int32x4_t; 4] {
            // SAFETY: the caller vouches for the rows; NEON is part of AArch64.
            unsafe { $crate::simd::dot::neon::interleave(rows) }
        }

        #[inline(always)]
        unsafe fn store(self, ptr: *mut i32, sums: [int32x4_t; 4]) {
            // SAFETY: the caller vouches for the integers; NEON is part of AArch64.
            unsafe { $crate::simd::dot::neon::store(ptr, sums) }
        }
    };
}
pub(super) use vectors;

impl Dot4 for Neon {
    vectors!();
    const ROWS: usize = 4;

    #[inline(always)]
    fn dot(self, acc: int32x4_t, unsigned: int32x4_t, signed: int32x4_t) -> int32x4_t {
        // SAFETY: NEON is part of AArch64.
        unsafe {
            // What the unsigned bytes lack: 128 times each signed one.
            let lacking = vshlq_n_s32::<7>(vpaddlq_s16(vpaddlq_s8(vreinterpretq_s8_s32(signed))));
            let data = vreinterpretq_s32_s8(less_128(unsigned));
            self.dot_data(vaddq_s32(acc, lacking), data, signed)
        }
    }

    const SIGNED_DATA: bool = true;

    #[inline(always)]
    fn dot_data(self, acc: int32x4_t, data: int32x4_t, signed: int32x4_t) -> int32x4_t {
        // SAFETY: NEON is part of AArch64.
        unsafe {
            let (a, b) = (vreinterpretq_s8_s32(data), vreinterpretq_s8_s32(signed));
            let low = vpaddlq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b)));
            let high = vpaddlq_s16(vmull_high_s8(a, b));
            vaddq_s32(acc, pairs_added(low, high))
        }
    }

    const PAIRS: bool = true;

    #[inline(always)]
    fn dot_several<const N: usize>(
        self,
        acc: int32x4_t,
        data: [int32x4_t; N],
        signed: [int32x4_t; N],
    ) -> int32x4_t {
        // SAFETY: NEON is part of AArch64.
        unsafe {
            // Each half of the lanes, two sums of each channel. Two products are at most 2 * 128 * 127.
            let pair = |at: usize| {
                let (a, b) = (vreinterpretq_s8_s32(data[at]), vreinterpretq_s8_s32(signed[at]));
                let low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
                let high = products_of_upper(a, b);
                if at + 1 == N {
                    return (low, high);
                }
                let a = vreinterpretq_s8_s32(data[at + 1]);
                let b = vreinterpretq_s8_s32(signed[at + 1]);
                (vmlal_s8(low, vget_low_s8(a), vget_low_s8(b)), add_products_of_upper(high, a, b))
            };
            let (one, other) = pair(0);
            let (mut low, mut high) = (vpaddlq_s16(one), vpaddlq_s16(other));
            let mut at = 2;
            while at < N {
                let (one, other) = pair(at);
                (low, high) = (vpadalq_s16(low, one), vpadalq_s16(high, other));
                at += 2;
            }
            vaddq_s32(acc, pairs_added(low, high))
        }
    }

    #[inline(always)]
    fn dot_unsigned(self, acc: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t {
        // SAFETY: NEON is part of AArch64.
        unsafe {
            let (a, b) = (vreinterpretq_u8_s32(a), vreinterpretq_u8_s32(b));
            let low = vpaddlq_u16(vmull_u8(vget_low_u8(a), vget_low_u8(b)));
            let high = vpaddlq_u16(vmull_high_u8(a, b));
            vaddq_s32(acc, vreinterpretq_s32_u32(vpaddq_u32(low, high)))
        }
    }
}
