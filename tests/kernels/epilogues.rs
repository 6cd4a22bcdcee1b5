//! What int8 products do with their sums, against the formula, and which operands they refuse.

use qcore_kernels::epilogue::{Activation, FloatOutput, Requantize};
use qcore_kernels::gemm::{
    PackedI8, ZeroPoint, dense_f32_from_i8_with, dense_i8_with, matmul_integer_with,
};
use qcore_kernels::{Isa, KernelError};

use crate::gemm::{Operand, oracle};
use crate::guard::Guarded;
use crate::random::Random;

/// What the epilogues are to give, in the arithmetic that they promise.
#[test]
fn epilogues_follow_the_formula_to_the_bit() {
    let mut random = Random::new(7);
    for (m, k, n) in [(1, 5, 1), (7, 30, 10), (3, 17, 64), (13, 40, 131)] {
        let a = Operand::new(&mut random, m, k, true, false);
        let b = Operand::new(&mut random, k, n, false, false);
        let (za, zb) = (ZeroPoint::One(119), ZeroPoint::One(0));
        let sums = oracle(&a, &b, za, zb);
        let float = |random: &mut Random| random.below(2000) as f32 * 1e-5 + 1e-4;
        let scale: Vec<f32> = (0..n).map(|_| float(&mut random)).collect();
        let row_scale: Vec<f32> = (0..m).map(|_| float(&mut random)).collect();
        let bias: Vec<f32> = (0..n).map(|_| float(&mut random) - 0.01).collect();
        let int_bias: Vec<i32> = (0..n).map(|_| random.below(9000) as i32 - 4500).collect();
        for isa in Isa::available() {
            let packed = PackedI8::new(isa, b.view()).unwrap();
            for activation in [Activation::Linear, Activation::RELU] {
                let output =
                    FloatOutput { scale: &scale, row_scale: &row_scale, bias: &bias, activation };
                let mut out = Guarded::new(&vec![-1.0_f32; m * n]);
                dense_f32_from_i8_with(isa, a.view(), za, &packed, zb, output, &mut out, n)
                    .unwrap();
                for (at, &y) in out.iter().enumerate() {
                    let (i, j) = (at / n, at % n);
                    let exact = sums[at] as f32 * (row_scale[i] * scale[j]) + bias[j];
                    let exact = if activation == Activation::RELU { exact.max(0.0) } else { exact };
                    assert_eq!(y, exact, "{isa} {m}x{k}x{n} at {at}");
                }
            }
            let (zero_point, min, max) = (7, 7, 200);
            let output = Requantize { bias: &int_bias, multiplier: &scale, zero_point, min, max };
            let stride = n + 3;
            let mut out = vec![99_u8; (m - 1) * stride + n];
            dense_i8_with(isa, a.view(), za, &packed, zb, output, &mut out, stride).unwrap();
            for (at, &code) in out.iter().enumerate() {
                let (i, j) = (at / stride, at % stride);
                if j >= n {
                    assert_eq!(code, 99, "between rows");
                    continue;
                }
                let sum = (sums[i * n + j] as i32 + int_bias[j]) as f32;
                let level = (sum * scale[j]).round_ties_even() + zero_point as f32;
                assert_eq!(i32::from(code), (level as i32).clamp(min, max), "{isa} {i},{j}");
            }
        }
    }
}

#[test]
fn misfits_are_refused() {
    let isa = Isa::Scalar;
    let a = Operand::constant(2, 3, 1, false);
    let b = Operand::constant(4, 5, 1, false);
    let zero = ZeroPoint::One(0);
    let mut out = vec![0_i32; 10];
    let refused = |result| matches!(result, Err(KernelError::Shape(_) | KernelError::Value(_)));
    assert!(refused(matmul_integer_with(isa, a.view(), b.view(), zero, zero, &mut out)));
    let b = Operand::constant(3, 5, 1, false);
    assert!(refused(matmul_integer_with(isa, a.view(), b.view(), zero, zero, &mut out[..9])));
    let each = ZeroPoint::Each(&[0; 3]);
    assert!(refused(matmul_integer_with(isa, a.view(), b.view(), each, zero, &mut out)));
    let beyond = ZeroPoint::One(128);
    assert!(refused(matmul_integer_with(isa, a.view(), b.view(), beyond, zero, &mut out)));
}
