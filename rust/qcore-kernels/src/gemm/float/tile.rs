//! The inner loop: a few rows of x and a few vectors of outputs, over one panel of inputs.
//!
//! Each result is a chain of fused multiply-adds over the inputs of its panel, from 0 on; then what
//! the panels before it gave is added, and after the last one bias, residual and clamp.

#[cfg(target_arch = "aarch64")]
use super::in_order;
use super::panels::PANEL;
#[cfg(target_arch = "aarch64")]
use crate::isa::runs_in_order;
use crate::math::clip;
use crate::simd::Simd;

/// Inputs that lie side by side: the first, as an offset from the start of a row, and how many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) offset: usize,
    pub(crate) len: usize,
}

/// Where the operands and results of a tile lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tile<'a> {
    /// What the starts of rows are counted from.
    pub(super) x: *const f32,
    /// The start of each row of x.
    pub(super) rows: &'a [usize],
    /// The inputs to sum over, in their order.
    pub(super) segments: &'a [Segment],
    /// First panel, at the first input.
    pub(super) w: *const f32,
    /// Elements from a panel to the next.
    pub(super) w_stride: usize,
    /// Elements from an input to the next in a panel.
    pub(super) w_step: usize,
    /// First result.
    pub(super) out: *mut f32,
    /// Elements from a row of results to the next.
    pub(super) out_stride: usize,
    /// Whether the sums are added to what `out` holds.
    pub(super) resume: bool,
    /// What follows the last panel.
    pub(super) finish: Option<Finish>,
}

/// What is done to whole sums.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finish {
    /// One for each column of the tile.
    pub(super) bias: *const f32,
    /// First element of the residual; null if there is none.
    pub(super) residual: *const f32,
    /// Elements from a row of the residual to the next.
    pub(super) residual_stride: usize,
    /// The least and the greatest result.
    pub(super) bounds: (f32, f32),
}

/// Sums `ROWS` rows and `VECTORS` vectors of outputs.
///
/// # Safety
/// `x` is valid for every segment of each of the first `ROWS` rows, `w` for a line of each input in
/// each panel that the vectors touch, `out` for reading (if it resumes) and writing the vectors in
/// each row, and so are bias and residual for reading.
#[allow(clippy::needless_range_loop, reason = "see the comment in the body")]
#[inline(always)]
unsafe fn run<S: Simd, const ROWS: usize, const VECTORS: usize>(s: S, t: &Tile<'_>) {
    // SAFETY: the caller vouches for every pointer of the tile.
    unsafe {
        let mut sums = [[s.splat_f32(0.0); VECTORS]; ROWS];
        let mut rows = [t.x; ROWS];
        for row in 0..ROWS {
            rows[row] = t.x.wrapping_add(*t.rows.get_unchecked(row));
        }
        let mut w = t.w;
        // Loops over indices, not iterators: these are unrolled whole, so sums stay in registers.
        for segment in t.segments {
            let end = segment.offset + segment.len;
            let mut first = segment.offset;
            if S::BY_LANE {
                #[cfg(target_arch = "aarch64")]
                if (ROWS, VECTORS) == (in_order::ROWS, in_order::VECTORS / 2) {
                    let turns = (end - first) / in_order::INPUTS;
                    if turns > 0 && runs_in_order() {
                        // By itself, so that the sums of other cores stay in registers.
                        let mut room = sums;
                        let from = [0, 1, 2, 3, 4].map(|row| rows[row % ROWS].add(first));
                        let all = &mut *room.as_mut_ptr().cast();
                        in_order::five_rows(all, from, w, t.w_step, turns);
                        sums = room;
                        w = w.add(turns * in_order::INPUTS * t.w_step);
                        first += turns * in_order::INPUTS;
                    }
                }
                while end - first >= 4 {
                    let mut x = [s.splat_f32(0.0); ROWS];
                    for row in 0..ROWS {
                        x[row] = s.load_four(rows[row].add(first));
                    }
                    input::<S, 0, ROWS, VECTORS>(s, t, &mut sums, &x, w);
                    input::<S, 1, ROWS, VECTORS>(s, t, &mut sums, &x, w.add(t.w_step));
                    input::<S, 2, ROWS, VECTORS>(s, t, &mut sums, &x, w.add(2 * t.w_step));
                    input::<S, 3, ROWS, VECTORS>(s, t, &mut sums, &x, w.add(3 * t.w_step));
                    w = w.add(4 * t.w_step);
                    first += 4;
                }
            }
            for input in first..end {
                let mut columns = [s.splat_f32(0.0); VECTORS];
                for vector in 0..VECTORS {
                    let lane = vector * S::LANES;
                    columns[vector] = s.load_f32(w.add(lane / PANEL * t.w_stride + lane % PANEL));
                }
                for row in 0..ROWS {
                    let x = s.splat_f32(*rows[row].add(input));
                    for vector in 0..VECTORS {
                        sums[row][vector] = s.fma(x, columns[vector], sums[row][vector]);
                    }
                }
                w = w.add(t.w_step);
            }
        }
        // Each of these loops is short, so that it is unrolled whole: one that is not would index the
        // sums, which then lie in memory, and each multiply-add above would store its own.
        if t.resume {
            for row in 0..ROWS {
                for vector in 0..VECTORS {
                    let out = t.out.add(row * t.out_stride + vector * S::LANES);
                    sums[row][vector] = s.add(s.load_f32(out), sums[row][vector]);
                }
            }
        }
        if let Some(finish) = t.finish {
            let mut biases = [s.splat_f32(0.0); VECTORS];
            for vector in 0..VECTORS {
                biases[vector] = s.load_f32(finish.bias.add(vector * S::LANES));
            }
            for row in 0..ROWS {
                for vector in 0..VECTORS {
                    sums[row][vector] = s.add(sums[row][vector], biases[vector]);
                }
            }
            if !finish.residual.is_null() {
                for row in 0..ROWS {
                    for vector in 0..VECTORS {
                        let at = row * finish.residual_stride + vector * S::LANES;
                        let residual = s.load_f32(finish.residual.add(at));
                        sums[row][vector] = s.add(sums[row][vector], residual);
                    }
                }
            }
            let (low, high) = (s.splat_f32(finish.bounds.0), s.splat_f32(finish.bounds.1));
            for row in 0..ROWS {
                for vector in 0..VECTORS {
                    sums[row][vector] = clip(s, sums[row][vector], low, high);
                }
            }
        }
        for row in 0..ROWS {
            for vector in 0..VECTORS {
                let out = t.out.add(row * t.out_stride + vector * S::LANES);
                s.store_f32(out, sums[row][vector]);
            }
        }
    }
}

/// Adds the products of input `N` of four of each row, of which `x` holds those.
///
/// # Safety
/// `w` is valid for a line of the input in each panel that the vectors touch.
#[allow(clippy::needless_range_loop, reason = "see the comment in `run`")]
#[inline(always)]
unsafe fn input<S: Simd, const N: i32, const ROWS: usize, const VECTORS: usize>(
    s: S,
    t: &Tile<'_>,
    sums: &mut [[S::F32; VECTORS]; ROWS],
    x: &[S::F32; ROWS],
    w: *const f32,
) {
    for vector in 0..VECTORS {
        let lane = vector * S::LANES;
        // SAFETY: the caller vouches for the line.
        let columns = unsafe { s.load_f32(w.add(lane / PANEL * t.w_stride + lane % PANEL)) };
        for row in 0..ROWS {
            sums[row][vector] = s.fma_lane::<N>(x[row], columns, sums[row][vector]);
        }
    }
}

/// The most rows that a tile of so many panels has: as many as fill the registers with its sums.
pub(super) fn rows<S: Simd>(panels: usize) -> usize {
    match (S::LANES, panels) {
        (1, _) => 1,
        // Four inputs of each row are in registers too.
        (8, _) if S::BY_LANE => 5,
        (8, _) | (_, 4..) => 6,
        (_, 3) => 8,
        _ => 12,
    }
}

/// The most panels that a tile covers.
pub(super) fn panels<S: Simd>() -> usize {
    if S::LANES >= PANEL { 4 } else { 1 }
}

/// Runs a tile of `panels` panels and as many rows as it has.
///
/// # Safety
/// As [`run`]; rows and panels are at most what [`rows`] and [`panels`] say.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd>(s: S, panels: usize, t: &Tile<'_>) {
    /// The tiles of `$vectors` vectors by their rows.
    macro_rules! of {
        ($vectors:literal: $($rows:literal)*) => {
            // SAFETY: the caller's promise is that of `run`.
            unsafe {
                match t.rows.len() {
                    $($rows => run::<S, $rows, $vectors>(s, t),)*
                    _ => unreachable!("a tile of {} rows", t.rows.len()),
                }
            }
        };
    }
    match (S::LANES, panels) {
        // SAFETY: the caller's promise is that of `run`.
        (1, _) => unsafe { run::<S, 1, 16>(s, t) },
        (16, 1) => of!(1: 1 2 3 4 5 6 7 8 9 10 11 12),
        (8, _) => of!(2: 1 2 3 4 5 6),
        (16, 2) => of!(2: 1 2 3 4 5 6 7 8 9 10 11 12),
        (16, 3) => of!(3: 1 2 3 4 5 6 7 8),
        _ => of!(4: 1 2 3 4 5 6),
    }
}
