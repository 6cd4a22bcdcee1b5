//! The inner loop: a few rows of x and a few vectors of outputs, over some inputs.

use super::panels::PANEL;
use crate::simd::Simd;

/// Where the operands and results of a tile lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tile {
    /// First row of x, at the first input.
    pub(super) x: *const f32,
    /// Elements from a row of x to the next.
    pub(super) x_stride: usize,
    /// Inputs to sum over.
    pub(super) inputs: usize,
    /// First panel, at the first input.
    pub(super) w: *const f32,
    /// Elements from a panel to the next.
    pub(super) w_stride: usize,
    /// First result.
    pub(super) out: *mut f32,
    /// Elements from a row of results to the next.
    pub(super) out_stride: usize,
    /// Whether the sums go on from what `out` holds.
    pub(super) resume: bool,
}

/// Sums `ROWS` rows and `VECTORS` vectors of outputs.
///
/// # Safety
/// `x` is valid for `inputs` elements in each row, `w` for `inputs` lines of each panel that the
/// vectors touch, `out` for reading (if it resumes) and writing the vectors in each row.
#[allow(clippy::needless_range_loop, reason = "see the comment in the body")]
#[inline(always)]
unsafe fn run<S: Simd, const ROWS: usize, const VECTORS: usize>(s: S, t: &Tile) {
    // SAFETY: the caller vouches for every pointer of the tile.
    unsafe {
        let mut sums = [[s.splat_f32(0.0); VECTORS]; ROWS];
        if t.resume {
            for row in 0..ROWS {
                for vector in 0..VECTORS {
                    let out = t.out.add(row * t.out_stride + vector * S::LANES);
                    sums[row][vector] = s.load_f32(out);
                }
            }
        }
        // Loops over indices, not iterators: these are unrolled whole, so sums stay in registers.
        for input in 0..t.inputs {
            let mut columns = [s.splat_f32(0.0); VECTORS];
            for vector in 0..VECTORS {
                let lane = vector * S::LANES;
                let panel = lane / PANEL * t.w_stride + lane % PANEL;
                columns[vector] = s.load_f32(t.w.add(panel + input * PANEL));
            }
            for row in 0..ROWS {
                let x = s.splat_f32(*t.x.add(row * t.x_stride + input));
                for vector in 0..VECTORS {
                    sums[row][vector] = s.mul_add(x, columns[vector], sums[row][vector]);
                }
            }
        }
        for row in 0..ROWS {
            for vector in 0..VECTORS {
                s.store_f32(t.out.add(row * t.out_stride + vector * S::LANES), sums[row][vector]);
            }
        }
    }
}

/// The most rows of a tile.
pub(super) fn rows<S: Simd>() -> usize {
    if S::LANES == 1 { 1 } else { 6 }
}

/// Panels that a tile covers: so many that its sums fill the registers and no more.
pub(super) fn panels<S: Simd>() -> usize {
    if S::LANES >= PANEL { 4 } else { 1 }
}

/// Runs a tile of `rows` rows and `panels` panels.
///
/// # Safety
/// As [`run`]; `rows` and `panels` are at most what [`rows`] and [`panels`] say.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd>(s: S, rows: usize, panels: usize, t: &Tile) {
    /// The tiles of `$vectors` vectors by their rows.
    macro_rules! of {
        ($vectors:literal) => {
            // SAFETY: the caller's promise is that of `run`.
            unsafe {
                match rows {
                    1 => run::<S, 1, $vectors>(s, t),
                    2 => run::<S, 2, $vectors>(s, t),
                    3 => run::<S, 3, $vectors>(s, t),
                    4 => run::<S, 4, $vectors>(s, t),
                    5 => run::<S, 5, $vectors>(s, t),
                    _ => run::<S, 6, $vectors>(s, t),
                }
            }
        };
    }
    match (S::LANES, panels) {
        (1, _) => {
            // SAFETY: the caller's promise is that of `run`.
            unsafe { run::<S, 1, 16>(s, t) }
        }
        (16, 1) => of!(1),
        (8, _) | (16, 2) => of!(2),
        (16, 3) => of!(3),
        _ => of!(4),
    }
}
