//! Tiles whose rows of A are several segments, the same distance apart: the rows of a window over an
//! image, read where they lie.

use super::super::microkernel::{Layout, Left};
use super::avx_vnni::AvxVnni;
use super::avx2::Avx2;
use super::avx512::Avx512;
use super::avx512_vnni::Avx512Vnni;
use super::{Dot, unit_offset};
use crate::isa::Isa;

/// One tile: where its operands and results lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentTile {
    /// The first segment of the first row.
    pub(crate) a: *const u8,
    /// Bytes from a row of A to the next.
    pub(crate) a_stride: usize,
    /// Segments of a row.
    pub(crate) segments: usize,
    /// Bytes from a segment to the next.
    pub(crate) segment_stride: usize,
    /// Depth groups of a segment.
    pub(crate) groups: usize,
    /// First column of the tile, at its first depth group.
    pub(crate) b: *const i8,
    /// Bytes from a panel of B to the next.
    pub(crate) panel_stride: usize,
    /// What the sum of each column starts from.
    pub(crate) start: *const i32,
    /// First result.
    pub(crate) c: *mut i32,
    /// Elements from a row of results to the next.
    pub(crate) c_stride: usize,
}

/// Computes one tile of a fixed size, wrapping: `c = start + a * b`.
///
/// # Safety
/// - The CPU has the kernel's instruction set.
/// - Each segment of each row is valid for reading `groups * 4` elements of the kernel's [`Left`] type;
///   `b` for the lines of all segments in each panel that the tile touches, `start` for the tile's
///   columns, and `c` for writing the tile.
pub(crate) type SegmentTileFn = unsafe fn(&SegmentTile);

/// The tiles of an instruction set.
#[derive(Debug)]
pub(crate) struct SegmentKernel {
    isa: Isa,
    /// How it wants A.
    pub(crate) left: Left,
    /// How it wants B.
    pub(crate) layout: Layout,
    /// Columns of one unit: a tile is a number of units wide.
    pub(crate) unit: usize,
    /// `tiles[units - 1][rows - 1]`.
    pub(crate) tiles: &'static [&'static [SegmentTileFn]],
}

/// The best kernel where `isa` is in force, if there is one.
pub(crate) fn segment_kernel(isa: Isa) -> Option<&'static SegmentKernel> {
    static TABLE: [&SegmentKernel; 4] =
        [&avx512_vnni::KERNEL, &avx512::KERNEL, &avx_vnni::KERNEL, &avx2::KERNEL];
    TABLE.into_iter().find(|kernel| isa.includes(kernel.isa))
}

/// A tile of `ROWS` rows and `UNITS` units.
///
/// # Safety
/// As [`SegmentTileFn`].
#[allow(clippy::needless_range_loop, reason = "see `super::tile`")]
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
