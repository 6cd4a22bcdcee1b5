//! Products of N:M and block matrices against naive oracles, on every instruction set of the machine.

use qcore_kernels::Isa;
use qcore_kernels::KernelError;
use qcore_kernels::sparse::{
    Blocks, BlocksInteger, Int8Value, NofM, NofMInteger, Order, Structured, StructuredFloat, Value,
};
use qcore_kernels::threads;
use qcore_kernels::view::MatRef;

use crate::guard::Guarded;
use crate::random::Random;

/// Patterns whose masks are stored in every way.
pub(crate) const PATTERNS: [(usize, usize); 9] =
    [(2, 4), (1, 4), (3, 4), (4, 4), (4, 8), (1, 2), (3, 7), (1, 64), (1, 1)];

/// Blocks in bands of every height.
pub(crate) const BLOCKS: [(usize, usize); 7] =
    [(4, 1), (1, 16), (16, 1), (2, 2), (3, 5), (7, 1), (1, 1)];

/// Columns of the dense operand: from one past every width.
const COLUMNS: [usize; 14] = [1, 2, 5, 7, 8, 9, 15, 16, 17, 33, 63, 64, 65, 130];

fn shapes(random: &mut Random) -> Vec<(usize, usize, usize)> {
    let mut shapes =
        vec![(0, 3, 4), (3, 0, 4), (3, 4, 0), (300, 70, 65), (2, 700, 66), (70, 300, 3)];
    for n in COLUMNS {
        shapes.push((1 + random.below(40), 1 + random.below(90), n));
    }
    shapes
}

/// At most `n` values in each group of `m`; mostly that many.
pub(crate) fn n_of_m<V: Value>(
    random: &mut Random,
    (rows, cols): (usize, usize),
    (n, m): (usize, usize),
    value: impl Fn(&mut Random) -> V,
) -> Vec<V> {
    let mut dense = vec![V::default(); rows * cols];
    for row in 0..rows {
        for first in (0..cols).step_by(m) {
            let length = m.min(cols - first);
            let count = if random.below(4) == 0 { random.below(n + 1) } else { n };
            for _ in 0..count {
                dense[row * cols + first + random.below(length)] = value(random);
            }
        }
    }
    dense
}

/// About half of the blocks.
pub(crate) fn blocks<V: Value>(
    random: &mut Random,
    (rows, cols): (usize, usize),
    (height, width): (usize, usize),
    value: impl Fn(&mut Random) -> V,
) -> Vec<V> {
    let mut dense = vec![V::default(); rows * cols];
    for top in (0..rows).step_by(height) {
        for left in (0..cols).step_by(width) {
            if random.below(2) == 0 {
                continue;
            }
            for row in top..(top + height).min(rows) {
                for column in left..(left + width).min(cols) {
                    dense[row * cols + column] = value(random);
                }
            }
        }
    }
    dense
}

fn transposed<T: Copy>(x: &[T], rows: usize, cols: usize) -> Vec<T> {
    (0..cols).flat_map(|j| (0..rows).map(move |i| x[i * cols + j])).collect()
}

fn exact<V: Int8Value, X: Int8Value>(
    w: &[V],
    x: &[X],
    (m, k, n): (usize, usize, usize),
    zero: i32,
) -> Vec<i64> {
    let mut sums = vec![0; m * n];
    for i in 0..m {
        for j in 0..n {
            let terms = (0..k).map(|at| {
                let (w, x): (i32, i32) = (w[i * k + at].into(), x[at * n + j].into());
                i64::from(w) * i64::from(x - zero)
            });
            sums[i * n + j] = terms.sum();
        }
    }
    sums
}

/// Multiplies from both sides, x in both layouts, into guarded buffers.
fn check_integers<V: Int8Value, X: Int8Value>(
    place: &str,
    w: &[V],
    x: &[X],
    shape: (usize, usize, usize),
    zero: i32,
    right: impl Fn(MatRef<'_, X>, &mut [i32]),
    left: impl Fn(MatRef<'_, X>, &mut [i64]),
) {
    let (m, k, n) = shape;
    let wanted = exact(w, x, shape, zero);
    let (rows, columns) = (Guarded::new(x), Guarded::new(&transposed(x, k, n)));
    let by_row = MatRef::from_slice(&rows, k, n).unwrap();
    let by_column = MatRef::from_slice(&columns, n, k).unwrap().transposed();
    for x in [by_row, by_column] {
        let mut out = Guarded::new(&vec![-1; m * n]);
        right(x, &mut out);
        assert!(out.iter().map(|&sum| i64::from(sum)).eq(wanted.iter().copied()), "right, {place}");
        let mut out = Guarded::new(&vec![-1; m * n]);
        left(x.transposed(), &mut out);
        assert!(out.iter().copied().eq(transposed(&wanted, m, n)), "left, {place}");
    }
}

fn every_n_of_m<V: Int8Value, X: Int8Value>(
    isa: Isa,
    random: &mut Random,
    value: impl Fn(&mut Random) -> V,
    x_value: impl Fn(&mut Random) -> X,
    zero: i32,
) {
    for shape in shapes(random) {
        let (m, k, n) = shape;
        let pattern = PATTERNS[random.below(PATTERNS.len())];
        let w = n_of_m(random, (m, k), pattern, &value);
        let x: Vec<X> = (0..k * n).map(|_| x_value(random)).collect();
        let dense = Guarded::new(&w);
        let a = NofM::from_dense(MatRef::from_slice(&dense, m, k).unwrap(), pattern.0, pattern.1);
        let a = NofMInteger::new(a.unwrap());
        let place = format!("{isa} {} x {} {shape:?} {pattern:?}", V::NAME, X::NAME);
        let run = |x: MatRef<'_, X>, out: &mut [i32]| {
            a.multiply_with(isa, x, zero, false, out).unwrap();
        };
        check_integers(&place, &w, &x, shape, zero, run, |_, out| {
            // The pattern runs along the rows of its matrix, so that from the left it is another one.
            let v = n_of_m(&mut Random::new(k as u64), (k, m), pattern, &value);
            let b = NofM::from_dense(MatRef::from_slice(&v, k, m).unwrap(), pattern.0, pattern.1);
            let view = MatRef::from_slice(&x, k, n).unwrap().transposed();
            NofMInteger::new(b.unwrap()).multiply_with(isa, view, zero, true, out).unwrap();
            let wanted = exact(&transposed(&v, k, m), &x, shape, zero);
            assert!(out.iter().copied().eq(transposed(&wanted, m, n)), "left, {place}");
            out.copy_from_slice(&transposed(&exact(&w, &x, shape, zero), m, n));
        });
    }
}

#[test]
fn n_of_m_integers_are_exact_from_both_sides() {
    let mut random = Random::new(31);
    for isa in Isa::available() {
        for _ in 0..3 {
            let zero = random.below(128) as i32;
            every_n_of_m(isa, &mut random, |r| r.next() as i8, |r| r.next() as i8, zero - 64);
            every_n_of_m(isa, &mut random, |r| r.next() as i8, |r| r.next() as u8, zero);
            every_n_of_m(isa, &mut random, |r| r.next() as u8, |r| r.next() as i8, -zero);
            every_n_of_m(isa, &mut random, |r| r.next() as u8, |r| r.next() as u8, 2 * zero);
        }
    }
}

fn every_block<V: Int8Value, X: Int8Value>(
    isa: Isa,
    random: &mut Random,
    value: impl Fn(&mut Random) -> V,
    x_value: impl Fn(&mut Random) -> X,
    zero: i32,
) {
    for shape in shapes(random) {
        let (m, k, n) = shape;
        let (height, width) = BLOCKS[random.below(BLOCKS.len())];
        let w = blocks(random, (m, k), (height, width), &value);
        let x: Vec<X> = (0..k * n).map(|_| x_value(random)).collect();
        let dense = Guarded::new(&w);
        let view = MatRef::from_slice(&dense, m, k).unwrap();
        let a = Blocks::from_dense(view, height, width).unwrap();
        assert_eq!(a.transposed().unwrap().transposed().unwrap(), a);
        let place = format!("{isa} {} x {} {shape:?} {height}x{width}", V::NAME, X::NAME);
        let b = BlocksInteger::new(a.transposed().unwrap().transposed().unwrap());
        let a = BlocksInteger::new(a);
        let run = |x: MatRef<'_, X>, out: &mut [i32]| {
            a.multiply_with(isa, x, zero, Order::Rows, out).unwrap();
        };
        check_integers(&place, &w, &x, shape, zero, run, |x, out| {
            b.multiply_with(isa, x.transposed(), zero, Order::Columns, out).unwrap();
        });
        let from_left = BlocksInteger::new(b.matrix().transposed().unwrap());
        let mut out = vec![0_i32; m * n];
        let x_view = MatRef::from_slice(&x, k, n).unwrap().transposed();
        from_left.multiply(x_view, zero, true, &mut out).unwrap();
        let wanted = transposed(&exact(&w, &x, shape, zero), m, n);
        assert!(out.iter().map(|&sum| i64::from(sum)).eq(wanted), "{place}");
    }
}

#[test]
fn block_integers_are_exact_from_both_sides() {
    let mut random = Random::new(32);
    for isa in Isa::available() {
        for _ in 0..3 {
            let zero = random.below(128) as i32;
            every_block(isa, &mut random, |r| r.next() as i8, |r| r.next() as i8, zero - 64);
            every_block(isa, &mut random, |r| r.next() as i8, |r| r.next() as u8, zero);
            every_block(isa, &mut random, |r| r.next() as u8, |r| r.next() as i8, -zero);
            every_block(isa, &mut random, |r| r.next() as u8, |r| r.next() as u8, 2 * zero);
        }
    }
}

#[test]
fn sums_beyond_int32_are_exact_or_an_error() {
    let (k, n) = (140_000, 2);
    let w: Vec<u8> = (0..k).map(|at| if at % 4 < 2 { 255 } else { 0 }).collect();
    let x = vec![255_u8; k * n];
    let x = MatRef::from_slice(&x, k, n).unwrap();
    let dense = MatRef::from_slice(&w, 1, k).unwrap();
    let exact = k as i64 / 2 * 255 * 255;
    let pattern = NofMInteger::new(NofM::from_dense(dense, 2, 4).unwrap());
    let block = BlocksInteger::new(Blocks::from_dense(dense, 1, 2).unwrap());
    let (mut wide, mut sums) = ([0_i64; 2], [0_i32; 2]);
    pattern.multiply(x, 0, false, &mut wide).unwrap();
    assert_eq!(wide, [exact; 2]);
    block.multiply(x, 0, false, &mut wide).unwrap();
    assert_eq!(wide, [exact; 2]);
    for error in [
        pattern.multiply(x, 0, false, &mut sums).unwrap_err(),
        block.multiply(x, 0, false, &mut sums).unwrap_err(),
    ] {
        assert!(matches!(error, KernelError::Overflow(_)), "{error}");
        assert!(error.to_string().contains("out[0, 0] is 4551750000"), "{error}");
    }
    // Sums that could be beyond int32 and are not.
    pattern.multiply(x, 254, false, &mut sums).unwrap();
    assert_eq!(sums, [k as i32 / 2 * 255; 2]);
}

fn check_floats<A: Structured<f32>>(
    isa: Isa,
    a: &StructuredFloat<A>,
    w: &[f32],
    shape: (usize, usize, usize),
    random: &mut Random,
) {
    let (m, k, n) = shape;
    let x: Vec<f32> = (0..k * n).map(|_| (random.next() as i32) as f32 / 2e9).collect();
    let y: Vec<f32> = (0..n * m).map(|_| (random.next() as i32) as f32 / 2e9).collect();
    let (x, y) = (Guarded::new(&x), Guarded::new(&y));
    let mut out = Guarded::new(&vec![-1.0; m * n]);
    a.multiply_with(isa, MatRef::from_slice(&x, k, n).unwrap(), false, &mut out).unwrap();
    let mut from_left = Guarded::new(&vec![-1.0; n * k]);
    a.multiply_with(isa, MatRef::from_slice(&y, n, m).unwrap(), true, &mut from_left).unwrap();
    let near = |found: f32, terms: &mut dyn Iterator<Item = f64>, length: usize| {
        let (sum, size) = terms.fold((0.0, 0.0), |(s, z), t| (s + t, z + f64::abs(t)));
        let bound = 2.0 * length as f64 * f64::from(f32::EPSILON) * size;
        assert!((f64::from(found) - sum).abs() <= bound, "{isa} {shape:?}: {found} {sum}");
    };
    let product = |a: f32, b: f32| f64::from(a) * f64::from(b);
    for i in 0..m {
        for j in 0..n {
            let terms = &mut (0..k).map(|at| product(w[i * k + at], x[at * n + j]));
            near(out[i * n + j], terms, k);
        }
    }
    for i in 0..n {
        for j in 0..k {
            let terms = &mut (0..m).map(|at| product(y[i * m + at], w[at * k + j]));
            near(from_left[i * k + j], terms, m);
        }
    }
}

#[test]
fn floats_are_within_the_bound_from_both_sides() {
    let mut random = Random::new(33);
    let float = |random: &mut Random| (random.next() as i32) as f32 / 2e9;
    for isa in Isa::available() {
        for shape in shapes(&mut random) {
            let (m, k, _) = shape;
            for (n, group) in PATTERNS {
                let w = n_of_m(&mut random, (m, k), (n, group), float);
                let dense = Guarded::new(&w);
                let a = NofM::from_dense(MatRef::from_slice(&dense, m, k).unwrap(), n, group);
                check_floats(isa, &StructuredFloat::new(a.unwrap()), &w, shape, &mut random);
            }
            for (height, width) in BLOCKS {
                let w = blocks(&mut random, (m, k), (height, width), float);
                let dense = Guarded::new(&w);
                let view = MatRef::from_slice(&dense, m, k).unwrap();
                let a = Blocks::from_dense(view, height, width).unwrap();
                check_floats(isa, &StructuredFloat::new(a), &w, shape, &mut random);
            }
        }
    }
}

#[test]
fn results_are_the_same_on_any_number_of_threads() {
    let mut random = Random::new(34);
    let float = |random: &mut Random| (random.next() as i32) as f32 / 2e9;
    let (m, k, n) = (700, 500, 70);
    let w = n_of_m(&mut random, (m, k), (2, 4), float);
    let v = blocks(&mut random, (m, k), (4, 1), float);
    let a = NofM::from_dense(MatRef::from_slice(&w, m, k).unwrap(), 2, 4).unwrap();
    let b = Blocks::from_dense(MatRef::from_slice(&v, m, k).unwrap(), 4, 1).unwrap();
    let (a, b) = (StructuredFloat::new(a), StructuredFloat::new(b));
    let x: Vec<f32> = (0..k * n).map(|_| float(&mut random)).collect();
    let x = MatRef::from_slice(&x, k, n).unwrap();
    let run = |size| {
        threads::set(size).unwrap();
        let mut out = vec![0.0; 2 * m * n];
        let (first, second) = out.split_at_mut(m * n);
        a.multiply(x, false, first).unwrap();
        b.multiply(x, false, second).unwrap();
        out.iter().map(|y| y.to_bits()).collect::<Vec<_>>()
    };
    let one = run(1);
    assert!((2..5).all(|size| run(size) == one));
}
