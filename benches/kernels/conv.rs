//! Convolutions of codes beside those of floats, layers of networks: multiply-adds a second.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use qcore_kernels::Isa;
use qcore_kernels::conv::{CodeImages, ConvF32, ConvI8, Window};
use qcore_kernels::epilogue::{Activation, Epilogue, Requantize};

/// A layer: image, outputs, kernel, stride, groups.
type Layer = (&'static str, [usize; 3], usize, usize, usize, usize);

const LAYERS: [Layer; 16] = [
    ("resnet8 first", [32, 32, 3], 16, 3, 1, 1),
    ("resnet8 16", [32, 32, 16], 16, 3, 1, 1),
    ("resnet8 64", [8, 8, 64], 64, 3, 1, 1),
    ("dscnn depthwise", [25, 5, 64], 64, 3, 1, 64),
    ("dscnn 1x1", [25, 5, 64], 64, 1, 1, 1),
    ("vww first", [96, 96, 3], 8, 3, 2, 1),
    ("vww depthwise 8", [48, 48, 8], 8, 3, 1, 8),
    ("resnet first", [224, 224, 3], 64, 7, 2, 1),
    ("resnet 64", [56, 56, 64], 64, 3, 1, 1),
    ("resnet 512", [7, 7, 512], 512, 3, 1, 1),
    ("resnet 1x1", [14, 14, 1024], 256, 1, 1, 1),
    ("mobilenet first", [224, 224, 3], 32, 3, 2, 1),
    ("mobilenet depthwise 144", [56, 56, 144], 144, 3, 1, 144),
    ("mobilenet depthwise 96 by 2", [112, 112, 96], 96, 3, 2, 96),
    ("mobilenet 1x1 16-96", [112, 112, 16], 96, 1, 1, 1),
    ("mobilenet 1x1 960-160", [7, 7, 960], 160, 1, 1, 1),
];

pub(crate) fn benches(criterion: &mut Criterion) {
    for (name, [height, width, channels], outputs, kernel, stride, groups) in LAYERS {
        let shape = [outputs, channels / groups, kernel, kernel];
        let padding = [[kernel / 2; 2]; 2];
        let window = Window { stride: [stride; 2], padding, ..Window::new([kernel; 2]) };
        let codes: Vec<i8> =
            (0..shape.iter().product()).map(|at: usize| (at * 37 % 255) as u8 as i8).collect();
        let floats: Vec<f32> = codes.iter().map(|&code| f32::from(code)).collect();
        let image = [1, height, width, channels];
        let x: Vec<u8> = (0..height * width * channels).map(|at| (at * 91 % 251) as u8).collect();
        let reals: Vec<f32> = x.iter().map(|&code| f32::from(code)).collect();
        let real = ConvF32::new(&floats, shape, window, groups).unwrap();
        let size: usize = real.output_shape(image).unwrap().iter().product();
        let (bias, multiplier) = (vec![5; outputs], vec![0.001; outputs]);
        let output =
            Requantize { bias: &bias, multiplier: &multiplier, zero_point: 3, min: 3, max: 255 };
        let images = CodeImages { codes: &x, shape: image, signed: false, zero_point: 7 };
        let mut group = criterion.benchmark_group(format!("conv/{name}"));
        group.throughput(Throughput::Elements((size * shape[1] * kernel * kernel) as u64));
        for isa in Isa::available().filter(|isa| isa.is_verified()) {
            let conv = ConvI8::new(isa, &codes, shape, window, groups).unwrap();
            let mut out = vec![0_u8; size];
            group.bench_function(BenchmarkId::new("int8", isa.name()), |bencher| {
                bencher.iter(|| conv.to_codes_with(isa, black_box(images), output, None, &mut out));
            });
            if isa.includes(Isa::Avx2) {
                let plain = vec![0.1; outputs];
                let epilogue =
                    Epilogue { bias: &plain, residual: &[], activation: Activation::RELU };
                let mut out = vec![0.0; size];
                group.bench_function(BenchmarkId::new("float32", isa.name()), |bencher| {
                    bencher
                        .iter(|| real.run_with(isa, black_box(&reals), image, epilogue, &mut out));
                });
            }
        }
    }
}
