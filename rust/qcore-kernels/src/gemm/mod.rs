//! Dense products: exact int8, and float32 with weights of any kind.
//!
//! | file | what it does |
//! |---|---|
//! | `packed/` | B laid out once, as the instruction set wants it; without what it does not store |
//! | `left/` | rows of A, packed as they are used; as halves of four bits, for one row on AVX2 |
//! | `limits` | from where on what pays, by instruction set |
//! | `microkernel`, `registry`, `micro/` | the inner loops and their table |
//! | `peak` | the rates of the dot instruction alone, and of reading alone |
//! | `drive`, `sink` | threads, blocks and tiles; where results go |
//! | `integer`, `wide` | `matmul_integer`, and sums beyond int32 |
//! | `few/` | few rows times a B that is not packed |
//! | `dense_i8` | dense layers on int8, with their epilogue |
//! | `int4/` | 4-bit weights with group scales, on int8 activations |
//! | `float/` | the float32 product, with weights of any kind |
//!
//! The product is always unsigned or 16-bit A times signed B; other signs and all zero points are
//! corrected by `sum((a - za)(b - zb)) = ab - za * sum(b) - zb * sum(a) + k * za * zb`, which holds
//! in wrapping int32 because the true result fits.

mod dense_i8;
mod drive;
mod few;
mod float;
mod int4;
mod integer;
mod left;
mod limits;
mod micro;
mod microkernel;
mod operand;
mod packed;
mod peak;
mod registry;
mod row;
mod sink;
mod wide;

pub(crate) use dense_i8::{codes_of, floats_of};
pub use dense_i8::{dense_f32_from_i8_with, dense_i8_with};
pub use float::{
    BatchedShape, CodeSteps, Codebook, FloatWeights, Matrices, Results, dense_f32, dense_f32_with,
    matmul_f32, matmul_f32_with, product_f32, product_f32_with,
};
pub(crate) use float::{Columns, Inputs, Left, PANEL, Product, Segment, Segments};
pub use int4::{PackedI4, dense_f32_from_i4_with};
pub use integer::{
    Integer, Right, matmul_integer, matmul_integer_uninit_with, matmul_integer_with,
};
pub(crate) use left::{Form, LeftOperand, PackedRows, Patches};
pub use limits::{Limits, limits_of};
#[cfg(target_arch = "x86_64")]
pub(crate) use micro::segment_codes::{Added, CodesTile, CodesTiles, codes_tiles};
pub(crate) use micro::segments::{SegmentKernel, SegmentTile, segment_kernel};
pub(crate) use microkernel::{Layout, Left as LeftKind};
pub use operand::{Int8, ZeroPoint};
pub use packed::PackedI8;
pub use packed::masked::MaskedI8;
pub use peak::{move_all, peak_rate, read_all};
pub use registry::kernel_id;
pub use row::add_row_times_with;
