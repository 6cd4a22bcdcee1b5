//! Plain Rust: every other machine, and the reference for the rest.

use super::{Dot, tile_row};
use crate::gemm::limits;
use crate::gemm::microkernel::{GROUP_BYTES, Kernel, Layout, Left, Tile};
use crate::isa::Isa;

struct Scalar;

impl Dot for Scalar {
    const UNIT: usize = 4;
    const STEPS: usize = 1;
    const A_BYTES: usize = 8;
    const B_BYTES: usize = GROUP_BYTES;
    type Acc = [i32; 4];
    type A = [i16; 4];
    type B = [[i8; 4]; 4];

    #[inline(always)]
    unsafe fn zero() -> [i32; 4] {
        [0; 4]
    }

    #[inline(always)]
    unsafe fn load_a(ptr: *const u8, _: i32) -> [i16; 4] {
        // SAFETY: the caller vouches for A_BYTES bytes.
        unsafe { ptr.cast::<[i16; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_b(ptr: *const i8) -> [[i8; 4]; 4] {
        // SAFETY: the caller vouches for 4 * UNIT bytes.
        unsafe { ptr.cast::<[[i8; 4]; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn dot(mut acc: [i32; 4], a: [i16; 4], b: [[i8; 4]; 4]) -> [i32; 4] {
        for (acc, b) in acc.iter_mut().zip(b) {
            // At most 4 * 255 * 128: no step of this sum wraps.
            let sum: i32 = a.into_iter().zip(b).map(|(a, b)| a as i32 * b as i32).sum();
            *acc = acc.wrapping_add(sum);
        }
        acc
    }

    #[inline(always)]
    unsafe fn store(acc: [i32; 4], start: *const i32, row: i32, c: *mut i32) {
        for (column, acc) in acc.into_iter().enumerate() {
            // SAFETY: the caller vouches for UNIT elements at `start` and at `c`.
            unsafe {
                let start = *start.add(column);
                c.add(column).write(acc.wrapping_add(start).wrapping_add(row));
            }
        }
    }
}

/// # Safety
/// As [`crate::gemm::microkernel::TileFn`].
unsafe fn tile<const ROWS: usize, const UNITS: usize>(t: &Tile) {
    // SAFETY: the caller's promise is this function's own.
    unsafe { super::tile::<Scalar, ROWS, UNITS>(t) }
}

pub(in crate::gemm) static KERNEL: Kernel = Kernel {
    id: "any-i8i8s32-scalar-2x4",
    isa: Isa::Scalar,
    left: Left::I16,
    layout: Layout::Fours,
    many: None,
    one: None,
    limits: &limits::PLAIN,
    unit: Scalar::UNIT,
    tiles: &[tile_row!(1: 1, 2)],
    narrow: tile_row!(1: 1, 2),
    narrow_units: 1,
};
