//! NEON instructions on bytes and halves of registers that a compiler would replace by several: it takes
//! intrinsics apart and puts together what it thinks is better.

use std::arch::aarch64::*;
use std::arch::asm;

/// The products of the upper eight bytes. For the intrinsic a compiler moves them down first, again for
/// each of them, where others of the register are multiplied too.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
pub(crate) unsafe fn products_of_upper(a: int8x16_t, b: int8x16_t) -> int16x8_t {
    let products: int16x8_t;
    // SAFETY: the caller's promise; no memory is touched.
    unsafe {
        asm!(
            "smull2 {products:v}.8h, {a:v}.16b, {b:v}.16b",
            products = lateout(vreg) products,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    products
}

/// The same, added to what is there.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
pub(crate) unsafe fn add_products_of_upper(
    mut sums: int16x8_t,
    a: int8x16_t,
    b: int8x16_t,
) -> int16x8_t {
    // SAFETY: the caller's promise; no memory is touched.
    unsafe {
        asm!(
            "smlal2 {sums:v}.8h, {a:v}.16b, {b:v}.16b",
            sums = inout(vreg) sums,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// Neighbours of `a`, then of `b`, added: one instruction, where a compiler takes three if the result is
/// added to something else.
///
/// # Safety
/// The CPU has NEON.
#[inline(always)]
pub(crate) unsafe fn pairs_added(a: int32x4_t, b: int32x4_t) -> int32x4_t {
    let sums: int32x4_t;
    // SAFETY: the caller's promise; no memory is touched.
    unsafe {
        asm!(
            "addp {sums:v}.4s, {a:v}.4s, {b:v}.4s",
            sums = lateout(vreg) sums,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// 16 bytes, read as cores that run in order like it: in halves, one of them by a general register. A
/// compiler would make one load of two; each is by itself, so that they can be moved apart.
///
/// # Safety
/// `ptr` is valid for reading 16 bytes, and the CPU has NEON.
#[inline(always)]
pub(crate) unsafe fn load_in_halves(ptr: *const i8) -> int8x16_t {
    let (mut found, high): (int8x16_t, u64);
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "ldr {found:d}, [{ptr}]",
            found = lateout(vreg) found,
            ptr = in(reg) ptr,
            options(pure, readonly, nostack, preserves_flags),
        );
        asm!(
            "ldr {high}, [{ptr}, #8]",
            high = lateout(reg) high,
            ptr = in(reg) ptr,
            options(pure, readonly, nostack, preserves_flags),
        );
        asm!(
            "ins {found:v}.d[1], {high}",
            found = inout(vreg) found,
            high = in(reg) high,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    found
}
