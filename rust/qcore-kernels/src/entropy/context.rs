//! What is known about a position before it is coded: how full its columns were in the rows above,
//! and what lies beside it in its row.
//!
//! Columns that are neighbours are alike, and where the columns are the pixels of an image, so are
//! those a line apart: `stride` is the length of a line, 0 where there are none.

/// Levels of how full the columns are: none yet (by how many rows that is), then powers of the root
/// of 2.
const FULLNESS: usize = 28;
/// Most that the neighbours in the row count.
const BESIDE: usize = 5;
/// How many contexts there are.
pub(super) const CONTEXTS: usize = FULLNESS * (BESIDE + 1);
/// How a share of full positions is scaled before its level is looked up.
const SHARE_BITS: u32 = 11;

pub(super) struct Contexts {
    stride: usize,
    rows: usize,
    /// How often each column was full; a column's place is its index and `pad`.
    counts: Vec<u32>,
    levels: Vec<u8>,
    /// The row that is being coded: 1 where a position is full.
    full: Vec<u8>,
    pad: usize,
    table: Vec<u8>,
}

impl Contexts {
    pub(super) fn new(columns: usize, stride: usize) -> Self {
        let pad = stride + 2;
        let table = (0..=1_u32 << SHARE_BITS).map(level_of).collect();
        Self {
            stride,
            rows: 0,
            counts: vec![0; columns + 2 * pad],
            levels: vec![0; columns],
            full: vec![0; columns + 2 * pad],
            pad,
            table,
        }
    }

    /// Takes the counts of the rows so far as the levels of the next.
    pub(super) fn start_row(&mut self) {
        let (weights, lines) = if self.stride == 0 { (4, 0) } else { (6, self.stride) };
        let most = weights * self.rows.max(1) as u64;
        let scale = (1_u64 << (SHARE_BITS + 32)) / most;
        let none = (self.rows + 1).ilog2().min(7) as u8;
        let pad = self.pad;
        for (column, level) in self.levels.iter_mut().enumerate() {
            let at = column + pad;
            let mut sum = 2 * self.counts[at] + self.counts[at - 1] + self.counts[at + 1];
            if lines > 0 {
                sum += self.counts[at - lines] + self.counts[at + lines];
            }
            *level = if sum == 0 {
                none
            } else {
                // Lines count 4 neighbours and twice the middle, but weigh no more than their sum.
                self.table[((u64::from(sum) * scale) >> 32).min(1 << SHARE_BITS) as usize]
            };
        }
        self.full.fill(0);
    }

    /// The context of a column in this row.
    #[inline]
    pub(super) fn at(&self, column: usize) -> usize {
        let at = column + self.pad;
        let mut beside = 2 * self.full[at - 1] + self.full[at - 2];
        if self.stride > 0 {
            let above = at - self.stride;
            beside += 2 * self.full[above] + self.full[above - 1] + self.full[above + 1];
        }
        self.levels[column] as usize * (BESIDE + 1) + (beside as usize).min(BESIDE)
    }

    /// Notes that a position of this row is full.
    #[inline]
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
