//! The tile of NEON kernels that take four columns of a depth group from each register of B: without
//! and with the dot product.
//!
//! A register of A holds four depth groups of a row, so that its loads are few; what is not a whole
//! register at the end of the rows is read group by group.

use std::arch::aarch64::*;

use crate::gemm::microkernel::{DEPTH, GROUP_BYTES, PANEL, Tile};

/// Columns of a register of B.
pub(super) const UNIT: usize = 4;
/// Bytes of a register.
const VECTOR: usize = 16;
/// Depth groups of a register of A.
const GROUPS: usize = VECTOR / DEPTH;

/// What such a kernel is made of; see [`super::Dot`] for who may use it.
pub(super) trait Fours {
    /// Sums of four columns, in any arrangement.
    type Acc: Copy;
    /// Four values of a row, as [`Fours::dot`] takes them.
    type A: Copy;

    /// Sums of nothing.
    unsafe fn zero() -> Self::Acc;
    /// Depth group `G` of four of a row, for all columns.
    unsafe fn group<const G: i32>(a: int8x16_t) -> Self::A;
    /// `acc` and the products of group `G` of a row with four columns, all signed.
    unsafe fn dot<const G: i32>(acc: Self::Acc, a: Self::A, b: int8x16_t) -> Self::Acc;
    /// Adds depth groups in fours, where there is a loop for a tile of this size; the rows are
    /// `a_stride` apart, the columns side by side. Returns how many fours.
    ///
    /// # Safety
    /// The rows of A and the lines of B are valid for as many groups.
    #[inline(always)]
    unsafe fn fours<const ROWS: usize, const UNITS: usize>(
        _acc: &mut [[Self::Acc; UNITS]; ROWS],
        _t: &Tile,
    ) -> usize {
        0
    }
    /// The sums, in the order of the columns.
    unsafe fn sums(acc: Self::Acc) -> int32x4_t;
}

/// A depth group of all rows and columns; `b` is its line.
///
/// # Safety
/// `b` is valid for the tile's columns of a line, and the CPU has the instructions of `F`.
#[allow(clippy::needless_range_loop, reason = "over indices it is unrolled whole")]
#[inline(always)]
unsafe fn step<F: Fours, const G: i32, const ROWS: usize, const UNITS: usize>(
    acc: &mut [[F::Acc; UNITS]; ROWS],
    a: &[int8x16_t; ROWS],
    b: *const i8,
    panel_stride: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut values = [F::group::<G>(a[0]); ROWS];
        for row in 1..ROWS {
            values[row] = F::group::<G>(a[row]);
        }
        for unit in 0..UNITS {
            let column = unit * UNIT;
            let offset = column / PANEL * panel_stride + column % PANEL * DEPTH;
            let columns = vld1q_s8(b.add(offset));
            for row in 0..ROWS {
                acc[row][unit] = F::dot::<G>(acc[row][unit], values[row], columns);
            }
        }
    }
}

/// A tile of `ROWS` rows and `UNITS` units.
///
/// # Safety
/// As [`crate::gemm::microkernel::TileFn`].
#[allow(clippy::needless_range_loop, reason = "over indices it is unrolled whole")]
#[inline(always)]
pub(super) unsafe fn tile<F: Fours, const ROWS: usize, const UNITS: usize>(t: &Tile) {
    // SAFETY: the caller vouches for every pointer of the tile and for the instruction set.
    unsafe {
        let mut acc = [[F::zero(); UNITS]; ROWS];
        let flip = vreinterpretq_s8_s32(vdupq_n_s32(t.flip));
        let done = F::fours(&mut acc, t);
        let mut a = t.a.add(done * VECTOR);
        let mut b = t.b.add(done * GROUPS * GROUP_BYTES);
        for _ in done..t.groups / GROUPS {
            let mut rows = [flip; ROWS];
            for row in 0..ROWS {
                rows[row] = veorq_s8(vld1q_s8(a.add(row * t.a_stride).cast()), flip);
            }
            step::<F, 0, ROWS, UNITS>(&mut acc, &rows, b, t.panel_stride);
            step::<F, 1, ROWS, UNITS>(&mut acc, &rows, b.add(GROUP_BYTES), t.panel_stride);
            step::<F, 2, ROWS, UNITS>(&mut acc, &rows, b.add(2 * GROUP_BYTES), t.panel_stride);
            step::<F, 3, ROWS, UNITS>(&mut acc, &rows, b.add(3 * GROUP_BYTES), t.panel_stride);
            a = a.add(VECTOR);
            b = b.add(GROUPS * GROUP_BYTES);
        }
        for _ in 0..t.groups % GROUPS {
            let mut rows = [flip; ROWS];
            for row in 0..ROWS {
                let group = a.add(row * t.a_stride).cast::<i32>().read_unaligned();
                rows[row] = veorq_s8(vreinterpretq_s8_s32(vdupq_n_s32(group)), flip);
            }
            step::<F, 0, ROWS, UNITS>(&mut acc, &rows, b, t.panel_stride);
            a = a.add(DEPTH);
            b = b.add(GROUP_BYTES);
        }
        for row in 0..ROWS {
            let row_start = vdupq_n_s32(*t.row_start.add(row));
            for unit in 0..UNITS {
                let column = unit * UNIT;
                let start = vaddq_s32(vld1q_s32(t.start.add(column)), row_start);
                let sums = vaddq_s32(F::sums(acc[row][unit]), start);
                vst1q_s32(t.c.add(row * t.c_stride + column), sums);
            }
        }
    }
}
