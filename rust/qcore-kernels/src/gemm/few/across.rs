//! Rows of B that lie side by side: four of them are interleaved in registers.
//!
//! Some groups of four rows go across all columns before the next do, so that each row is read from
//! end to end, as memory likes it; sums wait in the cache meanwhile.

use super::{Right, Rows, STEPS, Target, rows_at_once, with_rows};
use crate::aligned::AlignedBytes;
use crate::error::Result;
use crate::gemm::microkernel::DEPTH;
use crate::interrupt::Pace;
use crate::simd::{Dot4, Dot4Op};

/// How to go across: with how many depth groups at once, and where to fetch what comes next from, in
/// bytes from what is read. As measured on Zen 4.
///
/// Few rows use each line of B at once, and more groups would only be more streams than the CPU
/// foresees. Many use it so often that the way of sums to the cache and back counts.
fn plan(rows: usize, row_stride: isize) -> (usize, isize) {
    match rows {
        0..=2 => (4, 512),
        3..=9 => (16, 256),
        _ => (32, 32 * DEPTH as isize * row_stride),
    }
}

/// The product of all rows, of ones too, with at least a vector of columns. `target` is valid for
/// writing the columns of each row.
pub(super) struct Across<'a> {
    pub(super) rows: Rows<'a>,
    pub(super) b: Right,
    pub(super) target: Target<'a>,
    pub(super) room: &'a mut AlignedBytes,
}

impl Dot4Op for Across<'_> {
    type Output = Result<()>;

    #[inline(always)]
    fn eval<D: Dot4>(self, d: D) -> Result<()> {
        let Self { rows, b, target, room } = self;
        let (k, columns) = (b.bytes.rows, b.bytes.cols);
        let strips = columns.div_ceil(D::COLUMNS);
        // Odd, so that the sums of rows do not share their sets of the cache.
        let acc_stride = strips | 1;
        room.resize_scratch(rows.all * acc_stride * size_of::<[D::I32; 4]>())?;
        let acc = room.as_mut_ptr().cast::<[D::I32; 4]>();
        for (row, &start) in target.start.iter().enumerate().take(rows.all) {
            for strip in 0..strips {
                // SAFETY: the room was made for these.
                unsafe { acc.add(row * acc_stride + strip).write([d.splat(start); 4]) };
            }
        }
        let whole = k / DEPTH;
        // The last strip ends with the columns, and overlaps the one before.
        let first_of = |strip: usize| (strip * D::COLUMNS).min(columns - D::COLUMNS);
        let at_once = rows_at_once(rows.all, D::ROWS);
        let (groups, ahead) = plan(rows.all, b.bytes.row_stride);
        let mut pace = Pace::of(STEPS);
        for first in (0..k.div_ceil(DEPTH)).step_by(groups) {
            pace.check(groups * DEPTH * columns * rows.all)?;
            for strip in 0..strips {
                let column = first_of(strip);
                let mut row = 0;
                while row < rows.all {
                    let count = (rows.all - row).min(at_once);
                    let a = rows.bytes[row * rows.stride + first * DEPTH..].as_ptr();
                    let acc = acc.wrapping_add(row * acc_stride + strip);
                    let strip = Strip {
                        a,
                        b,
                        column,
                        first,
                        last: first + groups,
                        whole,
                        ahead: if row == 0 { ahead } else { 0 },
                        acc,
                        acc_stride,
                    };
                    // SAFETY: the rows of A are filled up to whole groups, the strip's columns are
                    // within B, and each row has room for sums of every strip.
                    with_rows!(count, |R| unsafe { strip.run::<D, R>(d, rows.stride) });
                    row += count;
                }
            }
        }
        for row in 0..rows.all {
            for strip in 0..strips {
                // SAFETY: the room holds these sums; whoever made the target vouches for the columns.
                unsafe {
                    let out = target.first.add(row * target.stride + first_of(strip));
                    d.store(out, acc.add(row * acc_stride + strip).read());
                }
            }
        }
        Ok(())
    }
}

/// Some depth groups of one strip of columns.
struct Strip<V> {
    a: *const u8,
    b: Right,
    column: usize,
    /// The first depth group and the one after the last, and how many are whole in all of B.
    first: usize,
    last: usize,
    whole: usize,
    /// What is fetched, in bytes from what is read; 0 where earlier rows of A did it.
    ahead: isize,
    acc: *mut [V; 4],
    acc_stride: usize,
}

impl<V: Copy> Strip<V> {
    /// # Safety
    /// - `a` is valid for `R` rows, `a_stride` apart, of the strip's groups.
    /// - The strip's columns and groups are within B, which is still borrowed.
    /// - `acc` is valid for `R` sums, `acc_stride` apart.
    #[allow(clippy::needless_range_loop, reason = "over indices it is unrolled whole")]
    #[inline(always)]
    unsafe fn run<D: Dot4<I32 = V>, const R: usize>(&self, d: D, a_stride: usize) {
        // SAFETY: the caller vouches for every pointer.
        unsafe {
            let mut acc = [[d.splat(0); 4]; R];
            for row in 0..R {
                acc[row] = self.acc.add(row * self.acc_stride).read();
            }
            let flips = d.splat(i32::from_ne_bytes([self.b.flip; DEPTH]));
            let stride = self.b.bytes.row_stride;
            let end = self.last.min(self.whole);
            let mut a = self.a;
            for group in self.first..end {
                let b = self.b.bytes.at(group * DEPTH, self.column);
                let lines = [b, b.offset(stride), b.offset(2 * stride), b.offset(3 * stride)];
                if self.ahead != 0 {
                    for line in lines {
                        fetch(line.wrapping_offset(self.ahead));
                    }
                }
                step::<D, R>(d, &mut acc, a, a_stride, lines, flips, self.b.unsigned);
                a = a.add(DEPTH);
            }
            let left = self.b.bytes.rows % DEPTH;
            if left > 0 && self.last > self.whole {
                // What A is filled up with is 0, so any row will do in place of those that B lacks.
                let line = |row: usize| {
                    self.b.bytes.at(self.whole * DEPTH + row.min(left - 1), self.column)
                };
                let lines = [line(0), line(1), line(2), line(3)];
                step::<D, R>(d, &mut acc, a, a_stride, lines, flips, self.b.unsigned);
            }
            for row in 0..R {
                self.acc.add(row * self.acc_stride).write(acc[row]);
            }
        }
    }
}

/// Fetches a line into the second cache: in the first, rows may share their sets.
#[inline(always)]
fn fetch(line: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing, wherever it points; SSE is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(line.cast());
    }
    let _ = line;
}

/// One depth group of `R` rows and the columns of a strip.
///
/// # Safety
/// Each line is valid for `D::COLUMNS` bytes, `a` for four bytes of `R` rows.
#[allow(clippy::needless_range_loop, reason = "over indices it is unrolled whole")]
#[inline(always)]
unsafe fn step<D: Dot4, const R: usize>(
    d: D,
    acc: &mut [[D::I32; 4]; R],
    a: *const u8,
    a_stride: usize,
    lines: [*const u8; 4],
    flips: D::I32,
    unsigned: bool,
) {
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        let mut b = d.interleave(lines);
        for part in 0..4 {
            b[part] = d.xor(b[part], flips);
        }
        for row in 0..R {
            let a = d.splat(a.add(row * a_stride).cast::<i32>().read_unaligned());
            for part in 0..4 {
                let sum = acc[row][part];
                acc[row][part] = match (D::SIGNED_DATA, unsigned) {
                    (true, true) => d.dot_unsigned(sum, a, b[part]),
                    (_, false) => d.dot_data(sum, a, b[part]),
                    (false, true) => d.dot(sum, b[part], a),
                };
            }
        }
    }
}
