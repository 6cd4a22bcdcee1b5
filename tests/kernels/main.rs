//! One binary for every kernel test: a module for each room, with its oracle in `reference`.

#![allow(clippy::disallowed_methods, reason = "tests take what they need")]

mod checksums;
mod codes;
mod conv_i8;
mod entropy;
mod epilogues;
mod float;
mod floats;
mod gemm;
mod groups;
mod guard;
mod halves;
mod int4;
mod memory;
mod prune;
mod quant;
mod quant_forms;
mod random;
mod row_times;
mod simd;
mod sparse;
mod structured;
mod structured_forms;
mod train;
