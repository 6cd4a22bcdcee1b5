//! Int8 codes that the products of dense matrices read: all of them, or N of each M inputs.

use std::sync::Arc;

use qcore_kernels::epilogue::{FloatOutput, Requantize};
use qcore_kernels::gemm::{self, Int8, MaskedI8, PackedI8, ZeroPoint};
use qcore_kernels::quant::Code;
use qcore_kernels::{Isa, Result};

use super::codes_i8::Form;
use super::{CodesI8, NO_ZERO};

/// Int8 codes, one scale for every output.
pub type DenseI8 = CodesI8<PackedI8>;

/// N int8 codes of each M inputs, one scale for every output.
pub type NofMI8 = CodesI8<Arc<MaskedI8>>;

/// The form `$form` of codes, which the products take by `$by` of it.
macro_rules! dense_form {
    ($form:ty, $kind:literal, |$codes:ident| $by:expr $(, $dense:item)?) => {
        impl Form for $form {
            const KIND: &'static str = $kind;

            fn inputs(&self) -> usize {
                self.k()
            }

            fn outputs(&self) -> usize {
                self.n()
            }

            fn nbytes(&self) -> usize {
                let $codes = self;
                $by.nbytes()
            }

            $($dense)?

            fn to_float(
                &self,
                isa: Isa,
                x: Int8<'_>,
                zero_point: i32,
                output: FloatOutput<'_>,
                out: &mut [f32],
            ) -> Result<()> {
                let ($codes, zero, stride) = (self, ZeroPoint::One(zero_point), self.n());
                gemm::dense_f32_from_i8_with(isa, x, zero, $by, NO_ZERO, output, out, stride)
            }

            fn to_codes<C: Code>(
                &self,
                isa: Isa,
                x: Int8<'_>,
                zero_point: i32,
                output: Requantize<'_>,
                out: &mut [C],
            ) -> Result<()> {
                let ($codes, zero, stride) = (self, ZeroPoint::One(zero_point), self.n());
                gemm::dense_i8_with(isa, x, zero, $by, NO_ZERO, output, out, stride)
            }
        }
    };
}

dense_form!(PackedI8, "dense int8", |codes| codes);
dense_form!(
    Arc<MaskedI8>,
    "N:M int8",
    |codes| &**codes,
    fn dense(&self, isa: Isa) -> Result<PackedI8> {
        self.unpacked(isa)
    }
);
