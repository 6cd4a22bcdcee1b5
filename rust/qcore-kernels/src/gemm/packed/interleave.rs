//! Rows of B to packed panels: 4 rows, 16 columns, to one line.

use std::ops::Range;

use super::relayout::line_from_fours;
use crate::gemm::microkernel::{DEPTH, GROUP_BYTES, Layout, PANEL};
use crate::gemm::operand::Bytes;
use crate::isa::Isa;

/// Where packed panels go.
#[derive(Clone, Copy)]
pub(in crate::gemm) struct Target {
    pub(in crate::gemm) out: *mut u8,
    pub(in crate::gemm) panel_stride: usize,
    pub(in crate::gemm) layout: Layout,
    /// Depth groups of a panel, without what fills up its last line.
    pub(in crate::gemm) groups: usize,
}

impl Target {
    /// A line of a panel.
    ///
    /// # Safety
    /// `out` has it.
    unsafe fn line(self, panel: usize, group: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.out.add(panel * self.panel_stride + self.layout.group_offset(group)) }
    }
}

/// Fills up the last lines of panels with zeros, where there is more in them than depth groups.
///
/// # Safety
/// The target is valid for writing so many panels.
unsafe fn fill_up(to: Target, panels: usize) {
    for group in to.groups..to.layout.whole_groups(to.groups) {
        for panel in 0..panels {
            // SAFETY: the last line of the panel has this depth group.
            unsafe { line_from_fours(&[0; GROUP_BYTES], to.layout, to.line(panel, group)) };
        }
    }
}

/// Packs the panels `range` of `b`, each byte's bits flipped by `flip`; tails become zeros.
///
/// # Safety
/// - `range` ends at most one panel past the last column, and the matrix is still borrowed.
/// - The target is valid for writing all panels of `range`.
/// - The CPU has `isa`.
pub(in crate::gemm) unsafe fn panels(
    isa: Isa,
    b: Bytes,
    flip: u8,
    range: Range<usize>,
    to: Target,
) {
    // SAFETY: the caller's promise.
    unsafe { fill_up(to, range.len()) };
    if b.row_stride == 1 && b.rows > 1 {
        for (index, panel) in range.enumerate() {
            let columns = (b.cols - panel * PANEL).min(PANEL);
            // SAFETY: the panel's columns exist, and the target has room for every panel.
            unsafe { columns_to_panel(b, flip, panel * PANEL, columns, index, to) };
        }
        return;
    }
    // Group by group, so that a row is read by cache lines, not by panels.
    let whole = if b.col_stride == 1 { b.cols / PANEL } else { 0 };
    // SAFETY: the panels are whole, and the target has room for them; the CPU has the instruction set.
    let done = unsafe { whole_strip(isa, b, flip, range.clone(), whole, to) };
    for group in done..b.rows.div_ceil(DEPTH) {
        let rows = (b.rows - group * DEPTH).min(DEPTH);
        for (index, panel) in range.clone().enumerate() {
            let mut fours = [0; GROUP_BYTES];
            // SAFETY: the rows and the panel's columns exist, and the target has room for every group
            // of every panel.
            unsafe {
                if rows == DEPTH && panel < whole {
                    let first = b.at(group * DEPTH, panel * PANEL);
                    interleave(first, b.row_stride, flip, fours.as_mut_ptr());
                } else {
                    rows_to_group(b, flip, group * DEPTH, rows, panel * PANEL, fours.as_mut_ptr());
                }
                line_from_fours(&fours, to.layout, to.line(index, group));
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
    to: Target,
) -> usize {
    #[cfg(target_arch = "x86_64")]
    if range.len() == 4 && range.end <= whole && b.rows >= DEPTH {
        let groups = b.rows / DEPTH;
        // SAFETY: 64 columns of every row lie side by side; the rest is the caller's promise.
        unsafe {
            let first = b.at(0, range.start * PANEL);
            match to.layout {
                Layout::Fours if isa.includes(Isa::Avx512) => {
                    fours_512(first, b.row_stride, groups, flip, to.panel_stride, to.out);
                }
                Layout::Pairs if isa.includes(Isa::Avx2) => {
                    pairs_256::<false>(first, b.row_stride, groups, flip, to.panel_stride, to.out);
                }
                Layout::WidePairs if isa.includes(Isa::Avx2) => {
                    pairs_256::<true>(first, b.row_stride, groups, flip, to.panel_stride, to.out);
                }
                _ => return 0,
            }
        }
        return groups;
    }
    let _ = (isa, b, flip, range, whole, to);
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
unsafe fn fours_512(
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

/// 64 columns of whole groups: four lines of pairs each, of bytes or widened.
///
/// # Safety
/// - Four rows a group, `stride` bytes apart, are valid for reading 64 bytes from `rows` on.
/// - `out` is valid for `groups` such lines of four panels, and the CPU has AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn pairs_256<const WIDE: bool>(
    rows: *const u8,
    stride: isize,
    groups: usize,
    flip: u8,
    panel_stride: usize,
    out: *mut u8,
) {
    use std::arch::x86_64::*;
    let flips = _mm256_set1_epi8(flip as i8);
    let pair_bytes = if WIDE { GROUP_BYTES } else { GROUP_BYTES / 2 };
    for group in 0..groups {
        // SAFETY: the caller vouches for the rows and the lines.
        unsafe {
            let row = rows.offset((group * DEPTH) as isize * stride);
            // Rows are too far apart for the CPU to foresee them.
            let ahead = row.wrapping_offset(AHEAD * stride);
            for index in 0..DEPTH as isize {
                _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_offset(index * stride).cast());
            }
            for half in 0..2 {
                let row = row.add(32 * half);
                let line = out.add(2 * half * panel_stride + 2 * group * pair_bytes);
                for pair in 0..2 {
                    let first = row.offset(2 * pair as isize * stride);
                    let a = _mm256_xor_si256(_mm256_loadu_si256(first.cast()), flips);
                    let second = _mm256_loadu_si256(first.offset(stride).cast());
                    let b = _mm256_xor_si256(second, flips);
                    let line = line.add(pair * pair_bytes);
                    // Columns 0 to 7 of two panels, then 8 to 15.
                    let low = _mm256_unpacklo_epi8(a, b);
                    let high = _mm256_unpackhi_epi8(a, b);
                    let left = _mm256_permute2x128_si256::<0x20>(low, high);
                    let right = _mm256_permute2x128_si256::<0x31>(low, high);
                    put_pair::<WIDE>(left, line);
                    put_pair::<WIDE>(right, line.add(panel_stride));
                }
            }
        }
    }
}

/// Writes a pair of 16 columns, as bytes or widened.
///
/// # Safety
/// `out` is valid for writing it, and the CPU has AVX2.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn put_pair<const WIDE: bool>(pair: std::arch::x86_64::__m256i, out: *mut u8) {
    use std::arch::x86_64::*;
    // SAFETY: the caller's promise.
    unsafe {
        if WIDE {
            let low = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(pair));
            let high = _mm256_cvtepi8_epi16(_mm256_extracti128_si256::<1>(pair));
            _mm256_storeu_si256(out.cast(), low);
            _mm256_storeu_si256(out.add(32).cast(), high);
        } else {
            _mm256_storeu_si256(out.cast(), pair);
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
unsafe fn columns_to_panel(
    b: Bytes,
    flip: u8,
    first: usize,
    columns: usize,
    index: usize,
    to: Target,
) {
    let whole = b.rows / DEPTH;
    let flips = u32::from_ne_bytes([flip; DEPTH]);
    let mut lines = [std::ptr::null::<u8>(); PANEL];
    for (column, line) in lines[..columns].iter_mut().enumerate() {
        // SAFETY: the column exists, and there is a row 0.
        *line = unsafe { b.at(0, first + column) };
    }
    for group in 0..whole {
        let mut fours = [0_u8; GROUP_BYTES];
        let (values, _) = fours.as_chunks_mut::<DEPTH>();
        for (value, line) in values[..columns].iter_mut().zip(&lines) {
            // SAFETY: rows up to whole * DEPTH of this column exist and lie side by side.
            let four = unsafe { line.add(group * DEPTH).cast::<u32>().read_unaligned() } ^ flips;
            *value = four.to_ne_bytes();
        }
        // SAFETY: the target has room for this group.
        unsafe { line_from_fours(&fours, to.layout, to.line(index, group)) };
    }
    if !b.rows.is_multiple_of(DEPTH) {
        let mut fours = [0_u8; GROUP_BYTES];
        let (values, _) = fours.as_chunks_mut::<DEPTH>();
        for (value, line) in values[..columns].iter_mut().zip(&lines) {
            for (row, byte) in value[..b.rows % DEPTH].iter_mut().enumerate() {
                // SAFETY: the row exists.
                *byte = unsafe { *line.add(whole * DEPTH + row) } ^ flip;
            }
        }
        // SAFETY: the target has room for this group.
        unsafe { line_from_fours(&fours, to.layout, to.line(index, whole)) };
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
#[cfg(target_arch = "aarch64")]
#[inline(always)]
unsafe fn interleave(rows: *const u8, stride: isize, flip: u8, out: *mut u8) {
    use std::arch::aarch64::*;
    // SAFETY: the caller vouches for the pointers; every AArch64 CPU has NEON.
    unsafe {
        let flips = vdupq_n_u8(flip);
        let row = |index: isize| veorq_u8(vld1q_u8(rows.offset(index * stride)), flips);
        // The instruction takes a byte of each in turn.
        vst4q_u8(out, uint8x16x4_t(row(0), row(1), row(2), row(3)));
    }
}

/// Interleaves 16 bytes of 4 rows, `stride` bytes apart, into one line.
///
/// # Safety
/// Each row is valid for reading 16 bytes, `out` for writing 64.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
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
