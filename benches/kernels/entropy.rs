//! Decoding a matrix of codes: bytes of float32 output a second.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use qcore_kernels::entropy::{MatrixShape, decode_matrix, encode_matrix};

const SIDE: usize = 1024;
const LEVELS: usize = 9;
const ZERO: u8 = 4;

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("entropy");
    group.throughput(Throughput::Bytes((4 * SIDE * SIDE) as u64));
    for stride in [0, 32] {
        let shape = MatrixShape { rows: SIDE, columns: SIDE, levels: LEVELS, zero: ZERO, stride };
        for percent in [2, 5, 10, 20, 50] {
            let codes = codes(percent);
            let bytes = encode_matrix(&codes, shape).expect("the codes fit the shape");
            let mut out = vec![0; codes.len()];
            let name = BenchmarkId::new(format!("stride {stride}"), format!("{percent} %"));
            group.bench_function(name, |bencher| {
                bencher.iter(|| decode_matrix(black_box(&bytes), shape, &mut out));
            });
            assert_eq!(out, codes);
        }
    }
    group.finish();
}

/// Codes of which so many per cent are not the usual one, anywhere.
fn codes(percent: u32) -> Vec<u8> {
    let mut state = 12345_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    (0..SIDE * SIDE)
        .map(|_| if next() % 100 < percent { (next() % LEVELS as u32) as u8 } else { ZERO })
        .collect()
}
