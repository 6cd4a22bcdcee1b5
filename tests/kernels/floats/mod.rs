//! Kernels of float graphs: against float64 oracles, and the same bits on every instruction set.

mod conv;
mod elementwise;
mod matmul;
mod pool;
mod reduce;
mod rows;

use qcore_kernels::{Isa, threads};

use crate::random::Random;

/// Floats from -2 to 2.
pub(crate) fn floats(random: &mut Random, count: usize) -> Vec<f32> {
    (0..count).map(|_| (random.below(4001) as f32 - 2000.0) / 1000.0).collect()
}

/// The bits of floats; those of any NaN are the same.
pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }).collect()
}

/// Runs `run` on every instruction set of the machine, with one thread and with two: all give the bits
/// that the first gives, which are returned.
pub(crate) fn same_everywhere(what: &str, run: impl Fn(Isa) -> Vec<f32>) -> Vec<f32> {
    let mut first: Option<Vec<f32>> = None;
    for isa in Isa::available() {
        for count in [1, 2] {
            threads::set(count).unwrap();
            let found = run(isa);
            match &first {
                None => first = Some(found),
                Some(first) => {
                    let (a, b) = (bits(first), bits(&found));
                    if let Some(at) = (0..a.len()).find(|&at| a[at] != b[at]) {
                        panic!("{what}: {isa} {count}: [{at}] {} not {}", found[at], first[at]);
                    }
                }
            }
        }
    }
    first.unwrap()
}

/// Checks a float against an exact value.
pub(crate) fn near(found: f32, exact: f64, bound: f64, what: &str) {
    let error = (f64::from(found) - exact).abs();
    assert!(error <= bound, "{what}: {found} not {exact}, {error:e} above {bound:e}");
}
