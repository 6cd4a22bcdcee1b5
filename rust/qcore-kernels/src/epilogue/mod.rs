//! From int32 sums to a layer's output: scales, bias, activation, or codes of the next layer.
//!
//! Every function here is arithmetic in a fixed order, multiply and add apart, with exp and tanh of
//! our own: given the same sums, outputs are the same to the bit on every instruction set.

mod activation;
mod finish;
mod float;
mod lanes;
mod requantize;
mod sums;
mod term;
mod wide;

pub use activation::Activation;
pub use finish::{finish_rows, finish_rows_with};
pub(crate) use float::float_block;
pub use float::{FloatOutput, float_rows, float_rows_with};
pub(crate) use requantize::{Block as SumBlock, requantize_block};
pub use requantize::{Requantize, Residual, requantize_rows, requantize_rows_with};
pub use sums::Epilogue;
pub use wide::{wide_code_row, wide_float_row};
