//! Blocks of int8 codes.

use std::sync::Arc;

use qcore_kernels::epilogue::{FloatOutput, Requantize};
use qcore_kernels::gemm::PackedI8;
use qcore_kernels::sparse::{BlocksInteger, Structured};
use qcore_kernels::view::MatRef;
use qcore_kernels::{Isa, Result, memory};

use super::{Affine, CodesMut, DenseI8, Operand, sparse};

/// Blocks of int8 codes, one scale for every output.
pub struct BlocksI8 {
    /// The codes, laid out.
    pub codes: Arc<BlocksInteger<i8>>,
    /// One for every output.
    pub scale: Vec<f32>,
}

impl Operand for BlocksI8 {
    fn inputs(&self) -> usize {
        self.codes.matrix().cols()
    }

    fn outputs(&self) -> usize {
        self.codes.matrix().rows()
    }

    fn work(&self) -> usize {
        self.codes.matrix().stored_values()
    }

    fn scale(&self) -> &[f32] {
        &self.scale
    }

    fn is_integer(&self) -> bool {
        true
    }

    fn kind(&self) -> &'static str {
        "block int8"
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
