//! Softmax and normalization of rows.

use qcore_kernels::norm::{Norm, layer_norm_in_place_with, layer_norm_with, softmax_with};

use super::{floats, near, same_everywhere};
use crate::guard::Guarded;
use crate::random::Random;

#[test]
fn rows_are_normalized() {
    let mut random = Random::new(51);
    for n in [1, 2, 15, 16, 17, 33, 100, 768, 5000] {
        let rows = 7; // four side by side, and three by themselves
        let x = Guarded::new(&floats(&mut random, rows * n));
        let scale = Guarded::new(&floats(&mut random, n));
        let bias = Guarded::new(&floats(&mut random, n));
        for centered in [false, true] {
            for (scale, bias) in
                [(&scale[..], &bias[..]), (&scale[..], &[][..]), (&[][..], &[][..])]
            {
                let norm = Norm { centered, epsilon: 1e-5, scale, bias };
                let found = same_everywhere("norm", |isa| {
                    let mut out = Guarded::new(&vec![f32::NAN; rows * n]);
                    layer_norm_with(isa, norm, &x, n, &mut out).unwrap();
                    let mut same = Guarded::new(&x);
                    layer_norm_in_place_with(isa, norm, &mut same, n).unwrap();
                    assert!(same.iter().zip(&*out).all(|(a, b)| a.to_bits() == b.to_bits()));
                    out.to_vec()
                });
                for (x, y) in x.chunks(n).zip(found.chunks(n)) {
                    let sum: f64 = x.iter().map(|&x| f64::from(x)).sum();
                    let mean = if centered { sum / n as f64 } else { 0.0 };
                    let square =
                        x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n as f64;
                    for (index, &y) in y.iter().enumerate() {
                        let exact = (f64::from(x[index]) - mean) / (square + 1e-5).sqrt();
                        let exact = exact * scale.get(index).map_or(1.0, |&s| f64::from(s))
                            + bias.get(index).map_or(0.0, |&b| f64::from(b));
                        near(y, exact, 1e-4, &format!("norm {n} {centered}"));
                    }
                }
            }
        }
        let found = same_everywhere("softmax", |isa| {
            let mut out = Guarded::new(&x);
            softmax_with(isa, &mut out, n).unwrap();
            out.to_vec()
        });
        for (x, y) in x.chunks(n).zip(found.chunks(n)) {
            let total: f64 = x.iter().map(|&x| f64::from(x).exp()).sum();
            for (&x, &y) in x.iter().zip(y) {
                let exact = f64::from(x).exp() / total;
                near(y, exact, 1e-6 * exact, &format!("softmax {n}"));
            }
        }
    }
    let norm = Norm { centered: true, epsilon: 0.0, scale: &[1.0; 2], bias: &[] };
    let isa = qcore_kernels::Isa::Scalar;
    assert!(layer_norm_with(isa, norm, &[0.0; 6], 3, &mut [0.0; 6]).is_err());
    assert!(layer_norm_with(isa, norm, &[0.0; 5], 2, &mut [0.0; 5]).is_err());
    assert!(layer_norm_in_place_with(isa, norm, &mut [0.0; 5], 2).is_err());
    assert!(softmax_with(isa, &mut [0.0; 5], 2).is_err());
}

#[test]
fn softmax_takes_what_is_large_or_infinite() {
    let found = same_everywhere("softmax", |isa| {
        let mut x = vec![1e38, -1e38, f32::NEG_INFINITY, 1e38, f32::NAN, 1.0, 2.0, 3.0];
        softmax_with(isa, &mut x, 4).unwrap();
        x
    });
    assert_eq!(found[..4], [0.5, 0.0, 0.0, 0.5]);
    assert!(found[4..].iter().all(|x| x.is_nan()));
}
