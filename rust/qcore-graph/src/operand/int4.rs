//! Codes of 4 bits with a scale for every group of inputs.

use qcore_kernels::epilogue::FloatOutput;
use qcore_kernels::gemm::{self, PackedI4};
use qcore_kernels::view::as_signed;
use qcore_kernels::{Isa, Result};

use super::{Affine, Operand};

/// Codes of 4 bits, a scale for every group of inputs; for inputs that are quantized row by row.
pub struct DenseI4(pub PackedI4);

impl Operand for DenseI4 {
    fn inputs(&self) -> usize {
        self.0.inputs()
    }

    fn outputs(&self) -> usize {
        self.0.outputs()
    }

    fn is_integer(&self) -> bool {
        true
    }

    fn kind(&self) -> &'static str {
        "dense int4"
    }

    fn nbytes(&self) -> usize {
        self.0.nbytes()
    }

    fn for_rows(&self, _isa: Isa, _rows: usize) -> Result<&dyn Operand> {
        Ok(self)
    }

    fn to_float(
        &self,
        isa: Isa,
        codes: &[u8],
        _input: Affine,
        _rows: usize,
        output: FloatOutput<'_>,
        out: &mut [f32],
    ) -> Result<()> {
        let FloatOutput { row_scale, bias, activation, .. } = output;
        let codes = as_signed(codes);
        gemm::dense_f32_from_i4_with(isa, codes, row_scale, &self.0, bias, activation, out)
    }
}
