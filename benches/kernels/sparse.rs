//! Products of a sparse matrix: multiplications of stored values a second, beside the plain loop.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use qcore_kernels::Isa;
use qcore_kernels::sparse::{
    Blocks, BlocksInteger, Csr, FloatCsr, IntegerCsr, NofM, NofMInteger, Order, StructuredFloat,
    multiply_integer_with, multiply_with,
};
use qcore_kernels::view::MatRef;

const SIZE: usize = 1024;

/// One value in so many is stored.
const EVERY: usize = 10;

pub(crate) fn benches(criterion: &mut Criterion) {
    let stored = |at: usize| at.wrapping_mul(2_654_435_761) >> 7 & 0xffff < 0x1_0000 / EVERY;
    let real = |at: usize| if stored(at) { (at as f32 * 0.37).sin() } else { 0.0 };
    let code = |at: usize| if stored(at) { (at % 127) as i8 + 1 } else { 0 };
    let w: Vec<f32> = (0..SIZE * SIZE).map(real).collect();
    let q: Vec<i8> = (0..SIZE * SIZE).map(code).collect();
    let csr = Csr::from_dense(MatRef::from_slice(&w, SIZE, SIZE).expect("it is square")).unwrap();
    let codes = Csr::from_dense(MatRef::from_slice(&q, SIZE, SIZE).expect("it is square")).unwrap();
    let (floats, integers) = (FloatCsr::new(csr), IntegerCsr::new(codes).unwrap());
    let mut group = criterion.benchmark_group("sparse");
    for n in [1, 8, 64] {
        let x: Vec<f32> = (0..SIZE * n).map(|at| (at as f32 * 0.11).cos()).collect();
        let bytes: Vec<u8> = (0..SIZE * n).map(|at| (at * 31) as u8).collect();
        let x_rows = MatRef::from_slice(&x, SIZE, n).expect("it has the elements");
        let byte_rows = MatRef::from_slice(&bytes, SIZE, n).expect("it has the elements");
        let (mut y, mut sums) = (vec![0.0_f32; SIZE * n], vec![0_i32; SIZE * n]);
        group.throughput(Throughput::Elements((floats.matrix().nnz() * n) as u64));
        for isa in Isa::available() {
            group.bench_function(BenchmarkId::new(format!("float32/{n}"), isa), |bencher| {
                bencher
                    .iter(|| multiply_with(isa, &floats, black_box(x_rows), Order::Rows, &mut y));
            });
            group.bench_function(BenchmarkId::new(format!("int8/{n}"), isa), |bencher| {
                let x = black_box(byte_rows);
                bencher
                    .iter(|| multiply_integer_with(isa, &integers, x, 0, Order::Rows, &mut sums));
            });
        }
        group.bench_function(format!("float32/{n}/naive"), |bencher| {
            bencher.iter(|| naive(floats.matrix(), black_box(&x), n, &mut y));
        });
    }
    group.finish();
    structured(criterion);
}

/// Half of the values stored, 2 of 4 or in blocks of 4 rows.
fn structured(criterion: &mut Criterion) {
    let n_of_m = |at: usize| at % 4 == at / 4 % 4 || at % 4 == (at / 4 + 1) % 4;
    let blocks = |at: usize| (at / SIZE / 4 * 31 + at % SIZE * 17) % 7 < 3;
    let code = |at: usize, stored: bool| if stored { (at % 127) as i8 + 1 } else { 0 };
    let codes: Vec<i8> = (0..SIZE * SIZE).map(|at| code(at, n_of_m(at))).collect();
    let block_codes: Vec<i8> = (0..SIZE * SIZE).map(|at| code(at, blocks(at))).collect();
    let floats = |codes: &[i8]| codes.iter().map(|&code| f32::from(code)).collect::<Vec<_>>();
    let (w, block_w) = (floats(&codes), floats(&block_codes));
    let view = |w| MatRef::from_slice(w, SIZE, SIZE).expect("it is square");
    let byte_view = |w| MatRef::from_slice(w, SIZE, SIZE).expect("it is square");
    let pattern = StructuredFloat::new(NofM::from_dense(view(&w), 2, 4).expect("2 of 4"));
    let block = StructuredFloat::new(Blocks::from_dense(view(&block_w), 4, 1).expect("blocks"));
    let pattern_codes =
        NofMInteger::new(NofM::from_dense(byte_view(&codes), 2, 4).expect("2 of 4"));
    let block_codes =
        BlocksInteger::new(Blocks::from_dense(byte_view(&block_codes), 4, 1).expect("blocks"));
    let mut group = criterion.benchmark_group("structured");
    for n in [1, 8, 64] {
        let x: Vec<f32> = (0..SIZE * n).map(|at| (at as f32 * 0.11).cos()).collect();
        let bytes: Vec<u8> = (0..SIZE * n).map(|at| (at * 31) as u8).collect();
        let x = MatRef::from_slice(&x, SIZE, n).expect("it has the elements");
        let bytes = MatRef::from_slice(&bytes, SIZE, n).expect("it has the elements");
        let (mut y, mut sums) = (vec![0.0_f32; SIZE * n], vec![0_i32; SIZE * n]);
        group.throughput(Throughput::Elements((SIZE * SIZE / 2 * n) as u64));
        for isa in Isa::available() {
            group.bench_function(BenchmarkId::new(format!("2:4 float32/{n}"), isa), |bencher| {
                bencher.iter(|| pattern.multiply_with(isa, black_box(x), false, &mut y));
            });
            group.bench_function(BenchmarkId::new(format!("4x1 float32/{n}"), isa), |bencher| {
                bencher.iter(|| block.multiply_with(isa, black_box(x), false, &mut y));
            });
            group.bench_function(BenchmarkId::new(format!("2:4 int8/{n}"), isa), |bencher| {
                let x = black_box(bytes);
                bencher.iter(|| pattern_codes.multiply_with(isa, x, 0, false, &mut sums));
            });
            group.bench_function(BenchmarkId::new(format!("4x1 int8/{n}"), isa), |bencher| {
                let x = black_box(bytes);
                bencher.iter(|| block_codes.multiply_with(isa, x, 0, Order::Rows, &mut sums));
            });
        }
    }
    group.finish();
}

fn naive(a: &Csr<f32>, x: &[f32], n: usize, y: &mut [f32]) {
    y.fill(0.0);
    for (row, y) in y.chunks_exact_mut(n).enumerate() {
        for at in a.indptr()[row]..a.indptr()[row + 1] {
            let x = &x[a.indices().get(at) * n..][..n];
            for (y, x) in y.iter_mut().zip(x) {
                *y += a.values()[at] * x;
            }
        }
    }
}
