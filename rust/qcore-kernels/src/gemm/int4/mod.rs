//! Weights of 4 bits with a scale for each group, times int8 activations, at the speed of memory.
//!
//! A line of 64 bytes holds 8 inputs of 16 outputs: for each output 4 bytes, whose low nibbles are the
//! first 4 inputs and whose high nibbles the next. Nibbles are `code + 8`, so they are the unsigned
//! operand of the dot product; the 8 is taken away by the sum of the group's activations. Sums of a
//! group are exact integers; groups are added as floats, in their order, multiply and add apart, so
//! results are the same to the bit on every instruction set.

mod drive;
mod micro;
mod packed;

pub use drive::dense_f32_from_i4_with;
pub use packed::PackedI4;
