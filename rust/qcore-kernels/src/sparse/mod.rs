//! Sparse matrices and their products with dense ones.
//!
//! | file | what it does |
//! |---|---|
//! | `csr`, `indices`, `value` | the matrix, checked once, when it is made |
//! | `lanes` | the dense operand, its columns along the lanes of vectors |
//! | `drive`, `out` | threads and blocks; where results go |
//! | `scratch` | room that threads keep from call to call |
//! | `float`, `float_column`, `panels` | float32 and float64; with one column; laid out for many |
//! | `integer` | int8 and uint8, exact in int32 |
//! | `structured/` | N of M neighbours, and blocks |
//!
//! Kernels read the stored values of a row one after the other and add multiples of rows of the dense
//! operand to the sums of many columns at once, which stay in registers. With one column there is
//! nothing to lay along the lanes: that is a loop of its own.

mod csr;
mod drive;
mod float;
mod float_column;
mod indices;
mod integer;
mod lanes;
mod out;
mod panels;
mod scratch;
mod structured;
mod value;

pub use csr::Csr;
pub use float::{Float, FloatCsr, multiply, multiply_with};
pub use indices::Indices;
pub use integer::{IntegerCsr, Sum, multiply_integer, multiply_integer_with};
pub use out::Order;
pub use structured::{
    Blocks, BlocksInteger, FloatBands, LaidOut, NofM, NofMInteger, Structured, StructuredFloat,
};
pub use value::{Int8Value, Value};
