//! Columns of B that lie side by side, as those of the transpose of weights (N, K): a vector of each
//! meets a vector of each row, and lanes are added up at the end.

use super::{Right, Rows, STEPS, Target, VECTOR, rows_at_once, with_rows};
use crate::error::Result;
use crate::interrupt::Pace;
use crate::simd::{Dot4, Dot4Op};

/// Columns that go together: streams of B, each of which a vector of A serves.
const COLUMNS: usize = 4;

/// The product of all rows, of ones too. `target` is valid for writing the columns of each.
pub(super) struct Along<'a> {
    pub(super) rows: Rows<'a>,
    pub(super) b: Right,
    pub(super) target: Target<'a>,
}

impl Dot4Op for Along<'_> {
    type Output = Result<()>;

    #[inline(always)]
    fn eval<D: Dot4>(self, d: D) -> Result<()> {
        let Self { rows, b, target } = self;
        let columns = b.bytes.cols;
        let at_once = rows_at_once(rows.all, D::ROWS);
        let mut pace = Pace::of(STEPS);
        for first in (0..columns).step_by(COLUMNS) {
            pace.check(COLUMNS * b.bytes.rows * rows.all)?;
            let count = COLUMNS.min(columns - first);
            let mut row = 0;
            while row < rows.all {
                let taken = (rows.all - row).min(at_once);
                let a = rows.bytes[row * rows.stride..].as_ptr();
                with_rows!(taken, |R| {
                    // SAFETY: the rows of A are filled up to whole vectors; the columns exist.
                    let found = unsafe { block::<D, R>(d, a, rows.stride, b, first, count) };
                    for (index, found) in found.iter().enumerate() {
                        let start = target.start[row + index];
                        for (column, &sum) in found[..count].iter().enumerate() {
                            let at = (row + index) * target.stride + first + column;
                            // SAFETY: whoever made the target vouches for this column of the row.
                            unsafe { target.first.add(at).write(sum.wrapping_add(start)) };
                        }
                    }
                });
                row += taken;
            }
        }
        Ok(())
    }
}

/// The sums of `R` rows and `count` columns.
///
/// # Safety
/// `a` is valid for `R` rows of whole vectors, `a_stride` apart; the columns are within B, which is
/// still borrowed, and their bytes lie side by side.
#[allow(clippy::needless_range_loop, reason = "over indices it is unrolled whole")]
#[inline(always)]
unsafe fn block<D: Dot4, const R: usize>(
    d: D,
    a: *const u8,
    a_stride: usize,
    b: Right,
    first: usize,
    count: usize,
) -> [[i32; COLUMNS]; R] {
    // SAFETY: the caller vouches for every pointer.
    unsafe {
        let k = b.bytes.rows;
        let whole = k / D::COLUMNS * D::COLUMNS;
        let flips = d.splat(i32::from_ne_bytes([b.flip; 4]));
        let mut lines = [b.bytes.at(0, first); COLUMNS];
        for column in 1..count {
            lines[column] = b.bytes.at(0, first + column);
        }
        let mut acc = [[d.splat(0); COLUMNS]; R];
        for at in (0..whole).step_by(D::COLUMNS) {
            let here = [lines[0].add(at), lines[1].add(at), lines[2].add(at), lines[3].add(at)];
            step::<D, R>(d, &mut acc, a.add(at), a_stride, here, flips, b.unsigned);
        }
        if whole < k {
            // What A is filled up with is 0, so it does not matter what these are filled up with.
            let mut copies = [[0_u8; VECTOR]; COLUMNS];
            for column in 0..COLUMNS {
                lines[column]
                    .add(whole)
                    .copy_to_nonoverlapping(copies[column].as_mut_ptr(), k - whole);
            }
            let here =
                [copies[0].as_ptr(), copies[1].as_ptr(), copies[2].as_ptr(), copies[3].as_ptr()];
            step::<D, R>(d, &mut acc, a.add(whole), a_stride, here, flips, b.unsigned);
        }
        let mut sums = [[0; COLUMNS]; R];
        for row in 0..R {
            for column in 0..COLUMNS {
                sums[row][column] = d.sum(acc[row][column]);
            }
        }
        sums
    }
}

/// One vector of each row and column.
///
/// # Safety
/// Each line is valid for `D::COLUMNS` bytes, and so is `a` in `R` rows.
#[allow(clippy::needless_range_loop, reason = "over indices it is unrolled whole")]
#[inline(always)]
unsafe fn step<D: Dot4, const R: usize>(
    d: D,
    acc: &mut [[D::I32; COLUMNS]; R],
    a: *const u8,
    a_stride: usize,
    lines: [*const u8; COLUMNS],
    flips: D::I32,
    unsigned: bool,
) {
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        let mut b = [flips; COLUMNS];
        for column in 0..COLUMNS {
            b[column] = d.xor(d.load(lines[column]), flips);
        }
        for row in 0..R {
            let a = d.load(a.add(row * a_stride));
            for column in 0..COLUMNS {
                let sum = acc[row][column];
                acc[row][column] = match (D::SIGNED_DATA, unsigned) {
                    (true, true) => d.dot_unsigned(sum, a, b[column]),
                    (_, false) => d.dot_data(sum, a, b[column]),
                    (false, true) => d.dot(sum, b[column], a),
                };
            }
        }
    }
}
