//! The inner loops: one body over a small vocabulary, a file for each instruction set.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512_vnni;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "aarch64")]
mod neon_lines;
#[cfg(target_arch = "aarch64")]
mod neon_products;
#[cfg(target_arch = "aarch64")]
mod neon_rows;
mod scalar;

use super::packed::{DEPTH, LINE, PANEL};
use crate::isa::Isa;

/// The most rows that a panel is multiplied with at once: as many as there are registers for.
#[cfg(not(target_arch = "aarch64"))]
pub(super) const ROWS: usize = 4;
/// The most rows that a panel is multiplied with at once: as many as there are registers for.
#[cfg(target_arch = "aarch64")]
pub(super) const ROWS: usize = 6;
/// Panels that one row is multiplied with at once: as many streams from memory.
pub(super) const PANELS: usize = 4;

/// One panel and a few rows of activations, or a few panels and one row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tile {
    /// First row of int8 codes, padded with zeros to whole lines.
    pub(super) a: *const i8,
    /// Bytes from a row to the next.
    pub(super) a_stride: usize,
    /// What the integer sums of each group start from, row by row.
    pub(super) start: *const i32,
    /// The first panel's first line.
    pub(super) w: *const u8,
    /// Bytes from a panel to the next, and from its scales to the next's.
    pub(super) w_stride: usize,
    pub(super) scale_stride: usize,
    /// Lines of the panel, and of a group.
    pub(super) lines: usize,
    pub(super) group_lines: usize,
    /// The first panel's scales: `half` floats, or floats.
    pub(super) scale: *const u8,
    pub(super) half: bool,
    /// Results: `PANEL` floats for each row and panel.
    pub(super) out: *mut f32,
}

/// Computes the sums of panels, each group's times its scale.
///
/// # Safety
/// - The CPU has the kernel's instruction set.
/// - Every pointer is valid for what [`Tile`] says of it.
pub(super) type TileFn = unsafe fn(&Tile);

/// The functions of an instruction set.
pub(super) struct Kernel {
    /// One panel: `rows[rows - 1]`.
    pub(super) rows: [TileFn; ROWS],
    /// `PANELS` panels and one row.
    pub(super) panels: TileFn,
}

/// The kernel for the instruction set in force.
pub(super) fn kernel_for(isa: Isa) -> &'static Kernel {
    assert!(isa.is_available(), "this CPU does not have {isa}");
    #[cfg(target_arch = "x86_64")]
    {
        if isa.includes(Isa::Avx512Vnni) {
            return &avx512_vnni::KERNEL;
        }
        if isa.includes(Isa::Avx2) {
            return &avx2::KERNEL;
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        let in_order = crate::isa::runs_in_order();
        if isa.includes(Isa::NeonDot) {
            return if in_order { &neon::dot::in_order::KERNEL } else { &neon::dot::KERNEL };
        }
        if isa.includes(Isa::Neon) {
            return if in_order { &neon::plain::in_order::KERNEL } else { &neon::plain::KERNEL };
        }
    }
    &scalar::KERNEL
}

/// What the body is made of; see `gemm::micro::Dot` for who may use it.
trait Nibbles {
    /// 16 int32 sums, in any arrangement that adds up.
    type Sums: Copy;
    /// 16 floats.
    type Floats: Copy;

    /// `start` in every lane.
    unsafe fn start(start: i32) -> Self::Sums;
    /// Adds the products of a line with 8 activations.
    unsafe fn line(sums: Self::Sums, line: *const u8, a: *const i8) -> Self::Sums;
    /// Adds the products of some lines from `first` on, where there is a loop for so many rows and
    /// panels; returns how many lines. The rows and panels of the tile have `most` of them there.
    #[inline(always)]
    unsafe fn lines<const ROWS: usize, const PANELS: usize>(
        _sums: &mut [[Self::Sums; PANELS]; ROWS],
        _t: &Tile,
        _first: usize,
        _most: usize,
    ) -> usize {
        0
    }
    /// Zeros.
    unsafe fn zero() -> Self::Floats;
    /// `total + sums * scale`, two roundings.
    unsafe fn add(
        total: Self::Floats,
        sums: Self::Sums,
        scale: *const u8,
        half: bool,
    ) -> Self::Floats;
    /// Writes 16 floats.
    unsafe fn store(total: Self::Floats, out: *mut f32);
}

/// # Safety
/// As [`TileFn`].
#[allow(clippy::needless_range_loop, reason = "over indices it is unrolled whole")]
#[inline(always)]
unsafe fn tile<N: Nibbles, const ROWS: usize, const PANELS: usize>(t: &Tile) {
    // SAFETY: the caller vouches for every pointer of the tile and for the instruction set.
    unsafe {
        let mut totals = [[N::zero(); PANELS]; ROWS];
        let groups = t.lines.div_ceil(t.group_lines);
        let scale_bytes = PANEL * if t.half { 2 } else { 4 };
        for group in 0..groups {
            let first = group * t.group_lines;
            let last = (first + t.group_lines).min(t.lines);
            let mut sums = [[N::start(0); PANELS]; ROWS];
            for row in 0..ROWS {
                let start = N::start(*t.start.add(row * groups + group));
                for panel in 0..PANELS {
                    sums[row][panel] = start;
                }
            }
            let done = N::lines(&mut sums, t, first, last - first);
            for line in first + done..last {
                for row in 0..ROWS {
                    let a = t.a.add(row * t.a_stride + line * DEPTH);
                    // Not a loop: one of many registers is not unrolled, and sums be in memory.
                    macro_rules! panel {
                        ($($panel:literal)+) => {$(
                            if $panel < PANELS {
                                let w = t.w.add($panel * t.w_stride + line * LINE);
                                sums[row][$panel % PANELS] = N::line(sums[row][$panel % PANELS], w, a);
                            }
                        )+};
                    }
                    panel!(0 1 2 3);
                }
            }
            for row in 0..ROWS {
                for panel in 0..PANELS {
                    let scale = t.scale.add(panel * t.scale_stride + group * scale_bytes);
                    totals[row][panel] =
                        N::add(totals[row][panel], sums[row][panel], scale, t.half);
                }
            }
        }
        for row in 0..ROWS {
            for panel in 0..PANELS {
                N::store(totals[row][panel], t.out.add((row * PANELS + panel) * PANEL));
            }
        }
    }
}

/// The table of a kernel, compiled with its features.
macro_rules! kernel {
    ($nibbles:ty $(, $features:literal)?) => {
        /// # Safety
        /// As [`crate::gemm::int4::micro::TileFn`].
        $(#[target_feature(enable = $features)])?
        unsafe fn tile<const ROWS: usize, const PANELS: usize>(
            t: &$crate::gemm::int4::micro::Tile,
        ) {
            // SAFETY: the caller's promise is this function's own.
            unsafe { $crate::gemm::int4::micro::tile::<$nibbles, ROWS, PANELS>(t) }
        }

        pub(in crate::gemm::int4) static KERNEL: $crate::gemm::int4::micro::Kernel =
            $crate::gemm::int4::micro::Kernel {
                rows: [
                    tile::<1, 1>,
                    tile::<2, 1>,
                    tile::<3, 1>,
                    tile::<4, 1>,
                    #[cfg(target_arch = "aarch64")]
                    tile::<5, 1>,
                    #[cfg(target_arch = "aarch64")]
                    tile::<6, 1>,
                ],
                panels: tile::<1, { $crate::gemm::int4::micro::PANELS }>,
            };
    };
}

use kernel;
