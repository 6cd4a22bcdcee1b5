//! Segments on x86: one body over the vocabulary of the micro-kernels.

use super::{SegmentKernel, SegmentTile, SegmentTileFn};
use crate::gemm::micro::avx_vnni::AvxVnni;
use crate::gemm::micro::avx2::Avx2;
use crate::gemm::micro::avx512::Avx512;
use crate::gemm::micro::avx512_vnni::Avx512Vnni;
use crate::gemm::micro::{Dot, unit_offset};
use crate::gemm::microkernel::{Layout, Left};
use crate::isa::Isa;

/// From the best to the plainest.
pub(super) static KERNELS: [&SegmentKernel; 4] =
    [&avx512_vnni::KERNEL, &avx512::KERNEL, &avx_vnni::KERNEL, &avx2::KERNEL];

/// A tile of `ROWS` rows and `UNITS` units.
///
/// # Safety
/// As [`SegmentTileFn`].
#[allow(clippy::needless_range_loop, reason = "see `micro::tile`")]
#[inline(always)]
unsafe fn tile<D: Dot, const ROWS: usize, const UNITS: usize>(t: &SegmentTile) {
    // SAFETY: the caller vouches for every pointer of the tile and for the instruction set.
    unsafe {
        let mut acc = [[D::zero(); UNITS]; ROWS];
        let mut b = t.b;
        let mut segment = t.a;
        for _ in 0..t.segments {
            let mut a = segment;
            for _ in 0..D::STEPS * t.groups {
                let mut columns = [D::load_b(b); UNITS];
                for unit in 1..UNITS {
                    columns[unit] = D::load_b(b.add(unit_offset::<D>(unit, t.panel_stride)));
                }
                for row in 0..ROWS {
                    // Nothing is flipped: a broadcast from memory costs a load and nothing else.
                    let a = D::load_a(a.add(row * t.a_stride), 0);
                    for unit in 0..UNITS {
                        acc[row][unit] = D::dot(acc[row][unit], a, columns[unit]);
                    }
                }
                a = a.add(D::A_BYTES);
                b = b.add(D::B_BYTES);
            }
            segment = segment.wrapping_add(t.segment_stride);
        }
        for row in 0..ROWS {
            for unit in 0..UNITS {
                let column = unit * D::UNIT;
                let c = t.c.add(row * t.c_stride + column);
                D::store(acc[row][unit], t.start.add(column), 0, c);
            }
        }
    }
}

/// A kernel of its own module: tiles of these rows for each number of units.
macro_rules! kernel {
    ($name:ident, $dot:ty, $isa:expr, $left:expr, $layout:expr, $features:literal,
     $($units:literal: $($rows:literal)+;)+) => {
        mod $name {
            use super::*;

            /// # Safety
            /// As [`SegmentTileFn`].
            #[target_feature(enable = $features)]
            unsafe fn tile<const ROWS: usize, const UNITS: usize>(t: &SegmentTile) {
                // SAFETY: the caller's promise is this function's own.
                unsafe { super::tile::<$dot, ROWS, UNITS>(t) }
            }

            pub(super) static KERNEL: SegmentKernel = SegmentKernel {
                isa: $isa,
                left: $left,
                layout: $layout,
                unit: <$dot as Dot>::UNIT,
                tiles: &[$(&[$(tile::<$rows, $units> as SegmentTileFn),+]),+],
            };
        }
    };
}

// As many rows as there are registers for, and enough sums to wait for none.
kernel!(avx512_vnni, Avx512Vnni, Isa::Avx512Vnni, Left::U8, Layout::Fours,
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni",
    1: 1 2 3 4 5 6 7 8 9 10 11 12;
    2: 1 2 3 4 5 6 7 8 9 10 11 12;
    3: 1 2 3 4 5 6 7 8;
    4: 1 2 3 4 5 6;
);
kernel!(avx512, Avx512<false>, Isa::Avx512, Left::I16, Layout::Pairs,
    "avx512f,avx512bw,avx512dq,avx512vl,avx2",
    1: 1 2 3 4 5 6 7 8 9 10 11 12;
    2: 1 2 3 4 5 6 7 8 9 10 11 12;
    3: 1 2 3 4 5 6 7 8;
    4: 1 2 3 4 5 6;
);
kernel!(avx_vnni, AvxVnni, Isa::AvxVnni, Left::U8, Layout::Fours, "avx2,avxvnni",
    1: 1 2 3 4 5 6 7 8 9 10;
    2: 1 2 3 4 5 6;
);
kernel!(avx2, Avx2<false>, Isa::Avx2, Left::I16, Layout::Pairs, "avx2",
    1: 1 2 3 4 5 6;
    2: 1 2 3 4 5 6;
);
