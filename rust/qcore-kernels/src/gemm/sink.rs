//! Where finished tiles go: integers as they are, or through an epilogue, never a whole int32 matrix.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::integer::Integer;
use super::packed::SendPtr;
use crate::epilogue::{FloatOutput, Requantize, Residual, SumBlock, float_block, requantize_block};
use crate::error::{KernelError, Result};
use crate::isa::Isa;
use crate::norm::softmax_row;
use crate::quant::Code;

/// A part of the result.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Block {
    pub(crate) row: usize,
    pub(crate) column: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

/// What takes the results of a product. Each element comes once, from one task.
pub(super) trait Sink: Sync {
    /// Where int32 results may be written at once, and the elements from a row to the next.
    fn direct(&self, _row: usize, _column: usize) -> Option<(*mut i32, usize)> {
        None
    }

    /// Adds to what sums of columns start from, where that saves adding it to each.
    fn start(&self, _column: usize, _start: &mut [i32]) {}

    /// Takes a block of int32 results, whose rows are `stride` elements apart.
    ///
    /// # Safety
    /// The block is within the result, and no other task touches it.
    unsafe fn put(&self, block: Block, sums: &[i32], stride: usize);

    /// Told when whole rows are finished.
    ///
    /// # Safety
    /// The rows are within the result, and no other task touches them.
    unsafe fn rows_done(&self, _rows: Range<usize>) {}
}

/// A caller's row-major buffer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Out<T> {
    ptr: SendPtr<T>,
    stride: usize,
}

impl<T> Out<T> {
    /// The buffer of an (m, n) result whose rows are `stride` elements apart.
    pub(super) fn new(out: &mut [T], m: usize, n: usize, stride: usize) -> Result<Self> {
        // SAFETY: the same memory; what is written there are values of T and nothing else.
        let out = unsafe { &mut *(std::ptr::from_mut(out) as *mut [MaybeUninit<T>]) };
        Self::uninit(out, m, n, stride)
    }

    /// [`Out::new`] of memory that holds nothing yet.
    pub(super) fn uninit(
        out: &mut [MaybeUninit<T>],
        m: usize,
        n: usize,
        stride: usize,
    ) -> Result<Self> {
        let needed = match (m, n) {
            (0, _) | (_, 0) => Some(0),
            _ => (m - 1).checked_mul(stride).and_then(|above| above.checked_add(n)),
        };
        if (m > 1 && stride < n) || needed.is_none_or(|needed| out.len() < needed) {
            return Err(KernelError::Shape(format!(
                "out has {} elements; ({m}, {n}) with rows {stride} apart needs more",
                out.len()
            )));
        }
        Ok(Self { ptr: SendPtr(out.as_mut_ptr().cast()), stride })
    }

    /// An element.
    ///
    /// # Safety
    /// It is within the result.
    unsafe fn at(&self, row: usize, column: usize) -> *mut T {
        // SAFETY: within the buffer, as `new` checked.
        unsafe { self.ptr.get().add(row * self.stride + column) }
    }

    /// A part of a row.
    ///
    /// # Safety
    /// It is within the result, and no other borrow of it lives.
    #[allow(clippy::mut_from_ref, reason = "the caller vouches for the only borrow")]
    unsafe fn row(&self, row: usize, column: usize, length: usize) -> &mut [T] {
        // SAFETY: within the buffer, as `new` checked; unique, by the caller's promise.
        unsafe {
            std::slice::from_raw_parts_mut(self.ptr.get().add(row * self.stride + column), length)
        }
    }
}

impl<T: Integer> Sink for Out<T> {
    fn direct(&self, row: usize, column: usize) -> Option<(*mut i32, usize)> {
        let first = self.ptr.get().wrapping_add(row * self.stride + column);
        T::as_i32(first).map(|ptr| (ptr, self.stride))
    }

    unsafe fn put(&self, block: Block, sums: &[i32], stride: usize) {
        for (index, sums) in sums.chunks(stride).take(block.rows).enumerate() {
            // SAFETY: the caller vouches for the block.
            let out = unsafe { self.row(block.row + index, block.column, block.columns) };
            for (out, &sum) in out.iter_mut().zip(sums) {
                *out = T::from_i32(sum);
            }
        }
    }
}

/// float32 results.
pub(super) struct FloatSink<'a> {
    pub(super) isa: Isa,
    pub(super) out: Out<f32>,
    pub(super) output: FloatOutput<'a>,
    pub(super) columns: usize,
}

impl Sink for FloatSink<'_> {
    unsafe fn put(&self, block: Block, sums: &[i32], stride: usize) {
        let Block { row, column, rows, columns } = block;
        let part = SumBlock { rows, columns, sums, stride };
        // SAFETY: the caller vouches for the block.
        unsafe {
            let out = self.out.at(row, column);
            float_block(self.isa, row, column, part, &self.output, out, self.out.stride);
        }
    }

    unsafe fn rows_done(&self, rows: Range<usize>) {
        if !self.output.activation.is_of_rows() {
            return;
        }
        for row in rows {
            // SAFETY: the caller vouches for the row.
            softmax_row(self.isa, unsafe { self.out.row(row, 0, self.columns) });
        }
    }
}

/// Requantized results.
pub(super) struct CodeSink<'a, C> {
    pub(super) isa: Isa,
    pub(super) out: Out<C>,
    pub(super) output: Requantize<'a>,
    pub(super) residual: Option<Residual<'a>>,
}

impl<C: Code> Sink for CodeSink<'_, C> {
    fn start(&self, column: usize, start: &mut [i32]) {
        match self.output.bias {
            [] => {}
            [bias] => start.iter_mut().for_each(|start| *start = start.wrapping_add(*bias)),
            each => {
                for (start, bias) in start.iter_mut().zip(&each[column..]) {
                    *start = start.wrapping_add(*bias);
                }
            }
        }
    }

    unsafe fn put(&self, block: Block, sums: &[i32], stride: usize) {
        let residual = self.residual.map(|residual| residual.from(block.row, block.column));
        let part = SumBlock { rows: block.rows, columns: block.columns, sums, stride };
        // The sums started from the bias.
        let output = Requantize { bias: &[], ..self.output };
        // SAFETY: the caller vouches for the block.
        unsafe {
            let out = self.out.at(block.row, block.column);
            let (isa, column) = (self.isa, block.column);
            requantize_block(isa, column, part, &output, residual, out, self.out.stride);
        }
    }
}
