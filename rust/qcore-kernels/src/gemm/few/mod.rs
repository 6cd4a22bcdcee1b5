//! Products of few rows with a B that is not packed: it is read once, where it lies.
//!
//! To pack B costs as much as many rows of the product. Here four bytes of a column meet four of a row
//! in registers: interleaved there where the bytes of a row of B lie side by side (`across`; two by
//! two in `halves`), and as they are where those of a column do (`along`).
//!
//! A is taken as it is, and B gets the sign that A has not (or that it has, where the dot instruction
//! takes bytes of one sign); what that adds is a zero point of B. Sums of columns are needed where A has a zero point: they are
//! the product with one more row, of ones.

mod across;
mod along;
#[cfg(target_arch = "x86_64")]
mod halves;

use std::cell::RefCell;
use std::ops::Range;

use super::limits::limits_of;
use super::operand::{Bytes, Int8, ZeroPoint};
use super::sink::{Block, Sink};
use crate::aligned::AlignedBytes;
use crate::error::Result;
use crate::isa::Isa;
use crate::simd::{data_of, dispatch_dot};
use crate::{interrupt, memory, threads};

/// Multiply-adds below which another thread costs more than it saves.
const GRAIN: usize = 1 << 20;

/// Rows that there is room for: more than any limit, with the one of ones.
const ROOM_ROWS: usize = 16;

/// Multiply-adds between two looks at whether to stop.
const STEPS: usize = 1 << 22;

/// Bytes of a vector of any instruction set, at most: rows of A are filled up to it, and a row of B
/// must have it.
const VECTOR: usize = 64;

/// Bytes of sums that are to stay in the first cache, or next to it.
const SUM_BYTES: usize = 64 << 10;

thread_local! {
    /// Rows of A, kept from call to call.
    static LEFT: RefCell<AlignedBytes> = RefCell::default();
    /// Sums in the order of the vectors, kept from call to call.
    static ROOM: RefCell<AlignedBytes> = RefCell::default();
    /// Sums on their way to corrections, kept from call to call.
    static SUMS: RefCell<Vec<i32>> = RefCell::default();
}

/// Whether the product of these is one for [`run`].
pub(super) fn takes(isa: Isa, a: Int8<'_>, b: Int8<'_>) -> bool {
    let bytes = b.bytes();
    let limits = limits_of(isa);
    let most = if bytes.col_stride == 1 && bytes.cols >= VECTOR {
        limits.few_rows
    } else if bytes.row_stride == 1 {
        limits.few_rows_of_columns
    } else {
        0
    };
    (1..=most.min(ROOM_ROWS - 1)).contains(&a.rows()) && bytes.rows > 0 && bytes.cols > 0
}

/// `(a - a_zero) * (b - b_zero)`, which fits int32 and [`takes`] accepts.
pub(super) fn run<S: Sink>(
    isa: Isa,
    a: Int8<'_>,
    b: Int8<'_>,
    a_zero: ZeroPoint<'_>,
    b_zero: ZeroPoint<'_>,
    sink: &S,
) -> Result<()> {
    let summed = a_zero.single() != Some(0);
    memory::with_kept(&LEFT, |room| {
        let rows = Rows::new(a, summed, room)?;
        let b = Right::new(isa, a, b);
        let start = match (summed, b_zero.single()) {
            (false, Some(zb)) => {
                let mut start = [0; ROOM_ROWS];
                for (row, start) in start.iter_mut().enumerate().take(rows.count) {
                    *start = (zb + b.shift).wrapping_mul(rows.sum(row)).wrapping_neg();
                }
                Some(start)
            }
            _ => None,
        };
        Few { isa, rows, b, a_zero, b_zero, start }.run(sink)
    })
}

/// Rows of A, contiguous and filled up with zeros, then a row of ones if sums of columns are needed.
#[derive(Clone, Copy)]
struct Rows<'a> {
    bytes: &'a [u8],
    stride: usize,
    /// Those of A.
    count: usize,
    /// With the ones.
    all: usize,
    unsigned: bool,
}

impl<'a> Rows<'a> {
    fn new(a: Int8<'_>, summed: bool, room: &'a mut AlignedBytes) -> Result<Self> {
        let (bytes, count) = (a.bytes(), a.rows());
        let (stride, all) = (bytes.cols.next_multiple_of(VECTOR), count + usize::from(summed));
        room.resize_scratch(memory::size(&[all, stride])?)?;
        for (row, out) in room.chunks_exact_mut(stride).enumerate() {
            let (values, rest) = out.split_at_mut(bytes.cols);
            if row == count {
                values.fill(1);
            } else {
                for (column, value) in values.iter_mut().enumerate() {
                    // SAFETY: the element exists.
                    *value = unsafe { *bytes.at(row, column) };
                }
            }
            rest.fill(0);
        }
        Ok(Self { bytes: room, stride, count, all, unsigned: a.is_unsigned() })
    }

    /// The sum of a row of A, wrapping.
    fn sum(&self, row: usize) -> i32 {
        let row = &self.bytes[row * self.stride..][..self.stride];
        if self.unsigned {
            row.iter().map(|&value| i32::from(value)).fold(0, i32::wrapping_add)
        } else {
            row.iter().map(|&value| i32::from(value as i8)).fold(0, i32::wrapping_add)
        }
    }
}

/// B, and how it gets the sign that goes with that of A.
#[derive(Clone, Copy)]
struct Right {
    bytes: Bytes,
    /// Flipped in each byte.
    flip: u8,
    /// Whether bytes are unsigned then.
    unsigned: bool,
    /// What that adds to each value.
    shift: i32,
}

impl Right {
    fn new(isa: Isa, a: Int8<'_>, b: Int8<'_>) -> Self {
        // Where the dot instruction takes signed data, both are of one sign.
        let unsigned = a.is_unsigned() == (data_of(isa, true).0 == 0);
        let (flip, shift) = match (b.is_unsigned(), unsigned) {
            (false, true) => (0x80, 128),
            (true, false) => (0x80, -128),
            _ => (0, 0),
        };
        Self { bytes: b.bytes(), flip, unsigned, shift }
    }
}

/// Where sums go, and what those of each row start from.
#[derive(Clone, Copy)]
struct Target<'a> {
    first: *mut i32,
    /// Elements from a row to the next.
    stride: usize,
    start: &'a [i32],
}

/// A product of few rows.
struct Few<'a> {
    isa: Isa,
    rows: Rows<'a>,
    b: Right,
    a_zero: ZeroPoint<'a>,
    b_zero: ZeroPoint<'a>,
    /// What the zero point of B adds to each row, if that is all there is to correct.
    start: Option<[i32; ROOM_ROWS]>,
}

impl Few<'_> {
    fn run<S: Sink>(&self, sink: &S) -> Result<()> {
        let (k, n) = (self.b.bytes.rows, self.b.bytes.cols);
        let tasks = threads::tasks_for(n, k.saturating_mul(self.rows.all), GRAIN);
        let most = SUM_BYTES / size_of::<i32>() / self.rows.all;
        let wide = n.div_ceil(tasks).min(most).next_multiple_of(VECTOR);
        // The last takes what is left, so none is narrower than a vector.
        let parts = (n / wide).max(1);
        let part = |index: usize| {
            let end = if index + 1 == parts { n } else { (index + 1) * wide };
            self.run_part(index * wide..end, sink)
        };
        if tasks == 1 {
            for index in 0..parts {
                interrupt::check()?;
                part(index)?;
            }
        } else {
            threads::try_for_each(parts, part)?;
        }
        // SAFETY: every task has ended; the rows are the result's own.
        unsafe { sink.rows_done(0..self.rows.count) };
        Ok(())
    }

    /// Some columns, on this thread.
    fn run_part<S: Sink>(&self, columns: Range<usize>, sink: &S) -> Result<()> {
        let (rows, width) = (self.rows, columns.len());
        let b = Right { bytes: self.b.bytes.columns(columns.clone()), ..self.b };
        if let (Some(start), Some((first, stride))) = (&self.start, sink.direct(0, columns.start)) {
            let target = Target { first, stride, start };
            // SAFETY: the columns of every row are within the result and this task's own.
            return unsafe { self.multiply(b, target) };
        }
        memory::with_kept(&SUMS, |sums| {
            memory::resize(sums, memory::size(&[rows.all, width])?, 0)?;
            let start = [0; ROOM_ROWS];
            let target = Target { first: sums.as_mut_ptr(), stride: width, start: &start };
            // SAFETY: there is room for the columns of every row.
            unsafe { self.multiply(b, target)? };
            let (sums, column_sums) = sums.split_at_mut(rows.count * width);
            for (row, sums) in sums.chunks_exact_mut(width).enumerate() {
                self.correct(row, columns.start, column_sums, sums);
                let block = Block { row, column: columns.start, rows: 1, columns: width };
                // SAFETY: the block is within the result and this task's own.
                unsafe { sink.put(block, sums, width) };
            }
            Ok(())
        })
    }

    /// The product of all rows, of ones too, with some columns.
    ///
    /// # Safety
    /// `target` is valid for writing the columns of every row.
    unsafe fn multiply(&self, b: Right, target: Target<'_>) -> Result<()> {
        let rows = self.rows;
        if b.bytes.col_stride == 1 && b.bytes.cols >= VECTOR {
            memory::with_kept(&ROOM, |room| {
                #[cfg(target_arch = "x86_64")]
                if halves::takes(self.isa, rows.all) {
                    // SAFETY: the caller vouches for the target; there is a vector of columns.
                    return unsafe { halves::across(self.isa, rows, b, target, room) };
                }
                dispatch_dot(self.isa, across::Across { rows, b, target, room })
            })
        } else {
            dispatch_dot(self.isa, along::Along { rows, b, target })
        }
    }

    /// Takes the zero points from the plain sums of a row.
    fn correct(&self, row: usize, first: usize, column_sums: &[i32], sums: &mut [i32]) {
        let za = self.a_zero.get(row);
        let rest = self.rows.sum(row).wrapping_sub((self.b.bytes.rows as i32).wrapping_mul(za));
        if let Some(zb) = self.b_zero.single() {
            let term = (zb + self.b.shift).wrapping_mul(rest);
            for sum in &mut *sums {
                *sum = sum.wrapping_sub(term);
            }
        } else {
            for (index, sum) in sums.iter_mut().enumerate() {
                let zb = self.b_zero.get(first + index) + self.b.shift;
                *sum = sum.wrapping_sub(zb.wrapping_mul(rest));
            }
        }
        // Empty where no zero point of A asks for them.
        for (sum, &column) in sums.iter_mut().zip(column_sums) {
            *sum = sum.wrapping_sub(za.wrapping_mul(column));
        }
    }
}

/// Rows that go together: parts of `all` of at most `most`, as even as can be.
fn rows_at_once(all: usize, most: usize) -> usize {
    all.div_ceil(all.div_ceil(most))
}

/// Calls `$body` with a constant `$rows` of the value of `$count`, 1 to 6.
macro_rules! with_rows {
    ($count:expr, |$rows:ident| $body:expr) => {
        with_rows!(@match $count, $rows, $body, 1 2 3 4 5 6)
    };
    (@match $count:expr, $rows:ident, $body:expr, $($value:literal)*) => {
        match $count {
            $($value => { const $rows: usize = $value; $body })*
            _ => unreachable!("no instruction set has registers for more"),
        }
    };
}

use with_rows;
