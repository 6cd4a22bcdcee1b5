//! N int8 codes of each M inputs.

use std::sync::Arc;

use qcore_kernels::epilogue::{FloatOutput, Requantize};
use qcore_kernels::gemm::{self, MaskedI8, ZeroPoint};
use qcore_kernels::{Isa, Result, memory};

use super::{Affine, CodesMut, DenseI8, NO_ZERO, Operand};

/// N int8 codes of each M inputs, one scale for every output.
pub struct NofMI8 {
    /// The codes, laid out.
    pub codes: Arc<MaskedI8>,
    /// One for every output.
    pub scale: Vec<f32>,
}

impl Operand for NofMI8 {
    fn inputs(&self) -> usize {
        self.codes.k()
    }

    fn outputs(&self) -> usize {
        self.codes.n()
    }

    fn scale(&self) -> &[f32] {
        &self.scale
    }

    fn is_integer(&self) -> bool {
        true
    }

    fn kind(&self) -> &'static str {
        "N:M int8"
    }

    fn nbytes(&self) -> usize {
        self.codes.nbytes() + size_of_val(&self.scale[..])
    }

    fn for_rows(&self, _isa: Isa, _rows: usize) -> Result<&dyn Operand> {
        Ok(self)
    }

    fn dense(&self, isa: Isa) -> Result<Box<dyn Operand>> {
        let scale = memory::copied(&self.scale)?;
        Ok(Box::new(DenseI8 { codes: self.codes.unpacked(isa)?, scale }))
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
        let (zero, stride) = (ZeroPoint::One(input.zero_point), self.outputs());
        gemm::dense_f32_from_i8_with(isa, x, zero, &*self.codes, NO_ZERO, output, out, stride)
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
        let (zero, stride) = (ZeroPoint::One(input.zero_point), self.outputs());
        match out {
            CodesMut::Signed(out) => {
                gemm::dense_i8_with(isa, x, zero, &*self.codes, NO_ZERO, output, out, stride)
            }
            CodesMut::Unsigned(out) => {
                gemm::dense_i8_with(isa, x, zero, &*self.codes, NO_ZERO, output, out, stride)
            }
        }
    }
}
