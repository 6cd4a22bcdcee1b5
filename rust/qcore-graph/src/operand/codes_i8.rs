//! Int8 codes with one scale for every output: what all forms of them have in common.

use qcore_kernels::epilogue::{FloatOutput, Requantize};
use qcore_kernels::gemm::{Int8, PackedI8};
use qcore_kernels::quant::Code;
use qcore_kernels::{Isa, KernelError, Result, memory};

use super::{Affine, CodesMut, Operand};

/// Int8 codes, one scale for every output.
pub struct CodesI8<F> {
    /// The codes, laid out.
    pub codes: F,
    /// One for every output.
    pub scale: Vec<f32>,
}

/// How codes `[out, in]` are laid out, and the product that reads them.
pub trait Form: Send + Sync {
    /// For people to see.
    const KIND: &'static str;

    /// How many values a row of the input has.
    fn inputs(&self) -> usize;

    /// How many values a row of the output has.
    fn outputs(&self) -> usize;

    /// Multiplications for each row.
    fn work(&self) -> usize {
        self.inputs().saturating_mul(self.outputs())
    }

    /// Bytes in memory.
    fn nbytes(&self) -> usize;

    /// All the codes, laid out for the product of dense ones.
    fn dense(&self, _isa: Isa) -> Result<PackedI8> {
        Err(KernelError::Value("weights by rows are sparse ones".to_owned()))
    }

    /// Floats of `x @ wᵀ`, `x` less its zero point.
    fn to_float(
        &self,
        isa: Isa,
        x: Int8<'_>,
        zero_point: i32,
        output: FloatOutput<'_>,
        out: &mut [f32],
    ) -> Result<()>;

    /// Codes of `x @ wᵀ`, `x` less its zero point.
    fn to_codes<C: Code>(
        &self,
        isa: Isa,
        x: Int8<'_>,
        zero_point: i32,
        output: Requantize<'_>,
        out: &mut [C],
    ) -> Result<()>;
}

impl<F: Form> Operand for CodesI8<F> {
    fn inputs(&self) -> usize {
        self.codes.inputs()
    }

    fn outputs(&self) -> usize {
        self.codes.outputs()
    }

    fn work(&self) -> usize {
        self.codes.work()
    }

    fn scale(&self) -> &[f32] {
        &self.scale
    }

    fn is_integer(&self) -> bool {
        true
    }

    fn kind(&self) -> &'static str {
        F::KIND
    }

    fn nbytes(&self) -> usize {
        self.codes.nbytes() + size_of_val(&self.scale[..])
    }

    fn for_rows(&self, _isa: Isa, _rows: usize) -> Result<&dyn Operand> {
        Ok(self)
    }

    fn dense(&self, isa: Isa) -> Result<Box<dyn Operand>> {
        let codes = self.codes.dense(isa)?;
        Ok(Box::new(CodesI8 { codes, scale: memory::copied(&self.scale)? }))
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
        self.codes.to_float(isa, x, input.zero_point, output, out)
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
        let (x, zero) = (input.matrix(codes, rows, self.inputs())?, input.zero_point);
        match out {
            CodesMut::Signed(out) => self.codes.to_codes(isa, x, zero, output, out),
            CodesMut::Unsigned(out) => self.codes.to_codes(isa, x, zero, output, out),
        }
    }
}
