//! Rows in halves of four bits, on AVX2: `vpmaddubsw` takes the bytes of B as they are, two rows of
//! them interleaved or the bytes of a column side by side, where `vpmaddwd` would have them widened
//! first.
//!
//! B has the sign that A has not, as for the other ways. The low halves are unsigned, and so want B
//! signed; the high ones have the sign of A.

use std::arch::x86_64::*;

use super::{ROOM_ROWS, Right, Rows, STEPS, Target};
use crate::aligned::AlignedBytes;
use crate::error::Result;
use crate::gemm::left::nibbles::{self, PAIR_BYTES};
use crate::interrupt::Pace;
use crate::isa::Isa;
use crate::memory;

/// Columns that go together: the lines of so many rows of B.
const COLUMNS: usize = 64;

/// Pairs of rows of B that go together: 16 bits would hold the sums of twice as many, but so many
/// lines, whole pages apart, share their sets of the first cache.
const PAIRS: usize = nibbles::PAIRS / 2;

/// Rows of B that go together.
const TOGETHER: usize = 2 * PAIRS;

/// Bytes ahead of what is read that are fetched, as measured on Zen 5.
const AHEAD: usize = 256;

/// Vectors of sums of [`COLUMNS`] columns.
const VECTORS: usize = COLUMNS / 8;

/// Rows, that of ones too, up to which this is faster than interleaving four rows of B for all.
const MOST_ROWS: usize = 7;

/// Whether so many rows are multiplied here.
pub(super) fn takes(isa: Isa, rows: usize) -> bool {
    isa == Isa::Avx2 && isa.is_available() && rows <= MOST_ROWS
}

/// The product of all rows, of ones too, with at least [`COLUMNS`] columns, whose rows lie side by
/// side.
///
/// # Safety
/// [`takes`] said so. `target` is valid for writing the columns of each row; B is still borrowed.
pub(super) unsafe fn across(
    isa: Isa,
    rows: Rows<'_>,
    b: Right,
    target: Target<'_>,
    room: &mut AlignedBytes,
) -> Result<()> {
    let k = b.bytes.rows;
    let strips = b.bytes.cols.div_ceil(COLUMNS);
    let a_stride = k.div_ceil(TOGETHER) * PAIRS * PAIR_BYTES;
    // Halves of A, then sums.
    let sums = memory::size(&[rows.all, a_stride])?.next_multiple_of(64);
    let sum_bytes = memory::size(&[rows.all, strips, VECTORS * size_of::<__m256i>()])?;
    room.resize_scratch(sums + sum_bytes)?;
    let mut start = [0; ROOM_ROWS];
    for (row, start) in start.iter_mut().enumerate().take(rows.all) {
        let values = &rows.bytes[row * rows.stride..][..k];
        let out = &mut room[row * a_stride..][..a_stride];
        nibbles::split(isa, values, 0, !rows.unsigned, out);
        *start = target.start[row];
        if !rows.unsigned {
            // Low halves meet B less 128.
            let lows: i32 = values.iter().map(|&value| i32::from(value & 15)).sum();
            *start = start.wrapping_add(lows.wrapping_mul(128));
        }
    }
    let acc = room[sums..].as_mut_ptr().cast();
    let across = Across { a: room.as_ptr(), a_stride, rows: rows.all, b, strips, acc };
    // SAFETY: the CPU has AVX2; the room holds the halves and the sums of every row and strip.
    unsafe {
        match (rows.unsigned, b.flip != 0) {
            (true, false) => across.run::<false, false>(&start, target),
            (true, true) => across.run::<false, true>(&start, target),
            (false, false) => across.run::<true, false>(&start, target),
            (false, true) => across.run::<true, true>(&start, target),
        }
    }
}

struct Across {
    a: *const u8,
    a_stride: usize,
    rows: usize,
    b: Right,
    strips: usize,
    acc: *mut [__m256i; VECTORS],
}

impl Across {
    /// `SIGNED`: whether high halves are; `FLIP`: whether bytes of B are to be flipped.
    ///
    /// # Safety
    /// As [`across`]; the CPU has AVX2.
    #[target_feature(enable = "avx2")]
    unsafe fn run<const SIGNED: bool, const FLIP: bool>(
        &self,
        start: &[i32; ROOM_ROWS],
        target: Target<'_>,
    ) -> Result<()> {
        let (k, columns) = (self.b.bytes.rows, self.b.bytes.cols);
        // The last strip ends with the columns, and overlaps the one before.
        let first_of = |strip: usize| (strip * COLUMNS).min(columns - COLUMNS);
        for row in 0..self.rows {
            for strip in 0..self.strips {
                // SAFETY: the room was made for these.
                unsafe {
                    let start = _mm256_set1_epi32(start[row]);
                    self.acc.add(row * self.strips + strip).write([start; VECTORS]);
                }
            }
        }
        let mut pace = Pace::of(STEPS);
        for first in (0..k).step_by(TOGETHER) {
            pace.check(TOGETHER * columns * self.rows)?;
            let count = TOGETHER.min(k - first);
            for strip in 0..self.strips {
                for row in 0..self.rows {
                    // SAFETY: the rows of B and the strip's columns exist; A is filled up to whole
                    // blocks.
                    unsafe {
                        let b = self.b.bytes.at(first, first_of(strip));
                        let a = self.a.add(row * self.a_stride + first / 2 * PAIR_BYTES);
                        let acc = self.acc.add(row * self.strips + strip);
                        // Those that come after another find the lines in the cache.
                        let ahead = if row == 0 { AHEAD } else { 0 };
                        self.block::<SIGNED, FLIP>(a, b, count, ahead, &mut *acc);
                    }
                }
            }
        }
        for row in 0..self.rows {
            for strip in 0..self.strips {
                // SAFETY: whoever made the target vouches for the columns.
                unsafe {
                    let out = target.first.add(row * target.stride + first_of(strip));
                    store(out, &*self.acc.add(row * self.strips + strip));
                }
            }
        }
        Ok(())
    }

    /// Adds the products of up to [`TOGETHER`] rows of B.
    ///
    /// # Safety
    /// `b` is valid for `count` rows of [`COLUMNS`] bytes, `a` for as many values, filled up to a pair.
    #[allow(clippy::needless_range_loop, reason = "over indices it is unrolled whole")]
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn block<const SIGNED: bool, const FLIP: bool>(
        &self,
        a: *const u8,
        b: *const u8,
        count: usize,
        ahead: usize,
        acc: &mut [__m256i; VECTORS],
    ) {
        let stride = self.b.bytes.row_stride;
        let mut low = [_mm256_setzero_si256(); 4];
        let mut high = low;
        // SAFETY: the caller vouches for the rows, the last of which stands in for one that B lacks:
        // what A is filled up with is 0.
        unsafe {
            if count == TOGETHER {
                // Unrolled whole, as the loop over what is left is not.
                for pair in 0..PAIRS {
                    let line = b.offset(2 * pair as isize * stride);
                    let lines = [line, line.offset(stride)];
                    let a = a.add(pair * PAIR_BYTES);
                    add::<SIGNED, FLIP>(a, lines, ahead, &mut low, &mut high);
                }
            } else {
                for pair in 0..count.div_ceil(2) {
                    let line = b.offset(2 * pair as isize * stride);
                    let next = if 2 * pair + 1 < count { line.offset(stride) } else { line };
                    let a = a.add(pair * PAIR_BYTES);
                    add::<SIGNED, FLIP>(a, [line, next], ahead, &mut low, &mut high);
                }
            }
        }
        let weights = _mm256_set1_epi32(16 << 16 | 1);
        for at in 0..4 {
            let first = _mm256_unpacklo_epi16(low[at], high[at]);
            let second = _mm256_unpackhi_epi16(low[at], high[at]);
            acc[2 * at] = _mm256_add_epi32(acc[2 * at], _mm256_madd_epi16(first, weights));
            acc[2 * at + 1] = _mm256_add_epi32(acc[2 * at + 1], _mm256_madd_epi16(second, weights));
        }
    }
}

/// Adds the products of a pair of rows of B.
///
/// # Safety
/// The lines are valid for [`COLUMNS`] bytes, `a` for a pair of values.
#[allow(clippy::needless_range_loop, reason = "over indices it is unrolled whole")]
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn add<const SIGNED: bool, const FLIP: bool>(
    a: *const u8,
    [line, next]: [*const u8; 2],
    ahead: usize,
    low: &mut [__m256i; 4],
    high: &mut [__m256i; 4],
) {
    let top = _mm256_set1_epi8(i8::MIN);
    // SAFETY: the caller vouches for the pointers; a prefetch reads nothing, wherever it points.
    unsafe {
        if ahead != 0 {
            _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(ahead).cast());
            _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(ahead).cast());
        }
        let a_low = _mm256_set1_epi32(a.cast::<i32>().read_unaligned());
        let a_high = _mm256_set1_epi32(a.add(4).cast::<i32>().read_unaligned());
        for side in 0..2 {
            let line = _mm256_loadu_si256(line.add(side * COLUMNS / 2).cast());
            let next = _mm256_loadu_si256(next.add(side * COLUMNS / 2).cast());
            let pairs = [_mm256_unpacklo_epi8(line, next), _mm256_unpackhi_epi8(line, next)];
            for part in 0..2 {
                let (as_is, at) = (pairs[part], 2 * side + part);
                let turned = if SIGNED || FLIP { _mm256_xor_si256(as_is, top) } else { as_is };
                // The sign that A has not, and the other.
                let (own, other) = if FLIP { (turned, as_is) } else { (as_is, turned) };
                let (for_low, product) = if SIGNED {
                    (other, _mm256_maddubs_epi16(own, a_high))
                } else {
                    (own, _mm256_maddubs_epi16(a_high, own))
                };
                high[at] = _mm256_add_epi16(high[at], product);
                low[at] = _mm256_add_epi16(low[at], _mm256_maddubs_epi16(a_low, for_low));
            }
        }
    }
}

/// Stores the sums of a strip in the columns' order.
///
/// # Safety
/// `out` is valid for writing [`COLUMNS`] integers.
#[allow(clippy::needless_range_loop, reason = "over indices it is unrolled whole")]
#[target_feature(enable = "avx2")]
unsafe fn store(out: *mut i32, acc: &[__m256i; VECTORS]) {
    // The halves of vector j hold columns 4j to 4j + 3, and the same 16 further on.
    for side in 0..2 {
        for pair in 0..2 {
            let (a, b) = (acc[4 * side + 2 * pair], acc[4 * side + 2 * pair + 1]);
            // SAFETY: the caller vouches for the integers.
            unsafe {
                let out = out.add(side * COLUMNS / 2 + 8 * pair);
                _mm256_storeu_si256(out.cast(), _mm256_permute2x128_si256::<0x20>(a, b));
                let further = _mm256_permute2x128_si256::<0x31>(a, b);
                _mm256_storeu_si256(out.add(16).cast(), further);
            }
        }
    }
}
