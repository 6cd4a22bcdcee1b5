//! Only the elements that are not zero.

use std::sync::Arc;

use qcore_kernels::epilogue::{Activation, FloatOutput, Requantize};
use qcore_kernels::gemm::{FloatWeights, PackedI8};
use qcore_kernels::sparse::{FloatCsr, IntegerCsr};
use qcore_kernels::view::MatRef;
use qcore_kernels::{Isa, Result, memory};

use super::{Affine, CodesMut, Dense, DenseI8, Operand, sparse};

/// The int8 codes that are not zero, one scale for every output.
pub struct SparseI8 {
    /// The codes, laid out.
    pub codes: Arc<IntegerCsr<i8>>,
    /// One for every output.
    pub scale: Vec<f32>,
}

impl Operand for SparseI8 {
    fn inputs(&self) -> usize {
        self.codes.matrix().cols()
    }

    fn outputs(&self) -> usize {
        self.codes.matrix().rows()
    }

    fn work(&self) -> usize {
        self.codes.matrix().nnz()
    }

    fn scale(&self) -> &[f32] {
        &self.scale
    }

    fn is_integer(&self) -> bool {
        true
    }

    fn kind(&self) -> &'static str {
        "sparse int8"
    }

    fn nbytes(&self) -> usize {
        self.codes.matrix().nbytes() + size_of_val(&self.scale[..])
    }

    fn for_rows(&self, _isa: Isa, _rows: usize) -> Result<&dyn Operand> {
        Ok(self)
    }

    fn dense(&self, isa: Isa) -> Result<Box<dyn Operand>> {
        let matrix = self.codes.matrix();
        let (outputs, inputs) = (matrix.rows(), matrix.cols());
        let mut dense = memory::filled(0, memory::size(&[outputs, inputs])?)?;
        matrix.to_dense(&mut dense)?;
        let dense = MatRef::from_slice(&dense, outputs, inputs)?;
        let codes = PackedI8::new(isa, dense.transposed())?;
        Ok(Box::new(DenseI8 { codes, scale: memory::copied(&self.scale)? }))
    }

    fn to_float(
        &self,
        isa: Isa,
        codes: &[u8],
        input: Affine,
        rows: usize,
        output: FloatOutput<'_>,
        out: &mut [f32],
    ) -> Result<()> {
        let x = input.matrix(codes, rows, self.inputs())?;
        sparse::to_float(isa, &*self.codes, x, input.zero_point, output, out)
    }

    fn to_codes(
        &self,
        isa: Isa,
        codes: &[u8],
        input: Affine,
        rows: usize,
        output: Requantize<'_>,
        out: CodesMut<'_>,
    ) -> Result<()> {
        let x = input.matrix(codes, rows, self.inputs())?;
        let (w, zero) = (&*self.codes, input.zero_point);
        match out {
            CodesMut::Signed(out) => sparse::to_codes(isa, w, x, zero, output, out),
            CodesMut::Unsigned(out) => sparse::to_codes(isa, w, x, zero, output, out),
        }
    }
}

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
