//! Int8 products, packed and not, and the float product: operations a second.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use qcore_kernels::Isa;
use qcore_kernels::epilogue::Activation;
use qcore_kernels::gemm::{
    FloatWeights, PackedI4, PackedI8, ZeroPoint, dense_f32_from_i4_with, dense_f32_with, kernel_id,
    matmul_integer_with,
};
use qcore_kernels::view::MatRef;

const SHAPES: [(usize, usize, usize); 4] =
    [(64, 64, 64), (256, 256, 256), (8, 1024, 4096), (1, 1024, 1024)];

pub(crate) fn benches(criterion: &mut Criterion) {
    for (m, k, n) in SHAPES {
        let a: Vec<i8> = (0..m * k).map(|i| (i * 37 % 256) as u8 as i8).collect();
        let b: Vec<i8> = (0..k * n).map(|i| (i * 41 % 256) as u8 as i8).collect();
        let (left, right) = (matrix(&a, m, k), matrix(&b, k, n));
        let mut out = vec![0_i32; m * n];
        let zero = ZeroPoint::One(0);
        let mut group = criterion.benchmark_group("gemm");
        group.throughput(Throughput::Elements(2 * (m * k * n) as u64));
        for isa in Isa::available() {
            let packed = PackedI8::new(isa, right).unwrap();
            let id = BenchmarkId::new(format!("packed/{m}x{k}x{n}"), kernel_id(isa));
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    matmul_integer_with(isa, black_box(left), &packed, zero, zero, &mut out)
                });
            });
            if m <= 8 {
                let id = BenchmarkId::new(format!("transposed/{m}x{k}x{n}"), kernel_id(isa));
                let turned = matrix(&b, n, k).transposed();
                group.bench_function(id, |bencher| {
                    bencher.iter(|| {
                        matmul_integer_with(isa, black_box(left), turned, zero, zero, &mut out)
                    });
                });
            }
            let id = BenchmarkId::new(format!("plain/{m}x{k}x{n}"), kernel_id(isa));
            group.bench_function(id, |bencher| {
                bencher.iter(|| {
                    matmul_integer_with(isa, black_box(left), right, zero, zero, &mut out)
                });
            });
        }
    }
    weights(criterion);
}

/// One row times weights of 4 bits and of floats.
fn weights(criterion: &mut Criterion) {
    let (k, n) = (1024, 1024);
    let codes: Vec<i8> = (0..k * n).map(|i| (i * 7 % 16) as i8 - 8).collect();
    let int4 = PackedI4::new(matrix(&codes, n, k), 64, &vec![0.01; n * k / 64]).unwrap();
    let real: Vec<f32> = codes.iter().map(|&code| f32::from(code)).collect();
    let floats = FloatWeights::from_f32(matrix(&real, n, k)).unwrap();
    let (x, row) = (vec![1.0_f32; k], vec![3_i8; k]);
    let mut out = vec![0.0_f32; n];
    let mut group = criterion.benchmark_group("gemv");
    group.throughput(Throughput::Elements(2 * (k * n) as u64));
    for isa in Isa::available() {
        let linear = Activation::Linear;
        group.bench_function(BenchmarkId::new("int4/1x1024x1024", isa), |bencher| {
            bencher.iter(|| {
                let row = black_box(&row);
                dense_f32_from_i4_with(isa, row, &[1.0], &int4, &[], linear, &mut out)
            });
        });
        group.bench_function(BenchmarkId::new("float32/1x1024x1024", isa), |bencher| {
            bencher.iter(|| dense_f32_with(isa, black_box(&x), &floats, &[], linear, &mut out));
        });
    }
}

fn matrix<T: Copy>(values: &[T], rows: usize, cols: usize) -> MatRef<'_, T> {
    MatRef::from_slice(values, rows, cols).unwrap()
}
