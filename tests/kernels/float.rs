//! The float product against a float64 oracle, on every instruction set of the machine.

use qcore_kernels::Isa;
use qcore_kernels::epilogue::Activation;
use qcore_kernels::gemm::{CodeSteps, Codebook, FloatWeights, dense_f32_with};
use qcore_kernels::view::MatRef;

use crate::guard::Guarded;
use crate::random::Random;

fn floats(random: &mut Random, count: usize) -> Vec<f32> {
    (0..count).map(|_| (random.below(4001) as f32 - 2000.0) / 1000.0).collect()
}

/// Checks `x · weightsᵀ + bias` against what the weights are to stand for.
fn check(isa: Isa, random: &mut Random, m: usize, weights: &FloatWeights, real: &[f32]) {
    let (k, n) = (weights.inputs(), weights.outputs());
    let x = Guarded::new(&floats(random, m * k));
    let bias = Guarded::new(&floats(random, n));
    let mut out = Guarded::new(&vec![f32::NAN; m * n]);
    dense_f32_with(isa, &x, weights, &bias, Activation::Linear, &mut out).unwrap();
    for i in 0..m {
        for j in 0..n {
            let products = (0..k).map(|l| f64::from(x[i * k + l]) * f64::from(real[j * k + l]));
            let (sum, size) = products.fold((0.0, 0.0), |(sum, size), p| (sum + p, size + p.abs()));
            let exact = sum + f64::from(bias[j]);
            let error = (f64::from(out[i * n + j]) - exact).abs();
            let bound = 1e-6 * (size + f64::from(bias[j].abs())) + 1e-12;
            assert!(
                error <= bound * (1.0 + k as f64 / 64.0),
                "{isa} {m}x{k}x{n} at {i},{j}: {error}"
            );
        }
    }
}

const SHAPES: [(usize, usize, usize); 12] = [
    (0, 3, 4),
    (3, 0, 5),
    (2, 3, 0),
    (1, 1, 1),
    (1, 300, 17),
    (5, 31, 16),
    (6, 256, 64),
    (7, 257, 65),
    (13, 5, 130),
    (12, 600, 33),
    (200, 20, 70),
    (193, 300, 15),
];

#[test]
fn float_weights_of_any_strides() {
    let mut random = Random::new(1);
    for isa in Isa::available() {
        for (m, k, n) in SHAPES {
            let real = Guarded::new(&floats(&mut random, n * k));
            let plain = MatRef::from_slice(&real, n, k).unwrap();
            check(isa, &mut random, m, &FloatWeights::from_f32(plain).unwrap(), &real);
            let turned: Vec<f32> = (0..k)
                .flat_map(|l| (0..n).map(move |j| (l, j)))
                .map(|(l, j)| real[j * k + l])
                .collect();
            let view = MatRef::from_slice(&turned, k, n).unwrap().transposed();
            check(isa, &mut random, m, &FloatWeights::from_f32(view).unwrap(), &real);
        }
    }
}

#[test]
fn codes_with_steps_by_output_group_and_input() {
    let mut random = Random::new(2);
    for isa in Isa::available() {
        for (m, k, n) in SHAPES {
            let codes: Vec<u8> = (0..n * k).map(|_| random.below(256) as u8).collect();
            let signed: Vec<i8> = codes.iter().map(|&code| code as i8).collect();
            for group in [1, 5, 32, k.max(1)] {
                let groups = k.div_ceil(group);
                let scale = floats(&mut random, n * groups);
                let zero: Vec<i32> = (0..n * groups).map(|_| random.below(256) as i32).collect();
                let at = |index: usize| index / k.max(1) * groups + index % k.max(1) / group;
                let steps = CodeSteps::Outputs { group, scale: &scale, zero: &zero };
                let real: Vec<f32> = (0..n * k)
                    .map(|index| {
                        (i32::from(codes[index]) - zero[at(index)]) as f32 * scale[at(index)]
                    })
                    .collect();
                let view = MatRef::from_slice(&codes, n, k).unwrap();
                check(isa, &mut random, m, &FloatWeights::from_u8(view, steps).unwrap(), &real);
                let steps = CodeSteps::Outputs { group, scale: &scale, zero: &[] };
                let real: Vec<f32> =
                    (0..n * k).map(|index| f32::from(signed[index]) * scale[at(index)]).collect();
                let view = MatRef::from_slice(&signed, n, k).unwrap();
                check(isa, &mut random, m, &FloatWeights::from_i8(view, steps).unwrap(), &real);
            }
            let scale = floats(&mut random, k);
            let zero: Vec<i32> = (0..k).map(|_| random.below(256) as i32 - 128).collect();
            let real: Vec<f32> = (0..n * k)
                .map(|index| (i32::from(signed[index]) - zero[index % k]) as f32 * scale[index % k])
                .collect();
            let steps = CodeSteps::Inputs { scale: &scale, zero: &zero };
            let view = MatRef::from_slice(&signed, n, k).unwrap();
            check(isa, &mut random, m, &FloatWeights::from_i8(view, steps).unwrap(), &real);
        }
    }
}

#[test]
fn codebooks_one_or_one_for_each() {
    let mut random = Random::new(3);
    for isa in Isa::available() {
        for (m, k, n) in SHAPES {
            for (count, kind) in [
                (256, Codebook::One),
                (1, Codebook::One),
                (16, Codebook::Outputs),
                (7, Codebook::Inputs),
            ] {
                let books = match kind {
                    Codebook::One => 1,
                    Codebook::Outputs => n,
                    Codebook::Inputs => k,
                };
                let levels = floats(&mut random, books * count);
                let codes: Vec<u8> = (0..n * k).map(|_| random.below(count) as u8).collect();
                let real: Vec<f32> = (0..n * k)
                    .map(|index| {
                        let book = match kind {
                            Codebook::One => 0,
                            Codebook::Outputs => index / k,
                            Codebook::Inputs => index % k,
                        };
                        levels[book * count + usize::from(codes[index])]
                    })
                    .collect();
                let view = MatRef::from_slice(&codes, n, k).unwrap();
                let weights = FloatWeights::from_codebook(view, &levels, count, kind).unwrap();
                check(isa, &mut random, m, &weights, &real);
            }
        }
    }
}

#[test]
fn a_codebook_with_scales_by_group() {
    let mut random = Random::new(4);
    for isa in Isa::available() {
        for (m, k, n) in SHAPES {
            for (count, group) in [(256, 1), (16, 5), (16, 32), (4, k.max(1))] {
                let groups = k.div_ceil(group);
                let levels = floats(&mut random, count);
                let scale = floats(&mut random, n * groups);
                let codes: Vec<u8> = (0..n * k).map(|_| random.below(count) as u8).collect();
                let at = |index: usize| index / k.max(1) * groups + index % k.max(1) / group;
                let real: Vec<f32> = (0..n * k)
                    .map(|index| levels[usize::from(codes[index])] * scale[at(index)])
                    .collect();
                let view = MatRef::from_slice(&codes, n, k).unwrap();
                let weights =
                    FloatWeights::from_scaled_codebook(view, &levels, group, &scale).unwrap();
                check(isa, &mut random, m, &weights, &real);
            }
        }
    }
}

#[test]
fn misfits_are_refused() {
    let codes = [1_u8, 2, 3, 4, 5, 6];
    let view = MatRef::from_slice(&codes, 2, 3).unwrap();
    assert!(FloatWeights::from_codebook(view, &[0.0; 6], 6, Codebook::One).is_err());
    assert!(FloatWeights::from_codebook(view, &[0.0; 7], 7, Codebook::Outputs).is_err());
    assert!(FloatWeights::from_scaled_codebook(view, &[0.0; 6], 2, &[1.0; 4]).is_err());
    assert!(FloatWeights::from_scaled_codebook(view, &[0.0; 7], 2, &[1.0; 3]).is_err());
    assert!(FloatWeights::from_scaled_codebook(view, &[0.0; 7], 0, &[1.0; 4]).is_err());
    let steps = |group| CodeSteps::Outputs { group, scale: &[1.0; 2], zero: &[] };
    assert!(FloatWeights::from_u8(view, steps(0)).is_err());
    assert!(FloatWeights::from_u8(view, steps(2)).is_err());
    let weights = FloatWeights::from_u8(view, steps(3)).unwrap();
    let mut out = [0.0; 4];
    let linear = Activation::Linear;
    assert!(dense_f32_with(Isa::Scalar, &[0.0; 5], &weights, &[], linear, &mut out).is_err());
    assert!(dense_f32_with(Isa::Scalar, &[0.0; 6], &weights, &[0.0; 3], linear, &mut out).is_err());
    assert!(dense_f32_with(Isa::Scalar, &[0.0; 6], &weights, &[], linear, &mut out).is_ok());
}
