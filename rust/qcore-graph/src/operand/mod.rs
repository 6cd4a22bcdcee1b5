//! Weights `[out, in]` in the forms that kernels read: one file for each form.

mod bands;
mod blocks;
mod by_rows;
mod codes_i8;
mod csr;
mod dense_i8;
mod float;
mod int4;
mod requantize;
mod sparse;

use qcore_kernels::epilogue::{Activation, FloatOutput, Requantize};
use qcore_kernels::gemm::{Int8, ZeroPoint};
use qcore_kernels::view::{MatRef, as_signed, as_signed_mut};
use qcore_kernels::{Isa, KernelError, Result};

pub use bands::BandsF32;
pub use blocks::BlocksI8;
pub use by_rows::by_rows;
pub use codes_i8::CodesI8;
pub use csr::{SparseF32, SparseI8};
pub use dense_i8::{DenseI8, NofMI8};
pub use float::Dense;
pub use int4::DenseI4;
pub(crate) use requantize::requantized;

/// How the codes of a value stand for real ones: `(code - zero_point) * scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    /// The step, above 0.
    pub scale: f32,
    /// The code of 0.
    pub zero_point: i32,
    /// Codes are int8 if true, uint8 if not.
    pub signed: bool,
}

impl Affine {
    /// The least code.
    #[must_use]
    pub fn min(self) -> i32 {
        if self.signed { -128 } else { 0 }
    }

    /// The greatest code.
    #[must_use]
    pub fn max(self) -> i32 {
        if self.signed { 127 } else { 255 }
    }

    /// The codes between which values within bounds lie.
    pub(crate) fn clamp(self, (low, high): (f32, f32)) -> (i32, i32) {
        let (least, greatest) = (self.min(), self.max());
        // Infinities saturate, as every float does that is cast.
        let code = |value: f32| {
            let code = (value / self.scale).round_ties_even() as i32;
            code.saturating_add(self.zero_point).clamp(least, greatest)
        };
        (code(low), code(high))
    }

    /// Codes, kept as bytes, as a matrix of their type.
    pub(crate) fn matrix(self, codes: &[u8], rows: usize, cols: usize) -> Result<Int8<'_>> {
        Ok(if self.signed {
            MatRef::from_slice(as_signed(codes), rows, cols)?.into()
        } else {
            MatRef::from_slice(codes, rows, cols)?.into()
        })
    }
}

/// Where codes go.
pub enum CodesMut<'a> {
    /// Int8.
    Signed(&'a mut [i8]),
    /// Uint8.
    Unsigned(&'a mut [u8]),
}

impl<'a> CodesMut<'a> {
    /// Bytes as codes of the type that parameters say.
    #[must_use]
    pub fn new(bytes: &'a mut [u8], affine: Affine) -> Self {
        if affine.signed {
            CodesMut::Signed(as_signed_mut(bytes))
        } else {
            CodesMut::Unsigned(bytes)
        }
    }
}

/// Weights `[out, in]` that rows are multiplied by.
///
/// Floats implement [`Operand::float`]; integers [`Operand::to_float`] and, where they have one scale
/// for every output, [`Operand::to_codes`].
pub trait Operand: Send + Sync {
    /// How many values a row of the input has.
    fn inputs(&self) -> usize;

    /// How many values a row of the output has.
    fn outputs(&self) -> usize;

    /// Multiplications for each row.
    fn work(&self) -> usize {
        self.inputs().saturating_mul(self.outputs())
    }

    /// One scale for every output, where weights have it.
    fn scale(&self) -> &[f32] {
        &[]
    }

    /// Whether they are integers.
    fn is_integer(&self) -> bool;

    /// The kind of kernel that reads them, for people to see.
    fn kind(&self) -> &'static str;

    /// Bytes in memory.
    fn nbytes(&self) -> usize;

    /// The weights that are the faster for a call of so many rows. Chosen once for the whole call:
    /// the sums of floats depend on the choice, and blocks of rows on the threads.
    fn for_rows(&self, isa: Isa, rows: usize) -> Result<&dyn Operand>;

    /// Whether the order of a sum depends on the number of rows that are multiplied together.
    fn sums_follow_rows(&self) -> bool {
        false
    }

    /// The same as dense weights; only of weights that are not.
    fn dense(&self, _isa: Isa) -> Result<Box<dyn Operand>> {
        Err(KernelError::Value("weights by rows are sparse ones".to_owned()))
    }

    /// `activation(x · weightsᵀ + bias)`: floats to floats.
    fn float(
        &self,
        _isa: Isa,
        _x: &[f32],
        _bias: &[f32],
        _activation: Activation,
        _out: &mut [f32],
    ) -> Result<()> {
        Err(unfit())
    }

    /// Codes to floats.
    fn to_float(
        &self,
        _isa: Isa,
        _codes: &[u8],
        _input: Affine,
        _rows: usize,
        _output: FloatOutput<'_>,
        _out: &mut [f32],
    ) -> Result<()> {
        Err(unfit())
    }

    /// Codes to codes.
    fn to_codes(
        &self,
        _isa: Isa,
        _codes: &[u8],
        _input: Affine,
        _rows: usize,
        _output: Requantize<'_>,
        _out: CodesMut<'_>,
    ) -> Result<()> {
        Err(unfit())
    }
}

/// Weights have their zero at code 0.
const NO_ZERO: ZeroPoint<'static> = ZeroPoint::One(0);

/// Cannot happen: what runs is chosen by the kind of weights.
fn unfit() -> KernelError {
    KernelError::Value("a stage does not fit its weights".to_owned())
}
