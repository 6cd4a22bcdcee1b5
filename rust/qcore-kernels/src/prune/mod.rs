//! Which weights to keep: the largest magnitudes of an array, of several, or of each small group.
//!
//! A mask is true where a weight is kept. Ties are pruned from the lower index on, so that exactly as
//! many weights go as were asked for. Nothing is sorted: thresholds are selected in linear time.

#![forbid(unsafe_code)]

mod groups;
mod magnitude;
mod select;

pub use groups::keep_n_of_m;
pub use magnitude::Magnitude;
pub use select::keep_largest;
