//! Segments on ARM: the tiles of the products, whose rows lie in several pieces.

use super::{SegmentKernel, SegmentTile, SegmentTileFn};
use crate::gemm::micro::neon::Neon;
use crate::gemm::micro::neon_dot::NeonDot;
use crate::gemm::micro::neon_i8mm::{self, PAIRS, VECTORS};
use crate::gemm::micro::neon_tile::{self, Fours, UNIT, store};
use crate::gemm::microkernel::{GROUP_BYTES, Layout, Left, Tile};
use crate::isa::Isa;

/// From the best to the plainest.
pub(super) static KERNELS: [&SegmentKernel; 3] = [&i8mm::KERNEL, &dot::KERNEL, &plain::KERNEL];

/// The pieces of a tile, one after the other.
///
/// # Safety
/// As [`SegmentTileFn`].
#[inline(always)]
unsafe fn pieces(t: &SegmentTile, mut add: impl FnMut(&Tile)) {
    for segment in 0..t.segments {
        add(&Tile {
            a: t.a.wrapping_add(segment * t.segment_stride),
            a_stride: t.a_stride,
            flip: 0,
            groups: t.groups,
            b: t.b.wrapping_add(segment * t.groups * GROUP_BYTES),
            panel_stride: t.panel_stride,
            start: std::ptr::null(),
            row_start: std::ptr::null(),
            c: std::ptr::null_mut(),
            c_stride: 0,
        });
    }
}

/// # Safety
/// As [`SegmentTileFn`].
#[allow(clippy::needless_range_loop, reason = "over indices it is unrolled whole")]
#[inline(always)]
unsafe fn fours<F: Fours, const ROWS: usize, const UNITS: usize>(t: &SegmentTile) {
    // SAFETY: the caller vouches for every pointer of the tile and for the instruction set.
    unsafe {
        let mut acc = [[F::zero(); UNITS]; ROWS];
        pieces(t, |tile| neon_tile::add::<F, ROWS, UNITS>(&mut acc, tile));
        for row in 0..ROWS {
            for unit in 0..UNITS {
                let c = t.c.add(row * t.c_stride + unit * UNIT);
                store(F::sums(acc[row][unit]), t.start.add(unit * UNIT), 0, c);
            }
        }
    }
}

/// # Safety
/// As [`SegmentTileFn`]; a segment is of whole lines of B, or there is one.
#[inline(always)]
unsafe fn eights<const ROWS: usize, const UNITS: usize>(t: &SegmentTile) {
    // SAFETY: the caller vouches for every pointer of the tile and for the instruction set.
    unsafe {
        let mut acc = [[std::arch::aarch64::vdupq_n_s32(0); VECTORS]; PAIRS];
        if t.signed {
            pieces(t, |tile| neon_i8mm::add::<true, ROWS, UNITS>(&mut acc, tile));
        } else {
            pieces(t, |tile| neon_i8mm::add::<false, ROWS, UNITS>(&mut acc, tile));
        }
        for row in 0..ROWS {
            for unit in 0..UNITS {
                let c = t.c.add(row * t.c_stride + unit * UNIT);
                store(neon_i8mm::columns(&acc, row, unit), t.start.add(unit * UNIT), 0, c);
            }
        }
    }
}

/// A kernel of its own module.
macro_rules! kernel {
    ($name:ident, $tile:expr, $isa:expr, $left:expr, $layout:expr, $features:literal,
     $($rows:literal)+) => {
        mod $name {
            use super::*;

            /// # Safety
            /// As [`SegmentTileFn`].
            #[target_feature(enable = $features)]
            unsafe fn tile<const ROWS: usize, const UNITS: usize>(t: &SegmentTile) {
                // SAFETY: the caller's promise is this function's own.
                unsafe { $tile(t) }
            }

            pub(super) static KERNEL: SegmentKernel = SegmentKernel {
                isa: $isa,
                left: $left,
                layout: $layout,
                unit: UNIT,
                tiles: &[
                    &[$(tile::<$rows, 1> as SegmentTileFn),+],
                    &[$(tile::<$rows, 2> as SegmentTileFn),+],
                    &[$(tile::<$rows, 3> as SegmentTileFn),+],
                    &[$(tile::<$rows, 4> as SegmentTileFn),+],
                ],
            };
        }
    };
}

kernel!(i8mm, eights::<ROWS, UNITS>, Isa::NeonI8mm, Left::Bytes, Layout::Eights, "neon,i8mm",
    1 2 3 4 5 6);
kernel!(dot, fours::<NeonDot, ROWS, UNITS>, Isa::NeonDot, Left::Signed, Layout::Fours,
    "neon,dotprod", 1 2 3 4 5 6);
kernel!(plain, fours::<Neon, ROWS, UNITS>, Isa::Neon, Left::Signed, Layout::Fours, "neon", 1 2 3);
