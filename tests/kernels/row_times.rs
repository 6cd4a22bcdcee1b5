//! A row times a matrix against the plain loop, to the bit, on every instruction set.

use qcore_kernels::Isa;
use qcore_kernels::gemm::add_row_times_with;

use crate::guard::Guarded;
use crate::random::Random;

#[test]
fn sums_are_the_bits_of_the_plain_loop() {
    let mut random = Random::new(3);
    let mut floats = |count: usize| -> Vec<f32> {
        (0..count).map(|_| (random.below(4001) as f32 - 2000.0) / 700.0).collect()
    };
    for isa in Isa::available() {
        for n in (0..150).chain([255, 256, 300]) {
            for k in [0, 1, 2, 7, 33] {
                let (x, w, first) = (floats(k), floats(k * n), floats(n));
                let mut exact = first.clone();
                for i in 0..k {
                    for j in 0..n {
                        exact[j] += x[i] * w[i * n + j];
                    }
                }
                let mut sums = Guarded::new(&first);
                add_row_times_with(isa, &Guarded::new(&x), &Guarded::new(&w), &mut sums).unwrap();
                let same = sums.iter().zip(&exact).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{isa:?}: {k} x {n}");
            }
        }
    }
}

#[test]
fn sizes_that_do_not_fit_are_an_error() {
    let isa = Isa::Scalar;
    assert!(add_row_times_with(isa, &[1.0; 2], &[1.0; 5], &mut [0.0; 3]).is_err());
    assert!(add_row_times_with(isa, &[], &[], &mut [0.0; 3]).is_ok());
}
