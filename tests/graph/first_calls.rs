//! First calls of chains from two threads at once.

use std::sync::mpsc;
use std::time::Duration;

use qcore_graph::chain::linear_with;
use qcore_graph::operand::{DenseI4, by_rows};
use qcore_kernels::Isa;
use qcore_kernels::epilogue::Activation;
use qcore_kernels::gemm::PackedI4;

use crate::chain::{THREADS, float_kinds, floats, integer_kinds, on_threads, sparse_codes, view};
use crate::random::Random;

/// Calls of few rows and of many, each the first on new weights, from two threads at once: whoever
/// lays the weights out does so with the pool that the other one keeps busy.
#[test]
fn first_calls_from_two_threads_end() {
    let _turn = THREADS.lock();
    let (done, watch) = mpsc::channel();
    std::thread::spawn(move || {
        on_threads(2, || {
            let mut random = Random::new(17);
            let n = 600;
            let codes = sparse_codes(&mut random, n, n);
            let values: Vec<f32> = codes.iter().map(|&code| f32::from(code)).collect();
            let x = floats(&mut random, 300 * n);
            for round in 0..12 {
                let mut kinds = integer_kinds(Isa::best(), &codes, n, n, 0.01);
                kinds.extend(float_kinds(&values, n, n));
                let small: Vec<i8> = codes.iter().map(|code| code / 16).collect();
                let four = PackedI4::new(view(&small, n, n), n, &vec![0.5; n]).unwrap();
                kinds.push(Box::new(DenseI4(four)));
                for weights in kinds {
                    let least = if round % 2 == 0 { 1 } else { 200 };
                    if least > 1 && weights.kind().starts_with("dense") {
                        continue;
                    }
                    let weights = by_rows(weights, least);
                    std::thread::scope(|scope| {
                        for rows in [1, 300, 2] {
                            let (weights, x) = (&*weights, &x[..rows * n]);
                            scope.spawn(move || {
                                let mut out = vec![0.0; rows * n];
                                let isa = Isa::best();
                                linear_with(isa, x, weights, &[], Activation::Linear, &mut out)
                                    .unwrap();
                            });
                        }
                    });
                }
            }
        });
        done.send(()).unwrap();
    });
    let ended = watch.recv_timeout(Duration::from_secs(300));
    assert!(ended.is_ok(), "two first calls wait for each other");
}
