//! The float kernels of graphs: convolutions, norms, elementwise functions and reductions.

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use qcore_kernels::Isa;
use qcore_kernels::conv::{ConvF32, Pool, Window, pool_f32_with};
use qcore_kernels::elementwise::{Binary, Unary, binary_f32_with, unary_with};
use qcore_kernels::epilogue::{Activation, Epilogue};
use qcore_kernels::norm::{Norm, layer_norm_with, softmax_with};
use qcore_kernels::reduce::{Reduction, reduce_f32_with};

/// Instruction sets that have a hardware multiply-add: emulating it is not a matter of speed.
fn fast() -> impl Iterator<Item = Isa> {
    Isa::available().filter(|isa| !matches!(isa, Isa::Scalar | Isa::Sse2))
}

fn wave(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * 0.37).sin() * 3.0).collect()
}

pub(crate) fn benches(criterion: &mut Criterion) {
    convolutions(&mut criterion.benchmark_group("conv"));
    elementwise(&mut criterion.benchmark_group("elementwise"));
    rows(&mut criterion.benchmark_group("rows"));
}

/// (name, side, channels in, channels out, kernel, stride, groups) of layers that networks have.
const LAYERS: [(&str, usize, usize, usize, usize, usize, usize); 7] = [
    ("first 3x3 of 3", 112, 3, 32, 3, 2, 1),
    ("3x3 of 64", 56, 64, 64, 3, 1, 1),
    ("3x3 of 256", 14, 256, 256, 3, 1, 1),
    ("1x1 of 96", 56, 96, 24, 1, 1, 1),
    ("1x1 of 960", 7, 960, 160, 1, 1, 1),
    ("depthwise of 32", 112, 32, 32, 3, 1, 32),
    ("depthwise of 144", 56, 144, 144, 3, 1, 144),
];

fn convolutions(group: &mut BenchmarkGroup<'_, WallTime>) {
    for (name, side, inputs, outputs, kernel, stride, groups) in LAYERS {
        let mut window = Window::new([kernel; 2]);
        window.stride = [stride; 2];
        window.padding = [[kernel / 2; 2]; 2];
        let each = inputs / groups;
        let weights = wave(outputs * each * kernel * kernel);
        let conv = ConvF32::new(&weights, [outputs, each, kernel, kernel], window, groups).unwrap();
        let image = [1, side, side, inputs];
        let x = wave(side * side * inputs);
        let shape = conv.output_shape(image).unwrap();
        let mut out = vec![0.0; shape.iter().product()];
        let bias = wave(outputs);
        let epilogue = Epilogue { bias: &bias, residual: &[], activation: Activation::RELU };
        group.throughput(Throughput::Elements((out.len() * each * kernel * kernel) as u64));
        for isa in fast() {
            group.bench_function(BenchmarkId::new(name, isa), |bencher| {
                bencher.iter(|| conv.run_with(isa, black_box(&x), image, epilogue, &mut out));
            });
        }
    }
    let (window, image) = (Window::new([3; 2]), [1, 56, 56, 64]);
    let x = wave(56 * 56 * 64);
    let places = window.places([56, 56]).unwrap();
    let mut out = vec![0.0; places[0] * places[1] * 64];
    group.throughput(Throughput::Bytes(4 * x.len() as u64));
    for isa in fast() {
        group.bench_function(BenchmarkId::new("max pool 3x3 of 64", isa), |bencher| {
            bencher.iter(|| {
                pool_f32_with(isa, Pool::Max, &window, black_box(&x), image, places, &mut out)
            });
        });
    }
}

fn elementwise(group: &mut BenchmarkGroup<'_, WallTime>) {
    const LEN: usize = 1 << 16;
    let (x, y) = (wave(LEN), wave(LEN));
    let mut out = vec![0.0; LEN];
    group.throughput(Throughput::Elements(LEN as u64));
    for isa in fast() {
        for (name, function) in [
            ("relu", Unary::Relu),
            ("exp", Unary::Exp),
            ("tanh", Unary::Tanh),
            ("erf", Unary::Erf),
            ("sigmoid", Unary::Sigmoid),
            ("gelu", Unary::Gelu),
            ("hard_swish", Unary::HardSwish),
        ] {
            group.bench_function(BenchmarkId::new(name, isa), |bencher| {
                bencher.iter(|| unary_with(isa, function, black_box(&x), &mut out));
            });
        }
        for (name, shape) in [("add", [256, 256]), ("add a row", [1, 256])] {
            let other = &y[..shape[0] * shape[1]];
            group.bench_function(BenchmarkId::new(name, isa), |bencher| {
                bencher.iter(|| {
                    let (a, b) = ((black_box(&x[..]), &[256, 256][..]), (other, &shape[..]));
                    binary_f32_with(isa, Binary::Add, a, b, (&mut out, &[256, 256]))
                });
            });
        }
    }
}

fn rows(group: &mut BenchmarkGroup<'_, WallTime>) {
    for n in [10, 64, 384, 1536] {
        let rows = (1 << 16) / n;
        let x = wave(rows * n);
        let mut out = vec![0.0; x.len()];
        let (scale, bias) = (wave(n), wave(n));
        let norm = Norm { centered: true, epsilon: 1e-5, scale: &scale, bias: &bias };
        group.throughput(Throughput::Elements(x.len() as u64));
        for isa in fast() {
            group.bench_function(BenchmarkId::new(format!("layer norm/{n}"), isa), |bencher| {
                bencher.iter(|| layer_norm_with(isa, norm, black_box(&x), n, &mut out));
            });
            group.bench_function(BenchmarkId::new(format!("softmax/{n}"), isa), |bencher| {
                bencher.iter(|| {
                    out.copy_from_slice(black_box(&x));
                    softmax_with(isa, &mut out, n)
                });
            });
            for (name, axis, len) in [("mean of rows", 1, rows), ("mean of columns", 0, n)] {
                group.bench_function(BenchmarkId::new(format!("{name}/{n}"), isa), |bencher| {
                    bencher.iter(|| {
                        let (shape, out) = (&[rows, n], &mut out[..len]);
                        reduce_f32_with(isa, Reduction::Mean, black_box(&x), shape, &[axis], out)
                    });
                });
            }
        }
    }
}
