//! 4-bit weights against their definition, to the bit, on every instruction set of the machine.

use half::f16;
use qcore_kernels::Isa;
use qcore_kernels::epilogue::Activation;
use qcore_kernels::gemm::{PackedI4, dense_f32_from_i4_with};
use qcore_kernels::view::MatRef;

use crate::guard::Guarded;
use crate::random::Random;

fn check(m: usize, k: usize, n: usize, group: usize, half: bool, extreme: bool) {
    let mut random = Random::new((m * 31 + k * 7 + n + group) as u64);
    let mut code = |low: i32, high: i32| {
        let wide = (high - low + 1) as usize;
        if extreme { [low, high][random.below(2)] } else { low + random.below(wide) as i32 }
    };
    let weights: Vec<i8> = (0..n * k).map(|_| code(-8, 7) as i8).collect();
    let x: Vec<i8> = (0..m * k).map(|_| code(-128, 127) as i8).collect();
    let groups = k.div_ceil(group);
    let mut float = || random.below(1000) as f32 * 1.234e-5 + 1e-4;
    let mut scale: Vec<f32> = (0..n * groups).map(|_| float()).collect();
    if half {
        scale = scale.iter().map(|&scale| f16::from_f32(scale).to_f32()).collect();
    }
    let row_scale: Vec<f32> = (0..m).map(|_| float()).collect();
    let bias: Vec<f32> = (0..n).map(|_| float()).collect();
    let packed = PackedI4::new(MatRef::from_slice(&weights, n, k).unwrap(), group, &scale).unwrap();
    assert!(packed.nbytes() >= n * k / 2 + n * groups * if half { 2 } else { 4 });
    for isa in Isa::available() {
        let x = Guarded::new(&x);
        let mut out = Guarded::new(&vec![f32::NAN; m * n]);
        let relu = Activation::RELU;
        dense_f32_from_i4_with(isa, &x, &row_scale, &packed, &bias, relu, &mut out).unwrap();
        for i in 0..m {
            for j in 0..n {
                let mut total = 0.0_f32;
                for g in 0..groups {
                    let sum: i32 = (g * group..((g + 1) * group).min(k))
                        .map(|l| i32::from(x[i * k + l]) * i32::from(weights[j * k + l]))
                        .sum();
                    total += sum as f32 * scale[j * groups + g];
                }
                let exact = (total * row_scale[i] + bias[j]).max(0.0);
                assert_eq!(out[i * n + j], exact, "{isa} {m}x{k}x{n} at {i},{j}");
            }
        }
    }
}

#[test]
fn shapes_and_groups() {
    for (m, k, n) in
        [(1, 1, 1), (1, 64, 16), (2, 7, 17), (3, 130, 33), (5, 256, 48), (6, 200, 40), (9, 72, 100)]
    {
        for group in [8, 32, 64, k] {
            if PackedI4::takes_group(group, k) {
                check(m, k, n, group, group == 32, false);
                check(m, k, n, group, group == 64, true);
            }
        }
    }
    check(1, 4096, 256, 64, true, true);
    check(4, 2048, 512, 128, false, false);
}

#[test]
fn misfits_are_refused() {
    let codes = [0_i8; 20];
    let view = |rows, cols| MatRef::from_slice(&codes[..rows * cols], rows, cols).unwrap();
    assert!(PackedI4::new(view(2, 10), 5, &[1.0; 4]).is_err());
    assert!(PackedI4::new(view(2, 10), 0, &[1.0; 4]).is_err());
    assert!(PackedI4::new(view(2, 10), 8, &[1.0; 3]).is_err());
    assert!(PackedI4::new(MatRef::from_slice(&[8_i8], 1, 1).unwrap(), 8, &[1.0]).is_err());
    let packed = PackedI4::new(view(2, 10), 10, &[1.0; 2]).unwrap();
    let linear = Activation::Linear;
    let run = |codes: &[i8], rows: &[f32], out: &mut [f32]| {
        dense_f32_from_i4_with(Isa::Scalar, codes, rows, &packed, &[], linear, out)
    };
    assert!(run(&codes[..10], &[1.0], &mut [0.0; 2]).is_ok());
    assert!(run(&codes[..9], &[1.0], &mut [0.0; 2]).is_err());
    assert!(run(&codes[..10], &[1.0], &mut [0.0; 3]).is_err());
}

/// Groups that are longer than int32 holds the sums of: the result is that of the exact sum, in parts.
#[test]
fn groups_of_any_length_do_not_wrap() {
    let k = 3 << 20;
    let codes = vec![-8_i8; k];
    let x = vec![-128_i8; k];
    for group in [k, 1 << 30, k / 2] {
        let groups = k.div_ceil(group);
        let codes = MatRef::from_slice(&codes, 1, k).unwrap();
        let packed = PackedI4::new(codes, group, &vec![0.5; groups]).unwrap();
        for isa in Isa::available() {
            let mut out = [f32::NAN];
            let linear = Activation::Linear;
            dense_f32_from_i4_with(isa, &x, &[0.25], &packed, &[], linear, &mut out).unwrap();
            assert_eq!(out, [k as f32 * 1024.0 * 0.5 * 0.25], "{isa}, groups of {group}");
        }
    }
}
