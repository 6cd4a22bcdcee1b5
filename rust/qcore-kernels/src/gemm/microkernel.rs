//! What a micro-kernel is: the product of a few rows of A and a few columns of packed B.

use super::left::nibbles;
use super::limits::Limits;
use crate::isa::Isa;

/// Columns of a panel of packed B.
pub(crate) const PANEL: usize = 16;
/// Values along K that lie side by side in packed B: what one dot instruction takes.
pub(crate) const DEPTH: usize = 4;
/// Bytes of one depth group of a panel, a byte each: a cache line.
pub(crate) const GROUP_BYTES: usize = PANEL * DEPTH;
/// The most columns that a tile of any kernel has.
pub(crate) const MAX_TILE_COLUMNS: usize = 128;
/// The most rows that a tile of any kernel has.
pub(crate) const MAX_TILE_ROWS: usize = 16;

/// How the values of a depth group of a panel of B lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Layout {
    /// Column by column, four bytes of each: what one `vpdpbusd` or `sdot` takes.
    #[default]
    Fours,
    /// Two of K after two, and in these column by column: what `pmaddwd` takes once they are widened.
    Pairs,
    /// The same, widened to 16 bits: made of pairs where many rows meet them.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "for x86-64"))]
    WidePairs,
    /// Two depth groups together, column by column: the eight bytes of each that `smmla` takes.
    #[cfg_attr(not(target_arch = "aarch64"), allow(dead_code, reason = "for AArch64, tested here"))]
    Eights,
}

impl Layout {
    /// Bytes of a value.
    pub(crate) const fn value_bytes(self) -> usize {
        match self {
            Layout::Fours | Layout::Pairs | Layout::Eights => 1,
            Layout::WidePairs => 2,
        }
    }

    /// Bytes of a depth group of a panel: its line, or half of a line of two.
    pub(crate) const fn line_bytes(self) -> usize {
        GROUP_BYTES * self.value_bytes()
    }

    /// Depth groups of a panel that has so many: with what fills up the last line.
    pub(crate) const fn whole_groups(self, groups: usize) -> usize {
        match self {
            Layout::Fours | Layout::Pairs | Layout::WidePairs => groups,
            Layout::Eights => groups.next_multiple_of(2),
        }
    }

    /// Bytes from the start of a panel to the first value of its depth group `group`.
    pub(crate) const fn group_offset(self, group: usize) -> usize {
        match self {
            Layout::Fours | Layout::Pairs | Layout::WidePairs => group * self.line_bytes(),
            Layout::Eights => group / 2 * (2 * GROUP_BYTES) + group % 2 * DEPTH,
        }
    }

    /// Bytes from the first value of a depth group to value `k` of four in column `column` of 16.
    pub(crate) const fn place(self, column: usize, k: usize) -> usize {
        match self {
            Layout::Fours => column * DEPTH + k,
            Layout::Pairs | Layout::WidePairs => {
                (k / 2 * 2 * PANEL + column * 2 + k % 2) * self.value_bytes()
            }
            Layout::Eights => column * (2 * DEPTH) + k,
        }
    }
}

/// How a kernel wants the rows of A.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Unsigned bytes; int8 comes with its top bit flipped, which adds 128.
    U8,
    /// 16-bit integers of the value itself.
    I16,
    /// Signed bytes; uint8 comes with its top bit flipped, which takes 128 away.
    Signed,
    /// Bytes as they are, of either sign: signed where the tile has something to flip.
    Bytes,
    /// Unsigned bytes as for `U8`, in halves: see [`super::left::nibbles`].
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "for x86-64"))]
    Nibbles,
}

impl Left {
    /// Bytes of an element.
    pub(crate) fn size(self) -> usize {
        match self {
            Left::U8 | Left::Signed | Left::Bytes => 1,
            Left::I16 => 2,
            Left::Nibbles => nibbles::GROUP_BYTES / DEPTH,
        }
    }
}

/// One tile: where its operands and results lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tile {
    /// First row of packed A.
    pub(crate) a: *const u8,
    /// Bytes from a row of A to the next.
    pub(crate) a_stride: usize,
    /// What is flipped in each 4 bytes of A, where a kernel takes bytes of one sign.
    pub(crate) flip: i32,
    /// Depth groups to sum over.
    pub(crate) groups: usize,
    /// First column of the tile, at its first depth group.
    pub(crate) b: *const i8,
    /// Bytes from a panel of B to the next.
    pub(crate) panel_stride: usize,
    /// What the sum of each column starts from.
    pub(crate) start: *const i32,
    /// What is added to each row.
    pub(crate) row_start: *const i32,
    /// First result.
    pub(crate) c: *mut i32,
    /// Elements from a row of results to the next.
    pub(crate) c_stride: usize,
}

/// Computes one tile of a fixed size, wrapping: `c = start + row_start + a * b`.
///
/// # Safety
/// - The CPU has the kernel's instruction set.
/// - `a` is valid for `groups * 4` elements of the kernel's [`Left`] type in each row, `b` for
///   `groups` lines in each panel that the tile touches, `start` for the tile's columns, `row_start`
///   for its rows, and `c` for writing both.
pub(crate) type TileFn = unsafe fn(&Tile);

/// A micro-kernel: its name, what it needs and its functions.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// `arch-dtypes-isa-tile`: the same in tests, benches and reports.
    pub(crate) id: &'static str,
    /// The instruction set that it is written for.
    pub(crate) isa: Isa,
    /// How it wants A.
    pub(crate) left: Left,
    /// How it wants B.
    pub(crate) layout: Layout,
    /// Another that is faster where so many rows meet B that laying it out anew costs less than it
    /// saves; takes A alike.
    pub(crate) many: Option<&'static Kernel>,
    /// Another for products of one row, which may take A differently but takes B alike.
    pub(crate) one: Option<&'static Kernel>,
    /// From where on what pays, as measured.
    pub(crate) limits: &'static Limits,
    /// Columns of one unit: a tile is a number of units wide.
    pub(crate) unit: usize,
    /// `tiles[units - 1][rows - 1]`; all have the same number of rows.
    pub(crate) tiles: &'static [&'static [TileFn]],
    /// `rows[rows - 1]` of the widest tile for few rows, where the loads of B are what counts.
    pub(crate) narrow: &'static [TileFn],
    /// Units of the tiles in `narrow`.
    pub(crate) narrow_units: usize,
}

impl Kernel {
    /// The most rows that a tile has.
    pub(crate) fn rows(&self) -> usize {
        self.tiles[0].len()
    }

    /// The most columns that a tile has.
    pub(crate) fn columns(&self) -> usize {
        self.tiles.len() * self.unit
    }
}
