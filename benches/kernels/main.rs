//! Criterion benches of the kernels: `cargo bench`.

mod entropy;
mod gemm;
mod quant;
mod sparse;

use criterion::{criterion_group, criterion_main};

criterion_group!(rooms, entropy::benches, gemm::benches, quant::benches, sparse::benches);
criterion_main!(rooms);
