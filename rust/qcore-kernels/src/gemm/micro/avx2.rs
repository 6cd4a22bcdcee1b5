//! AVX2: `vpmaddwd` over bytes widened to 16 bits, exact for every operand.
//!
//! Bytes are widened as they are read, where few rows meet them, or before: the widening takes two of
//! the 26 vector instructions of a step of the tile. `vpmaddubsw` needs no widening and saturates,
//! unless A comes in halves of four bits, for which it runs twice. That saves a row that is alone a
//! fifth of its instructions, and more rows none.

use std::arch::x86_64::*;

use super::{Dot, tile_functions, tile_row};
use crate::gemm::limits;
use crate::gemm::microkernel::{Kernel, Layout, Left};
use crate::isa::Isa;

/// On pairs of bytes, or of words that they were widened to before.
pub(super) struct Avx2<const WIDE: bool>;

impl<const WIDE: bool> Dot for Avx2<WIDE> {
    const UNIT: usize = 8;
    const STEPS: usize = 2;
    const A_BYTES: usize = 4;
    const B_BYTES: usize = if WIDE { 64 } else { 32 };
    // Words were made of bytes just before, and are in the cache.
    const AHEAD: usize = if WIDE { 0 } else { 8 << 10 };
    type Acc = __m256i;
    type A = __m256i;
    type B = __m256i;

    #[inline(always)]
    unsafe fn zero() -> __m256i {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn load_a(ptr: *const u8, _: i32) -> __m256i {
        // SAFETY: the caller vouches for A_BYTES bytes, and the instruction set.
        unsafe { _mm256_set1_epi32(ptr.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn load_b(ptr: *const i8) -> __m256i {
        // SAFETY: the caller vouches for the unit's part of B_BYTES bytes, and the instruction set.
        unsafe {
            if WIDE {
                _mm256_loadu_si256(ptr.cast())
            } else {
                _mm256_cvtepi8_epi16(_mm_loadu_si128(ptr.cast()))
            }
        }
    }

    #[inline(always)]
    unsafe fn dot(acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the caller vouches for the instruction set.
        unsafe { _mm256_add_epi32(acc, _mm256_madd_epi16(a, b)) }
    }

    #[inline(always)]
    unsafe fn store(acc: __m256i, start: *const i32, row: i32, c: *mut i32) {
        // SAFETY: the caller vouches for UNIT elements at `start` and `c`, and the instruction set.
        unsafe {
            let start = _mm256_add_epi32(_mm256_loadu_si256(start.cast()), _mm256_set1_epi32(row));
            _mm256_storeu_si256(c.cast(), _mm256_add_epi32(acc, start));
        }
    }
}

tile_functions!(Avx2<false>, "avx2");

pub(in crate::gemm) static KERNEL: Kernel = Kernel {
    id: "x86_64-i8i8s32-avx2-6x16",
    isa: Isa::Avx2,
    left: Left::I16,
    layout: Layout::Pairs,
    many: Some(&words::KERNEL),
    one: Some(&one::KERNEL),
    limits: &limits::MADD,
    unit: 8,
    tiles: &[tile_row!(1: 1, 2, 3, 4, 5, 6), tile_row!(2: 1, 2, 3, 4, 5, 6)],
    narrow: tile_row!(4: 1, 2),
    narrow_units: 4,
};

/// The same on words.
mod words {
    use super::{Avx2, Isa, Kernel, Layout, Left, limits, tile_functions, tile_row};

    tile_functions!(Avx2<true>, "avx2");

    pub(super) static KERNEL: Kernel = Kernel {
        id: "x86_64-i8i8s32-avx2-6x16-words",
        isa: Isa::Avx2,
        left: Left::I16,
        layout: Layout::WidePairs,
        many: None,
        one: None,
        limits: &limits::MADD,
        unit: 8,
        tiles: &[tile_row!(1: 1, 2, 3, 4, 5, 6), tile_row!(2: 1, 2, 3, 4, 5, 6)],
        narrow: &[],
        narrow_units: 1,
    };
}

/// One row, in halves of four bits.
mod one {
    use std::arch::x86_64::*;

    use super::{Isa, Kernel, Layout, Left, limits};
    use crate::gemm::left::nibbles::{self, PAIR_BYTES, PAIRS};
    use crate::gemm::microkernel::{GROUP_BYTES, PANEL, Tile, TileFn};

    /// How far ahead lines of B are fetched, as measured on Zen 5.
    const AHEAD: usize = 4 << 10;

    /// Depth groups whose sums 16 bits hold, and the steps of one.
    const GROUPS: usize = PAIRS / STEPS;
    const STEPS: usize = 2;

    /// A row times `UNITS` panels.
    ///
    /// # Safety
    /// As [`TileFn`].
    #[allow(clippy::needless_range_loop, reason = "over indices it is unrolled whole")]
    #[target_feature(enable = "avx2")]
    unsafe fn tile<const UNITS: usize>(t: &Tile) {
        // SAFETY: the caller vouches for every pointer of the tile.
        unsafe {
            let weights = _mm256_set1_epi32(16 << 16 | 1);
            let mut acc = [[_mm256_setzero_si256(); 2]; UNITS];
            let (mut a, mut b, mut left) = (t.a, t.b, t.groups);
            while left > 0 {
                let groups = left.min(GROUPS);
                let mut low = [_mm256_setzero_si256(); UNITS];
                let mut high = low;
                if groups == GROUPS {
                    // Unrolled whole, as the loop over what is left is not.
                    for step in 0..PAIRS {
                        add::<UNITS>(t, a.add(step * PAIR_BYTES), b, step, &mut low, &mut high);
                    }
                } else {
                    for step in 0..groups * STEPS {
                        add::<UNITS>(t, a.add(step * PAIR_BYTES), b, step, &mut low, &mut high);
                    }
                }
                for unit in 0..UNITS {
                    // The low and the high sum of a column side by side: 1 and 16 weigh them.
                    let first = _mm256_unpacklo_epi16(low[unit], high[unit]);
                    let second = _mm256_unpackhi_epi16(low[unit], high[unit]);
                    let first = _mm256_madd_epi16(first, weights);
                    let second = _mm256_madd_epi16(second, weights);
                    acc[unit][0] = _mm256_add_epi32(acc[unit][0], first);
                    acc[unit][1] = _mm256_add_epi32(acc[unit][1], second);
                }
                a = a.add(groups * nibbles::GROUP_BYTES);
                b = b.add(groups * GROUP_BYTES);
                left -= groups;
            }
            let row = _mm256_set1_epi32(*t.row_start);
            for unit in 0..UNITS {
                // Columns 0 to 3 and 8 to 11, then 4 to 7 and 12 to 15.
                let [first, second] = acc[unit];
                let halves = [
                    _mm256_permute2x128_si256::<0x20>(first, second),
                    _mm256_permute2x128_si256::<0x31>(first, second),
                ];
                for half in 0..2 {
                    let column = unit * PANEL + half * PANEL / 2;
                    let start = _mm256_loadu_si256(t.start.add(column).cast());
                    let sum = _mm256_add_epi32(halves[half], _mm256_add_epi32(start, row));
                    _mm256_storeu_si256(t.c.add(column).cast(), sum);
                }
            }
        }
    }

    /// Adds the products of a pair of K.
    ///
    /// # Safety
    /// `a` is valid for a pair, `b` for the line of the step in every panel of the tile.
    #[allow(clippy::needless_range_loop, reason = "over indices it is unrolled whole")]
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn add<const UNITS: usize>(
        t: &Tile,
        a: *const u8,
        b: *const i8,
        step: usize,
        low: &mut [__m256i; UNITS],
        high: &mut [__m256i; UNITS],
    ) {
        // SAFETY: the caller vouches for the pointers.
        unsafe {
            let a_low = _mm256_set1_epi32(a.cast::<i32>().read_unaligned());
            let a_high = _mm256_set1_epi32(a.add(4).cast::<i32>().read_unaligned());
            for unit in 0..UNITS {
                let line = b.add(unit * t.panel_stride + step * GROUP_BYTES / STEPS);
                _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(AHEAD));
                let columns = _mm256_loadu_si256(line.cast());
                low[unit] = _mm256_add_epi16(low[unit], _mm256_maddubs_epi16(a_low, columns));
                high[unit] = _mm256_add_epi16(high[unit], _mm256_maddubs_epi16(a_high, columns));
            }
        }
    }

    pub(super) static KERNEL: Kernel = Kernel {
        id: "x86_64-i8i8s32-avx2-1x32-nibbles",
        isa: Isa::Avx2,
        left: Left::Nibbles,
        layout: Layout::Pairs,
        many: None,
        one: None,
        limits: &limits::MADD,
        unit: PANEL,
        tiles: &[&[tile::<1> as TileFn], &[tile::<2> as TileFn]],
        narrow: &[],
        narrow_units: 1,
    };
}
