//! Blocks of int8 codes.

use std::sync::Arc;

use qcore_kernels::epilogue::{FloatOutput, Requantize};
use qcore_kernels::gemm::{Int8, PackedI8};
use qcore_kernels::quant::Code;
use qcore_kernels::sparse::{BlocksInteger, Structured};
use qcore_kernels::view::MatRef;
use qcore_kernels::{Isa, Result, memory};

use super::CodesI8;
use super::sparse::{self, sparse_form};

/// Blocks of int8 codes, one scale for every output.
pub type BlocksI8 = CodesI8<Arc<BlocksInteger<i8>>>;

sparse_form!(BlocksInteger<i8>, "block int8", stored_values);
