//! Products: their bits, their order of sums, batches and strides.

use qcore_kernels::Isa;
use qcore_kernels::elementwise::Unary;
use qcore_kernels::epilogue::{Activation, Epilogue};
use qcore_kernels::gemm::{
    BatchedShape, FloatWeights, Matrices, Results, matmul_f32_with, product_f32_with,
};
use qcore_kernels::view::MatRef;

use super::{floats, same_everywhere};
use crate::guard::Guarded;
use crate::random::Random;

/// The one order of sums, by the exact fused multiply-add of the standard library.
pub(crate) fn sum_in_order(pairs: impl Iterator<Item = (f32, f32)>) -> f32 {
    let pairs: Vec<_> = pairs.collect();
    let mut whole = 0.0;
    for (index, panel) in pairs.chunks(256).enumerate() {
        let part = panel.iter().fold(0.0_f32, |sum, &(x, w)| x.mul_add(w, sum));
        whole = if index == 0 { part } else { whole + part };
    }
    whole
}

const SHAPES: [(usize, usize, usize); 14] = [
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
    (25, 40, 48),
    (23, 70, 40),
    (193, 30, 15),
    (200, 513, 24),
];

#[test]
fn each_result_is_the_one_sum() {
    let mut random = Random::new(11);
    for (m, k, n) in SHAPES {
        let a = Guarded::new(&floats(&mut random, m * k));
        let w = floats(&mut random, n * k);
        let bias = Guarded::new(&floats(&mut random, n));
        let residual = Guarded::new(&floats(&mut random, m * n));
        let weights = FloatWeights::from_f32(MatRef::from_slice(&w, n, k).unwrap()).unwrap();
        for (residual, activation) in
            [(&residual[..0], Activation::Linear), (&residual[..], Activation::RELU)]
        {
            let epilogue = Epilogue { bias: &bias, residual, activation };
            let found = same_everywhere("product", |isa| {
                let mut out = Guarded::new(&vec![f32::NAN; m * n]);
                let a = MatRef::from_slice(&a, m, k).unwrap();
                product_f32_with(isa, a, &weights, epilogue, &mut out).unwrap();
                out.to_vec()
            });
            for (index, &found) in found.iter().enumerate() {
                let (i, j) = (index / n, index % n);
                let sum = sum_in_order((0..k).map(|l| (a[i * k + l], w[j * k + l]))) + bias[j];
                let exact =
                    if residual.is_empty() { sum } else { (sum + residual[index]).max(0.0) };
                assert_eq!(found, exact, "{m}x{k}x{n} at {i}, {j}");
            }
        }
    }
}

#[test]
fn rows_do_not_depend_on_their_batch() {
    let mut random = Random::new(12);
    let (m, k, n) = (50, 300, 70);
    let (a, w) = (floats(&mut random, m * k), floats(&mut random, n * k));
    let weights = FloatWeights::from_f32(MatRef::from_slice(&w, n, k).unwrap()).unwrap();
    let activation = Activation::Each(Unary::Gelu);
    let epilogue = Epilogue { activation, ..Epilogue::default() };
    for isa in Isa::available() {
        let run = |a: &[f32]| {
            let mut out = vec![0.0; a.len() / k * n];
            let a = MatRef::from_slice(a, a.len() / k, k).unwrap();
            product_f32_with(isa, a, &weights, epilogue, &mut out).unwrap();
            out
        };
        let whole = run(&a);
        for rows in [1, 3, 8, 17] {
            let parts: Vec<f32> = a.chunks(rows * k).flat_map(run).collect();
            assert_eq!(whole, parts, "{isa} by {rows}");
        }
    }
}

#[test]
fn a_may_have_any_strides() {
    let mut random = Random::new(13);
    let (m, k, n) = (9, 37, 20);
    let (a, w) = (floats(&mut random, m * k), floats(&mut random, n * k));
    let turned: Vec<f32> = (0..k * m).map(|index| a[index % m * k + index / m]).collect();
    let weights = FloatWeights::from_f32(MatRef::from_slice(&w, n, k).unwrap()).unwrap();
    let run = |a: MatRef<'_, f32>| {
        let mut out = vec![0.0; m * n];
        product_f32_with(Isa::best(), a, &weights, Epilogue::default(), &mut out).unwrap();
        out
    };
    let plain = run(MatRef::from_slice(&a, m, k).unwrap());
    assert_eq!(plain, run(MatRef::from_slice(&turned, k, m).unwrap().transposed()));
    let upside_down: Vec<f32> = a.rchunks(k).flatten().copied().collect();
    let last = &raw const upside_down[(m - 1) * k];
    // SAFETY: rows of k elements, from the last of m to the first.
    assert_eq!(plain, run(unsafe { MatRef::from_raw(last, m, k, -(k as isize), 1).unwrap() }));
}

#[test]
fn batches_of_any_strides_give_the_same_sums() {
    let mut random = Random::new(14);
    for (batch, m, k, n) in [
        ([2, 3], 1, 8, 17),
        ([2, 3], 5, 64, 5),
        ([1, 2], 13, 257, 33),
        ([3, 1], 30, 20, 16),
        ([0, 2], 3, 3, 3),
        ([2, 2], 4, 0, 3),
    ] {
        let count = batch[0] * batch[1];
        let a = Guarded::new(&floats(&mut random, count * m * k));
        let b = Guarded::new(&floats(&mut random, count * k * n));
        // a and b as they are, and with the second axis of the batch inside of the rows.
        for inside in [false, true] {
            for turned in [false, true] {
                let (row_a, batch_a) = if inside {
                    (batch[1] * k, [batch[1] * m * k, k])
                } else {
                    (k, [batch[1] * m * k, m * k])
                };
                let batch_b = [batch[1] * k * n, k * n];
                let (row_b, col_b) = if turned { (1, k) } else { (n, 1) };
                let (row_out, batch_out) = if inside {
                    (batch[1] * n, [batch[1] * m * n, n])
                } else {
                    (n, [batch[1] * m * n, m * n])
                };
                let found = same_everywhere("batched", |isa| {
                    let mut out = Guarded::new(&vec![f32::NAN; count * m * n]);
                    matmul_f32_with(
                        isa,
                        BatchedShape { batch: &batch, m, k, n },
                        Matrices {
                            data: &a,
                            batch_strides: &batch_a,
                            row_stride: row_a,
                            col_stride: 1,
                        },
                        Matrices {
                            data: &b,
                            batch_strides: &batch_b,
                            row_stride: row_b,
                            col_stride: col_b,
                        },
                        &[],
                        Activation::Linear,
                        Results { data: &mut out, batch_strides: &batch_out, row_stride: row_out },
                    )
                    .unwrap();
                    out.to_vec()
                });
                for index in 0..count * m * n {
                    let (z, i, j) = (index / (m * n), index / n % m, index % n);
                    let (z0, z1) = (z / batch[1], z % batch[1]);
                    let first_a = z0 * batch_a[0] + z1 * batch_a[1] + i * row_a;
                    let first_b = z0 * batch_b[0] + z1 * batch_b[1] + j * col_b;
                    let sum =
                        sum_in_order((0..k).map(|l| (a[first_a + l], b[first_b + l * row_b])));
                    let at = z0 * batch_out[0] + z1 * batch_out[1] + i * row_out + j;
                    assert_eq!(found[at], sum, "{batch:?} {m}x{k}x{n}");
                }
            }
        }
    }
}

#[test]
fn misfits_are_refused() {
    let data = [0.0; 12];
    let plain =
        |row_stride| Matrices { data: &data, batch_strides: &[], row_stride, col_stride: 1 };
    let run = |m, k, n, row_stride: usize| {
        let mut out = [0.0; 12];
        let out = Results { data: &mut out, batch_strides: &[], row_stride };
        let shape = BatchedShape { batch: &[], m, k, n };
        matmul_f32_with(Isa::Scalar, shape, plain(k), plain(n), &[], Activation::Linear, out)
    };
    assert!(run(3, 4, 3, 3).is_ok());
    assert!(run(4, 4, 3, 3).is_err());
    assert!(run(3, 4, 4, 4).is_err());
    assert!(run(3, 4, 3, 2).is_err());
    assert!(run(3, 4, 3, 5).is_err());
    assert!(run(usize::MAX, 4, 3, 3).is_err());
}
