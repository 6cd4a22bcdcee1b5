//! Functions of one and of two elements, against those of double precision.

use qcore_kernels::Isa;
use qcore_kernels::elementwise::{
    Binary, Operand, Unary, binary_f32_with, binary_strided_f32_with, broadcast_shape, map_pairs,
    map_triples, unary_in_place_with, unary_with,
};

use super::{bits, floats, same_everywhere};
use crate::guard::Guarded;
use crate::random::Random;

/// Values of every size, and the special ones.
fn samples() -> Vec<f32> {
    let mut x: Vec<f32> = (-4000..4000).map(|i| i as f32 * 0.025).collect();
    x.extend((0..2000).map(|i| 10.0_f32.powf(-40.0 + i as f32 * 0.039)));
    let negative: Vec<f32> = x.iter().map(|x| -x).collect();
    x.extend(negative);
    x.extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.0, f32::MIN_POSITIVE, 1e-45]);
    x
}

/// The error function by its series, and by its continued fraction beyond.
fn erf(x: f64) -> f64 {
    let size = x.abs();
    if size < 3.0 {
        let (mut term, mut sum) = (size, size);
        for n in 1..200 {
            term *= -size * size / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return sum * std::f64::consts::FRAC_2_SQRT_PI * x.signum();
    }
    let mut fraction = size;
    for n in (1..200).rev() {
        fraction = size + f64::from(n) / 2.0 / fraction;
    }
    (1.0 - (-size * size).exp() / (fraction * std::f64::consts::PI.sqrt())) * x.signum()
}

/// The exact value, and how far off it is allowed to be: in units of the last place, and absolutely.
fn exact(function: Unary, x: f64) -> (f64, f64, f64) {
    if x.is_nan() {
        return (x, 0.0, 0.0);
    }
    let sigmoid = 1.0 / (1.0 + (-x).exp());
    match function {
        Unary::Relu => (x.max(0.0), 0.0, 0.0),
        Unary::Clip { low, high } => (x.max(f64::from(low)).min(f64::from(high)), 0.0, 0.0),
        Unary::Sigmoid => (sigmoid, 3.0, 2e-38),
        Unary::Tanh => (x.tanh(), 3.0, 0.0),
        Unary::HardSigmoid { slope, offset } => {
            ((f64::from(slope) * x + f64::from(offset)).clamp(0.0, 1.0), 1.0, 1e-7)
        }
        Unary::HardSwish => (x * (x / 6.0 + 0.5).clamp(0.0, 1.0), 3.0, 4e-7),
        Unary::Silu => (x * sigmoid, 4.0, 2e-36),
        Unary::Gelu => (x / 2.0 * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)), 4.0, 6e-7),
        Unary::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x);
            (x / 2.0 * (1.0 + inner.tanh()), 4.0, 1e-6)
        }
        Unary::LeakyRelu { slope } => (if x < 0.0 { x * f64::from(slope) } else { x }, 1.0, 0.0),
        Unary::Elu { scale } => {
            (if x < 0.0 { f64::from(scale) * x.exp_m1() } else { x }, 1.0, 3e-7)
        }
        Unary::Softplus => (x.max(0.0) + (-x.abs()).exp().ln_1p(), 3.0, 2e-38),
        Unary::Erf => (erf(x), 2.0, 0.0),
        Unary::Exp => (x.exp(), 2.0, 2e-38),
        Unary::Log => (x.ln(), 2.0, 0.0),
        Unary::Sqrt => (x.sqrt(), 0.5, 0.0),
        Unary::Reciprocal => (1.0 / x, 0.5, 0.0),
        Unary::Square => (x * x, 0.5, 0.0),
        Unary::Neg => (-x, 0.0, 0.0),
        Unary::Abs => (x.abs(), 0.0, 0.0),
        Unary::Floor => (x.floor(), 0.0, 0.0),
        Unary::Ceil => (x.ceil(), 0.0, 0.0),
        Unary::Round => (x.round_ties_even(), 0.0, 0.0),
        Unary::Sign => (if x == 0.0 { x } else { x.signum() }, 0.0, 0.0),
    }
}

#[test]
fn functions_are_near_the_exact_ones_and_the_same_everywhere() {
    let x = samples();
    for name in Unary::names() {
        let function = Unary::from_name(name).unwrap();
        let found = same_everywhere(name, |isa| {
            let mut out = vec![0.0; x.len()];
            unary_with(isa, function, &x, &mut out).unwrap();
            out
        });
        for (&x, &y) in x.iter().zip(&found) {
            let (exact, ulps, least) = exact(function, f64::from(x));
            // An infinity times 0 is left to be what it is.
            if x.is_infinite() && !exact.is_finite() && y.is_nan() && exact.is_nan() {
                continue;
            }
            let near = exact as f32;
            if exact.is_nan() || !near.is_finite() {
                let silent = x == f32::NEG_INFINITY;
                assert!(y.is_nan() == near.is_nan() || silent, "{name}({x}) = {y} not {exact}");
                assert!(near.is_nan() || y == near || silent, "{name}({x}) = {y} not {exact}");
                continue;
            }
            let step = f64::from(f32::from_bits(near.abs().to_bits() + 1)) - f64::from(near.abs());
            let error = (f64::from(y) - exact).abs();
            let silent = x == f32::NEG_INFINITY && y.is_nan();
            let bound = (ulps + 0.01) * step + least;
            assert!(
                error <= bound || silent,
                "{name}({x:e}) = {y:e} not {exact:e}: {}",
                error / step
            );
        }
    }
}

#[test]
fn lengths_past_the_vectors_and_in_place() {
    let mut random = Random::new(41);
    for isa in Isa::available() {
        for len in 0..70 {
            let x = Guarded::new(&floats(&mut random, len));
            for function in [Unary::HardSwish, Unary::Exp, Unary::Relu] {
                let mut out = Guarded::new(&vec![f32::NAN; len]);
                unary_with(isa, function, &x, &mut out).unwrap();
                let mut wanted = vec![0.0; len];
                unary_with(Isa::Scalar, function, &x, &mut wanted).unwrap();
                assert_eq!(bits(&out), bits(&wanted), "{isa} {function:?} {len}");
                let mut here = Guarded::new(&x);
                unary_in_place_with(isa, function, &mut here);
                assert_eq!(bits(&here), bits(&wanted), "{isa} {function:?} {len}");
            }
        }
    }
    assert!(unary_with(Isa::Scalar, Unary::Relu, &[0.0; 3], &mut [0.0; 2]).is_err());
}

fn apply(function: Binary, a: f32, b: f32) -> f32 {
    match function {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Min => {
            if a.is_nan() || b.is_nan() {
                f32::NAN
            } else {
                a.min(b)
            }
        }
        Binary::Max => {
            if a.is_nan() || b.is_nan() {
                f32::NAN
            } else {
                a.max(b)
            }
        }
        Binary::Pow => f64::from(a).powf(f64::from(b)) as f32,
        Binary::Prelu => {
            if a < 0.0 {
                a * b
            } else {
                a
            }
        }
    }
}

const ALL: [Binary; 8] = [
    Binary::Add,
    Binary::Sub,
    Binary::Mul,
    Binary::Div,
    Binary::Min,
    Binary::Max,
    Binary::Pow,
    Binary::Prelu,
];

/// Where element `index` of a shape lies in an operand that is stretched over it.
fn place(index: usize, out: &[usize], shape: &[usize]) -> usize {
    let (mut rest, mut step, mut at) = (index, 1, 0);
    for axis in (0..out.len()).rev() {
        let along = rest % out[axis];
        rest /= out[axis];
        if axis + shape.len() >= out.len() {
            let own = shape[axis + shape.len() - out.len()];
            at += if own == 1 { 0 } else { along * step };
            step *= own;
        }
    }
    at
}

#[test]
fn shapes_stretch_over_one_another() {
    let mut random = Random::new(42);
    let shapes: [(&[usize], &[usize]); 11] = [
        (&[], &[]),
        (&[5], &[5]),
        (&[40, 3], &[3]),
        (&[2, 1, 37], &[1, 4, 1]),
        (&[2, 3, 4, 5], &[3, 1, 1]),
        (&[6, 33], &[1]),
        (&[1], &[3, 70]),
        (&[7, 1], &[7, 19]),
        (&[0, 3], &[3]),
        (&[2, 16, 9], &[2, 1, 9]),
        (&[100, 50, 20], &[100, 50, 20]),
    ];
    for (shape_a, shape_b) in shapes {
        let out_shape = broadcast_shape(&[shape_a, shape_b]).unwrap();
        let count = |shape: &[usize]| shape.iter().product::<usize>();
        let (a, b) = (floats(&mut random, count(shape_a)), floats(&mut random, count(shape_b)));
        let (a, b) = (Guarded::new(&a), Guarded::new(&b));
        for function in ALL {
            let found = same_everywhere("binary", |isa| {
                let mut out = Guarded::new(&vec![f32::NAN; count(&out_shape)]);
                let (a, b) = ((&a[..], shape_a), (&b[..], shape_b));
                binary_f32_with(isa, function, a, b, (&mut out, &out_shape)).unwrap();
                out.to_vec()
            });
            for (index, &found) in found.iter().enumerate() {
                let (a, b) =
                    (a[place(index, &out_shape, shape_a)], b[place(index, &out_shape, shape_b)]);
                let exact = apply(function, a, b);
                let near = function == Binary::Pow && (found - exact).abs() <= exact.abs() * 2e-7;
                assert!(near || bits(&[found]) == bits(&[exact]), "{function:?} {a} {b}: {found}");
            }
        }
        let mut pairs = vec![0_i64; count(&out_shape)];
        let whole: Vec<i64> = (0..count(shape_a) as i64).collect();
        let other: Vec<bool> = b.iter().map(|&b| b > 0.0).collect();
        let choose = |a: i64, b: bool| if b { a } else { -1 };
        map_pairs((&whole, shape_a), (&other, shape_b), (&mut pairs, &out_shape), choose).unwrap();
        let mut triples = vec![0_i64; count(&out_shape)];
        let minus = [-1_i64];
        map_triples(
            (&other, shape_b),
            (&whole, shape_a),
            (&minus[..1], &[]),
            (&mut triples, &out_shape),
            |b, x, y| if b { x } else { y },
        )
        .unwrap();
        for index in 0..pairs.len() {
            let (a, b) = (place(index, &out_shape, shape_a), place(index, &out_shape, shape_b));
            assert_eq!(pairs[index], choose(whole[a], other[b]));
            assert_eq!(triples[index], pairs[index]);
        }
    }
    assert!(broadcast_shape(&[&[2, 3], &[4]]).is_err());
}

#[test]
fn operands_of_any_strides_and_in_place() {
    let mut random = Random::new(43);
    for (m, n) in [(1, 1), (5, 7), (40, 33), (200, 300)] {
        let (a, b) = (floats(&mut random, m * n), floats(&mut random, m * n));
        for function in [Binary::Sub, Binary::Pow] {
            let wanted: Vec<f32> = (0..m * n)
                .map(|i| (a[i], b[i % n * m + i / n]))
                .map(|(a, b)| {
                    let mut out = [0.0];
                    let shape: &[usize] = &[];
                    let (a, b) = ((&[a][..], shape), (&[b][..], shape));
                    binary_f32_with(Isa::Scalar, function, a, b, (&mut out, shape)).unwrap();
                    out[0]
                })
                .collect();
            for here in [false, true] {
                let found = same_everywhere("strided", |isa| {
                    let mut out = if here { a.clone() } else { vec![0.0; m * n] };
                    let x = Operand { data: (!here).then_some(&a[..]), strides: &[n, 1] };
                    let y = Operand { data: Some(&b), strides: &[1, m] };
                    let out_shape = [m, n];
                    binary_strided_f32_with(isa, function, x, y, (&mut out, &out_shape)).unwrap();
                    out
                });
                assert_eq!(bits(&found), bits(&wanted));
            }
        }
        let mut out = vec![0.0; m * n];
        let x = Operand { data: Some(&a), strides: &[n, 2] };
        let y = Operand { data: Some(&b), strides: &[n, 1] };
        let add = binary_strided_f32_with(Isa::Scalar, Binary::Add, x, y, (&mut out, &[m, n]));
        assert_eq!(add.is_ok(), n == 1);
    }
}
