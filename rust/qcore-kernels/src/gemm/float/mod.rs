//! The float32 product with weights of any kind: floats, codes with steps, codebooks; and of matrices.
//!
//! Weights `[out, in]` lie in panels of 16 outputs. What is not float is decoded panel by panel into
//! a buffer that stays in the cache: the float matrix never exists.
//!
//! Each result has one order of sums: the inputs in panels of 256; within a panel one chain of fused
//! multiply-adds, in the order of the inputs; the panels added in their order. Lanes run across
//! outputs. So neither instruction set, nor blocks, batches or threads change a bit of it.

mod batched;
mod decode;
mod dense;
mod drive;
#[cfg(target_arch = "aarch64")]
mod in_order;
mod left;
mod panels;
mod right;
mod tile;
mod weights;

pub use batched::{BatchedShape, Matrices, Results, matmul_f32, matmul_f32_with};
pub use dense::{dense_f32, dense_f32_with, product_f32, product_f32_with};
pub(crate) use drive::Product;
pub(crate) use left::{Inputs, Left, Segments};
pub(crate) use panels::PANEL;
pub(crate) use right::Columns;
pub(crate) use tile::Segment;
pub use weights::{CodeSteps, Codebook, FloatWeights};
