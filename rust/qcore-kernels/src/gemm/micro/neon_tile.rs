//! The tile of NEON kernels that take four columns of a depth group from each register of B: without
//! and with the dot product, for rows that lie in one piece and in several.
//!
//! A register of A holds four depth groups of a row, so that its loads are few; what is not a whole
//! register at the end of the rows is read group by group.

use std::arch::aarch64::*;
use std::marker::PhantomData;

use crate::gemm::microkernel::{DEPTH, GROUP_BYTES, PANEL, Tile};
use crate::simd::neon_bytes::load_in_halves;

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
    /// Whether loads of 16 bytes are made of two.
    const HALVES: bool = false;

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
    /// [`Fours::fours`] for cores that run in order.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn fours_in_order<const ROWS: usize, const UNITS: usize>(
        _acc: &mut [[Self::Acc; UNITS]; ROWS],
        _t: &Tile,
    ) -> usize {
        0
    }
    /// The sums, in the order of the columns.
    unsafe fn sums(acc: Self::Acc) -> int32x4_t;
}

/// The same for cores that run in order and load 8 bytes in a cycle: loads of 8 issue beside products.
pub(super) struct InOrder<F>(PhantomData<F>);

impl<F: Fours> Fours for InOrder<F> {
    type Acc = F::Acc;
    type A = F::A;
    const HALVES: bool = true;

    #[inline(always)]
    unsafe fn zero() -> F::Acc {
        // SAFETY: the caller's promise.
        unsafe { F::zero() }
    }

    #[inline(always)]
    unsafe fn group<const G: i32>(a: int8x16_t) -> F::A {
        // SAFETY: the caller's promise.
        unsafe { F::group::<G>(a) }
    }

    #[inline(always)]
    unsafe fn dot<const G: i32>(acc: F::Acc, a: F::A, b: int8x16_t) -> F::Acc {
        // SAFETY: the caller's promise.
        unsafe { F::dot::<G>(acc, a, b) }
    }

    #[inline(always)]
    unsafe fn fours<const ROWS: usize, const UNITS: usize>(
        acc: &mut [[F::Acc; UNITS]; ROWS],
        t: &Tile,
    ) -> usize {
        // SAFETY: the caller's promise.
        unsafe { F::fours_in_order(acc, t) }
    }

    #[inline(always)]
    unsafe fn sums(acc: F::Acc) -> int32x4_t {
        // SAFETY: the caller's promise.
        unsafe { F::sums(acc) }
    }
}

/// A register of A or B.
///
/// # Safety
/// `ptr` is valid for reading 16 bytes.
#[inline(always)]
unsafe fn load<F: Fours>(ptr: *const i8) -> int8x16_t {
    // SAFETY: the caller's promise; every AArch64 CPU has NEON.
    unsafe { if F::HALVES { load_in_halves(ptr) } else { vld1q_s8(ptr) } }
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
            let columns = load::<F>(b.add(offset));
            for row in 0..ROWS {
                acc[row][unit] = F::dot::<G>(acc[row][unit], values[row], columns);
            }
        }
    }
}

/// Adds the products of rows of one piece.
///
/// # Safety
/// As [`crate::gemm::microkernel::TileFn`] of what is read.
#[allow(clippy::needless_range_loop, reason = "over indices it is unrolled whole")]
#[inline(always)]
pub(super) unsafe fn add<F: Fours, const ROWS: usize, const UNITS: usize>(
    acc: &mut [[F::Acc; UNITS]; ROWS],
    t: &Tile,
) {
    // SAFETY: the caller vouches for every pointer of the tile and for the instruction set.
    unsafe {
        let flip = vreinterpretq_s8_s32(vdupq_n_s32(t.flip));
        let done = F::fours(acc, t);
        let mut a = t.a.add(done * VECTOR);
        let mut b = t.b.add(done * GROUPS * GROUP_BYTES);
        for _ in done..t.groups / GROUPS {
            let mut rows = [flip; ROWS];
            for row in 0..ROWS {
                rows[row] = veorq_s8(load::<F>(a.add(row * t.a_stride).cast()), flip);
            }
            step::<F, 0, ROWS, UNITS>(acc, &rows, b, t.panel_stride);
            step::<F, 1, ROWS, UNITS>(acc, &rows, b.add(GROUP_BYTES), t.panel_stride);
            step::<F, 2, ROWS, UNITS>(acc, &rows, b.add(2 * GROUP_BYTES), t.panel_stride);
            step::<F, 3, ROWS, UNITS>(acc, &rows, b.add(3 * GROUP_BYTES), t.panel_stride);
            a = a.add(VECTOR);
            b = b.add(GROUPS * GROUP_BYTES);
        }
        for _ in 0..t.groups % GROUPS {
            let mut rows = [flip; ROWS];
            for row in 0..ROWS {
                let group = a.add(row * t.a_stride).cast::<i32>().read_unaligned();
                rows[row] = veorq_s8(vreinterpretq_s8_s32(vdupq_n_s32(group)), flip);
            }
            step::<F, 0, ROWS, UNITS>(acc, &rows, b, t.panel_stride);
            a = a.add(DEPTH);
            b = b.add(GROUP_BYTES);
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
        add::<F, ROWS, UNITS>(&mut acc, t);
        for row in 0..ROWS {
            for unit in 0..UNITS {
                let start = t.start.add(unit * UNIT);
                let c = t.c.add(row * t.c_stride + unit * UNIT);
                store(F::sums(acc[row][unit]), start, *t.row_start.add(row), c);
            }
        }
    }
}

/// Writes the sums of four columns, each with its start and the row's.
///
/// # Safety
/// `start` is valid for reading four integers, `c` for writing them.
#[inline(always)]
pub(super) unsafe fn store(sums: int32x4_t, start: *const i32, row: i32, c: *mut i32) {
    // SAFETY: the caller's promise; every AArch64 CPU has NEON.
    unsafe {
        let start = vaddq_s32(vld1q_s32(start), vdupq_n_s32(row));
        vst1q_s32(c, vaddq_s32(sums, start));
    }
}

#[cfg(test)]
mod tests {
    use super::UNIT;
    use crate::gemm::micro::{neon, neon_dot};
    use crate::gemm::microkernel::{DEPTH, GROUP_BYTES, Kernel, PANEL, Tile, TileFn};

    /// Bytes of every kind, among them runs of -128, whose products are the greatest.
    fn bytes(seed: u32, len: usize) -> Vec<u8> {
        let mut state = seed;
        let byte = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if state >> 24 < 64 { 0x80 } else { (state >> 16) as u8 }
        };
        (0..len).map(byte).collect()
    }

    fn check(id: &str, tile: TileFn, rows: usize, units: usize, groups: usize, flip: u8) {
        let (columns, k) = (units * UNIT, groups * DEPTH);
        let a = bytes(1 + groups as u32, rows * k);
        let b = bytes(2 + groups as u32, columns.div_ceil(PANEL) * groups * GROUP_BYTES);
        let start: Vec<i32> = (0..columns as i32).map(|column| column * 1000 - 7).collect();
        let row_start: Vec<i32> = (0..rows as i32).map(|row| row * 77).collect();
        let mut c = vec![0; rows * columns];
        let tile_of = Tile {
            a: a.as_ptr(),
            a_stride: k,
            flip: i32::from_ne_bytes([flip; 4]),
            groups,
            b: b.as_ptr().cast(),
            panel_stride: groups * GROUP_BYTES,
            start: start.as_ptr(),
            row_start: row_start.as_ptr(),
            c: c.as_mut_ptr(),
            c_stride: columns,
        };
        // SAFETY: the operands are as large as the tile takes them to be, and the CPU has the kernel's
        // instruction set.
        unsafe { tile(&tile_of) };
        for row in 0..rows {
            for column in 0..columns {
                let mut sum = start[column] + row_start[row];
                for at in 0..k {
                    let line = (column / PANEL * groups + at / DEPTH) * GROUP_BYTES;
                    let weight = b[line + column % PANEL * DEPTH + at % DEPTH] as i8;
                    sum += i32::from((a[row * k + at] ^ flip) as i8) * i32::from(weight);
                }
                let found = c[row * columns + column];
                assert_eq!(found, sum, "{id} {rows}x{columns}, {groups} groups: {row}, {column}");
            }
        }
    }

    /// Which kernels run depends on the core: those of every kind are right on all that can run them.
    #[test]
    fn tiles_of_all_kinds_of_cores_are_the_sums_that_they_are() {
        let kernels: [&Kernel; 4] =
            [&neon::KERNEL, &neon::IN_ORDER, &neon_dot::KERNEL, &neon_dot::IN_ORDER];
        for kernel in kernels.into_iter().filter(|kernel| kernel.isa.is_available()) {
            let narrow = std::iter::once((kernel.narrow_units, kernel.narrow));
            let tiles = kernel.tiles.iter().enumerate().map(|(units, &rows)| (units + 1, rows));
            for (units, rows) in tiles.chain(narrow) {
                for (index, &tile) in rows.iter().enumerate() {
                    for groups in 0..=13 {
                        check(kernel.id, tile, index + 1, units, groups, 0);
                        check(kernel.id, tile, index + 1, units, groups, 0x80);
                    }
                }
            }
        }
    }
}
