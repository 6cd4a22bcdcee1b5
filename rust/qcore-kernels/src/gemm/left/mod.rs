//! Rows of A as the kernels want them: contiguous, whole depth groups, one type.
//!
//! Copying a row costs a fraction of a percent of the product, and it settles strides, signs, tails
//! and rows that would share cache sets before the inner loop.

pub(super) mod nibbles;

use std::ops::Range;

use super::microkernel::{DEPTH, Left};
use super::operand::{Bytes, Int8};
use crate::isa::Isa;
use crate::simd::{Simd, SimdOp, dispatch};

/// Bytes from a packed row to the next, for `k` values.
pub(super) fn stride(left: Left, k: usize) -> usize {
    let bytes = (k.next_multiple_of(DEPTH) * left.size()).next_multiple_of(64);
    if bytes.is_multiple_of(4096) { bytes + 64 } else { bytes }
}

/// What the packed values have more than the matrix's own.
pub(super) fn shift(left: Left, unsigned: bool) -> i32 {
    match left {
        Left::U8 | Left::Nibbles if !unsigned => 128,
        Left::Signed if unsigned => -128,
        Left::U8 | Left::Nibbles | Left::I16 | Left::Signed | Left::Bytes => 0,
    }
}

/// Rows of A that are made as they are used.
pub(crate) trait Patches: Sync {
    /// Writes the columns `columns` of some rows.
    ///
    /// # Safety
    /// `to` is valid for writing as many rows, and [`SLACK`] bytes more; the CPU has `isa`.
    unsafe fn pack(&self, isa: Isa, rows: Range<usize>, columns: Range<usize>, to: PackedRows);
}

/// Bytes past the last row that [`Patches::pack`] may write to.
pub(crate) const SLACK: usize = 64;

/// Where packed rows go, and as what: whole depth groups, filled up with zeros.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PackedRows {
    pub(crate) out: *mut u8,
    /// Bytes from a row to the next.
    pub(crate) stride: usize,
    pub(crate) form: Form,
}

/// What becomes of a byte on its way to a packed row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Nothing.
    Same,
    /// Its top bit is flipped.
    Flipped,
    /// It is widened to 16 bits, as an unsigned integer.
    Unsigned,
    /// It is widened to 16 bits, as a signed integer.
    Signed,
}

/// The left operand: a matrix, or rows that are made.
#[derive(Clone, Copy)]
pub(crate) struct LeftOperand<'a> {
    /// Of rows that are made only the numbers of rows and columns count.
    pub(super) bytes: Bytes,
    pub(super) unsigned: bool,
    pub(super) patches: Option<&'a dyn Patches>,
}

impl<'a> LeftOperand<'a> {
    /// Rows that are made.
    pub(crate) fn patches(
        patches: &'a dyn Patches,
        rows: usize,
        cols: usize,
        unsigned: bool,
    ) -> Self {
        let ptr = std::ptr::null();
        let bytes = Bytes { ptr, rows, cols, row_stride: 0, col_stride: 0 };
        Self { bytes, unsigned, patches: Some(patches) }
    }

    pub(super) fn rows(&self) -> usize {
        self.bytes.rows
    }

    pub(super) fn is_unsigned(&self) -> bool {
        self.unsigned
    }
}

impl<'a> From<Int8<'a>> for LeftOperand<'a> {
    fn from(matrix: Int8<'a>) -> Self {
        Self { bytes: matrix.bytes(), unsigned: matrix.is_unsigned(), patches: None }
    }
}

/// The part of A that is packed, and what of.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) isa: Isa,
    pub(super) left: Left,
    pub(super) bytes: Bytes,
    pub(super) unsigned: bool,
    pub(super) patches: Option<&'a dyn Patches>,
}

/// Rows of A as a tile reads them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    /// The first.
    pub(super) ptr: *const u8,
    /// Bytes from a row to the next.
    pub(super) stride: usize,
    /// What the kernel flips in each 4 bytes.
    pub(super) flip: i32,
}

impl Source<'_> {
    /// The rows where they lie, if the kernel can read them there: bytes side by side, in whole depth
    /// groups.
    pub(super) fn in_place(self) -> Option<Rows> {
        if self.patches.is_some() {
            return None;
        }
        let Bytes { ptr, cols, row_stride, col_stride, .. } = self.bytes;
        let stride = usize::try_from(row_stride).ok()?;
        let adjacent = matches!(self.left, Left::U8 | Left::Signed | Left::Bytes)
            && col_stride == 1
            && cols.is_multiple_of(DEPTH);
        adjacent.then_some(Rows { ptr, stride, flip: self.sign_bits() })
    }

    /// What is flipped in rows that were packed: nothing but the mark of bytes that are signed.
    pub(super) fn packed_flip(self) -> i32 {
        if self.left == Left::Bytes { self.sign_bits() } else { 0 }
    }

    fn sign_bits(self) -> i32 {
        let same = if self.left == Left::Signed { !self.unsigned } else { self.unsigned };
        if same { 0 } else { i32::from_ne_bytes([0x80; DEPTH]) }
    }

    /// The sum of a row of what the kernel sees, wrapping.
    ///
    /// # Safety
    /// The row is within the matrix, which is still borrowed, and can be read in place.
    pub(super) unsafe fn row_sum(self, row: usize) -> i32 {
        let k = self.bytes.cols;
        if k == 0 {
            return 0;
        }
        // SAFETY: the row exists, and its bytes lie side by side.
        let row = unsafe { std::slice::from_raw_parts(self.bytes.at(row, 0), k) };
        match self.left {
            Left::Bytes if !self.unsigned => sum(row.iter().map(|&value| i32::from(value as i8))),
            Left::U8 if !self.unsigned => sum(row.iter().map(|&value| i32::from(value ^ 0x80))),
            Left::Signed => {
                let flip = if self.unsigned { 0x80 } else { 0 };
                sum(row.iter().map(|&value| i32::from((value ^ flip) as i8)))
            }
            _ => sum(row.iter().map(|&value| i32::from(value))),
        }
    }

    /// The sum of the first `k` values of a packed row, wrapping.
    pub(super) fn packed_row_sum(self, row: &[u8], k: usize) -> i32 {
        match self.left {
            Left::I16 => {
                let (row, _) = row[..2 * k].as_chunks::<2>();
                sum(row.iter().map(|&value| i32::from(i16::from_ne_bytes(value))))
            }
            Left::Signed => sum(row[..k].iter().map(|&value| i32::from(value as i8))),
            Left::Bytes if !self.unsigned => {
                sum(row[..k].iter().map(|&value| i32::from(value as i8)))
            }
            Left::U8 | Left::Bytes => sum(row[..k].iter().map(|&value| i32::from(value))),
            Left::Nibbles => nibbles::sum(row, k),
        }
    }

    /// Packs the columns `columns` of some rows into `out`; tails become zeros.
    ///
    /// # Safety
    /// `rows` and `columns` are within the matrix, which is still borrowed.
    pub(super) unsafe fn pack(self, rows: Range<usize>, columns: Range<usize>, out: &mut [u8]) {
        let k = columns.len();
        let stride = stride(self.left, k);
        if let Some(patches) = self.patches {
            assert!(rows.len() * stride + SLACK <= out.len(), "room for rows and what lies behind");
            let form = match (self.left, self.unsigned) {
                (Left::I16, true) => Form::Unsigned,
                (Left::I16, false) => Form::Signed,
                (Left::U8, false) | (Left::Signed, true) => Form::Flipped,
                (Left::U8, true) | (Left::Signed, false) | (Left::Bytes, _) => Form::Same,
                (Left::Nibbles, _) => unreachable!("a kernel for one row takes matrices only"),
            };
            let to = PackedRows { out: out.as_mut_ptr(), stride, form };
            // SAFETY: there is room, as was just checked.
            unsafe { patches.pack(self.isa, rows, columns, to) };
            return;
        }
        if self.left == Left::I16 && self.bytes.col_stride == 1 && k > 0 {
            let Bytes { row_stride, .. } = self.bytes;
            debug_assert!(rows.len() * stride <= out.len());
            // SAFETY: the first of these elements exists.
            let from = unsafe { self.bytes.at(rows.start, columns.start) };
            let (count, out, unsigned) = (rows.len(), out.as_mut_ptr().cast(), self.unsigned);
            let rows = WidenRows { from, row_stride, count, k, out, stride: stride / 2, unsigned };
            dispatch(self.isa, rows);
            return;
        }
        for (row, out) in rows.zip(out.chunks_exact_mut(stride)) {
            let mut copy = [0_u8; COPY];
            for first in (0..k).step_by(COPY) {
                let length = COPY.min(k - first);
                let column = columns.start + first;
                // SAFETY: the row and these columns are within the matrix.
                let values = unsafe { self.values(row, column, length, &mut copy) };
                match self.left {
                    Left::U8 => flip(values, !self.unsigned, &mut out[first..first + length]),
                    Left::Signed => flip(values, self.unsigned, &mut out[first..first + length]),
                    Left::Bytes => out[first..first + length].copy_from_slice(values),
                    Left::Nibbles => {
                        // Whole pairs, until the last.
                        let out = &mut out[first * self.left.size()..];
                        let room = length.div_ceil(2) * nibbles::PAIR_BYTES;
                        let flip = if self.unsigned { 0 } else { 0x80 };
                        nibbles::split(self.isa, values, flip, false, &mut out[..room]);
                    }
                    Left::I16 => {
                        let out = &mut out[2 * first..2 * (first + length)];
                        widen_each(values, self.unsigned, out);
                    }
                }
            }
            let end = match self.left {
                Left::Nibbles => k.div_ceil(2) * nibbles::PAIR_BYTES,
                left => k * left.size(),
            };
            out[end..k.next_multiple_of(DEPTH) * self.left.size()].fill(0);
        }
    }

    /// `length` values of a row, side by side; from `copy` where they do not lie so.
    ///
    /// # Safety
    /// As [`Source::pack`]; `length` is at most `COPY`.
    unsafe fn values(
        self,
        row: usize,
        column: usize,
        length: usize,
        copy: &mut [u8; COPY],
    ) -> &[u8] {
        let step = self.bytes.col_stride;
        // SAFETY: the element exists.
        let first = unsafe { self.bytes.at(row, column) };
        if step == 1 {
            // SAFETY: `length` elements lie side by side.
            return unsafe { std::slice::from_raw_parts(first, length) };
        }
        for (index, value) in copy[..length].iter_mut().enumerate() {
            // SAFETY: the element exists.
            *value = unsafe { *first.offset(index as isize * step) };
        }
        &copy[..length]
    }
}

/// Values that are gathered at once.
const COPY: usize = 1024;

fn flip(values: &[u8], flipped: bool, out: &mut [u8]) {
    if flipped {
        for (out, value) in out.iter_mut().zip(values) {
            *out = value ^ 0x80;
        }
    } else {
        out.copy_from_slice(values);
    }
}

fn widen_each(values: &[u8], unsigned: bool, out: &mut [u8]) {
    let (out, _) = out.as_chunks_mut::<2>();
    for (out, &value) in out.iter_mut().zip(values) {
        let word = if unsigned { i16::from(value) } else { i16::from(value as i8) };
        *out = word.to_ne_bytes();
    }
}

/// Rows whose bytes lie side by side, widened to 16 bits and filled up to whole depth groups.
struct WidenRows {
    from: *const u8,
    /// Bytes from a row to the next.
    row_stride: isize,
    count: usize,
    k: usize,
    /// Whole rows of `stride` words.
    out: *mut i16,
    stride: usize,
    unsigned: bool,
}

impl SimdOp for WidenRows {
    type Output = ();

    /// Plain loops: the compiler has an instruction for them, once it may use the features.
    #[inline(always)]
    fn eval<S: Simd>(self, _: S) {
        let padded = self.k.next_multiple_of(DEPTH);
        for row in 0..self.count {
            // SAFETY: whoever made this vouches for `k` bytes of each row, and for a row of words,
            // which are whole depth groups, on a cache line.
            let (bytes, words) = unsafe {
                let from = self.from.offset(row as isize * self.row_stride);
                let out = self.out.add(row * self.stride);
                let bytes = std::slice::from_raw_parts(from, self.k);
                (bytes, std::slice::from_raw_parts_mut(out, padded))
            };
            let (words, rest) = words.split_at_mut(self.k);
            if self.unsigned {
                for (word, &byte) in words.iter_mut().zip(bytes) {
                    *word = i16::from(byte);
                }
            } else {
                for (word, &byte) in words.iter_mut().zip(bytes) {
                    *word = i16::from(byte as i8);
                }
            }
            rest.fill(0);
        }
    }
}

fn sum(values: impl Iterator<Item = i32>) -> i32 {
    values.fold(0, i32::wrapping_add)
}
