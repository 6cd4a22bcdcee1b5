//! Floats, and codes that become floats in the cache.

use qcore_kernels::epilogue::Activation;
use qcore_kernels::gemm::{self, FloatWeights};
use qcore_kernels::{Isa, Result};

use super::Operand;

/// Floats, or codes that become floats in the cache.
pub struct Dense(pub FloatWeights);

impl Operand for Dense {
    fn inputs(&self) -> usize {
        self.0.inputs()
    }

    fn outputs(&self) -> usize {
        self.0.outputs()
    }

    fn is_integer(&self) -> bool {
        false
    }

    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn nbytes(&self) -> usize {
        self.0.nbytes()
    }

    fn for_rows(&self, _isa: Isa, _rows: usize) -> Result<&dyn Operand> {
        Ok(self)
    }

    fn float(
        &self,
        isa: Isa,
        x: &[f32],
        bias: &[f32],
        activation: Activation,
        out: &mut [f32],
    ) -> Result<()> {
        gemm::dense_f32_with(isa, x, &self.0, bias, activation, out)
    }
}
