//! Quantize, dequantize, ranges and what chooses codes: safe entries that validate, then dispatch.
//!
//! Semantics are those of ONNX `QuantizeLinear`, to the bit: divide by the scale, round half to
//! even, add the zero point, saturate. float32 arithmetic for 16- and 32-bit floats, float64 for
//! float64.

mod affine;
mod code;
mod element;
mod groups;
mod kmeans;
mod layerwise;
mod layout;
mod minifloat;
mod packing;
mod ranges;
mod split;

pub use affine::{
    Counts, dequantize, dequantize_with, fake_quantize, fake_quantize_rows,
    fake_quantize_rows_with, fake_quantize_with, floor_dequantize, floor_dequantize_with,
    floor_quantize, floor_quantize_with, quantize, quantize_rows_i8, quantize_rows_i8_from,
    quantize_rows_i8_with, quantize_with, stochastic_quantize,
};
pub use code::Code;
pub use element::Element;
pub use groups::{Grouped, quantize_groups, quantize_groups_with};
pub use kmeans::{assign, kmeans};
pub use layerwise::{Levels, descend, gptq};
pub use layout::{Layout, Params};
pub use minifloat::{Minifloat, quantize_minifloat, quantize_minifloat_with};
pub use packing::{pack_bits, unpack_bits};
pub use ranges::{
    Codes, Histogram, Method, Range, Spectrum, choose_range, observe, ranges, ranges_with,
};
