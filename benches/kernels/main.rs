//! Criterion benches of the kernels: `cargo bench`.

mod quant;

use criterion::{criterion_group, criterion_main};

criterion_group!(rooms, quant::benches);
criterion_main!(rooms);
