//! Sums, means and extremes, each in one order of its own.
//!
//! Along a row, element `i` goes to the `i % 16`th of sixteen partial results, and those are joined in
//! their order; every 4096 elements a new sixteen is begun, and the parts are joined in order. Across
//! rows (where the last axis is kept), each output is joined row by row, in panels of 256 rows. So
//! results depend on neither lanes, threads nor batch.

mod axes;
mod row;

pub use axes::{Reduction, reduce_f32, reduce_f32_with};
pub(crate) use row::{CenteredSquare, Largest, Plain, Square, Sum, reduce_row, reduce_rows};
