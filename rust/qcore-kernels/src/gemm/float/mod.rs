//! The float32 product with weights of any kind: floats, codes with steps, codebooks.
//!
//! Weights `[out, in]` lie in panels of 16 outputs. What is not float is decoded panel by panel into
//! a buffer that stays in the cache: the float matrix never exists. Each result is one sum over the
//! inputs in their order, so neither blocks, nor batches, nor threads change a bit of it.

mod decode;
mod drive;
mod panels;
mod tile;
mod weights;

pub use drive::{dense_f32, dense_f32_with};
pub use weights::{CodeSteps, Codebook, FloatWeights};
