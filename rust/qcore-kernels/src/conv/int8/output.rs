//! What becomes of the sums of a convolution: codes, or floats.

use std::marker::PhantomData;
use std::ops::Range;

use crate::epilogue::{
    Activation, FloatOutput, Requantize, Residual, float_block, requantize_block,
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

/// What sums become.
pub(super) trait Target: Sync {
    /// An element of the result.
    type Element: Copy + Send;
    /// The same with parameters for `repeat` pixels side by side.
    type Repeated: Send + Sync;

    /// The results of a product, which are some of the columns of all; `out` starts with the first.
    fn product(
        &self,
        part: Part<'_>,
        left: LeftOperand<'_>,
        columns: Range<usize>,
        out: &mut [Self::Element],
    ) -> Result<()>;

    /// Parameters for so many pixels at once.
    fn repeated(&self, repeat: usize) -> Result<Self::Repeated>;

    /// The results of some pixels, of which the first element is the `first` of all: rows of `width`
    /// sums, as many pixels as parameters were repeated for.
    fn finish(
        &self,
        isa: Isa,
        repeated: &Self::Repeated,
        first: usize,
        width: usize,
        sums: &[i32],
        out: &mut [Self::Element],
    );
}

/// The elements of a parameter that belong to some columns.
fn of_columns<T>(values: &[T], columns: Range<usize>) -> &[T] {
    if values.len() > 1 { &values[columns] } else { values }
}

/// A parameter for several pixels at once.
fn repeat<T: Clone>(values: &[T], repeat: usize) -> Result<Vec<T>> {
    let times = if values.len() > 1 { repeat } else { 1 };
    let mut all = memory::with_capacity(memory::size(&[values.len(), times])?)?;
    for _ in 0..times {
        memory::extend(&mut all, values)?;
    }
    Ok(all)
}

/// Codes, with what is added to them.
pub(super) struct Codes<'a, C> {
    pub(super) output: Requantize<'a>,
    pub(super) residual: Option<Residual<'a>>,
    /// Their type.
    pub(super) of: PhantomData<fn() -> C>,
}

/// Biases and multipliers.
pub(super) struct CodeParameters {
    bias: Vec<i32>,
    multiplier: Vec<f32>,
}

impl<C: Code> Target for Codes<'_, C> {
    type Element = C;
    type Repeated = CodeParameters;

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

    fn repeated(&self, times: usize) -> Result<CodeParameters> {
        Ok(CodeParameters {
            bias: repeat(self.output.bias, times)?,
            multiplier: repeat(self.output.multiplier, times)?,
        })
    }

    fn finish(
        &self,
        isa: Isa,
        repeated: &CodeParameters,
        first: usize,
        width: usize,
        sums: &[i32],
        out: &mut [C],
    ) {
        let CodeParameters { bias, multiplier } = repeated;
        let output = Requantize { bias, multiplier, ..self.output };
        let residual = self.residual.map(|residual| Residual {
            codes: &residual.codes[first..],
            stride: width,
            ..residual
        });
        requantize_block(isa, 0, sums, width, &output, residual, out.chunks_mut(width));
    }
}

/// Scales and biases.
pub(super) struct FloatParameters {
    scale: Vec<f32>,
    bias: Vec<f32>,
}

impl Target for FloatOutput<'_> {
    type Element = f32;
    type Repeated = FloatParameters;

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

    fn repeated(&self, times: usize) -> Result<FloatParameters> {
        Ok(FloatParameters { scale: repeat(self.scale, times)?, bias: repeat(self.bias, times)? })
    }

    fn finish(
        &self,
        isa: Isa,
        repeated: &FloatParameters,
        _: usize,
        width: usize,
        sums: &[i32],
        out: &mut [f32],
    ) {
        let FloatParameters { scale, bias } = repeated;
        let output = FloatOutput { scale, bias, ..*self };
        float_block(isa, 0, 0, sums, width, &output, out.chunks_mut(width));
    }
}
