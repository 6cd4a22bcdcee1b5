//! One value from one, two or three: unary functions, arithmetic with broadcasting.
//!
//! Multiplications and additions stay apart: results are the same to the bit on every instruction
//! set. Work is split among the threads by outputs.

mod binary;
mod broadcast;
mod unary;

pub use binary::{Binary, Operand, binary_f32, binary_f32_with, binary_strided_f32_with};
pub use broadcast::{Broadcast, MAX_RANK, Run, broadcast_shape, map_pairs, map_triples};
pub(crate) use unary::map_row;
pub use unary::{Unary, unary, unary_in_place, unary_in_place_with, unary_with};
