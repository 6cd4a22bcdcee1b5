//! Quantize, dequantize and ranges: safe entries that validate, then dispatch.
