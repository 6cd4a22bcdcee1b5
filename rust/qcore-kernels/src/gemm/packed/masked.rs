//! A packed B of which only a part is stored: the lines of [`PackedI8`] without their zeros, and a bit
//! for each byte that says whether it is there.
//!
//! Strips of columns are expanded into the cache as they are used and multiplied there by the kernels
//! for dense operands: their speed, at a part of the bytes.

use std::ops::Range;

use super::PackedI8;
use super::expand::{self, Lines};
use super::relayout::laid_out;
use crate::error::Result;
use crate::gemm::microkernel::{DEPTH, GROUP_BYTES, PANEL, Tile};
use crate::interrupt::Pace;
use crate::isa::Isa;
use crate::memory;

/// Lines that are told apart by the bits that three masks leave.
pub(in crate::gemm) const LINES: usize = 4;

/// Fours of lines whose masks are kept together: as many as a vector has words.
pub(in crate::gemm) const FOURS: usize = 8;

/// The masks of lines: of the first lines of all fours, of the second, and so on.
pub(in crate::gemm) type Masks = [[u64; FOURS]; LINES];

/// Bytes that kernels read past a value: a line's.
const PADDING: usize = GROUP_BYTES;

/// A tile of a B of which only a part is stored. `tile.b` is room for the lines, on cache lines.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "for x86-64"))]
pub(in crate::gemm) struct MaskedTile<'a> {
    pub(in crate::gemm) tile: Tile,
    pub(in crate::gemm) places: &'a Places,
    /// The first masks of the first panel, and how many those of a panel are.
    pub(in crate::gemm) first: usize,
    pub(in crate::gemm) blocks: usize,
    /// The first value of each panel.
    pub(in crate::gemm) values: [*const u8; WIDE],
    /// What stands where nothing is stored.
    pub(in crate::gemm) fill: u8,
}

/// Panels of the widest such tile.
pub(in crate::gemm) const WIDE: usize = 4;

/// Computes a tile as [`crate::gemm::microkernel::TileFn`] does.
///
/// # Safety
/// - As that, but for `b`, which is valid for writing `groups` lines in each panel, where they are
///   kept.
/// - There are masks for each line, and `values` is valid for reading what they say, and 64 bytes more.
pub(in crate::gemm) type MaskedTileFn = unsafe fn(&MaskedTile<'_>);

/// The functions that expand lines as they multiply: by rows, by panels, and by whether the lines are
/// kept.
pub(in crate::gemm) type MaskedTiles = [[[MaskedTileFn; 2]; WIDE]; TALL];

/// The most rows of such a tile: rows that are 4096 bytes apart share a set of the first cache.
pub(in crate::gemm) const TALL: usize = 6;

/// The functions that expand lines as they multiply; None where lines are expanded before.
pub(in crate::gemm) fn fused(isa: Isa) -> Option<&'static MaskedTiles> {
    #[cfg(target_arch = "x86_64")]
    if isa.includes(Isa::Avx512Vnni) && crate::isa::expands_bytes() {
        return Some(&crate::gemm::micro::avx512_masked::TILES);
    }
    let _ = isa;
    None
}

/// Where stored values lie in the lines of all panels, 8 fours of lines after 8.
#[derive(Debug, Clone)]
pub(in crate::gemm) enum Places {
    /// Each four values of a column along K have as many stored ones: three bits of their mask tell
    /// the fourth, and three masks hold a fourth one in the bits that they do not need.
    Fours {
        /// The masks.
        words: Vec<[[u64; FOURS]; 3]>,
        /// How many.
        every: usize,
    },
    /// A mask for each line.
    Any(Vec<Masks>),
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
    pub fn new(
        k: usize,
        n: usize,
        unsigned: bool,
        every: Option<usize>,
        stored: impl Fn(usize, usize) -> Option<u8>,
    ) -> Result<Self> {
        let flip = if unsigned { 0x80 } else { 0 };
        let (quads, panels) = (k.div_ceil(DEPTH * LINES), n.div_ceil(PANEL));
        let blocks = quads.div_ceil(FOURS);
        let mut masks = memory::filled(Masks::default(), memory::size(&[blocks, panels])?)?;
        let (mut values, mut starts) = (Vec::new(), memory::with_capacity(panels)?);
        let mut pace = Pace::new();
        for panel in 0..panels {
            memory::push(&mut starts, values.len())?;
            for line in 0..quads * LINES {
                pace.check(GROUP_BYTES)?;
                let first = line * DEPTH;
                let (quad, line) = (line / LINES, line % LINES);
                let mask = &mut masks[panel * blocks + quad / FOURS][line][quad % FOURS];
                for place in 0..GROUP_BYTES {
                    let (row, column) = (first + place % DEPTH, panel * PANEL + place / DEPTH);
                    let value = if first >= k || column >= n {
                        // There is nothing: zeros as many as there must be.
                        (place % DEPTH < every.unwrap_or(0)).then_some(0)
                    } else {
                        stored(row, column).map(|value| if row < k { value ^ flip } else { 0 })
                    };
                    if let Some(value) = value {
                        *mask |= 1_u64 << place;
                        memory::push(&mut values, value)?;
                    }
                }
            }
        }
        memory::extend(&mut values, &[0; PADDING])?;
        let places = match every {
            Some(every) => Places::fours(&masks, every)?,
            None => Places::Any(masks),
        };
        let mut made = Self { k, n, unsigned, places, values, starts, sums: Vec::new() };
        let mut sums = memory::with_capacity(memory::size(&[panels, PANEL])?)?;
        for panel in 0..panels {
            pace.check(quads * LINES * GROUP_BYTES)?;
            memory::extend(&mut sums, &made.column_sums(panel))?;
        }
        made.sums = sums;
        Ok(made)
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

    /// The whole matrix, packed for `isa`.
    pub fn unpacked(&self, isa: Isa) -> Result<PackedI8> {
        let mut packed = PackedI8::default();
        self.expand(isa, 0..self.starts.len(), &mut packed)?;
        Ok(laid_out(isa, &packed)?.into_owned())
    }

    /// Room for some panels, of which the lines are still to come.
    pub(in crate::gemm) fn reserve(&self, panels: Range<usize>, room: &mut PackedI8) -> Result<()> {
        let n = (panels.len() * PANEL).min(self.n - panels.start * PANEL);
        let sums = &self.sums[panels.start * PANEL..panels.end * PANEL];
        room.reserve(self.k, n, self.quads() * LINES, self.unsigned, sums)
    }

    /// A tile of some panels.
    pub(in crate::gemm) fn tile(&self, tile: Tile, panels: Range<usize>) -> MaskedTile<'_> {
        let mut values = [std::ptr::null(); WIDE];
        for (values, panel) in values.iter_mut().zip(panels.clone()) {
            *values = self.values[self.starts[panel]..].as_ptr();
        }
        let (places, blocks) = (&self.places, self.blocks());
        let (first, fill) = (panels.start * blocks, self.fill());
        MaskedTile { tile, places, first, blocks, values, fill }
    }

    /// Some panels, packed into `room`.
    pub(in crate::gemm) fn expand(
        &self,
        isa: Isa,
        panels: Range<usize>,
        room: &mut PackedI8,
    ) -> Result<()> {
        let quads = self.quads();
        self.reserve(panels.clone(), room)?;
        let mut pace = Pace::new();
        for (index, panel) in panels.enumerate() {
            pace.check(quads * LINES * GROUP_BYTES)?;
            let lines = Lines { places: &self.places, first: panel * self.blocks(), quads };
            let values = self.values[self.starts[panel]..].as_ptr();
            // SAFETY: there are masks and values for each line of the panel, with bytes enough after
            // the last of them; the room has as many lines for each panel.
            unsafe { expand::panel(isa, lines, values, self.fill(), room.panel_mut(index)) };
        }
        Ok(())
    }

    /// What stands where nothing is stored.
    fn fill(&self) -> u8 {
        if self.unsigned { 0x80 } else { 0 }
    }

    fn quads(&self) -> usize {
        self.k.div_ceil(DEPTH * LINES)
    }

    fn blocks(&self) -> usize {
        self.quads().div_ceil(FOURS)
    }

    fn column_sums(&self, panel: usize) -> [i64; PANEL] {
        let mut next = self.starts[panel];
        let mut sums = [0; PANEL];
        let mut masks = Masks::default();
        for line in 0..self.quads() * LINES {
            let (quad, part) = (line / LINES, line % LINES);
            if line % (LINES * FOURS) == 0 {
                masks = self.places.masks(panel * self.blocks() + quad / FOURS);
            }
            for place in 0..GROUP_BYTES {
                let value = if masks[part][quad % FOURS] >> place & 1 == 1 {
                    next += 1;
                    self.values[next - 1]
                } else {
                    self.fill()
                };
                if line * DEPTH + place % DEPTH < self.k {
                    sums[place / DEPTH] += i64::from(value as i8);
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
    fn fours(masks: &[Masks], every: usize) -> Result<Self> {
        let words = masks.iter().map(|masks| {
            let mut words = [[0; FOURS]; 3];
            for (index, words) in words.iter_mut().enumerate() {
                for (at, word) in words.iter_mut().enumerate() {
                    // The fourth mask is spread over the bits that the others leave.
                    *word = masks[index][at] & THREE | masks[3][at] >> index << 3 & FOURTH;
                }
            }
            words
        });
        Ok(Places::Fours { words: memory::collected(words)?, every })
    }

    /// How many of each four values along K are stored, where it is the same for all.
    pub(in crate::gemm) fn every(&self) -> Option<usize> {
        match self {
            Places::Any(_) => None,
            Places::Fours { every, .. } => Some(*every),
        }
    }

    /// The masks of 8 fours of lines.
    #[inline(always)]
    pub(in crate::gemm) fn masks(&self, index: usize) -> Masks {
        match self {
            Places::Any(masks) => masks[index],
            Places::Fours { words, every } => {
                let [a, b, c] = &words[index];
                let flip = if every % 2 == 1 { FOURTH } else { 0 };
                let mut masks = Masks::default();
                for at in 0..FOURS {
                    let (a, b, c) = (a[at], b[at], c[at]);
                    let last = (a & FOURTH) >> 3 | (b & FOURTH) >> 2 | (c & FOURTH) >> 1;
                    masks[0][at] = with_fourth(a & THREE, flip);
                    masks[1][at] = with_fourth(b & THREE, flip);
                    masks[2][at] = with_fourth(c & THREE, flip);
                    masks[3][at] = with_fourth(last, flip);
                }
                masks
            }
        }
    }
}

/// Masks of fours from three bits of each: the parity of all four is known.
#[inline(always)]
fn with_fourth(three: u64, flip: u64) -> u64 {
    three | (three << 3 ^ three << 2 ^ three << 1 ^ flip) & FOURTH
}
