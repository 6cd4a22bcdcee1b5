//! Rows made comparable: softmax, layer and root-mean-square normalization.

mod layer;
mod softmax;

pub use layer::{Norm, layer_norm, layer_norm_in_place_with, layer_norm_with};
pub(crate) use softmax::softmax_row;
pub use softmax::{softmax, softmax_with};
