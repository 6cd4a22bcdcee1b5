//! Quantize, dequantize, ranges and what chooses codes: safe entries that validate, then dispatch.
//!
//! Semantics are those of ONNX `QuantizeLinear`, to the bit: divide by the scale, round half to
//! even, add the zero point, saturate. float32 arithmetic for 16- and 32-bit floats, float64 for
//! float64.

mod code;
mod dequantize;
mod element;
mod entropy;
mod fake;
mod floor;
mod groups;
mod histogram;
mod kmeans;
mod layerwise;
mod layout;
mod minifloat;
mod mse;
mod observe;
mod packing;
mod quantize;
mod range;
mod rows;
mod sorted;
mod split;
mod stochastic;

pub use code::Code;
pub use dequantize::{dequantize, dequantize_with};
pub use element::Element;
pub use fake::{fake_quantize, fake_quantize_with};
pub use floor::{floor_dequantize, floor_dequantize_with, floor_quantize, floor_quantize_with};
pub use groups::{Grouped, quantize_groups, quantize_groups_with};
pub use histogram::{Histogram, Spectrum};
pub use kmeans::{assign, kmeans};
pub use layerwise::{Levels, descend, gptq};
pub use layout::{Layout, Params};
pub use minifloat::{Minifloat, quantize_minifloat, quantize_minifloat_with};
pub use observe::{Codes, Method, choose_range, observe};
pub use packing::{pack_bits, unpack_bits};
pub use quantize::{Counts, quantize, quantize_with};
pub use range::{Range, ranges, ranges_with};
pub use rows::{
    fake_quantize_rows, fake_quantize_rows_with, quantize_rows_i8, quantize_rows_i8_from,
    quantize_rows_i8_with,
};
pub use stochastic::stochastic_quantize;
