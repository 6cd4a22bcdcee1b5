//! The quantized types of ggml (llama.cpp's GGUF files): blocks of a row, to floats and from them.
//!
//! | file | what lives there |
//! |---|---|
//! | `block` | what a type is, and the decoding of many blocks |
//! | `types` | the table of types |
//! | `plain` | codes of 1, 4, 5 and 8 bits, a scale for each block |
//! | `k` | K-quants: blocks of 256 whose sub-blocks have scales of few bits |
//! | `ternary` | codes of three values |
//! | `levels` | codes that number sixteen levels: IQ4, MXFP4, NVFP4 |
//! | `encode` | floats to blocks |
//! | `grid`, `tables`, `table_iq1` | IQ1, IQ2, IQ3: codes that number points of a lattice, and the lattices |
//!
//! Every value is that of ggml's reference decoder, bit for bit: products and sums in its order, in
//! float32, never fused. Blocks are decoded by plain loops of fixed length, which the compiler turns
//! into vectors for each instruction set.

#![forbid(unsafe_code)]

mod block;
mod encode;
mod grid;
mod k;
mod levels;
mod plain;
mod table_iq1;
mod tables;
mod ternary;
mod types;

#[cfg(test)]
mod tests;

pub use block::{BlockType, decode, decode_with};
pub use encode::{encode, encode_with};
pub use types::{TYPES, by_name};
