//! Weights in panels: for each input, the values of 16 outputs side by side.

use std::marker::PhantomData;

use crate::aligned::AlignedBytes;
use crate::error::Result;
use crate::interrupt::Pace;
use crate::memory;
use crate::simd::transpose;
use crate::view::MatRef;

/// Outputs of a panel: for floats a cache line.
pub(crate) const PANEL: usize = 16;

/// A matrix `[out, in]` of any strides, laid out in panels; outputs that fill up the last are 0.
#[derive(Debug)]
pub(super) struct Panels<T> {
    bytes: AlignedBytes,
    inputs: usize,
    outputs: usize,
    kind: PhantomData<T>,
}

/// Values without padding, for which zero bytes are 0.
pub(super) trait Plain: Copy + Send + Sync {}
impl Plain for f32 {}
impl Plain for i8 {}
impl Plain for u8 {}
impl Plain for i16 {}
impl Plain for u16 {}

impl<T: Plain> Panels<T> {
    /// Lays out a matrix.
    pub(super) fn new(matrix: MatRef<'_, T>) -> Result<Self> {
        let (outputs, inputs) = (matrix.rows(), matrix.cols());
        let size = memory::size(&[outputs.div_ceil(PANEL), inputs, PANEL, size_of::<T>()])?;
        let mut bytes = AlignedBytes::zeroed(size)?;
        let data = bytes.as_mut_ptr().cast::<T>();
        let (from, row, column) = (matrix.as_ptr(), matrix.row_stride(), matrix.col_stride());
        let mut pace = Pace::new();
        for panel in 0..outputs.div_ceil(PANEL) {
            pace.check(inputs.saturating_mul(PANEL))?;
            let first = panel * PANEL;
            let count = PANEL.min(outputs - first);
            // SAFETY: the panel has PANEL elements for each input, and the bytes start on a cache line,
            // so elements are aligned; `count` outputs from `first` on and all inputs exist.
            unsafe {
                let to = data.add(first * inputs);
                let from = from.wrapping_offset(first as isize * row);
                if column == 1 && row > 0 {
                    transpose(from, row as usize, to, PANEL, count, inputs);
                    continue;
                }
                for input in 0..inputs {
                    for output in 0..count {
                        let at = output as isize * row + input as isize * column;
                        to.add(input * PANEL + output).write(*from.offset(at));
                    }
                }
            }
        }
        Ok(Self { bytes, inputs, outputs, kind: PhantomData })
    }

    /// The value of an output and an input.
    ///
    /// # Panics
    /// If either is out of range.
    pub(super) fn get(&self, output: usize, input: usize) -> T {
        assert!(output < self.outputs && input < self.inputs);
        let first = (output / PANEL * self.inputs + input) * PANEL + output % PANEL;
        // SAFETY: the panel of this output has PANEL elements for each input.
        unsafe { *self.bytes.as_ptr().cast::<T>().add(first) }
    }

    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Bytes in memory.
    pub(super) fn nbytes(&self) -> usize {
        self.bytes.len()
    }

    /// Panel `panel` at input `input`; `PANEL` values for each input from there on.
    pub(super) fn at(&self, panel: usize, input: usize) -> *const T {
        debug_assert!(panel * PANEL < self.outputs && input <= self.inputs);
        self.bytes.as_ptr().cast::<T>().wrapping_add((panel * self.inputs + input) * PANEL)
    }
}
