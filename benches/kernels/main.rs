//! Criterion benches of the kernels: `cargo bench`.

mod gemm;
mod quant;
mod sparse;

use criterion::{criterion_group, criterion_main};

criterion_group!(rooms, gemm::benches, quant::benches, sparse::benches);
criterion_main!(rooms);
