//! Sparse products against naive oracles, on every instruction set of the machine.

use qcore_kernels::Isa;
use qcore_kernels::KernelError;
use qcore_kernels::sparse::{
    Csr, Float, FloatCsr, Int8Value, IntegerCsr, Order, Value, multiply_integer_with, multiply_with,
};
use qcore_kernels::threads;
use qcore_kernels::view::MatRef;

use crate::guard::Guarded;
use crate::random::Random;

/// A dense matrix of which about `stored` of 100 elements are not zero.
fn sparse_values<V: Value>(
    random: &mut Random,
    len: usize,
    stored: usize,
    value: impl Fn(&mut Random) -> V,
) -> Vec<V> {
    (0..len)
        .map(|_| if random.below(100) < stored { value(random) } else { V::default() })
        .collect()
}

/// The transpose of a row-major matrix.
fn transposed<T: Copy>(x: &[T], rows: usize, cols: usize) -> Vec<T> {
    (0..cols).flat_map(|j| (0..rows).map(move |i| x[i * cols + j])).collect()
}

/// Shapes from nothing past every block of rows and columns.
fn shapes(random: &mut Random) -> Vec<(usize, usize, usize)> {
    let mut shapes = vec![(0, 3, 4), (3, 0, 4), (3, 4, 0), (1, 1, 1), (300, 70, 65), (2, 700, 130)];
    for n in [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 97] {
        shapes.push((1 + random.below(20), 1 + random.below(90), n));
    }
    shapes
}

const STORED: [usize; 5] = [0, 3, 10, 50, 100];

fn check_integer<V: Int8Value, X: Int8Value>(
    isa: Isa,
    w: &[V],
    x: &[X],
    (m, k, n): (usize, usize, usize),
    zero: i32,
) {
    let place = format!("{isa} {} x {} {m}x{k}x{n} zero {zero}", V::NAME, X::NAME);
    let dense = Guarded::new(w);
    let a = IntegerCsr::new(Csr::from_dense(MatRef::from_slice(&dense, m, k).unwrap()).unwrap())
        .unwrap();
    let mut exact = vec![0_i64; m * n];
    for i in 0..m {
        for j in 0..n {
            exact[i * n + j] = (0..k)
                .map(|at| {
                    let (a, x): (i32, i32) = (w[i * k + at].into(), x[at * n + j].into());
                    i64::from(a) * i64::from(x - zero)
                })
                .sum();
        }
    }
    let x_rows = Guarded::new(x);
    let x_columns = Guarded::new(&transposed(x, k, n));
    let by_row = MatRef::from_slice(&x_rows, k, n).unwrap();
    let by_column = MatRef::from_slice(&x_columns, n, k).unwrap().transposed();
    for x in [by_row, by_column] {
        let mut out = Guarded::new(&vec![-1_i32; m * n]);
        multiply_integer_with(isa, &a, x, zero, Order::Rows, &mut out).unwrap();
        assert!(out.iter().map(|&sum| i64::from(sum)).eq(exact.iter().copied()), "rows, {place}");
        let mut out = Guarded::new(&vec![-1_i64; m * n]);
        multiply_integer_with(isa, &a, x, zero, Order::Columns, &mut out).unwrap();
        assert!(out.iter().copied().eq(transposed(&exact, m, n)), "columns, {place}");
    }
}

fn every_integer(isa: Isa, shape: (usize, usize, usize), random: &mut Random, stored: usize) {
    let (m, k, n) = shape;
    let w8 = sparse_values(random, m * k, stored, |r| r.next() as i8);
    let wu = sparse_values(random, m * k, stored, |r| r.next() as u8);
    let x8: Vec<i8> = (0..k * n).map(|_| random.next() as i8).collect();
    let xu: Vec<u8> = (0..k * n).map(|_| random.next() as u8).collect();
    let zero = random.below(128) as i32;
    check_integer(isa, &w8, &x8, shape, zero - 64);
    check_integer(isa, &w8, &xu, shape, zero);
    check_integer(isa, &wu, &x8, shape, -zero);
    check_integer(isa, &wu, &xu, shape, 2 * zero);
}

#[test]
fn integers_are_exact_on_shapes_from_zero_past_every_block() {
    let mut random = Random::new(11);
    for isa in Isa::available() {
        for shape in shapes(&mut random) {
            for stored in STORED {
                every_integer(isa, shape, &mut random, stored);
            }
        }
    }
}

#[test]
fn all_extremes_are_exact_in_every_pair_of_signs() {
    let shape = (3, 130, 66);
    let (m, k, n) = shape;
    for isa in Isa::available() {
        for low in [false, true] {
            let (w8, wu) = if low { (i8::MIN, 0) } else { (i8::MAX, u8::MAX) };
            for (x8, xu) in [(i8::MIN, 0), (i8::MAX, u8::MAX)] {
                for far in [false, true] {
                    let (z8, zu) = if far { (-128, 255) } else { (127, 0) };
                    check_integer(isa, &vec![w8; m * k], &vec![x8; k * n], shape, z8);
                    check_integer(isa, &vec![w8; m * k], &vec![xu; k * n], shape, zu);
                    check_integer(isa, &vec![wu; m * k], &vec![x8; k * n], shape, z8);
                    check_integer(isa, &vec![wu; m * k], &vec![xu; k * n], shape, zu);
                }
            }
        }
    }
}

#[test]
fn sums_beyond_int32_are_exact_or_an_error() {
    let k = 70_000;
    let w = vec![255_u8; k];
    let x = vec![255_u8; k];
    let a =
        IntegerCsr::new(Csr::from_dense(MatRef::from_slice(&w, 1, k).unwrap()).unwrap()).unwrap();
    let x = MatRef::from_slice(&x, k, 1).unwrap();
    let exact = k as i64 * 255 * 255;
    for isa in Isa::available() {
        let mut out = [0_i64];
        multiply_integer_with(isa, &a, x, 0, Order::Rows, &mut out).unwrap();
        assert_eq!(out[0], exact);
        let error = multiply_integer_with(isa, &a, x, 0, Order::Rows, &mut [0_i32]).unwrap_err();
        assert!(matches!(error, KernelError::Overflow(_)), "{error}");
        assert!(error.to_string().contains("out[0, 0] is 4551750000"), "{error}");
        // Sums that could be beyond int32 and are not.
        let mut out = [0_i32];
        multiply_integer_with(isa, &a, x, 254, Order::Rows, &mut out).unwrap();
        assert_eq!(i64::from(out[0]), k as i64 * 255);
    }
}

/// Products whose every intermediate float64 is exact are compared with the exact sum; others are
/// compared with a bound on the error of any order of summation.
fn check_float<V: Float + Into<f64>>(
    isa: Isa,
    w: &[V],
    x: &[V],
    (m, k, n): (usize, usize, usize),
    epsilon: f64,
) {
    let dense = Guarded::new(w);
    let a = FloatCsr::new(Csr::from_dense(MatRef::from_slice(&dense, m, k).unwrap()).unwrap());
    let x_rows = Guarded::new(x);
    let x_columns = Guarded::new(&transposed(x, k, n));
    let by_row = MatRef::from_slice(&x_rows, k, n).unwrap();
    let by_column = MatRef::from_slice(&x_columns, n, k).unwrap().transposed();
    let mut first: Option<Vec<V>> = None;
    for x_view in [by_row, by_column] {
        let mut out = Guarded::new(&vec![V::default(); m * n]);
        multiply_with(isa, &a, x_view, Order::Rows, &mut out).unwrap();
        let mut columns = Guarded::new(&vec![V::default(); m * n]);
        multiply_with(isa, &a, x_view, Order::Columns, &mut columns).unwrap();
        assert_eq!(transposed(&out, m, n), columns.to_vec(), "{isa} {m}x{k}x{n}");
        assert_eq!(&*first.get_or_insert_with(|| out.to_vec()), &out.to_vec(), "{isa} {m}x{k}x{n}");
        for i in 0..m {
            for j in 0..n {
                let terms = (0..k).map(|at| {
                    let (a, x): (f64, f64) = (w[i * k + at].into(), x[at * n + j].into());
                    a * x
                });
                let (sum, size) = terms.fold((0.0, 0.0), |(s, z), t| (s + t, z + f64::abs(t)));
                let found: f64 = out[i * n + j].into();
                let bound = 2.0 * k as f64 * epsilon * size;
                assert!(
                    (found - sum).abs() <= bound,
                    "{isa} {m}x{k}x{n} [{i}, {j}]: {found} {sum}"
                );
            }
        }
    }
}

#[test]
fn floats_are_within_the_bound_on_shapes_from_zero_past_every_block() {
    let mut random = Random::new(12);
    let float = |random: &mut Random| (random.next() as i32) as f32 / 2e9;
    for isa in Isa::available() {
        for shape in shapes(&mut random) {
            let (m, k, n) = shape;
            for stored in STORED {
                let w = sparse_values(&mut random, m * k, stored, float);
                let x: Vec<f32> = (0..k * n).map(|_| float(&mut random)).collect();
                check_float(isa, &w, &x, shape, f64::from(f32::EPSILON));
                let wide = |x: &[f32]| x.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
                check_float(isa, &wide(&w), &wide(&x), shape, f64::EPSILON);
            }
        }
    }
}

#[test]
fn matrices_of_very_few_values_and_of_many_panels_are_right() {
    let mut random = Random::new(15);
    let float = |random: &mut Random| (random.next() as i32) as f32 / 2e9;
    // The first has too few values for panels, the others panels of every width.
    for (m, k, nnz) in [(7, 40_000, 60), (5, 9_000, 250), (3, 3_000, 3_000), (1, 70_000, 500)] {
        let mut w = vec![0.0; m * k];
        for _ in 0..nnz {
            let place = random.below(m * k);
            w[place] = float(&mut random);
        }
        for n in [2, 9, 33] {
            let x: Vec<f32> = (0..k * n).map(|_| float(&mut random)).collect();
            for isa in Isa::available() {
                check_float(isa, &w, &x, (m, k, n), f64::from(f32::EPSILON));
            }
        }
    }
}

#[test]
fn floats_are_the_same_on_any_number_of_threads() {
    let mut random = Random::new(13);
    let float = |random: &mut Random| (random.next() as i32) as f32 / 2e9;
    let (m, k) = (700, 900);
    // Most values in few rows.
    let mut w = sparse_values(&mut random, m * k, 3, float);
    w[..8 * k].fill(0.3);
    let a = FloatCsr::new(Csr::from_dense(MatRef::from_slice(&w, m, k).unwrap()).unwrap());
    for n in [1, 8, 70] {
        let x: Vec<f32> = (0..k * n).map(|_| float(&mut random)).collect();
        let x = MatRef::from_slice(&x, k, n).unwrap();
        for isa in Isa::available() {
            let run = |size| {
                threads::set(size).unwrap();
                let mut out = vec![0.0; m * n];
                multiply_with(isa, &a, x, Order::Rows, &mut out).unwrap();
                out.iter().map(|y| y.to_bits()).collect::<Vec<_>>()
            };
            let one = run(1);
            assert!((2..5).all(|size| run(size) == one), "{isa} n {n}");
        }
    }
}

#[test]
fn a_wrong_structure_is_refused_where_it_is_wrong() {
    let build = |rows, cols, indptr: &[i64], indices: &[i64], len| {
        Csr::new(rows, cols, indptr, indices, vec![1.0_f32; len]).unwrap_err().to_string()
    };
    for (error, text) in [
        (build(2, 3, &[0, 1], &[0], 1), "indptr has 2 elements"),
        (build(2, 3, &[0, 1, 1, 1], &[0], 1), "indptr has 4 elements"),
        (build(2, 3, &[1, 1, 1], &[0], 1), "indptr[0] is 1; it must be 0"),
        (build(2, 3, &[0, 2, 1], &[0, 1], 2), "indptr[2] is 1, below indptr[1], which is 2"),
        (build(2, 3, &[0, -1, 2], &[0, 1], 2), "indptr[1] is -1, below"),
        (build(2, 3, &[0, 5, 2], &[0, 1], 2), "indptr[1] is 5; data has only 2"),
        (build(2, 3, &[0, 1, 1], &[0, 1], 2), "indptr[2] is 1; it must be the number"),
        (build(2, 3, &[0, 1, 2], &[0, 1], 1), "data has 1 elements and indices 2"),
        (build(2, 3, &[0, 1, 2], &[0, 3], 2), "indices[1] is 3, in row 1; it must be 0 to 2"),
        (build(2, 3, &[0, 1, 2], &[-1, 0], 2), "indices[0] is -1, in row 0"),
        (build(1, 0, &[0, 1], &[0], 1), "indices[0] is 0"),
        (build(usize::MAX, 3, &[0], &[], 0), "indptr has 1 elements"),
        (build(1, 3, &[0, i64::MAX], &[0], 1), "indptr[1] is 9223372036854775807"),
        (build(1, 3, &[0, 1], &[i64::MIN], 1), "indices[0] is -9223372036854775808"),
    ] {
        assert!(error.contains(text), "{error}");
    }
    let error = Csr::new(1, 3, &[0_i64, 2], &[2_i64, 2], vec![100_i8, 28]).unwrap_err();
    assert!(matches!(error, KernelError::Overflow(_)) && error.to_string().contains("column 2"));
}

#[test]
fn duplicates_are_summed_and_columns_sorted() {
    let a = Csr::new(2, 4, &[0_i64, 4, 5], &[3_i64, 0, 3, 1, 2], vec![1_i8, 2, 3, 4, 5]).unwrap();
    let mut dense = [9_i8; 8];
    a.to_dense(&mut dense).unwrap();
    assert_eq!(dense, [2, 4, 0, 4, 0, 0, 5, 0]);
    let row: Vec<usize> = (0..a.nnz()).map(|at| a.indices().get(at)).collect();
    assert_eq!(
        (a.indptr(), &row[..], a.values()),
        (&[0, 3, 4][..], &[0, 1, 3, 2][..], &[2, 4, 4, 5][..])
    );
    let values = [5_i8, 1, 3, 4, 2];
    let same = Csr::from_coordinates(2, 4, &[1_i64, 0, 0, 0, 0], &[2_i64, 3, 3, 1, 0], &values);
    assert_eq!(same.unwrap(), a);
    assert_eq!(a.transposed().unwrap().transposed().unwrap(), a);
    assert_eq!(a.rows_in(1..2).unwrap().indptr(), [0, 1]);
}

/// A million random structures, most of them broken in some way: each is refused, or it is a matrix
/// whose products are right.
#[test]
fn random_structures_are_refused_or_right() {
    let mut random = Random::new(14);
    let isas: Vec<Isa> = Isa::available().collect();
    let mut kept = 0;
    for round in 0..1_000_000 {
        let (rows, cols) = (random.below(5), random.below(6));
        let values: Vec<i8> = (0..random.below(7)).map(|_| random.next() as i8 / 4).collect();
        let nnz = values.len();
        let wild = |random: &mut Random, usual: i64| match random.below(60) {
            0 => random.next() as i64,
            1 => usual - 1,
            2 => usual + 1,
            _ => usual,
        };
        let mut cuts: Vec<i64> = (1..rows).map(|_| random.below(nnz + 1) as i64).collect();
        cuts.sort_unstable();
        let mut indptr = vec![0];
        indptr.extend(cuts);
        indptr.push(nnz as i64);
        if rows == 0 && random.below(2) == 0 {
            indptr.truncate(1);
        }
        for at in &mut indptr {
            *at = wild(&mut random, *at);
        }
        let indices: Vec<i64> = (0..nnz)
            .map(|_| {
                let usual = random.below(cols.max(1)) as i64;
                wild(&mut random, usual)
            })
            .collect();
        let Ok(a) = Csr::new(rows, cols, &indptr, &indices, values.clone()) else { continue };
        kept += 1;
        let mut dense = vec![0_i64; rows * cols];
        for row in 0..rows {
            for at in indptr[row] as usize..indptr[row + 1] as usize {
                dense[row * cols + indices[at] as usize] += i64::from(values[at]);
            }
        }
        let n = 1 + random.below(3);
        let x: Vec<u8> = (0..cols * n).map(|_| random.next() as u8).collect();
        let mut out = vec![0_i32; rows * n];
        let x_view = MatRef::from_slice(&x, cols, n).unwrap();
        let isa = isas[round % isas.len()];
        let a = IntegerCsr::new(a).unwrap();
        multiply_integer_with(isa, &a, x_view, 3, Order::Rows, &mut out).unwrap();
        for i in 0..rows {
            for j in 0..n {
                let terms = (0..cols).map(|k| dense[i * cols + k] * (i64::from(x[k * n + j]) - 3));
                assert_eq!(i64::from(out[i * n + j]), terms.sum::<i64>(), "round {round}");
            }
        }
    }
    assert!(kept > 300_000, "only {kept} structures were right");
}
