//! Criterion benches of the kernels: `cargo bench`.

use criterion::{Criterion, criterion_group, criterion_main};

fn rooms(_criterion: &mut Criterion) {}

criterion_group!(benches, rooms);
criterion_main!(benches);
