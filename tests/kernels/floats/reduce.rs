//! Reductions over any axes, and transposes.

use qcore_kernels::Isa;
use qcore_kernels::layout::transpose;
use qcore_kernels::reduce::{Reduction, reduce_f32_with};

use super::{floats, near, same_everywhere};
use crate::guard::Guarded;
use crate::random::Random;

const KINDS: [Reduction; 8] = [
    Reduction::Sum,
    Reduction::Mean,
    Reduction::Max,
    Reduction::Min,
    Reduction::Prod,
    Reduction::L1,
    Reduction::L2,
    Reduction::SumSquare,
];

#[test]
fn any_axes_are_reduced() {
    let mut random = Random::new(61);
    let shapes: [&[usize]; 8] =
        [&[], &[1], &[37], &[5, 70], &[3, 1, 9], &[2, 3, 4, 5], &[600, 33], &[2, 5000]];
    for shape in shapes {
        for chosen in 0..1 << shape.len() {
            let axes: Vec<usize> =
                (0..shape.len()).filter(|axis| chosen >> axis & 1 == 1).collect();
            let size: usize = shape.iter().product();
            let x = Guarded::new(&floats(&mut random, size));
            let kept: Vec<usize> = (0..shape.len()).filter(|axis| !axes.contains(axis)).collect();
            let outputs: usize = kept.iter().map(|&axis| shape[axis]).product();
            let mut groups = vec![Vec::new(); outputs];
            for (index, &x) in x.iter().enumerate() {
                let mut at = 0;
                for &axis in &kept {
                    let inner: usize = shape[axis + 1..].iter().product();
                    at = at * shape[axis] + index / inner % shape[axis];
                }
                groups[at].push(f64::from(x));
            }
            for kind in KINDS {
                let found = same_everywhere("reduce", |isa| {
                    let mut out = Guarded::new(&vec![f32::NAN; outputs]);
                    reduce_f32_with(isa, kind, &x, shape, &axes, &mut out).unwrap();
                    out.to_vec()
                });
                for (group, &found) in groups.iter().zip(&found) {
                    let sum = |f: fn(f64) -> f64| group.iter().map(|&x| f(x)).sum::<f64>();
                    let exact = match kind {
                        Reduction::Sum => sum(|x| x),
                        Reduction::Mean => sum(|x| x) / group.len() as f64,
                        Reduction::Max => group.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                        Reduction::Min => group.iter().copied().fold(f64::INFINITY, f64::min),
                        Reduction::Prod => group.iter().product(),
                        Reduction::L1 => sum(f64::abs),
                        Reduction::L2 => sum(|x| x * x).sqrt(),
                        Reduction::SumSquare => sum(|x| x * x),
                    };
                    let size = sum(f64::abs).max(exact.abs());
                    near(found, exact, 1e-6 * size, &format!("{kind:?} {shape:?} {axes:?}"));
                }
            }
        }
    }
}

#[test]
fn nothing_reduces_to_what_changes_nothing() {
    for (kind, wanted) in [
        (Reduction::Sum, 0.0),
        (Reduction::Max, f32::NEG_INFINITY),
        (Reduction::Min, f32::INFINITY),
        (Reduction::Prod, 1.0),
    ] {
        for axes in [&[1][..], &[1, 2]] {
            let mut out = vec![7.0; if axes.len() == 1 { 6 } else { 2 }];
            reduce_f32_with(Isa::best(), kind, &[], &[2, 0, 3], axes, &mut out).unwrap();
            assert!(out.iter().all(|&x| x == wanted), "{kind:?}");
        }
    }
    let mut out = [0.0; 2];
    assert!(
        reduce_f32_with(Isa::Scalar, Reduction::Sum, &[0.0; 6], &[2, 3], &[2], &mut out).is_err()
    );
    assert!(
        reduce_f32_with(Isa::Scalar, Reduction::Sum, &[0.0; 5], &[2, 3], &[1], &mut out).is_err()
    );
    let with_nan = [1.0, f32::NAN, 3.0, 4.0];
    for (axes, shape) in [([0], [4, 1]), ([1], [1, 4])] {
        let mut out = [0.0];
        reduce_f32_with(Isa::best(), Reduction::Max, &with_nan, &shape, &axes, &mut out).unwrap();
        assert!(out[0].is_nan());
    }
}

/// Checks a transpose of elements of any type.
fn check_transpose<T: Copy + Send + Sync + PartialEq + std::fmt::Debug>(
    shape: &[usize],
    order: &[usize],
    of: impl Fn(usize) -> T,
) {
    let size: usize = shape.iter().product();
    let x: Vec<T> = (0..size).map(&of).collect();
    let x = Guarded::new(&x);
    let mut out = Guarded::new(&vec![of(0); size]);
    transpose(&x, shape, order, &mut out).unwrap();
    for (index, &found) in out.iter().enumerate() {
        let (mut rest, mut at) = (index, 0);
        for &axis in order.iter().rev() {
            let inner: usize = shape[axis + 1..].iter().product();
            at += rest % shape[axis] * inner;
            rest /= shape[axis];
        }
        assert_eq!(found, x[at], "{shape:?} {order:?} {index}");
    }
}

#[test]
fn axes_in_any_order() {
    let orders: [(&[usize], &[usize]); 9] = [
        (&[], &[]),
        (&[7], &[0]),
        (&[40, 33], &[1, 0]),
        (&[2, 3, 4], &[2, 0, 1]),
        (&[2, 5, 6, 7], &[0, 2, 3, 1]),
        (&[2, 5, 6, 7], &[0, 3, 1, 2]),
        (&[2, 17, 3, 18], &[0, 2, 1, 3]),
        (&[3, 1, 4, 1, 5], &[4, 3, 2, 1, 0]),
        (&[0, 3], &[1, 0]),
    ];
    for (shape, order) in orders {
        check_transpose(shape, order, |i| i as f32);
        check_transpose(shape, order, |i| i as u8);
        check_transpose(shape, order, |i| i as i64);
    }
    assert!(transpose(&[0; 6], &[2, 3], &[0, 0], &mut [0; 6]).is_err());
    assert!(transpose(&[0; 6], &[2, 3], &[1, 0], &mut [0; 5]).is_err());
}
