//! Int8 products against a naive int64 oracle, on every instruction set of the machine.

use qcore_kernels::gemm::{Int8, PackedI8, ZeroPoint, kernel_id, limits_of, matmul_integer_with};
use qcore_kernels::view::MatRef;
use qcore_kernels::{Isa, KernelError};

use crate::guard::Guarded;
use crate::random::Random;

/// One operand in both of its types; the test says which is meant.
pub(crate) struct Operand {
    bytes: Guarded<u8>,
    rows: usize,
    cols: usize,
    unsigned: bool,
}

impl Operand {
    pub(crate) fn new(
        random: &mut Random,
        rows: usize,
        cols: usize,
        unsigned: bool,
        extreme: bool,
    ) -> Self {
        let byte = |random: &mut Random| {
            if extreme {
                let ends = if unsigned { [0, 255] } else { [0x80, 0x7f] };
                ends[random.below(2)]
            } else {
                random.below(256) as u8
            }
        };
        let bytes: Vec<u8> = (0..rows * cols).map(|_| byte(random)).collect();
        Self { bytes: Guarded::new(&bytes), rows, cols, unsigned }
    }

    pub(crate) fn constant(rows: usize, cols: usize, value: i32, unsigned: bool) -> Self {
        Self { bytes: Guarded::new(&vec![value as u8; rows * cols]), rows, cols, unsigned }
    }

    fn get(&self, row: usize, col: usize) -> i64 {
        let byte = self.bytes[row * self.cols + col];
        if self.unsigned { i64::from(byte) } else { i64::from(byte as i8) }
    }

    pub(crate) fn view(&self) -> Int8<'_> {
        view(self.bytes.as_ptr(), self.rows, self.cols, self.cols as isize, 1, self.unsigned)
    }
}

fn view<'a>(
    ptr: *const u8,
    rows: usize,
    cols: usize,
    rs: isize,
    cs: isize,
    unsigned: bool,
) -> Int8<'a> {
    // SAFETY: the callers' strides stay within their buffers, which outlive the view.
    unsafe {
        if unsigned {
            MatRef::from_raw(ptr, rows, cols, rs, cs).unwrap().into()
        } else {
            MatRef::from_raw(ptr.cast::<i8>(), rows, cols, rs, cs).unwrap().into()
        }
    }
}

pub(crate) fn oracle(a: &Operand, b: &Operand, za: ZeroPoint<'_>, zb: ZeroPoint<'_>) -> Vec<i64> {
    let zero = |zeros: &ZeroPoint<'_>, index: usize| match zeros {
        ZeroPoint::One(zero) => i64::from(*zero),
        ZeroPoint::Each(zeros) => i64::from(zeros[index]),
    };
    let mut out = Vec::with_capacity(a.rows * b.cols);
    for i in 0..a.rows {
        for j in 0..b.cols {
            let (za, zb) = (zero(&za, i), zero(&zb, j));
            out.push((0..a.cols).map(|k| (a.get(i, k) - za) * (b.get(k, j) - zb)).sum());
        }
    }
    out
}

/// Runs a product packed and not, and compares both with the oracle.
fn check(isa: Isa, a: &Operand, b: &Operand, za: ZeroPoint<'_>, zb: ZeroPoint<'_>) {
    let exact = oracle(a, b, za, zb);
    let place = format!("{isa} ({}) {}x{}x{}", kernel_id(isa), a.rows, a.cols, b.cols);
    let packed = PackedI8::new(isa, b.view()).unwrap();
    let mut out = Guarded::new(&vec![-1_i32; a.rows * b.cols]);
    matmul_integer_with(isa, a.view(), &packed, za, zb, &mut out).unwrap();
    assert!(out.iter().map(|&sum| i64::from(sum)).eq(exact.iter().copied()), "packed, {place}");
    let mut out = Guarded::new(&vec![-1_i64; a.rows * b.cols]);
    matmul_integer_with(isa, a.view(), b.view(), za, zb, &mut out).unwrap();
    assert!(out.iter().eq(exact.iter()), "not packed, {place}");
}

const SIGNS: [(bool, bool); 4] = [(false, false), (true, false), (false, true), (true, true)];

#[test]
fn shapes_from_zero_past_every_tile() {
    let mut random = Random::new(1);
    for isa in Isa::available() {
        for (index, (a, b)) in SIGNS.into_iter().cycle().take(160).enumerate() {
            let (m, k, n) = (random.below(71), random.below(71), random.below(71));
            let a = Operand::new(&mut random, m, k, a, index % 3 == 0);
            let b = Operand::new(&mut random, k, n, b, index % 3 == 0);
            check(isa, &a, &b, ZeroPoint::One(0), ZeroPoint::One(0));
        }
    }
}

#[test]
fn shapes_around_the_tile() {
    let mut random = Random::new(2);
    for isa in Isa::available() {
        for m in [0, 1, 2, 5, 6, 7, 15] {
            for n in [0, 1, 15, 16, 17, 63, 64, 65, 127, 128, 131] {
                for k in [0, 1, 3, 4, 5, 11] {
                    let a = Operand::new(&mut random, m, k, m % 2 == 0, false);
                    let b = Operand::new(&mut random, k, n, n % 2 == 0, false);
                    check(isa, &a, &b, ZeroPoint::One(3), ZeroPoint::One(0));
                }
            }
        }
    }
}

/// Where many rows meet it, B is laid out anew: from the row on where that begins, with tails of every
/// dimension, and blocks of A that do not fit the cache.
#[test]
fn many_rows_of_every_sign() {
    let mut random = Random::new(12);
    for isa in Isa::available() {
        let many = limits_of(isa).many_rows.min(40);
        for (ua, ub) in SIGNS {
            let shapes = [
                (many - 1, 9, 65),
                (many, 8, 64),
                (many + 1, 7, 63),
                (2 * many + 5, 66, 131),
                (150, 1030, 17),
                (130, 5000, 3),
            ];
            for (m, k, n) in shapes {
                let a = Operand::new(&mut random, m, k, ua, m % 2 == 0);
                let b = Operand::new(&mut random, k, n, ub, m % 2 == 0);
                check(isa, &a, &b, ZeroPoint::One(i32::from(ua) * 7), ZeroPoint::One(5));
            }
        }
    }
}

/// A matrix knows how it was packed: one instruction set takes what another made.
#[test]
fn what_one_isa_packed_another_takes() {
    let mut random = Random::new(13);
    for maker in Isa::available() {
        for isa in Isa::available() {
            for (m, k, n) in [(1, 70, 40), (3, 9, 17), (45, 33, 150), (2, 70_000, 3)] {
                let a = Operand::new(&mut random, m, k, true, false);
                let b = Operand::new(&mut random, k, n, false, false);
                let (za, zb) = (ZeroPoint::One(3), ZeroPoint::One(0));
                let packed = PackedI8::new(maker, b.view()).unwrap();
                let mut out = Guarded::new(&vec![-1_i64; m * n]);
                matmul_integer_with(isa, a.view(), &packed, za, zb, &mut out).unwrap();
                let exact = oracle(&a, &b, za, zb);
                assert!(
                    out.iter().copied().eq(exact),
                    "packed for {maker}, run on {isa}: {m}x{k}x{n}"
                );
            }
        }
    }
}

/// Few rows take a B that is not packed where it lies: row by row or, transposed, column by column.
#[test]
fn few_rows_of_every_sign_in_both_orders() {
    let mut random = Random::new(8);
    for isa in Isa::available() {
        for (ua, ub) in SIGNS {
            for m in 1..=9 {
                let shapes = [
                    (1, 64),
                    (3, 65),
                    (16, 191),
                    (31, 127),
                    (32, 128),
                    (33, 66),
                    (70, 3),
                    (130, 1),
                    (271, 129),
                ];
                for (k, n) in shapes {
                    let a = Operand::new(&mut random, m, k, ua, m % 3 == 0);
                    let b = Operand::new(&mut random, k, n, ub, m % 3 == 0);
                    let za = ZeroPoint::One(if m % 2 == 0 { 0 } else { 90 });
                    check(isa, &a, &b, za, ZeroPoint::One(5));
                    let exact = oracle(&a, &b, za, ZeroPoint::One(5));
                    let columns: Vec<u8> =
                        (0..k * n).map(|at| b.bytes[at % k * n + at / k]).collect();
                    let columns = Guarded::new(&columns);
                    let turned = view(columns.as_ptr(), k, n, 1, k as isize, ub);
                    let mut out = Guarded::new(&vec![-1_i32; m * n]);
                    let zb = ZeroPoint::One(5);
                    matmul_integer_with(isa, a.view(), turned, za, zb, &mut out).unwrap();
                    assert!(
                        out.iter().map(|&sum| i64::from(sum)).eq(exact),
                        "{isa} {m}x{k}x{n}, transposed"
                    );
                }
            }
        }
    }
}

#[test]
fn all_extremes_in_every_pair_of_signs() {
    for isa in Isa::available() {
        for (ua, ub) in SIGNS {
            let ends = |unsigned| if unsigned { [0, 255] } else { [-128, 127] };
            for va in ends(ua) {
                for vb in ends(ub) {
                    // One row goes its own way, and so do few.
                    for rows in [1, 2, 7] {
                        let a = Operand::constant(rows, 129, va, ua);
                        let b = Operand::constant(129, 70, vb, ub);
                        check(isa, &a, &b, ZeroPoint::One(0), ZeroPoint::One(0));
                        let (za, zb) =
                            (ends(ua)[1] - (va - ends(ua)[0]), ends(ub)[1] - (vb - ends(ub)[0]));
                        check(isa, &a, &b, ZeroPoint::One(za), ZeroPoint::One(zb));
                    }
                }
            }
        }
    }
}

#[test]
fn zero_points_one_for_all_or_one_for_each() {
    let mut random = Random::new(3);
    for isa in Isa::available() {
        for (ua, ub) in SIGNS {
            for (m, k, n) in [(1, 9, 33), (3, 64, 130), (13, 70, 67)] {
                let a = Operand::new(&mut random, m, k, ua, false);
                let b = Operand::new(&mut random, k, n, ub, false);
                let zeros = |random: &mut Random, count: usize, unsigned: bool| -> Vec<i32> {
                    let low = if unsigned { 0 } else { -128 };
                    (0..count).map(|_| low + random.below(256) as i32).collect()
                };
                let (za, zb) = (zeros(&mut random, m, ua), zeros(&mut random, n, ub));
                for za in [ZeroPoint::One(za[0]), ZeroPoint::Each(&za)] {
                    for zb in [ZeroPoint::One(zb[0]), ZeroPoint::Each(&zb)] {
                        check(isa, &a, &b, za, zb);
                    }
                }
            }
        }
    }
}

#[test]
fn every_stride_gives_what_the_contiguous_copy_gives() {
    let mut random = Random::new(4);
    let (m, k, n) = (9, 21, 37);
    for isa in Isa::available() {
        for (ua, ub) in SIGNS {
            let a = Operand::new(&mut random, m, k, ua, false);
            let b = Operand::new(&mut random, k, n, ub, false);
            let exact = oracle(&a, &b, ZeroPoint::One(1), ZeroPoint::One(2));
            for (left, right) in layouts(&a).iter().zip(layouts(&b).iter().rev()) {
                let mut out = vec![0_i64; m * n];
                let (za, zb) = (ZeroPoint::One(1), ZeroPoint::One(2));
                matmul_integer_with(isa, left.view(), right.view(), za, zb, &mut out).unwrap();
                assert_eq!(out, exact, "{isa}");
            }
        }
    }
}

/// The same matrix in other memory orders.
struct Layout {
    bytes: Guarded<u8>,
    first: usize,
    rows: usize,
    cols: usize,
    rs: isize,
    cs: isize,
    unsigned: bool,
}

impl Layout {
    fn view(&self) -> Int8<'_> {
        view(
            &raw const self.bytes[self.first],
            self.rows,
            self.cols,
            self.rs,
            self.cs,
            self.unsigned,
        )
    }
}

fn layouts(x: &Operand) -> Vec<Layout> {
    let (rows, cols) = (x.rows as isize, x.cols as isize);
    let plans = [
        (cols, 1),         // row-major
        (1, rows),         // transposed
        (-cols, 1),        // rows backwards
        (cols, -1),        // columns backwards
        (-1, -rows),       // transposed, both backwards
        (2 * cols + 3, 2), // every second column, gaps between rows
        (1, rows + 5),     // transposed, gaps
    ];
    plans
        .iter()
        .map(|&(rs, cs)| {
            let span = (rows - 1) * rs.abs() + (cols - 1) * cs.abs() + 1;
            let first = (rows - 1) * rs.min(0).abs() + (cols - 1) * cs.min(0).abs();
            let mut bytes = vec![0x55; span as usize];
            for i in 0..x.rows {
                for j in 0..x.cols {
                    let at = first + i as isize * rs + j as isize * cs;
                    bytes[at as usize] = x.bytes[i * x.cols + j];
                }
            }
            let (rows, cols, unsigned) = (x.rows, x.cols, x.unsigned);
            Layout {
                bytes: Guarded::new(&bytes),
                first: first as usize,
                rows,
                cols,
                rs,
                cs,
                unsigned,
            }
        })
        .collect()
}

#[test]
fn around_the_longest_safe_sum() {
    // The bounds for zero points of 0: int8 by int8, uint8 by int8, uint8 by uint8.
    for (ua, ub, bound) in [(false, false, 131_071), (true, false, 65_793), (true, true, 33_025)] {
        for k in [bound - 1, bound, bound + 1, bound + 4, 2 * bound + 3] {
            let (va, vb) = (if ua { 255 } else { -128 }, if ub { 255 } else { -128 });
            let a = Operand::constant(2, k, va, ua);
            let b = Operand::constant(k, 17, vb, ub);
            let exact = i64::from(va) * i64::from(vb) * k as i64;
            for isa in Isa::available() {
                let zero = ZeroPoint::One(0);
                let mut wide = vec![0_i64; 34];
                matmul_integer_with(isa, a.view(), b.view(), zero, zero, &mut wide).unwrap();
                assert!(wide.iter().all(|&sum| sum == exact), "{isa} {k}");
                let mut out = vec![0_i32; 34];
                let found = matmul_integer_with(isa, a.view(), b.view(), zero, zero, &mut out);
                if i32::try_from(exact).is_ok() {
                    found.unwrap();
                    assert!(out.iter().all(|&sum| i64::from(sum) == exact), "{isa} {k}");
                } else {
                    assert!(matches!(found, Err(KernelError::Overflow(_))), "{isa} {k}");
                }
            }
        }
    }
}

#[test]
fn long_sums_that_fit_are_exact() {
    // The correction terms alone are far beyond int32.
    let mut random = Random::new(5);
    for (ua, ub) in SIGNS {
        let a = Operand::new(&mut random, 3, 200_001, ua, false);
        let b = Operand::new(&mut random, 200_001, 3, ub, false);
        let (za, zb) = (if ua { 128 } else { 0 }, if ub { 127 } else { -1 });
        for isa in Isa::available() {
            check(isa, &a, &b, ZeroPoint::One(za), ZeroPoint::One(zb));
            check(isa, &a, &b, ZeroPoint::Each(&[za; 3]), ZeroPoint::Each(&[zb; 3]));
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let mut random = Random::new(6);
    for (m, k, n) in [(130, 300, 200), (4, 700, 2000), (1, 2048, 2100)] {
        let a = Operand::new(&mut random, m, k, false, false);
        let b = Operand::new(&mut random, k, n, true, false);
        for isa in Isa::available() {
            check(isa, &a, &b, ZeroPoint::One(-7), ZeroPoint::One(130));
        }
    }
}
