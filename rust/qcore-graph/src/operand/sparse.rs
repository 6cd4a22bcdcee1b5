//! Sparse layers: the product, then its epilogue.

use qcore_kernels::epilogue::{
    Activation, FloatOutput, Requantize, finish_rows_with, float_rows_with, requantize_rows_with,
    wide_code_row, wide_float_row,
};
use qcore_kernels::gemm::Int8;
use qcore_kernels::quant::Code;
use qcore_kernels::sparse::{
    BlocksInteger, FloatBands, FloatCsr, IntegerCsr, Order, Structured, Sum, multiply_integer_with,
    multiply_with,
};
use qcore_kernels::view::MatRef;
use qcore_kernels::{Isa, KernelError, Result, memory};

/// Integer weights `[out, in]` that multiply columns.
pub(super) trait Integers {
    fn outputs(&self) -> usize;
    /// Whether int32 holds every sum with such an `x` for certain.
    fn fits_i32(&self, x: Int8<'_>, zero_point: i32) -> bool;
    /// `xᵀ` times the weights, `x` less its zero point, row by row of `x`.
    fn multiply<T: Sum>(&self, isa: Isa, x: Int8<'_>, zero: i32, out: &mut [T]) -> Result<()>;
}

/// Float weights `[out, in]` that multiply columns.
pub(super) trait Floats {
    fn shape(&self) -> (usize, usize);
    /// `xᵀ` times the weights, row by row of `x`.
    fn multiply(&self, isa: Isa, x: MatRef<'_, f32>, out: &mut [f32]) -> Result<()>;
}

impl Integers for IntegerCsr<i8> {
    fn outputs(&self) -> usize {
        self.matrix().rows()
    }

    fn fits_i32(&self, x: Int8<'_>, zero: i32) -> bool {
        if x.is_unsigned() { self.fits_i32::<u8>(zero) } else { self.fits_i32::<i8>(zero) }
    }

    fn multiply<T: Sum>(&self, isa: Isa, x: Int8<'_>, zero: i32, out: &mut [T]) -> Result<()> {
        match x {
            Int8::I8(x) => {
                multiply_integer_with(isa, self, x.transposed(), zero, Order::Columns, out)
            }
            Int8::U8(x) => {
                multiply_integer_with(isa, self, x.transposed(), zero, Order::Columns, out)
            }
        }
    }
}

impl Integers for BlocksInteger<i8> {
    fn outputs(&self) -> usize {
        self.matrix().rows()
    }

    fn fits_i32(&self, x: Int8<'_>, zero: i32) -> bool {
        if x.is_unsigned() { self.fits_i32::<u8>(zero) } else { self.fits_i32::<i8>(zero) }
    }

    fn multiply<T: Sum>(&self, isa: Isa, x: Int8<'_>, zero: i32, out: &mut [T]) -> Result<()> {
        match x {
            Int8::I8(x) => self.multiply_with(isa, x.transposed(), zero, Order::Columns, out),
            Int8::U8(x) => self.multiply_with(isa, x.transposed(), zero, Order::Columns, out),
        }
    }
}

impl Floats for FloatCsr<f32> {
    fn shape(&self) -> (usize, usize) {
        (self.matrix().rows(), self.matrix().cols())
    }

    fn multiply(&self, isa: Isa, x: MatRef<'_, f32>, out: &mut [f32]) -> Result<()> {
        multiply_with(isa, self, x.transposed(), Order::Columns, out)
    }
}

impl Floats for FloatBands {
    fn shape(&self) -> (usize, usize) {
        (self.rows(), self.cols())
    }

    fn multiply(&self, isa: Isa, x: MatRef<'_, f32>, out: &mut [f32]) -> Result<()> {
        FloatBands::multiply(self, isa, x.transposed(), Order::Columns, out)
    }
}

/// The form `Arc<$matrix>` of int8 codes, which stores as many of them as `$stored` says.
macro_rules! sparse_form {
    ($matrix:ty, $kind:literal, $stored:ident) => {
        impl $crate::operand::codes_i8::Form for Arc<$matrix> {
            const KIND: &'static str = $kind;

            fn inputs(&self) -> usize {
                self.matrix().cols()
            }

            fn outputs(&self) -> usize {
                self.matrix().rows()
            }

            fn work(&self) -> usize {
                self.matrix().$stored()
            }

            fn nbytes(&self) -> usize {
                self.matrix().nbytes()
            }

            fn dense(&self, isa: Isa) -> Result<PackedI8> {
                let matrix = self.matrix();
                let (outputs, inputs) = (matrix.rows(), matrix.cols());
                let mut dense = memory::filled(0, memory::size(&[outputs, inputs])?)?;
                matrix.to_dense(&mut dense)?;
                PackedI8::new(isa, MatRef::from_slice(&dense, outputs, inputs)?.transposed())
            }

            fn to_float(
                &self,
                isa: Isa,
                x: Int8<'_>,
                zero_point: i32,
                output: FloatOutput<'_>,
                out: &mut [f32],
            ) -> Result<()> {
                sparse::to_float(isa, &**self, x, zero_point, output, out)
            }

            fn to_codes<C: Code>(
                &self,
                isa: Isa,
                x: Int8<'_>,
                zero_point: i32,
                output: Requantize<'_>,
                out: &mut [C],
            ) -> Result<()> {
                sparse::to_codes(isa, &**self, x, zero_point, output, out)
            }
        }
    };
}
pub(super) use sparse_form;

/// Floats of `x @ wᵀ`, `x` less its zero point.
pub(super) fn to_float(
    isa: Isa,
    w: &impl Integers,
    x: Int8<'_>,
    zero_point: i32,
    output: FloatOutput<'_>,
    out: &mut [f32],
) -> Result<()> {
    let n = w.outputs();
    if w.fits_i32(x, zero_point) {
        return float_rows_with(isa, &sums::<i32>(isa, w, x, zero_point)?, n, output, out);
    }
    output.check(x.rows(), n)?;
    let sums = sums::<i64>(isa, w, x, zero_point)?;
    let rows = sums.chunks_exact(n.max(1)).zip(out.chunks_exact_mut(n.max(1))).enumerate();
    for (index, (sums, out)) in rows {
        wide_float_row(isa, index, sums, &output, out)?;
    }
    Ok(())
}

/// Codes of `x @ wᵀ`, `x` less its zero point.
pub(super) fn to_codes<C: Code>(
    isa: Isa,
    w: &impl Integers,
    x: Int8<'_>,
    zero_point: i32,
    output: Requantize<'_>,
    out: &mut [C],
) -> Result<()> {
    let n = w.outputs();
    if w.fits_i32(x, zero_point) {
        return requantize_rows_with(isa, &sums::<i32>(isa, w, x, zero_point)?, n, output, out);
    }
    output.check::<C>(n)?;
    let sums = sums::<i64>(isa, w, x, zero_point)?;
    for (sums, out) in sums.chunks_exact(n.max(1)).zip(out.chunks_exact_mut(n.max(1))) {
        wide_code_row(sums, &output, None, out);
    }
    Ok(())
}

/// Rows of sums.
fn sums<T: Sum>(isa: Isa, w: &impl Integers, x: Int8<'_>, zero_point: i32) -> Result<Vec<T>> {
    let mut sums = memory::filled(T::default(), memory::size(&[x.rows(), w.outputs()])?)?;
    w.multiply(isa, x, zero_point, &mut sums)?;
    Ok(sums)
}

/// `activation(x @ wᵀ + bias)`.
pub(super) fn float(
    isa: Isa,
    w: &impl Floats,
    x: &[f32],
    bias: &[f32],
    activation: Activation,
    out: &mut [f32],
) -> Result<()> {
    let (outputs, inputs) = w.shape();
    let rows = out.len().checked_div(outputs).unwrap_or(0);
    if inputs == 0 || x.len() != rows * inputs {
        return Err(KernelError::Shape(format!(
            "x has {} elements; it must be rows of {inputs}",
            x.len()
        )));
    }
    w.multiply(isa, MatRef::from_slice(x, rows, inputs)?, out)?;
    finish_rows_with(isa, out, outputs, bias, activation)
}
