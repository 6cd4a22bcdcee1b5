//! Affine codes: a scale and a zero point, rounded to the nearest, down, or at random.

mod dequantize;
mod fake;
mod floor;
mod quantize;
mod rows;
mod stochastic;

pub use dequantize::{dequantize, dequantize_with};
pub use fake::{fake_quantize, fake_quantize_with};
pub use floor::{floor_dequantize, floor_dequantize_with, floor_quantize, floor_quantize_with};
pub use quantize::{Counts, quantize, quantize_with};
pub use rows::{
    fake_quantize_rows, fake_quantize_rows_with, quantize_rows_i8, quantize_rows_i8_from,
    quantize_rows_i8_with,
};
pub use stochastic::stochastic_quantize;
