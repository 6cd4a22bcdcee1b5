//! N:M and block matrices in other forms, those that are refused, and values that are not finite.

use qcore_kernels::Isa;
use qcore_kernels::sparse::{Blocks, NofM, Structured, StructuredFloat};
use qcore_kernels::view::MatRef;

use crate::random::Random;
use crate::structured::{BLOCKS, PATTERNS, blocks, n_of_m};

#[test]
fn other_forms_come_back_the_same() {
    let mut random = Random::new(35);
    for (n, group) in PATTERNS {
        let w = n_of_m(&mut random, (9, 75), (n, group), |r| r.next() as i8);
        let view = MatRef::from_slice(&w, 9, 75).unwrap();
        let a = NofM::from_dense(view, n, group).unwrap();
        let mut dense = vec![1; w.len()];
        a.to_dense(&mut dense).unwrap();
        assert_eq!(dense, w);
        a.to_csr().unwrap().to_dense(&mut dense).unwrap();
        assert_eq!(dense, w);
        assert_eq!(a.values().len(), 9 * 75_usize.div_ceil(group) * n);
        assert_eq!(a.places().unwrap().len(), a.values().len());
    }
    for (height, width) in BLOCKS {
        let w = blocks(&mut random, (9, 75), (height, width), |r| r.next() as i8);
        let view = MatRef::from_slice(&w, 9, 75).unwrap();
        let a = Blocks::from_dense(view, height, width).unwrap();
        let mut dense = vec![1; w.len()];
        a.to_dense(&mut dense).unwrap();
        assert_eq!(dense, w);
        a.to_csr().unwrap().to_dense(&mut dense).unwrap();
        assert_eq!(dense, w);
        let indptr: Vec<i64> = a.indptr().iter().map(|&at| at as i64).collect();
        let indices: Vec<i64> =
            (0..a.indices().len()).map(|at| a.indices().get(at) as i64).collect();
        let same = Blocks::new(9, 75, (height, width), &indptr, &indices, a.values());
        assert_eq!(same.unwrap(), a);
    }
}

#[test]
fn what_does_not_fit_the_pattern_is_refused_where_it_does_not() {
    let w = [0, 1, 2, 0, 0, 3, 4, 0, 5, 6_i8];
    let view = MatRef::from_slice(&w, 2, 5).unwrap();
    let error = NofM::from_dense(view, 1, 4).unwrap_err().to_string();
    let wanted = "row 0 has 2 values other than 0 in columns 0 to 3; 1:4 has at most 1";
    assert_eq!(error, wanted);
    let error = NofM::from_dense(view, 2, 4).unwrap_err().to_string();
    assert!(error.contains("row 1 has 3 values"), "{error}");
    for (n, m) in [(0, 4), (5, 4), (1, 65), (0, 0)] {
        let error = NofM::from_dense(view, n, m).unwrap_err().to_string();
        assert!(error.contains("1 <= N <= M <= 64"), "{error}");
    }
    let build = |block, indptr: &[i64], indices: &[i64], len| {
        Blocks::new(4, 6, block, indptr, indices, &vec![1_i8; len]).unwrap_err().to_string()
    };
    for (error, text) in [
        (build((0, 2), &[0], &[], 0), "a block is 0 x 2"),
        (build((usize::MAX, 2), &[0], &[], 0), "at least one row"),
        (build((2, 2), &[0, 1], &[0], 4), "indptr has 2 elements"),
        (build((2, 2), &[0, 1, 1], &[0], 3), "data has 3 elements for 1 blocks of 2 x 2"),
        (build((2, 2), &[0, 2, 1], &[0, 1], 8), "indptr[2] is 1, below"),
        (build((2, 2), &[0, 1, 1], &[0, 1], 8), "indptr[2] is 1; it must be the number"),
        (build((2, 2), &[0, 0, 1], &[3], 4), "indices[0] is 3, in block row 1; it must be 0 to 2"),
        (build((2, 2), &[0, 1, 1], &[-1], 4), "indices[0] is -1, in block row 0"),
        (build((2, 2), &[0, 2, 2], &[1, 1], 8), "indices[0] and indices[1] are both 1"),
    ] {
        assert!(error.contains(text), "{error}");
    }
}

/// What is not finite in a row of `x` reaches the rows that store its column, and no others of a block.
#[test]
fn what_is_not_finite_stays_where_it_is_stored() {
    let dense = [2.0_f32, 0.0, 0.0, 3.0, 0.0, 5.0, 0.0, 0.0];
    let blocks = Blocks::from_dense(MatRef::from_slice(&dense, 4, 2).unwrap(), 4, 2).unwrap();
    let a = StructuredFloat::new(blocks);
    for odd in [f32::NAN, f32::INFINITY] {
        for columns in [1, 2, 9, 40] {
            let mut x = vec![1.0_f32; 2 * columns];
            x[columns - 1] = odd;
            let x = MatRef::from_slice(&x, 2, columns).unwrap();
            for isa in Isa::available() {
                let mut out = vec![f32::NAN; 4 * columns];
                a.multiply_with(isa, x, false, &mut out).unwrap();
                for (at, &found) in out.iter().enumerate() {
                    let (row, column) = (at / columns, at % columns);
                    let touched = row == 0 && column == columns - 1;
                    assert_eq!(found.is_finite(), !touched, "{isa} {columns} [{row}, {column}]");
                    assert!(touched || found == [2.0, 3.0, 5.0, 0.0][row]);
                }
            }
        }
    }
}
