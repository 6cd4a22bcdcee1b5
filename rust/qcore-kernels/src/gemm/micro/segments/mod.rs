//! Tiles whose rows of A are several segments, the same distance apart: the rows of a window over an
//! image, read where they lie.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

use super::super::microkernel::{Layout, Left};
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
    /// Whether A is signed, where a kernel takes bytes of either sign.
    #[cfg_attr(not(target_arch = "aarch64"), allow(dead_code, reason = "for AArch64"))]
    pub(crate) signed: bool,
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
    #[cfg(target_arch = "x86_64")]
    let mut kernels = x86::KERNELS.iter();
    #[cfg(target_arch = "aarch64")]
    let mut kernels = neon::KERNELS.iter();
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let mut kernels = std::iter::empty::<&&SegmentKernel>();
    kernels.find(|kernel| isa.includes(kernel.isa)).copied()
}
