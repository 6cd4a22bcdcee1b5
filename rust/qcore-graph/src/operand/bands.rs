//! Floats in a pattern.

use std::sync::Arc;

use qcore_kernels::epilogue::Activation;
use qcore_kernels::gemm::FloatWeights;
use qcore_kernels::sparse::FloatBands;
use qcore_kernels::view::MatRef;
use qcore_kernels::{Isa, Result};

use super::{Dense, Operand, sparse};

/// Floats in a pattern.
pub struct BandsF32(pub Arc<FloatBands>);

impl Operand for BandsF32 {
    fn inputs(&self) -> usize {
        self.0.cols()
    }

    fn outputs(&self) -> usize {
        self.0.rows()
    }

    fn work(&self) -> usize {
        self.0.stored()
    }

    fn is_integer(&self) -> bool {
        false
    }

    fn kind(&self) -> &'static str {
        "structured float32"
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
        let dense = self.0.to_dense()?;
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
