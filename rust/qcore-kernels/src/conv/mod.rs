//! Windows over images: convolutions and pooling, channels last.
//!
//! Images are `[batch, height, width, channels]`; a signal of one dimension has height 1. Sums have
//! the order of [`crate::gemm`]'s float products: an input of a convolution is (row, column, channel)
//! of the window, in this order.

mod depthwise;
mod float;
mod int8;
mod padded;
mod pool;
mod window;

pub use float::ConvF32;
pub use int8::{CodeImages, ConvI8};
pub(crate) use pool::taps;
pub use pool::{Pool, pool_f32, pool_f32_with};
pub use window::Window;
