//! A packed B of which only a part is stored: the lines of [`PackedI8`] without their zeros, and a bit
//! for each byte that says whether it is there.
//!
//! Strips of columns are expanded into the cache as they are used and multiplied there by the kernels
//! for dense operands: their speed, at a part of the bytes.

use std::ops::Range;

use super::expand::{self, Lines};
use super::microkernel::{DEPTH, GROUP_BYTES, PANEL};
use super::packed::PackedI8;
use crate::isa::Isa;

/// Lines whose masks are kept together.
pub(super) const LINES: usize = 4;

/// Bytes that kernels read past a value: a line's.
const PADDING: usize = GROUP_BYTES;

/// Where stored values lie in the lines of all panels, four lines after four.
#[derive(Debug, Clone)]
pub(super) enum Places {
    /// Each four values of a column along K have as many stored ones: three bits of their mask tell
    /// the fourth. Three words hold the masks of four lines.
    Fours {
        /// The masks.
        words: Vec<[u64; 3]>,
        /// Whether that many is odd.
        odd: bool,
    },
    /// A mask for each line.
    Any(Vec<[u64; LINES]>),
}

/// The right operand of an int8 product, (K, N), without what is not stored.
#[derive(Debug, Clone)]
pub struct MaskedI8 {
    k: usize,
    n: usize,
    unsigned: bool,
    places: Places,
    values: Vec<u8>,
    /// Where the values of each panel start.
    starts: Vec<usize>,
    /// The sum of each column as the kernels see it.
    sums: Vec<i64>,
}

impl MaskedI8 {
    /// Lays out a matrix (K, N) of which `stored` says what is stored where: the value's bits.
    ///
    /// With `every`, as many of each four values along K are stored, those of what fills up the last
    /// four among them: `stored` is asked for these too.
    #[must_use]
    pub fn new(
        k: usize,
        n: usize,
        unsigned: bool,
        every: Option<usize>,
        stored: impl Fn(usize, usize) -> Option<u8>,
    ) -> Self {
        let flip = if unsigned { 0x80 } else { 0 };
        let (quads, panels) = (k.div_ceil(DEPTH * LINES), n.div_ceil(PANEL));
        let mut masks = Vec::with_capacity(quads * panels);
        let (mut values, mut starts) = (Vec::new(), Vec::with_capacity(panels));
        for panel in 0..panels {
            starts.push(values.len());
            for quad in 0..quads {
                masks.push([0, 1, 2, 3].map(|line| {
                    let first = (quad * LINES + line) * DEPTH;
                    let mut mask = 0;
                    for place in 0..GROUP_BYTES {
                        let (row, column) = (first + place % DEPTH, panel * PANEL + place / DEPTH);
                        let value = if first >= k || column >= n {
                            // There is nothing: zeros as many as there must be.
                            (place % DEPTH < every.unwrap_or(0)).then_some(0)
                        } else {
                            stored(row, column).map(|value| if row < k { value ^ flip } else { 0 })
                        };
                        if let Some(value) = value {
                            mask |= 1_u64 << place;
                            values.push(value);
                        }
                    }
                    mask
                }));
            }
        }
        values.extend([0; PADDING]);
        let places = every.map_or(Places::Any(masks.clone()), |every| Places::fours(&masks, every));
        let mut made = Self { k, n, unsigned, places, values, starts, sums: Vec::new() };
        made.sums = (0..panels).flat_map(|panel| made.column_sums(panel)).collect();
        made
    }

    /// Rows of the matrix: the length of the sums.
    #[must_use]
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of the matrix.
    #[must_use]
    pub fn n(&self) -> usize {
        self.n
    }

    /// Whether the matrix is uint8.
    #[must_use]
    pub fn is_unsigned(&self) -> bool {
        self.unsigned
    }

    /// Bytes in memory.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        let places = match &self.places {
            Places::Fours { words, .. } => size_of_val(&words[..]),
            Places::Any(masks) => size_of_val(&masks[..]),
        };
        places + self.values.len() + size_of_val(&self.starts[..]) + size_of_val(&self.sums[..])
    }

    /// The whole matrix, packed.
    #[must_use]
    pub fn unpacked(&self, isa: Isa) -> PackedI8 {
        let mut packed = PackedI8::default();
        self.expand(isa, 0..self.starts.len(), &mut packed);
        packed
    }

    /// Some panels, packed into `room`.
    pub(super) fn expand(&self, isa: Isa, panels: Range<usize>, room: &mut PackedI8) {
        let quads = self.quads();
        let n = (panels.len() * PANEL).min(self.n - panels.start * PANEL);
        let sums = &self.sums[panels.start * PANEL..panels.end * PANEL];
        room.reserve(self.k, n, quads * LINES, self.unsigned, sums);
        for (index, panel) in panels.enumerate() {
            let lines = Lines { places: &self.places, first: panel * quads, quads };
            let values = self.values[self.starts[panel]..].as_ptr();
            // SAFETY: there are masks and values for each line of the panel, with bytes enough after
            // the last of them; the room has as many lines for each panel.
            unsafe { expand::panel(isa, lines, values, self.fill(), room.panel_mut(index)) };
        }
    }

    /// What stands where nothing is stored.
    fn fill(&self) -> u8 {
        if self.unsigned { 0x80 } else { 0 }
    }

    fn quads(&self) -> usize {
        self.k.div_ceil(DEPTH * LINES)
    }

    fn column_sums(&self, panel: usize) -> [i64; PANEL] {
        let (quads, mut next) = (self.quads(), self.starts[panel]);
        let mut sums = [0; PANEL];
        for quad in 0..quads {
            let masks = self.places.masks(panel * quads + quad);
            for (line, mask) in masks.into_iter().enumerate() {
                for place in 0..GROUP_BYTES {
                    let row = (quad * LINES + line) * DEPTH + place % DEPTH;
                    let value = if mask >> place & 1 == 1 {
                        next += 1;
                        self.values[next - 1]
                    } else {
                        self.fill()
                    };
                    if row < self.k {
                        sums[place / DEPTH] += i64::from(value as i8);
                    }
                }
            }
        }
        sums
    }
}

/// The first three bits of each four.
const THREE: u64 = 0x7777_7777_7777_7777;

/// The last bit of each four.
const FOURTH: u64 = 0x8888_8888_8888_8888;

impl Places {
    fn fours(masks: &[[u64; LINES]], every: usize) -> Self {
        let word = |masks: &[u64; LINES], index: usize| {
            // The fourth mask is spread over the bits that the others leave.
            masks[index] & THREE | masks[3] >> index << 3 & FOURTH
        };
        let words = masks.iter().map(|m| [word(m, 0), word(m, 1), word(m, 2)]).collect();
        Places::Fours { words, odd: every % 2 == 1 }
    }

    /// The masks of four lines.
    #[inline(always)]
    pub(super) fn masks(&self, index: usize) -> [u64; LINES] {
        match self {
            Places::Any(masks) => masks[index],
            Places::Fours { words, odd } => {
                let [a, b, c] = words[index];
                let last = (a & FOURTH) >> 3 | (b & FOURTH) >> 2 | (c & FOURTH) >> 1;
                let flip = if *odd { FOURTH } else { 0 };
                [
                    with_fourth(a & THREE, flip),
                    with_fourth(b & THREE, flip),
                    with_fourth(c & THREE, flip),
                    with_fourth(last, flip),
                ]
            }
        }
    }
}

/// Masks of fours from three bits of each: the parity of all four is known.
#[inline(always)]
fn with_fourth(three: u64, flip: u64) -> u64 {
    three | (three << 3 ^ three << 2 ^ three << 1 ^ flip) & FOURTH
}
