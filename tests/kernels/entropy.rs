//! Entropy coding: what goes in comes out, costs what its statistics say, and no bytes crash it.

use proptest::prelude::*;
use qcore_kernels::entropy::{
    MatrixDecoder, MatrixShape, decode_integers, decode_matrix, decode_sparse, encode_integers,
    encode_matrix, matrix_costs,
};

use crate::random::Random;

fn shape(rows: usize, columns: usize, levels: usize, zero: u8, stride: usize) -> MatrixShape {
    MatrixShape { rows, columns, levels, zero, stride }
}

/// Codes of which about one in `rarity` is not the usual one.
fn codes(shape: MatrixShape, rarity: usize, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    (0..shape.rows * shape.columns)
        .map(
            |_| {
                if random.below(rarity) == 0 {
                    random.below(shape.levels) as u8
                } else {
                    shape.zero
                }
            },
        )
        .collect()
}

fn decoded(bytes: &[u8], shape: MatrixShape) -> Vec<u8> {
    let mut out = vec![0xAA; shape.rows * shape.columns];
    decode_matrix(bytes, shape, &mut out).unwrap();
    out
}

#[test]
fn matrices_of_every_kind_come_back() {
    for (rows, columns) in [(0, 0), (0, 5), (5, 0), (1, 1), (3, 7), (40, 33), (20, 784)] {
        for (levels, zero) in [(1, 0), (2, 0), (2, 1), (5, 2), (9, 8), (256, 0), (256, 128)] {
            for stride in [0, 1, 28] {
                for rarity in [1, 3, 50] {
                    let shape = shape(rows, columns, levels, zero, stride.min(columns));
                    let codes = codes(shape, rarity, 7);
                    let bytes = encode_matrix(&codes, shape).unwrap();
                    assert_eq!(decoded(&bytes, shape), codes, "{shape:?}");
                }
            }
        }
    }
}

#[test]
fn sparse_and_dense_decoding_agree() {
    let shape = shape(30, 50, 7, 3, 0);
    let codes = codes(shape, 12, 3);
    let sparse = decode_sparse(&encode_matrix(&codes, shape).unwrap(), shape).unwrap();
    let mut dense = vec![shape.zero; codes.len()];
    for row in 0..shape.rows {
        let (from, to) = (sparse.starts[row] as usize, sparse.starts[row + 1] as usize);
        assert!(sparse.columns[from..to].is_sorted());
        for at in from..to {
            dense[row * shape.columns + sparse.columns[at] as usize] = sparse.codes[at];
        }
    }
    assert_eq!(dense, codes);
    assert!(sparse.codes.iter().all(|&code| code != shape.zero));
}

#[test]
fn a_matrix_streams_row_by_row() {
    let shape = shape(9, 20, 4, 1, 5);
    let codes = codes(shape, 4, 1);
    let bytes = encode_matrix(&codes, shape).unwrap();
    let mut decoder = MatrixDecoder::new(&bytes, shape).unwrap();
    let mut row = vec![0; 20];
    for expected in codes.chunks_exact(20) {
        decoder.next_row(&mut row).unwrap();
        assert_eq!(row, expected);
    }
    assert!(decoder.next_row(&mut row).is_err());
    decoder.finish().unwrap();
}

#[test]
fn random_positions_cost_their_entropy_and_structure_costs_less() {
    let shape = shape(300, 784, 2, 0, 28);
    let mut random = Random::new(5);
    let chance = |random: &mut Random, one_in: usize| u8::from(random.below(one_in) == 0);
    let scattered: Vec<u8> = (0..shape.rows * 784).map(|_| chance(&mut random, 33)).collect();
    // As many, but three in four columns are empty.
    let bunched: Vec<u8> = (0..shape.rows * 784)
        .map(|at| if at % 784 / 28 % 4 == 0 { chance(&mut random, 8) } else { 0 })
        .collect();
    let entropy = |codes: &[u8]| {
        let share = codes.iter().map(|&c| f64::from(c)).sum::<f64>() / codes.len() as f64;
        codes.len() as f64 * (-share * share.log2() - (1.0 - share) * (1.0 - share).log2()) / 8.0
    };
    let scattered_bytes = encode_matrix(&scattered, shape).unwrap().len() as f64;
    let bunched_bytes = encode_matrix(&bunched, shape).unwrap().len() as f64;
    assert!(scattered_bytes < 1.03 * entropy(&scattered), "{scattered_bytes}");
    assert!(bunched_bytes < 0.8 * entropy(&bunched), "{bunched_bytes}");
}

#[test]
fn costs_add_up_to_the_bytes() {
    let shape = shape(100, 200, 2, 0, 0);
    let codes = codes(shape, 20, 9);
    let (mut no, mut yes) = (vec![0.0; codes.len()], vec![0.0; codes.len()]);
    matrix_costs(&codes, shape, &mut no, &mut yes).unwrap();
    let bits: f64 = codes
        .iter()
        .zip(no.iter().zip(&yes))
        .map(|(&code, (&no, &yes))| f64::from(if code == 0 { no } else { yes }))
        .sum();
    let bytes = encode_matrix(&codes, shape).unwrap().len() as f64;
    assert!((bits / 8.0 - bytes).abs() < 0.01 * bytes + 8.0, "{} {bytes}", bits / 8.0);
}

#[test]
fn what_does_not_fit_is_refused() {
    let good = shape(2, 3, 4, 1, 0);
    assert!(encode_matrix(&[0; 5], good).is_err());
    assert!(encode_matrix(&[4; 6], good).is_err());
    for bad in
        [shape(2, 3, 0, 0, 0), shape(2, 3, 257, 0, 0), shape(2, 3, 4, 4, 0), shape(2, 3, 4, 1, 4)]
    {
        assert!(encode_matrix(&[0; 6], bad).is_err(), "{bad:?}");
    }
    let bytes = encode_matrix(&[0, 1, 2, 3, 1, 1], good).unwrap();
    assert!(decode_matrix(&bytes, good, &mut [0; 5]).is_err());
    let longer = [bytes.clone(), vec![1; 9]].concat();
    assert!(decode_matrix(&longer, good, &mut [0; 6]).is_err());
}

#[test]
fn few_bytes_do_not_claim_a_huge_matrix() {
    for (rows, columns) in [(1 << 20, 1 << 20), (usize::MAX, 2), (1, usize::MAX)] {
        assert!(MatrixDecoder::new(&[0; 100], shape(rows, columns, 3, 1, 0)).is_err());
    }
    // An empty matrix of the most positions that so many bytes may hold does decode.
    let shape = shape(100, 900, 2, 0, 0);
    let bytes = encode_matrix(&vec![0; 90_000], shape).unwrap();
    assert!(decoded(&bytes, shape).iter().all(|&code| code == 0));
}

#[test]
fn integers_come_back() {
    let mut random = Random::new(2);
    for count in [0, 1, 2, 300] {
        for most in [1, 2, 30, 40_000, u32::MAX as usize] {
            let values: Vec<i32> = (0..count)
                .map(|_| (random.below(most) as i32).wrapping_sub((most / 2) as i32).max(-i32::MAX))
                .collect();
            let bytes = encode_integers(&values).unwrap();
            let mut out = vec![7; count];
            decode_integers(&bytes, &mut out).unwrap();
            assert_eq!(out, values);
        }
    }
    let extremes = [i32::MAX, -i32::MAX, 0, -1, 1];
    let mut out = [0; 5];
    decode_integers(&encode_integers(&extremes).unwrap(), &mut out).unwrap();
    assert_eq!(out, extremes);
    assert!(encode_integers(&[0, i32::MIN]).is_err());
}

proptest! {
    #[test]
    fn any_matrix_comes_back(
        rows in 0_usize..12, columns in 0_usize..40, levels in 1_usize..20, seed in any::<u64>(),
        rarity in 1_usize..30, stride in 0_usize..9,
    ) {
        let zero = (seed % levels as u64) as u8;
        let shape = shape(rows, columns, levels, zero, stride.min(columns));
        let codes = codes(shape, rarity, seed);
        prop_assert_eq!(decoded(&encode_matrix(&codes, shape).unwrap(), shape), codes);
    }

    #[test]
    fn any_bytes_decode_or_are_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..60), rows in 0_usize..20,
        columns in 0_usize..40, levels in 1_usize..300, zero in any::<u8>(), stride in 0_usize..9,
    ) {
        let shape = shape(rows, columns, levels, zero, stride);
        let mut out = vec![0; rows * columns];
        if decode_matrix(&bytes, shape, &mut out).is_ok() {
            prop_assert!(out.iter().all(|&code| (code as usize) < levels));
        }
        let _ = decode_sparse(&bytes, shape);
        let _ = decode_integers(&bytes, &mut [0; 30]);
    }
}
