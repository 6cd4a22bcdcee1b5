//! The micro-kernels: one body over a small vocabulary, and one file for each instruction set that
//! says what its words are.

pub(super) mod scalar;

#[cfg(target_arch = "x86_64")]
pub(super) mod amx;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512_masked;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512_vnni;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx_vnni;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon_dot;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon_i8mm;
#[cfg(target_arch = "aarch64")]
mod neon_row;
#[cfg(target_arch = "aarch64")]
mod neon_tile;
#[cfg(target_arch = "x86_64")]
pub(super) mod segment_codes;
pub(super) mod segments;
#[cfg(target_arch = "x86_64")]
pub(super) mod sse2;

use super::microkernel::{PANEL, Tile};

/// What a micro-kernel is made of.
///
/// The methods are `inline(always)` and take the features of the function that they are inlined
/// into; only functions of a kernel's own file, which have these features, may use its vocabulary.
pub(super) trait Dot {
    /// Columns that one accumulator covers.
    const UNIT: usize;
    /// Steps that a depth group takes.
    const STEPS: usize;
    /// Bytes of A that a step takes.
    const A_BYTES: usize;
    /// Bytes of a panel of B that a step takes.
    const B_BYTES: usize;
    /// How far ahead of what is read lines of B are fetched; 0: not at all. What is not in the first
    /// cache must come as fast as few rows are done with it, from beyond the end of a page, where the
    /// CPU does not look by itself.
    const AHEAD: usize = 0;
    /// Sums of `UNIT` columns, in any arrangement.
    type Acc: Copy;
    /// What a step takes of one row, in all columns.
    type A: Copy;
    /// What a step takes of `UNIT` columns.
    type B: Copy;

    /// Sums of nothing.
    unsafe fn zero() -> Self::Acc;
    /// A step of a row of A: `A_BYTES` bytes, the bits of `flip` flipped in each 4 of them.
    unsafe fn load_a(ptr: *const u8, flip: i32) -> Self::A;
    /// A step of `UNIT` columns of B: their part of `B_BYTES` bytes.
    unsafe fn load_b(ptr: *const i8) -> Self::B;
    /// `acc + a * b`.
    unsafe fn dot(acc: Self::Acc, a: Self::A, b: Self::B) -> Self::Acc;
    /// Writes the `UNIT` sums, each with its column's start and the row's added.
    unsafe fn store(acc: Self::Acc, start: *const i32, row: i32, c: *mut i32);
}

/// Bytes from a tile's first column to its unit `unit`.
#[inline(always)]
fn unit_offset<D: Dot>(unit: usize, panel_stride: usize) -> usize {
    let column = unit * D::UNIT;
    column / PANEL * panel_stride + column % PANEL * (D::B_BYTES / PANEL)
}

/// Depth groups from which on results are fetched before they are written.
const LONG: usize = 128;

/// Fetches a line that is written at the end of a tile: misses overlap with the sums, not with each
/// other's writes.
#[inline(always)]
fn expect_writes(c: *const i32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing, wherever it points; SSE is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(c.cast());
    }
    let _ = c;
}

/// Fetches a line of B that is read some tiles later.
#[inline(always)]
fn expect_reads(b: *const i8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing, wherever it points; SSE is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(b);
    }
    let _ = b;
}

/// A tile of `ROWS` rows and `UNITS` units.
///
/// # Safety
/// As [`super::microkernel::TileFn`].
#[allow(clippy::needless_range_loop, reason = "see the comment in the body")]
#[inline(always)]
pub(super) unsafe fn tile<D: Dot, const ROWS: usize, const UNITS: usize>(t: &Tile) {
    // SAFETY: the caller vouches for every pointer of the tile and for the instruction set.
    unsafe {
        // A short sum ends before it pays.
        for row in 0..if t.groups < LONG { 0 } else { ROWS } {
            for unit in 0..UNITS {
                expect_writes(t.c.wrapping_add(row * t.c_stride + unit * D::UNIT));
            }
        }
        let mut acc = [[D::zero(); UNITS]; ROWS];
        let mut a = t.a;
        let mut b = t.b;
        // Loops over indices, not iterators: these are unrolled whole, so sums stay in registers, and
        // what iterators call is not compiled for the kernel's features.
        for _ in 0..D::STEPS * t.groups {
            if D::AHEAD > 0 {
                for panel in 0..(UNITS * D::UNIT).div_ceil(PANEL) {
                    expect_reads(b.wrapping_add(panel * t.panel_stride + D::AHEAD));
                }
            }
            let mut columns = [D::load_b(b); UNITS];
            for unit in 1..UNITS {
                columns[unit] = D::load_b(b.add(unit_offset::<D>(unit, t.panel_stride)));
            }
            for row in 0..ROWS {
                let a = D::load_a(a.add(row * t.a_stride), t.flip);
                for unit in 0..UNITS {
                    acc[row][unit] = D::dot(acc[row][unit], a, columns[unit]);
                }
            }
            a = a.add(D::A_BYTES);
            b = b.add(D::B_BYTES);
        }
        for row in 0..ROWS {
            let row_start = *t.row_start.add(row);
            for unit in 0..UNITS {
                let column = unit * D::UNIT;
                let c = t.c.add(row * t.c_stride + column);
                D::store(acc[row][unit], t.start.add(column), row_start, c);
            }
        }
    }
}

/// The functions of a kernel, compiled with its features: `tile::<ROWS, UNITS>` of this module.
#[cfg(target_arch = "x86_64")]
macro_rules! tile_functions {
    ($dot:ty, $features:literal) => {
        /// # Safety
        /// As [`crate::gemm::microkernel::TileFn`].
        #[target_feature(enable = $features)]
        unsafe fn tile<const ROWS: usize, const UNITS: usize>(t: &$crate::gemm::microkernel::Tile) {
            // SAFETY: the caller's promise is this function's own.
            unsafe { $crate::gemm::micro::tile::<$dot, ROWS, UNITS>(t) }
        }
    };
}

/// A row of a kernel's table: tiles of the given rows, all of `$units` units.
macro_rules! tile_row {
    ($units:literal: $($rows:literal),+) => {
        &[$(tile::<$rows, $units> as $crate::gemm::microkernel::TileFn),+]
    };
}

#[cfg(target_arch = "x86_64")]
use tile_functions;
use tile_row;
