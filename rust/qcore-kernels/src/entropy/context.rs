//! What is known about a position before it is coded: how full its columns were in the rows above,
//! and what lies beside it in its row.
//!
//! Columns that are neighbours are alike, and where the columns are the pixels of an image, so are
//! those a line apart: `stride` is the length of a line, 0 where there are none.

use crate::error::Result;
use crate::memory;

/// Levels of how full the columns are: none yet (by how many rows that is), then powers of the root
/// of 2.
const FULLNESS: usize = 28;
/// Most that the neighbours in the row count.
const BESIDE: usize = 5;
/// How many contexts there are: as many as a byte has values, of which the last are not used, so that
/// no look-up needs a check.
pub(super) const CONTEXTS: usize = 256;
const _: () = assert!(FULLNESS * (BESIDE + 1) <= CONTEXTS);
/// How a share of full positions is scaled before its level is looked up.
const SHARE_BITS: u32 = 11;

pub(super) struct Contexts {
    stride: usize,
    rows: usize,
    /// How often each column was full; a column's place is its index and `pad`.
    counts: Vec<u32>,
    /// The first of the contexts of each column, for this row.
    bases: Vec<u8>,
    /// The row that is being coded, 1 where a position is full: what lies above is looked up in it.
    full: Vec<u8>,
    pad: usize,
    table: Vec<u8>,
}

/// How full the last two positions of a row are.
#[derive(Clone, Copy, Default)]
pub(super) struct Before {
    last: u8,
    last_but_one: u8,
}

impl Before {
    /// What the next position has before it.
    #[inline(always)]
    pub(super) fn then(self, full: bool) -> Self {
        Self { last: u8::from(full), last_but_one: self.last }
    }
}

impl Contexts {
    pub(super) fn new(columns: usize, stride: usize) -> Result<Self> {
        let pad = memory::sum(&[stride, 2])?;
        let padded = memory::sum(&[columns, pad, pad])?;
        let table = (0..=1_u32 << SHARE_BITS).map(|s| level_of(s) * (BESIDE as u8 + 1)).collect();
        Ok(Self {
            stride,
            rows: 0,
            counts: memory::zeroed(padded)?,
            bases: memory::zeroed(columns)?,
            full: memory::zeroed(padded)?,
            pad,
            table,
        })
    }

    /// Takes the counts of the rows so far as the levels of the next.
    pub(super) fn start_row(&mut self) {
        let (weights, lines) = if self.stride == 0 { (4, 0) } else { (6, self.stride) };
        let most = weights * self.rows.max(1) as u64;
        let scale = (1_u64 << (SHARE_BITS + 32)) / most;
        let none = (self.rows + 1).ilog2().min(7) as u8 * (BESIDE as u8 + 1);
        let pad = self.pad;
        // A column, those beside it, and those a line away: slices, so that nothing is checked.
        let from = |shift: usize| &self.counts[shift..][..self.bases.len()];
        let (middle, left, right) = (from(pad), from(pad - 1), from(pad + 1));
        let (above, below) = (from(pad - lines), from(pad + lines));
        for (column, base) in self.bases.iter_mut().enumerate() {
            let mut sum = 2 * middle[column] + left[column] + right[column];
            if lines > 0 {
                sum += above[column] + below[column];
            }
            // Lines count 4 neighbours and twice the middle, but weigh no more than their sum.
            let share = ((u64::from(sum) * scale) >> 32).min(1 << SHARE_BITS);
            *base = if sum == 0 { none } else { self.table[share as usize] };
        }
        if lines > 0 {
            self.full.fill(0);
        }
    }

    /// The context of a column in this row.
    #[inline(always)]
    pub(super) fn at<const LINES: bool>(&self, column: usize, before: Before) -> u8 {
        let mut beside = 2 * before.last + before.last_but_one;
        if LINES {
            let above = column + self.pad - self.stride;
            let (left, middle, right) =
                (self.full[above - 1], self.full[above], self.full[above + 1]);
            beside += 2 * middle + left + right;
        }
        self.bases[column] + beside.min(BESIDE as u8)
    }

    /// Notes that a position of this row is full.
    #[inline(always)]
    pub(super) fn fill(&mut self, column: usize) {
        self.full[column + self.pad] = 1;
        self.counts[column + self.pad] += 1;
    }

    /// Closes the row.
    pub(super) fn end_row(&mut self) {
        self.rows += 1;
    }
}

/// The level of a share of `1 << SHARE_BITS`: above the 8 of empty columns, two for each power of 2.
fn level_of(share: u32) -> u8 {
    let share = share.max(1);
    let power = share.ilog2();
    let half = u32::from(power > 0 && share >> (power - 1) & 1 == 1);
    (8 + (2 * power + half).saturating_sub(4).min(FULLNESS as u32 - 9)) as u8
}
