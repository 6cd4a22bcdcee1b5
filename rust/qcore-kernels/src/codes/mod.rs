//! Ops on the codes of quantized tensors, from codes to codes: pools, arithmetic of two, tables, and
//! the fixed-point arithmetic of TensorFlow Lite.
//!
//! Sums are integers; what becomes a code is rounded once, in float32 and in one order, so that codes
//! are the same on every instruction set, thread count and batch. `fixed` rounds as that project
//! does, for graphs that are to give its integers.

mod arithmetic;
mod fixed;
mod fixed_ops;
mod pool;
mod table;

pub use arithmetic::{Arithmetic, Term, TermData, ToCodes, arithmetic_with};
pub use fixed::FixedPoint;
pub use fixed_ops::{FixedConv, FixedSoftmax, FixedSum, fixed_conv_with, fixed_mean};
pub use pool::{MeanCodes, max_codes_with, mean_codes_with};
pub use table::{Table, look_up};
