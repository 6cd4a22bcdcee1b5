//! Rows of B to packed panels: 4 rows, 16 columns, to one cache line.

use std::ops::Range;

use super::microkernel::{DEPTH, GROUP_BYTES, PANEL};
use super::operand::Bytes;

/// Packs the panels `range` of `b` to `out`, each byte's bits flipped by `flip`; tails become zeros.
///
/// # Safety
/// - `range` ends at most one panel past the last column, and the matrix is still borrowed.
/// - `out` is valid for writing all panels of `range`.
pub(super) unsafe fn panels(
    b: Bytes,
    flip: u8,
    range: Range<usize>,
    panel_stride: usize,
    out: *mut u8,
) {
    for (index, panel) in range.clone().enumerate() {
        // SAFETY: `out` has room for every panel of the range.
        let out = unsafe { out.add(index * panel_stride) };
        let columns = (b.cols - panel * PANEL).min(PANEL);
        // SAFETY: the panel's columns exist, and `out` has room for its groups.
        unsafe {
            if b.row_stride == 1 && b.rows > 1 {
                columns_to_panel(b, flip, panel * PANEL, columns, out);
            } else {
                rows_to_panel(b, flip, panel * PANEL, columns, out);
            }
        }
    }
}

/// A panel of a matrix whose rows are to be interleaved.
///
/// # Safety
/// As [`panels`], for one of them.
unsafe fn rows_to_panel(b: Bytes, flip: u8, first: usize, columns: usize, out: *mut u8) {
    let whole = columns == PANEL && b.col_stride == 1;
    let mut copies = [[flip; PANEL]; DEPTH];
    for group in 0..b.rows.div_ceil(DEPTH) {
        let rows = (b.rows - group * DEPTH).min(DEPTH);
        let mut lines = copies.each_ref().map(|copy| copy.as_ptr());
        if whole && rows == DEPTH {
            for (row, line) in lines.iter_mut().enumerate() {
                // SAFETY: the row and the column exist, and 16 columns lie side by side.
                *line = unsafe { b.at(group * DEPTH + row, first) };
            }
        } else {
            for (row, copy) in copies.iter_mut().enumerate() {
                copy.fill(flip);
                for (column, byte) in
                    copy[..if row < rows { columns } else { 0 }].iter_mut().enumerate()
                {
                    // SAFETY: the row and the column exist.
                    *byte = unsafe { *b.at(group * DEPTH + row, first + column) };
                }
            }
            lines = copies.each_ref().map(|copy| copy.as_ptr());
        }
        // SAFETY: each line points at 16 bytes, and `out` has room for this group.
        unsafe { interleave(lines, flip, out.add(group * GROUP_BYTES)) };
    }
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

/// Interleaves 16 bytes of 4 rows into one line.
///
/// # Safety
/// Each row is valid for reading 16 bytes, `out` for writing 64.
#[cfg(target_arch = "x86_64")]
unsafe fn interleave(rows: [*const u8; DEPTH], flip: u8, out: *mut u8) {
    use std::arch::x86_64::*;
    // SAFETY: the caller vouches for the pointers; SSE2 is part of x86-64.
    unsafe {
        let flips = _mm_set1_epi8(flip as i8);
        let row = rows.map(|row| _mm_xor_si128(_mm_loadu_si128(row.cast()), flips));
        let low = (_mm_unpacklo_epi8(row[0], row[1]), _mm_unpacklo_epi8(row[2], row[3]));
        let high = (_mm_unpackhi_epi8(row[0], row[1]), _mm_unpackhi_epi8(row[2], row[3]));
        _mm_storeu_si128(out.cast(), _mm_unpacklo_epi16(low.0, low.1));
        _mm_storeu_si128(out.add(16).cast(), _mm_unpackhi_epi16(low.0, low.1));
        _mm_storeu_si128(out.add(32).cast(), _mm_unpacklo_epi16(high.0, high.1));
        _mm_storeu_si128(out.add(48).cast(), _mm_unpackhi_epi16(high.0, high.1));
    }
}

/// Interleaves 16 bytes of 4 rows into one line.
///
/// # Safety
/// Each row is valid for reading 16 bytes, `out` for writing 64.
#[cfg(not(target_arch = "x86_64"))]
unsafe fn interleave(rows: [*const u8; DEPTH], flip: u8, out: *mut u8) {
    for column in 0..PANEL {
        for (row, line) in rows.iter().enumerate() {
            // SAFETY: the caller vouches for the pointers.
            unsafe { out.add(column * DEPTH + row).write(*line.add(column) ^ flip) };
        }
    }
}
