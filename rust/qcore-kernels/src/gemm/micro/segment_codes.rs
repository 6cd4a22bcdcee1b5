//! Tiles of segments whose sums become codes in the registers that they were summed in: AVX-512 VNNI.

use std::arch::x86_64::*;

use super::segments::SegmentTile;
use crate::isa::Isa;

/// Columns of a vector of sums.
const UNIT: usize = 16;

/// Tiles of places that follow one another, and what becomes of their sums:
/// `max(rint(min(f32(sum) * multiplier, high)) + zero, low)`, saturated to a byte.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CodesTile {
    /// Operands of the first; its results go nowhere.
    pub(crate) sums: SegmentTile,
    /// How many tiles.
    pub(crate) count: usize,
    /// One for each column.
    pub(crate) multiplier: *const f32,
    pub(crate) high: f32,
    pub(crate) zero: i16,
    pub(crate) low: i8,
    pub(crate) residual: Added,
    /// First code.
    pub(crate) out: *mut u8,
    /// Codes from a row to the next.
    pub(crate) out_stride: usize,
}

/// Codes whose `f32((code ^ flip) - zero) * multiplier` is added before the least of sum and `high` is
/// taken; they lie as the results do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Added {
    /// First code; null where nothing is added.
    pub(crate) codes: *const u8,
    /// What turns a code into an unsigned byte.
    pub(crate) flip: u8,
    /// The unsigned byte of 0.
    pub(crate) zero: i32,
    pub(crate) multiplier: f32,
}

impl Added {
    /// Nothing.
    pub(crate) const NOTHING: Self =
        Self { codes: std::ptr::null(), flip: 0, zero: 0, multiplier: 0.0 };
}

/// Computes tiles of a fixed size.
///
/// # Safety
/// - The CPU has [`Isa::Avx512Vnni`].
/// - Operands are valid as those of a [`super::segments::SegmentTileFn`] for the rows of all tiles,
///   `multiplier` for the tile's columns, `out` for writing every row, and so are codes that are added
///   for reading.
pub(crate) type CodesTileFn = unsafe fn(&CodesTile);

/// `tiles[units - 1][rows - 1]`, of unsigned codes and of signed ones.
pub(crate) type CodesTiles = [&'static [[CodesTileFn; 2]]; 4];

/// The tiles where `isa` is in force, if there are any.
pub(crate) fn codes_tiles(isa: Isa) -> Option<&'static CodesTiles> {
    isa.includes(Isa::Avx512Vnni).then_some(&TILES)
}

macro_rules! rows {
    ($units:literal: $($rows:literal)+) => {
        &[$([
            tiles::<$rows, $units, false> as CodesTileFn,
            tiles::<$rows, $units, true> as CodesTileFn,
        ]),+]
    };
}

static TILES: CodesTiles = [
    rows!(1: 1 2 3 4 5 6 7 8 9 10 11 12),
    rows!(2: 1 2 3 4 5 6 7 8 9 10 11 12),
    rows!(3: 1 2 3 4 5 6 7 8),
    rows!(4: 1 2 3 4 5 6),
];

/// # Safety
/// As [`CodesTileFn`].
#[allow(clippy::needless_range_loop, reason = "see `super::tile`")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn tiles<const ROWS: usize, const UNITS: usize, const SIGNED: bool>(t: &CodesTile) {
    // SAFETY: the caller vouches for every pointer of the tiles and for the instruction set.
    unsafe {
        let s = &t.sums;
        let (mut first, mut out, mut added) = (s.a, t.out, t.residual.codes);
        for _ in 0..t.count {
            let mut acc = [[_mm512_setzero_si512(); UNITS]; ROWS];
            for unit in 0..UNITS {
                let start = _mm512_loadu_si512(s.start.add(unit * UNIT).cast());
                for row in 0..ROWS {
                    acc[row][unit] = start;
                }
            }
            let mut b = s.b;
            let mut segment = first;
            for _ in 0..s.segments {
                let mut a = segment;
                for _ in 0..s.groups {
                    let mut columns = [_mm512_setzero_si512(); UNITS];
                    for unit in 0..UNITS {
                        columns[unit] = _mm512_loadu_si512(b.add(unit * s.panel_stride).cast());
                    }
                    for row in 0..ROWS {
                        let four = a.add(row * s.a_stride).cast::<i32>().read_unaligned();
                        let four = _mm512_set1_epi32(four);
                        for unit in 0..UNITS {
                            acc[row][unit] =
                                _mm512_dpbusd_epi32(acc[row][unit], four, columns[unit]);
                        }
                    }
                    a = a.add(4);
                    b = b.add(4 * UNIT);
                }
                segment = segment.wrapping_add(s.segment_stride);
            }
            finish::<ROWS, UNITS, SIGNED>(t, acc, added, out);
            first = first.wrapping_add(ROWS * s.a_stride);
            out = out.wrapping_add(ROWS * t.out_stride);
            if !added.is_null() {
                added = added.wrapping_add(ROWS * t.out_stride);
            }
        }
    }
}

/// The codes of a tile.
///
/// # Safety
/// As [`CodesTileFn`], of a tile whose codes go to `out`.
#[allow(clippy::needless_range_loop, reason = "see `super::tile`")]
#[inline(always)]
unsafe fn finish<const ROWS: usize, const UNITS: usize, const SIGNED: bool>(
    t: &CodesTile,
    mut acc: [[__m512i; UNITS]; ROWS],
    added: *const u8,
    out: *mut u8,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let (high, zero) = (_mm512_set1_ps(t.high), _mm512_set1_epi16(t.zero));
        let low = _mm512_set1_epi8(t.low);
        // Packing works within 128-bit quarters; this puts the dwords back in order.
        let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        let mut factors = [_mm512_setzero_ps(); UNITS];
        for unit in 0..UNITS {
            factors[unit] = _mm512_loadu_ps(t.multiplier.add(unit * UNIT));
        }
        // Each of these loops is short, so that it is unrolled whole: one that is not would index the
        // sums, which then lie in memory, and each dot product above would store its own.
        for row in 0..ROWS {
            for unit in 0..UNITS {
                let level = _mm512_mul_ps(_mm512_cvtepi32_ps(acc[row][unit]), factors[unit]);
                acc[row][unit] = _mm512_castps_si512(level);
            }
        }
        if !added.is_null() {
            for row in 0..ROWS {
                for unit in 0..UNITS {
                    let from = added.add(row * t.out_stride + unit * UNIT);
                    let level = _mm512_castsi512_ps(acc[row][unit]);
                    let level = _mm512_add_ps(level, value(&t.residual, from));
                    acc[row][unit] = _mm512_castps_si512(level);
                }
            }
        }
        for row in 0..ROWS {
            for unit in 0..UNITS {
                // As in `epilogue`: below all codes is what anything below them is.
                let level = _mm512_min_ps(high, _mm512_castsi512_ps(acc[row][unit]));
                acc[row][unit] = _mm512_cvtps_epi32(level);
            }
        }
        // Four vectors at a time: as many rows as these are.
        let together = if UNITS > 2 { 1 } else { 4 / UNITS };
        for group in 0..ROWS.div_ceil(together) {
            let mut levels = [_mm512_setzero_si512(); 4];
            for vector in 0..4 {
                // What is missing of the four repeats what is there.
                let row = group * together + if UNITS > 2 { 0 } else { vector / UNITS };
                let unit = if UNITS > 2 { vector } else { vector % UNITS };
                let row = if row < ROWS { row } else { ROWS - 1 };
                let unit = if unit < UNITS { unit } else { UNITS - 1 };
                levels[vector] = acc[row][unit];
            }
            let first = _mm512_adds_epi16(_mm512_packs_epi32(levels[0], levels[1]), zero);
            let second = _mm512_adds_epi16(_mm512_packs_epi32(levels[2], levels[3]), zero);
            let bytes = if SIGNED {
                _mm512_max_epi8(_mm512_packs_epi16(first, second), low)
            } else {
                _mm512_max_epu8(_mm512_packus_epi16(first, second), low)
            };
            let bytes = _mm512_permutexvar_epi32(order, bytes);
            let rows = together.min(ROWS - group * together);
            let to = out.add(group * together * t.out_stride);
            store::<UNITS>(to, t.out_stride, rows, bytes);
        }
    }
}

/// What a vector of codes adds.
///
/// # Safety
/// The CPU has AVX-512; the codes are there.
#[inline(always)]
unsafe fn value(added: &Added, from: *const u8) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe {
        let bytes = _mm_loadu_si128(from.cast());
        let bytes = _mm_xor_si128(bytes, _mm_set1_epi8(added.flip as i8));
        let zero = _mm512_set1_epi32(added.zero);
        let steps = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_cvtepu8_epi32(bytes), zero));
        _mm512_mul_ps(steps, _mm512_set1_ps(added.multiplier))
    }
}

/// Writes up to four vectors' codes: some rows of `UNITS` vectors each.
///
/// # Safety
/// The CPU has AVX-512; `to` is valid for writing these rows.
#[inline(always)]
unsafe fn store<const UNITS: usize>(to: *mut u8, stride: usize, rows: usize, bytes: __m512i) {
    // SAFETY: the caller's promise.
    unsafe {
        let low = _mm512_castsi512_si256(bytes);
        if UNITS * rows == 4 && (rows == 1 || stride == UNITS * UNIT) {
            _mm512_storeu_si512(to.cast(), bytes);
        } else if UNITS == 3 {
            _mm256_storeu_si256(to.cast(), low);
            _mm_storeu_si128(to.add(32).cast(), _mm512_extracti32x4_epi32::<2>(bytes));
        } else if UNITS == 2 {
            _mm256_storeu_si256(to.cast(), low);
            if rows == 2 {
                _mm256_storeu_si256(to.add(stride).cast(), _mm512_extracti64x4_epi64::<1>(bytes));
            }
        } else {
            _mm_storeu_si128(to.cast(), _mm256_castsi256_si128(low));
            if rows > 1 {
                let second = _mm256_extracti128_si256::<1>(low);
                _mm_storeu_si128(to.add(stride).cast(), second);
            }
            if rows > 2 {
                let third = _mm512_extracti32x4_epi32::<2>(bytes);
                _mm_storeu_si128(to.add(2 * stride).cast(), third);
            }
            if rows > 3 {
                let fourth = _mm512_extracti32x4_epi32::<3>(bytes);
                _mm_storeu_si128(to.add(3 * stride).cast(), fourth);
            }
        }
    }
}
