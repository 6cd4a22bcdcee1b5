//! What becomes of the sums of a convolution: codes, or floats.

use std::marker::PhantomData;
use std::ops::Range;

use crate::epilogue::{
    Activation, FloatOutput, Requantize, Residual, SumBlock, float_block, requantize_block,
};
use crate::error::Result;
use crate::gemm::{LeftOperand, PackedI8, Right, ZeroPoint, codes_of, floats_of};
use crate::isa::Isa;
use crate::memory;
use crate::quant::Code;

/// A product of a convolution: that of a group.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) isa: Isa,
    pub(super) zero_point: i32,
    pub(super) weights: &'a PackedI8,
    /// Elements from a pixel of the result to the next.
    pub(super) stride: usize,
}

/// Parameters by column, for one pixel or for several side by side.
#[derive(Default)]
pub(super) struct Parameters {
    scale: Vec<f32>,
    bias: Vec<f32>,
}

impl Parameters {
    /// The multipliers that were made.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "for x86-64"))]
    pub(super) fn multipliers(&self) -> &[f32] {
        &self.scale
    }
}

/// Where a block of results lies.
#[derive(Clone, Copy)]
pub(super) struct At {
    /// Its first element among all.
    pub(super) first: usize,
    /// The first of its columns.
    pub(super) column: usize,
    /// Elements from a row to the next.
    pub(super) stride: usize,
}

/// How sums become codes of one byte each.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "for x86-64"))]
pub(super) struct ToBytes<'a> {
    pub(super) output: &'a Requantize<'a>,
    pub(super) residual: Option<Residual<'a>>,
    /// Whether they are int8, not uint8.
    pub(super) signed: bool,
}

/// What sums become.
pub(super) trait Target: Sync + Sized {
    /// An element of the result.
    type Element: Copy + Send;

    /// The results of a product, which are some of the columns of all; `out` starts with the first.
    fn product(
        &self,
        part: Part<'_>,
        left: LeftOperand<'_>,
        columns: Range<usize>,
        out: &mut [Self::Element],
    ) -> Result<()>;

    /// The same for the pixels from one on.
    fn after_pixels(&self, pixel: usize) -> Self;

    /// What is added to the sums: whoever computes these starts from it.
    fn start(&self) -> &[i32];

    /// How sums become codes of one byte each, if they do.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "for x86-64"))]
    fn bytes(&self) -> Option<ToBytes<'_>> {
        None
    }

    /// Makes the other parameters for so many pixels side by side.
    fn prepare(&self, pixels: usize, parameters: &mut Parameters) -> Result<()>;

    /// The results of a block of sums, with parameters that were made for it.
    ///
    /// # Safety
    /// `out` is valid for writing the block.
    unsafe fn finish(
        &self,
        isa: Isa,
        parameters: &Parameters,
        block: SumBlock<'_>,
        at: At,
        out: *mut Self::Element,
    );
}

/// The elements of a parameter that belong to some columns.
fn of_columns<T>(values: &[T], columns: Range<usize>) -> &[T] {
    if values.len() > 1 { &values[columns] } else { values }
}

/// A parameter for several pixels at once.
fn repeat(values: &[f32], pixels: usize, to: &mut Vec<f32>) -> Result<()> {
    to.clear();
    for _ in 0..if values.len() > 1 { pixels } else { 1 } {
        memory::extend(to, values)?;
    }
    Ok(())
}

/// Codes, with what is added to them.
pub(super) struct Codes<'a, C> {
    pub(super) output: Requantize<'a>,
    pub(super) residual: Option<Residual<'a>>,
    /// Their type.
    pub(super) of: PhantomData<fn() -> C>,
}

impl<C: Code> Target for Codes<'_, C> {
    type Element = C;

    fn product(
        &self,
        part: Part<'_>,
        left: LeftOperand<'_>,
        columns: Range<usize>,
        out: &mut [C],
    ) -> Result<()> {
        let output = Requantize {
            bias: of_columns(self.output.bias, columns.clone()),
            multiplier: of_columns(self.output.multiplier, columns.clone()),
            ..self.output
        };
        let residual = self.residual.map(|residual| residual.from(0, columns.start));
        let Part { isa, zero_point, weights, stride } = part;
        let (b, zero) = (Right::Packed(weights), ZeroPoint::One(zero_point));
        codes_of(isa, left, zero, b, ZeroPoint::One(0), output, residual, out, stride)
    }

    fn after_pixels(&self, pixel: usize) -> Self {
        let residual = self.residual.map(|residual| residual.from(pixel, 0));
        Self { residual, of: PhantomData, ..*self }
    }

    fn start(&self) -> &[i32] {
        self.output.bias
    }

    fn bytes(&self) -> Option<ToBytes<'_>> {
        let (output, residual, signed) = (&self.output, self.residual, C::MIN < 0);
        C::BYTE.then_some(ToBytes { output, residual, signed })
    }

    fn prepare(&self, pixels: usize, parameters: &mut Parameters) -> Result<()> {
        repeat(self.output.multiplier, pixels, &mut parameters.scale)
    }

    unsafe fn finish(
        &self,
        isa: Isa,
        parameters: &Parameters,
        block: SumBlock<'_>,
        at: At,
        out: *mut C,
    ) {
        let output = Requantize { bias: &[], multiplier: &parameters.scale, ..self.output };
        let residual = self.residual.map(|residual| Residual {
            codes: &residual.codes[at.first..],
            stride: at.stride,
            ..residual
        });
        // SAFETY: the caller's promise.
        unsafe { requantize_block(isa, at.column, block, &output, residual, out, at.stride) };
    }
}

impl Target for FloatOutput<'_> {
    type Element = f32;

    fn product(
        &self,
        part: Part<'_>,
        left: LeftOperand<'_>,
        columns: Range<usize>,
        out: &mut [f32],
    ) -> Result<()> {
        // What is done to whole pixels waits until they are.
        let activation =
            if self.activation.is_of_rows() { Activation::Linear } else { self.activation };
        let output = FloatOutput {
            scale: of_columns(self.scale, columns.clone()),
            bias: of_columns(self.bias, columns),
            activation,
            ..*self
        };
        let Part { isa, zero_point, weights, stride } = part;
        let (b, zero) = (Right::Packed(weights), ZeroPoint::One(zero_point));
        floats_of(isa, left, zero, b, ZeroPoint::One(0), output, out, stride)
    }

    fn after_pixels(&self, _: usize) -> Self {
        *self // there are no parameters of pixels
    }

    fn start(&self) -> &[i32] {
        &[]
    }

    fn prepare(&self, pixels: usize, parameters: &mut Parameters) -> Result<()> {
        repeat(self.scale, pixels, &mut parameters.scale)?;
        repeat(self.bias, pixels, &mut parameters.bias)
    }

    unsafe fn finish(
        &self,
        isa: Isa,
        parameters: &Parameters,
        block: SumBlock<'_>,
        at: At,
        out: *mut f32,
    ) {
        let Parameters { scale, bias } = parameters;
        let output = FloatOutput { scale, bias, ..*self };
        // SAFETY: the caller vouches for the block.
        unsafe { float_block(isa, 0, at.column, block, &output, out, at.stride) };
    }
}
