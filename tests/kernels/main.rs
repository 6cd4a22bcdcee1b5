//! One binary for every kernel test: a module for each room, with its oracle in `reference`.

mod checksums;
mod conv_i8;
mod entropy;
mod float;
mod floats;
mod gemm;
mod groups;
mod guard;
mod int4;
mod memory;
mod quant;
mod random;
mod simd;
mod sparse;
mod structured;
