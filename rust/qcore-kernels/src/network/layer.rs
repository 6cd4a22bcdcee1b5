//! What a network is made of: layers with weights in the form that their kernel reads.

use std::sync::Arc;

use super::sparse;
use crate::epilogue::{Activation, FloatOutput, Requantize};
use crate::error::{KernelError, Result};
use crate::gemm::{self, FloatWeights, Int8, MaskedI8, PackedI4, PackedI8, ZeroPoint};
use crate::isa::Isa;
use crate::made::Made;
use crate::memory;
use crate::quant::Code;
use crate::sparse::{BlocksInteger, FloatBands, FloatCsr, IntegerCsr, Structured};
use crate::view::{MatRef, as_signed};

/// How the codes of an activation stand for real values: `(code - zero_point) * scale`.
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

    /// Codes, kept as bytes, as a matrix of their type.
    fn matrix(self, codes: &[u8], rows: usize, cols: usize) -> Result<Int8<'_>> {
        Ok(if self.signed {
            MatRef::from_slice(as_signed(codes), rows, cols)?.into()
        } else {
            MatRef::from_slice(codes, rows, cols)?.into()
        })
    }
}

/// In what form a layer takes its input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Input {
    /// Floats, as they are.
    Float,
    /// Codes with parameters that were fixed when the network was calibrated.
    Static(Affine),
    /// Floats that become int8 codes row by row, with a scale of each row's own.
    Dynamic,
}

/// Weights `[out, in]`, in the form that their kernel reads.
pub enum Weights {
    /// Int8 codes, one scale for every output.
    DenseI8(PackedI8, Vec<f32>),
    /// Codes of 4 bits, a scale for every group of inputs; for dynamic inputs.
    DenseI4(PackedI4),
    /// Floats, or codes that become floats in the cache.
    Dense(FloatWeights),
    /// The int8 codes that are not zero, one scale for every output.
    SparseI8(Arc<IntegerCsr<i8>>, Vec<f32>),
    /// The floats that are not zero.
    SparseF32(Arc<FloatCsr<f32>>),
    /// N int8 codes of each M inputs, one scale for every output.
    NofMI8(Arc<MaskedI8>, Vec<f32>),
    /// Blocks of int8 codes, one scale for every output.
    BlocksI8(Arc<BlocksInteger<i8>>, Vec<f32>),
    /// Floats in a pattern.
    BandsF32(Arc<FloatBands>),
    /// Weights for `rows` rows and more. For fewer they are made dense, by the first call that has as
    /// few.
    ByRows {
        /// For many rows.
        many: Box<Weights>,
        /// The least number of rows that is many.
        rows: usize,
        /// The same, dense.
        few: Made<Weights>,
    },
}

impl Weights {
    /// Sparse weights for `rows` rows and more, which become dense ones for fewer.
    #[must_use]
    pub fn by_rows(many: Weights, rows: usize) -> Self {
        if rows <= 1 {
            return many;
        }
        Weights::ByRows { many: Box::new(many), rows, few: Made::new() }
    }

    /// How many values a row of the input has.
    #[must_use]
    pub fn inputs(&self) -> usize {
        match self {
            Weights::DenseI8(w, _) => w.k(),
            Weights::DenseI4(w) => w.inputs(),
            Weights::Dense(w) => w.inputs(),
            Weights::SparseI8(w, _) => w.matrix().cols(),
            Weights::SparseF32(w) => w.matrix().cols(),
            Weights::NofMI8(w, _) => w.k(),
            Weights::BlocksI8(w, _) => w.matrix().cols(),
            Weights::BandsF32(w) => w.cols(),
            Weights::ByRows { many, .. } => many.inputs(),
        }
    }

    /// How many values a row of the output has.
    #[must_use]
    pub fn outputs(&self) -> usize {
        match self {
            Weights::DenseI8(w, _) => w.n(),
            Weights::DenseI4(w) => w.outputs(),
            Weights::Dense(w) => w.outputs(),
            Weights::SparseI8(w, _) => w.matrix().rows(),
            Weights::SparseF32(w) => w.matrix().rows(),
            Weights::NofMI8(w, _) => w.n(),
            Weights::BlocksI8(w, _) => w.matrix().rows(),
            Weights::BandsF32(w) => w.rows(),
            Weights::ByRows { many, .. } => many.outputs(),
        }
    }

    /// Multiplications for each row.
    pub(crate) fn work(&self) -> usize {
        match self {
            Weights::DenseI8(..)
            | Weights::DenseI4(_)
            | Weights::Dense(_)
            | Weights::NofMI8(..) => self.inputs().saturating_mul(self.outputs()),
            Weights::SparseI8(w, _) => w.matrix().nnz(),
            Weights::SparseF32(w) => w.matrix().nnz(),
            Weights::BlocksI8(w, _) => w.matrix().stored_values(),
            Weights::BandsF32(w) => w.stored(),
            Weights::ByRows { many, .. } => many.work(),
        }
    }

    /// One scale for every output, where weights have it.
    #[must_use]
    pub fn scale(&self) -> &[f32] {
        match self {
            Weights::DenseI8(_, scale)
            | Weights::SparseI8(_, scale)
            | Weights::NofMI8(_, scale)
            | Weights::BlocksI8(_, scale) => scale,
            Weights::DenseI4(_)
            | Weights::Dense(_)
            | Weights::SparseF32(_)
            | Weights::BandsF32(_) => &[],
            Weights::ByRows { many, .. } => many.scale(),
        }
    }

    /// Whether they are integers.
    #[must_use]
    pub fn is_integer(&self) -> bool {
        match self {
            Weights::DenseI8(..)
            | Weights::DenseI4(_)
            | Weights::SparseI8(..)
            | Weights::NofMI8(..)
            | Weights::BlocksI8(..) => true,
            Weights::Dense(_) | Weights::SparseF32(_) | Weights::BandsF32(_) => false,
            Weights::ByRows { many, .. } => many.is_integer(),
        }
    }

    /// The kind of kernel that reads them, for people to see.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Weights::DenseI8(..) => "dense int8",
            Weights::DenseI4(_) => "dense int4",
            Weights::Dense(w) => w.kind(),
            Weights::SparseI8(..) => "sparse int8",
            Weights::SparseF32(_) => "sparse float32",
            Weights::NofMI8(..) => "N:M int8",
            Weights::BlocksI8(..) => "block int8",
            Weights::BandsF32(_) => "structured float32",
            Weights::ByRows { many, .. } => many.kind(),
        }
    }

    /// Codes to floats.
    pub(crate) fn to_float(
        &self,
        isa: Isa,
        codes: &[u8],
        input: Affine,
        rows: usize,
        output: FloatOutput<'_>,
        out: &mut [f32],
    ) -> Result<()> {
        let x = input.matrix(codes, rows, self.inputs())?;
        let stride = self.outputs();
        let zero = ZeroPoint::One(input.zero_point);
        match self {
            Weights::DenseI8(w, _) => {
                gemm::dense_f32_from_i8_with(isa, x, zero, w, NO_ZERO, output, out, stride)
            }
            Weights::DenseI4(w) => {
                let (scale, FloatOutput { bias, activation, .. }) = (output.row_scale, output);
                gemm::dense_f32_from_i4_with(isa, as_signed(codes), scale, w, bias, activation, out)
            }
            Weights::NofMI8(w, _) => {
                let w = &**w;
                gemm::dense_f32_from_i8_with(isa, x, zero, w, NO_ZERO, output, out, stride)
            }
            Weights::SparseI8(w, _) => {
                sparse::to_float(isa, &**w, x, input.zero_point, output, out)
            }
            Weights::BlocksI8(w, _) => {
                sparse::to_float(isa, &**w, x, input.zero_point, output, out)
            }
            Weights::ByRows { many, .. } => many.to_float(isa, codes, input, rows, output, out),
            Weights::Dense(_) | Weights::SparseF32(_) | Weights::BandsF32(_) => Err(not_integer()),
        }
    }

    /// Codes to codes.
    pub(crate) fn to_codes<C: Code>(
        &self,
        isa: Isa,
        codes: &[u8],
        input: Affine,
        rows: usize,
        output: Requantize<'_>,
        out: &mut [C],
    ) -> Result<()> {
        let x = input.matrix(codes, rows, self.inputs())?;
        let stride = self.outputs();
        let zero = ZeroPoint::One(input.zero_point);
        match self {
            Weights::DenseI8(w, _) => {
                gemm::dense_i8_with(isa, x, zero, w, NO_ZERO, output, out, stride)
            }
            Weights::NofMI8(w, _) => {
                gemm::dense_i8_with(isa, x, zero, &**w, NO_ZERO, output, out, stride)
            }
            Weights::SparseI8(w, _) => {
                sparse::to_codes(isa, &**w, x, input.zero_point, output, out)
            }
            Weights::BlocksI8(w, _) => {
                sparse::to_codes(isa, &**w, x, input.zero_point, output, out)
            }
            Weights::ByRows { many, .. } => many.to_codes(isa, codes, input, rows, output, out),
            Weights::DenseI4(_)
            | Weights::Dense(_)
            | Weights::SparseF32(_)
            | Weights::BandsF32(_) => Err(not_integer()),
        }
    }

    /// Bytes in memory.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        match self {
            Weights::DenseI8(w, scale) => w.nbytes() + size_of_val(&scale[..]),
            Weights::DenseI4(w) => w.nbytes(),
            Weights::Dense(w) => w.nbytes(),
            Weights::SparseI8(w, scale) => w.matrix().nbytes() + size_of_val(&scale[..]),
            Weights::SparseF32(w) => w.nbytes(),
            Weights::NofMI8(w, scale) => w.nbytes() + size_of_val(&scale[..]),
            Weights::BlocksI8(w, scale) => w.nbytes() + size_of_val(&scale[..]),
            Weights::BandsF32(w) => w.nbytes(),
            Weights::ByRows { many, few, .. } => {
                many.nbytes() + few.get().map_or(0, Weights::nbytes)
            }
        }
    }

    /// Floats to floats.
    pub(crate) fn float(
        &self,
        isa: Isa,
        x: &[f32],
        bias: &[f32],
        activation: Activation,
        out: &mut [f32],
    ) -> Result<()> {
        match self {
            Weights::DenseI8(..)
            | Weights::DenseI4(_)
            | Weights::SparseI8(..)
            | Weights::NofMI8(..)
            | Weights::BlocksI8(..) => Err(not_integer()),
            Weights::SparseF32(w) => sparse::float(isa, &**w, x, bias, activation, out),
            Weights::BandsF32(w) => sparse::float(isa, &**w, x, bias, activation, out),
            Weights::Dense(w) => gemm::dense_f32_with(isa, x, w, bias, activation, out),
            Weights::ByRows { many, .. } => many.float(isa, x, bias, activation, out),
        }
    }

    /// The weights that are the faster for a call of so many rows. Chosen once for the whole call:
    /// the sums of floats depend on the choice, and blocks of rows on the threads.
    pub(crate) fn for_rows(&self, isa: Isa, rows: usize) -> Result<&Weights> {
        match self {
            Weights::ByRows { many, rows: least, few } if rows < *least => {
                few.get_or_make(|| many.dense(isa))
            }
            Weights::ByRows { many, .. } => Ok(many),
            _ => Ok(self),
        }
    }

    /// Whether the order of a sum depends on the number of rows that are multiplied together.
    pub(crate) fn sums_follow_rows(&self) -> bool {
        matches!(self, Weights::SparseF32(_) | Weights::BandsF32(_))
    }

    /// The same as dense weights.
    fn dense(&self, isa: Isa) -> Result<Weights> {
        let (outputs, inputs) = (self.outputs(), self.inputs());
        let elements = memory::size(&[outputs, inputs])?;
        let codes = |fill: &dyn Fn(&mut [i8]) -> Result<()>, scale: &[f32]| {
            let mut dense = memory::filled(0, elements)?;
            fill(&mut dense)?;
            let dense = MatRef::from_slice(&dense, outputs, inputs)?;
            let packed = PackedI8::new(isa, dense.transposed());
            Ok(Weights::DenseI8(packed, memory::copied(scale)?))
        };
        let floats = |dense: &[f32]| {
            let dense = MatRef::from_slice(dense, outputs, inputs)?;
            Ok(Weights::Dense(FloatWeights::from_f32(dense)))
        };
        match self {
            Weights::SparseI8(w, scale) => codes(&|out| w.matrix().to_dense(out), scale),
            Weights::BlocksI8(w, scale) => codes(&|out| w.matrix().to_dense(out), scale),
            Weights::NofMI8(w, scale) => {
                Ok(Weights::DenseI8(w.unpacked(isa), memory::copied(scale)?))
            }
            Weights::SparseF32(w) => {
                let mut dense = memory::filled(0.0, elements)?;
                w.matrix().to_dense(&mut dense)?;
                floats(&dense)
            }
            Weights::BandsF32(w) => floats(&w.to_dense()),
            Weights::ByRows { many, .. } => many.dense(isa),
            Weights::DenseI8(..) | Weights::DenseI4(_) | Weights::Dense(_) => {
                Err(KernelError::Value("weights by rows are sparse ones".to_owned()))
            }
        }
    }
}

/// Weights have their zero at code 0.
const NO_ZERO: ZeroPoint<'static> = ZeroPoint::One(0);

/// Cannot happen: stages are lowered by the kind of weights.
fn not_integer() -> KernelError {
    KernelError::Value("a stage does not fit its weights".to_owned())
}

/// `activation(input · weightsᵀ + bias)`.
pub struct Layer {
    /// The form of its input.
    pub input: Input,
    /// Its weights.
    pub weights: Arc<Weights>,
    /// One value for every output.
    pub bias: Vec<f32>,
    /// What follows the sum.
    pub activation: Activation,
}

impl Layer {
    /// Checks that the parts fit each other.
    pub(crate) fn check(&self, index: usize) -> Result<()> {
        let outputs = self.weights.outputs();
        for (name, len) in [("bias", self.bias.len()), ("scale", self.weights.scale().len())] {
            if len != outputs && !(name == "scale" && len == 0) {
                return Err(KernelError::Shape(format!(
                    "layer {index}: {name} has {len} elements for {outputs} outputs"
                )));
            }
        }
        if let Input::Static(affine) = self.input
            && !(affine.scale.is_normal() && affine.scale > 0.0)
        {
            let found = affine.scale;
            return Err(KernelError::Value(format!("layer {index}: input scale is {found}")));
        }
        Ok(())
    }
}
