//! Criterion benches of the kernels: `cargo bench -p qcore-benches`.

#![allow(clippy::disallowed_methods, reason = "benches take what they need")]

mod conv;
mod entropy;
mod floats;
mod gemm;
mod quant;
mod sparse;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    rooms,
    conv::benches,
    entropy::benches,
    floats::benches,
    gemm::benches,
    quant::benches,
    sparse::benches
);
criterion_main!(rooms);
