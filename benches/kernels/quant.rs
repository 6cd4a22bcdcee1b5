//! Quantize, dequantize and ranges: bytes read and written a second.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use qcore_kernels::Isa;
use qcore_kernels::quant::{Layout, Params, dequantize_with, quantize_with, ranges_with};

/// One size for each level of the memory.
const SIZES: [usize; 3] = [1 << 12, 1 << 18, 1 << 24];

pub(crate) fn benches(criterion: &mut Criterion) {
    for len in SIZES {
        let x: Vec<f32> = (0..len).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
        let params =
            Params { layout: Layout::Tensor, scale: &[0.03], zero_point: &[], min: -128, max: 127 };
        let (mut codes, mut real) = (vec![0_i8; len], vec![0.0_f32; len]);
        let mut group = criterion.benchmark_group("quant");
        for isa in Isa::available() {
            group.throughput(Throughput::Bytes(5 * len as u64));
            group.bench_function(BenchmarkId::new(format!("quantize/{len}"), isa), |bencher| {
                bencher.iter(|| quantize_with(isa, black_box(&x), params, &mut codes));
            });
            group.bench_function(BenchmarkId::new(format!("dequantize/{len}"), isa), |bencher| {
                bencher.iter(|| dequantize_with(isa, black_box(&codes), params, &mut real));
            });
            group.throughput(Throughput::Bytes(4 * len as u64));
            group.bench_function(BenchmarkId::new(format!("ranges/{len}"), isa), |bencher| {
                bencher.iter(|| ranges_with(isa, black_box(&x), Layout::Tensor));
            });
        }
        group.throughput(Throughput::Bytes(5 * len as u64));
        group.bench_function(format!("quantize/{len}/naive"), |bencher| {
            bencher.iter(|| {
                for (x, code) in black_box(&x).iter().zip(&mut codes) {
                    *code = (x / 0.03).round_ties_even().clamp(-128.0, 127.0) as i8;
                }
            });
        });
    }
}
