//! Only the elements that are not zero.

use std::sync::Arc;

use qcore_kernels::epilogue::{Activation, FloatOutput, Requantize};
use qcore_kernels::gemm::{FloatWeights, Int8, PackedI8};
use qcore_kernels::quant::Code;
use qcore_kernels::sparse::{FloatCsr, IntegerCsr};
use qcore_kernels::view::MatRef;
use qcore_kernels::{Isa, Result, memory};

use super::sparse::{self, sparse_form};
use super::{CodesI8, Dense, Operand};

/// The int8 codes that are not zero, one scale for every output.
pub type SparseI8 = CodesI8<Arc<IntegerCsr<i8>>>;

sparse_form!(IntegerCsr<i8>, "sparse int8", nnz);

/// The floats that are not zero.
pub struct SparseF32(pub Arc<FloatCsr<f32>>);

impl Operand for SparseF32 {
    fn inputs(&self) -> usize {
        self.0.matrix().cols()
    }

    fn outputs(&self) -> usize {
        self.0.matrix().rows()
    }

    fn work(&self) -> usize {
        self.0.matrix().nnz()
    }

    fn is_integer(&self) -> bool {
        false
    }

    fn kind(&self) -> &'static str {
        "sparse float32"
    }

    fn nbytes(&self) -> usize {
        self.0.nbytes()
    }

    fn for_rows(&self, _isa: Isa, _rows: usize) -> Result<&dyn Operand> {
        Ok(self)
    }

    fn sums_follow_rows(&self) -> bool {
        true
    }

    fn dense(&self, _isa: Isa) -> Result<Box<dyn Operand>> {
        let mut dense = memory::filled(0.0, memory::size(&[self.outputs(), self.inputs()])?)?;
        self.0.matrix().to_dense(&mut dense)?;
        let dense = MatRef::from_slice(&dense, self.outputs(), self.inputs())?;
        Ok(Box::new(Dense(FloatWeights::from_f32(dense)?)))
    }

    fn float(
        &self,
        isa: Isa,
        x: &[f32],
        bias: &[f32],
        activation: Activation,
        out: &mut [f32],
    ) -> Result<()> {
        sparse::float(isa, &*self.0, x, bias, activation, out)
    }
}
