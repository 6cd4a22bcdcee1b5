//! Rows of B to packed panels: 4 rows, 16 columns, to one cache line.

use std::ops::Range;

use super::microkernel::{DEPTH, GROUP_BYTES, PANEL};
use super::operand::Bytes;
use crate::isa::Isa;

/// Packs the panels `range` of `b` to `out`, each byte's bits flipped by `flip`; tails become zeros.
///
/// # Safety
/// - `range` ends at most one panel past the last column, and the matrix is still borrowed.
/// - `out` is valid for writing all panels of `range`.
/// - The CPU has `isa`.
pub(super) unsafe fn panels(
    isa: Isa,
    b: Bytes,
    flip: u8,
    range: Range<usize>,
    panel_stride: usize,
    out: *mut u8,
) {
    if b.row_stride == 1 && b.rows > 1 {
        for (index, panel) in range.enumerate() {
            let columns = (b.cols - panel * PANEL).min(PANEL);
            // SAFETY: the panel's columns exist, and `out` has room for every panel.
            unsafe {
                let out = out.add(index * panel_stride);
                columns_to_panel(b, flip, panel * PANEL, columns, out);
            }
        }
        return;
    }
    // Group by group, so that a row is read by cache lines, not by panels.
    let whole = if b.col_stride == 1 { b.cols / PANEL } else { 0 };
    // SAFETY: the panels are whole, and `out` has room for them; the CPU has the instruction set.
    let done = unsafe { whole_strip(isa, b, flip, range.clone(), whole, panel_stride, out) };
    for group in done..b.rows.div_ceil(DEPTH) {
        let rows = (b.rows - group * DEPTH).min(DEPTH);
        for (index, panel) in range.clone().enumerate() {
            // SAFETY: the rows and the panel's columns exist, and `out` has room for every group of
            // every panel.
            unsafe {
                let out = out.add(index * panel_stride + group * GROUP_BYTES);
                if rows == DEPTH && panel < whole {
                    let first = b.at(group * DEPTH, panel * PANEL);
                    interleave(first, b.row_stride, flip, out);
                } else {
                    rows_to_group(b, flip, group * DEPTH, rows, panel * PANEL, out);
                }
            }
        }
    }
}

/// Interleaves four whole panels at once where the CPU can; returns how many groups are done.
///
/// # Safety
/// As [`panels`]; panels below `whole` have all their columns, side by side.
unsafe fn whole_strip(
    isa: Isa,
    b: Bytes,
    flip: u8,
    range: Range<usize>,
    whole: usize,
    panel_stride: usize,
    out: *mut u8,
) -> usize {
    #[cfg(target_arch = "x86_64")]
    if isa.includes(Isa::Avx512) && range.len() == 4 && range.end <= whole {
        let groups = b.rows / DEPTH;
        if groups > 0 {
            // SAFETY: 64 columns of every row lie side by side; the rest is the caller's promise.
            unsafe {
                let first = b.at(0, range.start * PANEL);
                strip_512(first, b.row_stride, groups, flip, panel_stride, out);
            }
        }
        return groups;
    }
    let _ = (isa, b, flip, range, whole, panel_stride, out);
    0
}

/// Rows that are fetched before they are interleaved.
#[cfg(target_arch = "x86_64")]
const AHEAD: isize = 32;

/// 64 columns of whole groups: four lines each.
///
/// # Safety
/// - Four rows a group, `stride` bytes apart, are valid for reading 64 bytes from `rows` on.
/// - `out` is valid for `groups` lines of four panels, and the CPU has AVX-512 F and BW.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn strip_512(
    rows: *const u8,
    stride: isize,
    groups: usize,
    flip: u8,
    panel_stride: usize,
    out: *mut u8,
) {
    use std::arch::x86_64::*;
    let flips = _mm512_set1_epi8(flip as i8);
    for group in 0..groups {
        // SAFETY: the caller vouches for the rows and the lines.
        unsafe {
            let row = rows.offset((group * DEPTH) as isize * stride);
            // Rows are too far apart for the CPU to foresee them.
            let ahead = row.wrapping_offset(AHEAD * stride);
            for index in 0..DEPTH as isize {
                _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_offset(index * stride).cast());
            }
            let row0 = _mm512_xor_si512(_mm512_loadu_si512(row.cast()), flips);
            let row1 = _mm512_xor_si512(_mm512_loadu_si512(row.offset(stride).cast()), flips);
            let row2 = _mm512_xor_si512(_mm512_loadu_si512(row.offset(2 * stride).cast()), flips);
            let row3 = _mm512_xor_si512(_mm512_loadu_si512(row.offset(3 * stride).cast()), flips);
            let low = (_mm512_unpacklo_epi8(row0, row1), _mm512_unpacklo_epi8(row2, row3));
            let high = (_mm512_unpackhi_epi8(row0, row1), _mm512_unpackhi_epi8(row2, row3));
            // Quarter q of part i: columns 16 q + 4 i to 16 q + 4 i + 3.
            let part0 = _mm512_unpacklo_epi16(low.0, low.1);
            let part1 = _mm512_unpackhi_epi16(low.0, low.1);
            let part2 = _mm512_unpacklo_epi16(high.0, high.1);
            let part3 = _mm512_unpackhi_epi16(high.0, high.1);
            // Quarters 0 and 2 of two parts, then 1 and 3.
            let even = (
                _mm512_shuffle_i32x4::<0x88>(part0, part1),
                _mm512_shuffle_i32x4::<0x88>(part2, part3),
            );
            let odd = (
                _mm512_shuffle_i32x4::<0xdd>(part0, part1),
                _mm512_shuffle_i32x4::<0xdd>(part2, part3),
            );
            let line = out.add(group * GROUP_BYTES);
            _mm512_storeu_si512(line.cast(), _mm512_shuffle_i32x4::<0x88>(even.0, even.1));
            let line = line.add(panel_stride);
            _mm512_storeu_si512(line.cast(), _mm512_shuffle_i32x4::<0x88>(odd.0, odd.1));
            let line = line.add(panel_stride);
            _mm512_storeu_si512(line.cast(), _mm512_shuffle_i32x4::<0xdd>(even.0, even.1));
            let line = line.add(panel_stride);
            _mm512_storeu_si512(line.cast(), _mm512_shuffle_i32x4::<0xdd>(odd.0, odd.1));
        }
    }
}

/// Some of the 4 rows and 16 columns of a group, one by one.
///
/// # Safety
/// The rows exist, and `out` is valid for a group.
unsafe fn rows_to_group(
    b: Bytes,
    flip: u8,
    first: usize,
    rows: usize,
    column: usize,
    out: *mut u8,
) {
    let columns = (b.cols - column).min(PANEL);
    let mut copy = [flip; GROUP_BYTES];
    for (row, line) in copy.chunks_exact_mut(PANEL).enumerate().take(rows) {
        for (index, byte) in line[..columns].iter_mut().enumerate() {
            // SAFETY: the row and the column exist.
            *byte = unsafe { *b.at(first + row, column + index) };
        }
    }
    // SAFETY: the copy has 4 rows of 16 bytes; the caller vouches for `out`.
    unsafe { interleave(copy.as_ptr(), PANEL as isize, flip, out) };
}

/// A panel of a matrix whose columns are contiguous: the transposed view of weights (N, K).
///
/// # Safety
/// As [`panels`], for one of them.
unsafe fn columns_to_panel(b: Bytes, flip: u8, first: usize, columns: usize, out: *mut u8) {
    let whole = b.rows / DEPTH;
    let flips = u32::from_ne_bytes([flip; DEPTH]);
    let mut lines = [std::ptr::null::<u8>(); PANEL];
    for (column, line) in lines[..columns].iter_mut().enumerate() {
        // SAFETY: the column exists, and there is a row 0.
        *line = unsafe { b.at(0, first + column) };
    }
    for group in 0..whole {
        let mut values = [0_u32; PANEL];
        for (value, line) in values[..columns].iter_mut().zip(&lines) {
            // SAFETY: rows up to whole * DEPTH of this column exist and lie side by side.
            *value = unsafe { line.add(group * DEPTH).cast::<u32>().read_unaligned() } ^ flips;
        }
        // SAFETY: `out` has room for this group.
        unsafe { out.add(group * GROUP_BYTES).cast::<[u32; PANEL]>().write_unaligned(values) };
    }
    if !b.rows.is_multiple_of(DEPTH) {
        let mut values = [[0_u8; DEPTH]; PANEL];
        for (value, line) in values[..columns].iter_mut().zip(&lines) {
            for (row, byte) in value[..b.rows % DEPTH].iter_mut().enumerate() {
                // SAFETY: the row exists.
                *byte = unsafe { *line.add(whole * DEPTH + row) } ^ flip;
            }
        }
        // SAFETY: `out` has room for this group.
        unsafe {
            out.add(whole * GROUP_BYTES).cast::<[[u8; DEPTH]; PANEL]>().write_unaligned(values);
        };
    }
}

/// Interleaves 16 bytes of 4 rows, `stride` bytes apart, into one line.
///
/// # Safety
/// Each row is valid for reading 16 bytes, `out` for writing 64.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn interleave(rows: *const u8, stride: isize, flip: u8, out: *mut u8) {
    use std::arch::x86_64::*;
    // SAFETY: the caller vouches for the pointers; SSE2 is part of x86-64.
    unsafe {
        // Each row by itself, not `map`, which is not inlined everywhere.
        let flips = _mm_set1_epi8(flip as i8);
        let row0 = _mm_xor_si128(_mm_loadu_si128(rows.cast()), flips);
        let row1 = _mm_xor_si128(_mm_loadu_si128(rows.offset(stride).cast()), flips);
        let row2 = _mm_xor_si128(_mm_loadu_si128(rows.offset(2 * stride).cast()), flips);
        let row3 = _mm_xor_si128(_mm_loadu_si128(rows.offset(3 * stride).cast()), flips);
        let low = (_mm_unpacklo_epi8(row0, row1), _mm_unpacklo_epi8(row2, row3));
        let high = (_mm_unpackhi_epi8(row0, row1), _mm_unpackhi_epi8(row2, row3));
        _mm_storeu_si128(out.cast(), _mm_unpacklo_epi16(low.0, low.1));
        _mm_storeu_si128(out.add(16).cast(), _mm_unpackhi_epi16(low.0, low.1));
        _mm_storeu_si128(out.add(32).cast(), _mm_unpacklo_epi16(high.0, high.1));
        _mm_storeu_si128(out.add(48).cast(), _mm_unpackhi_epi16(high.0, high.1));
    }
}

/// Interleaves 16 bytes of 4 rows, `stride` bytes apart, into one line.
///
/// # Safety
/// Each row is valid for reading 16 bytes, `out` for writing 64.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn interleave(rows: *const u8, stride: isize, flip: u8, out: *mut u8) {
    for column in 0..PANEL {
        for row in 0..DEPTH {
            // SAFETY: the caller vouches for the pointers.
            unsafe {
                let value = *rows.offset(row as isize * stride).add(column);
                out.add(column * DEPTH + row).write(value ^ flip);
            }
        }
    }
}
