//! Optimizers and derivatives against the formulas in float64, on every instruction set.

use qcore_kernels::Isa;
use qcore_kernels::train::{
    Adam, Derivative, Sgd, adam_step_with, multiply_derivative_with, sgd_step_with,
};

use crate::guard::Guarded;
use crate::random::Random;

/// Past the widest vector, with every rest.
const LENGTHS: std::ops::Range<usize> = 0..70;

/// The derivative of an activation, from its output.
type Slope = fn(f64) -> f64;

fn floats(random: &mut Random, len: usize) -> Vec<f32> {
    (0..len).map(|_| random.below(2001) as f32 / 1000.0 - 1.0).collect()
}

/// Ones, with a 0 at every third place.
fn mask(len: usize) -> Vec<f32> {
    (0..len).map(|at| if at % 3 == 2 { 0.0 } else { 1.0 }).collect()
}

fn near(found: f32, wanted: f64, what: &str) {
    let bound = 1e-5 * wanted.abs().max(1e-2);
    assert!((f64::from(found) - wanted).abs() <= bound, "{what}: {found} is not {wanted}");
}

#[test]
fn adam_follows_its_paper() {
    let mut random = Random::new(3);
    let adam = Adam { learning_rate: 0.01, beta1: 0.9, beta2: 0.999, epsilon: 1e-7 };
    let [rate, beta1, beta2, epsilon] =
        [adam.learning_rate, adam.beta1, adam.beta2, adam.epsilon].map(f64::from);
    for len in LENGTHS {
        let start = floats(&mut random, len);
        let steps: Vec<Vec<f32>> = (0..3).map(|_| floats(&mut random, len)).collect();
        for isa in Isa::available() {
            let mut params = Guarded::new(&start);
            let mut mean = Guarded::new(&vec![0.0_f32; len]);
            let mut square = Guarded::new(&vec![0.0_f32; len]);
            let mut wide: Vec<[f64; 3]> =
                start.iter().map(|&param| [f64::from(param), 0.0, 0.0]).collect();
            for (step, grads) in steps.iter().enumerate() {
                let step = step as i32 + 1;
                let grads = Guarded::new(grads);
                adam_step_with(isa, adam, step, &mut params, &grads, &mut mean, &mut square, None)
                    .unwrap();
                for (at, [param, first, second]) in wide.iter_mut().enumerate() {
                    let grad = f64::from(grads[at]);
                    *first = beta1 * *first + (1.0 - beta1) * grad;
                    *second = beta2 * *second + (1.0 - beta2) * grad * grad;
                    let first = *first / (1.0 - beta1.powi(step));
                    let second = *second / (1.0 - beta2.powi(step));
                    *param -= rate * first / (second.sqrt() + epsilon);
                    near(params[at], *param, &format!("{isa} {len} [{at}] after {step}"));
                }
            }
        }
    }
}

#[test]
fn descent_keeps_its_momentum() {
    let mut random = Random::new(4);
    let sgd = Sgd { learning_rate: 0.1, momentum: 0.9 };
    for len in LENGTHS {
        let start = floats(&mut random, len);
        let grads = Guarded::new(&floats(&mut random, len));
        for isa in Isa::available() {
            let mut params = Guarded::new(&start);
            let mut velocity = Guarded::new(&vec![0.0_f32; len]);
            for _ in 0..2 {
                sgd_step_with(isa, sgd, &mut params, &grads, &mut velocity, None).unwrap();
            }
            for at in 0..len {
                // Two equal gradients: the second step is 1.9 times the first.
                let moved = -0.1 * f64::from(grads[at]) * 2.9;
                near(params[at], f64::from(start[at]) + moved, &format!("{isa} {len} [{at}]"));
                near(velocity[at], -0.19 * f64::from(grads[at]), &format!("{isa} {len} [{at}]"));
            }
        }
    }
}

#[test]
fn what_is_masked_becomes_zero_and_positive_zero() {
    let mut random = Random::new(5);
    for len in LENGTHS {
        let start: Vec<f32> = floats(&mut random, len).iter().map(|x| -x.abs() - 0.5).collect();
        let grads = Guarded::new(&floats(&mut random, len));
        let keep = Guarded::new(&mask(len));
        for isa in Isa::available() {
            let (mut one, mut other) = (Guarded::new(&start), Guarded::new(&start));
            let mut rooms = [(); 3].map(|()| Guarded::new(&vec![0.0_f32; len]));
            let [mean, square, velocity] = &mut rooms;
            let adam = Adam { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-7 };
            adam_step_with(isa, adam, 1, &mut one, &grads, mean, square, Some(&keep)).unwrap();
            let sgd = Sgd { learning_rate: 1e-3, momentum: 0.0 };
            sgd_step_with(isa, sgd, &mut other, &grads, velocity, Some(&keep)).unwrap();
            for params in [&one, &other] {
                for (at, &param) in params.iter().enumerate() {
                    let gone = keep[at] == 0.0;
                    assert_eq!(param.to_bits() == 0, gone, "{isa} {len} [{at}] is {param}");
                }
            }
        }
    }
}

#[test]
fn derivatives_are_those_of_the_outputs() {
    let mut random = Random::new(6);
    for len in LENGTHS {
        let delta = floats(&mut random, len);
        let output = Guarded::new(&floats(&mut random, len));
        let inside = Guarded::new(&mask(len));
        let kinds: [(Derivative, Slope); 4] = [
            (Derivative::Linear, |_| 1.0),
            (Derivative::Relu, |y| f64::from(u8::from(y > 0.0))),
            (Derivative::Sigmoid, |y| y * (1.0 - y)),
            (Derivative::Tanh, |y| 1.0 - y * y),
        ];
        for (kind, slope) in kinds {
            for isa in Isa::available() {
                let mut found = Guarded::new(&delta);
                multiply_derivative_with(isa, &mut found, &output, Some(&inside), kind).unwrap();
                for at in 0..len {
                    let exact =
                        f64::from(delta[at]) * slope(f64::from(output[at])) * f64::from(inside[at]);
                    near(found[at], exact, &format!("{isa} {len} [{at}]"));
                }
            }
        }
    }
}

#[test]
fn lengths_that_differ_are_refused() {
    let isa = Isa::Scalar;
    let sgd = Sgd { learning_rate: 1.0, momentum: 0.0 };
    let adam = Adam { learning_rate: 1.0, beta1: 0.9, beta2: 0.99, epsilon: 1e-7 };
    let (mut a, mut b, mut c) = ([0.0_f32; 3], [0.0_f32; 3], [0.0_f32; 3]);
    assert!(sgd_step_with(isa, sgd, &mut a, &[0.0; 2], &mut b, None).is_err());
    assert!(sgd_step_with(isa, sgd, &mut a, &[0.0; 3], &mut b, Some(&[1.0; 4])).is_err());
    assert!(adam_step_with(isa, adam, 1, &mut a, &[0.0; 3], &mut b, &mut [0.0; 2], None).is_err());
    assert!(adam_step_with(isa, adam, 1, &mut a, &[0.0; 4], &mut b, &mut c, None).is_err());
    assert!(multiply_derivative_with(isa, &mut a, &[0.0; 2], None, Derivative::Relu).is_err());
}
