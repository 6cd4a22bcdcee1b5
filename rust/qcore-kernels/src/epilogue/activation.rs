//! The activations of dense layers.

use super::lanes::{MAX_LANES, load};
use super::math::{exp_nonpositive, relu, sigmoid, tanh};
use crate::isa::Isa;
use crate::simd::{Simd, SimdOp, dispatch};

/// What a layer does to its sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// Nothing.
    #[default]
    Linear,
    /// `max(x, 0)`.
    Relu,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// `e^x` divided by the sum of it over the row.
    Softmax,
}

impl Activation {
    /// The activation of a name: "linear", "relu", "sigmoid", "tanh" or "softmax".
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "linear" => Self::Linear,
            "relu" => Self::Relu,
            "sigmoid" => Self::Sigmoid,
            "tanh" => Self::Tanh,
            "softmax" => Self::Softmax,
            _ => return None,
        })
    }

    /// What can be said of an element alone: all but the softmax.
    #[inline(always)]
    pub(super) fn apply<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        match self {
            Self::Linear | Self::Softmax => x,
            Self::Relu => relu(s, x),
            Self::Sigmoid => sigmoid(s, x),
            Self::Tanh => tanh(s, x),
        }
    }
}

/// Replaces a row by its softmax.
pub(crate) fn softmax_row(isa: Isa, row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    dispatch(isa, ExpMinus { row, largest });
    // Sixteen sums whatever the vectors' width: the same bits everywhere.
    let mut sums = [0.0_f32; MAX_LANES];
    let (chunks, rest) = row.as_chunks::<MAX_LANES>();
    for chunk in chunks {
        for (sum, value) in sums.iter_mut().zip(chunk) {
            *sum += value;
        }
    }
    for (sum, value) in sums.iter_mut().zip(rest) {
        *sum += value;
    }
    let total: f32 = sums.iter().sum();
    for value in row {
        *value /= total;
    }
}

/// `e^(x - largest)` of a row.
struct ExpMinus<'a> {
    row: &'a mut [f32],
    largest: f32,
}

impl SimdOp for ExpMinus<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let largest = s.splat_f32(self.largest);
        for row in self.row.chunks_mut(S::LANES) {
            let (mut room, mut result) = ([0.0; MAX_LANES], [0.0; MAX_LANES]);
            // SAFETY: both point at LANES floats at least.
            unsafe {
                let x = s.load_f32(load(row, S::LANES, &mut room));
                s.store_f32(result.as_mut_ptr(), exp_nonpositive(s, s.sub(x, largest)));
            }
            row.copy_from_slice(&result[..row.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epilogue::finish_rows_with;

    /// Distance in units of the last place of the exact value.
    fn ulps(found: f32, exact: f64) -> f64 {
        let near = exact as f32;
        let step = f64::from(f32::from_bits(near.abs().to_bits() + 1)) - f64::from(near.abs());
        (f64::from(found) - exact).abs() / step
    }

    fn samples() -> Vec<f32> {
        let mut x: Vec<f32> = (-4000..4000).map(|i| i as f32 * 0.025).collect();
        x.extend((0..2000).map(|i| 10.0_f32.powf(-30.0 + i as f32 * 0.016)));
        let negative: Vec<f32> = x.iter().map(|x| -x).collect();
        x.extend(negative);
        x
    }

    #[test]
    fn sigmoid_and_tanh_are_within_three_units_in_the_last_place() {
        let x = samples();
        for isa in Isa::available() {
            for activation in [Activation::Sigmoid, Activation::Tanh] {
                let mut y = x.clone();
                finish_rows_with(isa, &mut y, x.len(), &[], activation).unwrap();
                for (&x, &y) in x.iter().zip(&y) {
                    let wide = f64::from(x);
                    let exact = match activation {
                        Activation::Tanh => wide.tanh(),
                        _ => 1.0 / (1.0 + (-wide).exp()),
                    };
                    if exact.abs() > 1.7e-38 {
                        let error = ulps(y, exact);
                        assert!(error <= 3.0, "{isa} {activation:?}({x}) = {y}: {error} ulp");
                    } else {
                        assert!(f64::from(y) <= 1.7e-38, "{isa} {activation:?}({x}) = {y}");
                    }
                }
            }
        }
    }

    #[test]
    fn softmax_is_a_distribution_near_the_exact_one() {
        let x: Vec<f32> = samples().into_iter().filter(|x| x.abs() < 50.0).collect();
        for isa in Isa::available() {
            for n in 1..40 {
                let mut y = x[..n * 7].to_vec();
                finish_rows_with(isa, &mut y, n, &[], Activation::Softmax).unwrap();
                for (x, y) in x.chunks(n).zip(y.chunks(n)) {
                    let largest = x.iter().copied().fold(f32::MIN, f32::max);
                    let exact: Vec<f64> = x.iter().map(|&x| f64::from(x - largest).exp()).collect();
                    let total: f64 = exact.iter().sum();
                    for (y, exact) in y.iter().zip(exact) {
                        let exact = exact / total;
                        assert!((f64::from(*y) - exact).abs() <= 1e-6 * exact + 1e-37);
                    }
                }
            }
        }
    }

    #[test]
    fn every_isa_gives_the_same_bits_and_keeps_nan() {
        let mut x = samples();
        x.extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.0, f32::MIN_POSITIVE]);
        for activation in [
            Activation::Linear,
            Activation::Relu,
            Activation::Sigmoid,
            Activation::Tanh,
            Activation::Softmax,
        ] {
            let n = x.len();
            let run = |isa| {
                let mut y = x.clone();
                finish_rows_with(isa, &mut y, n, &[], activation).unwrap();
                y
            };
            let reference = run(Isa::Scalar);
            assert!(reference[n - 6].is_nan());
            for isa in Isa::available() {
                for (index, (a, b)) in reference.iter().zip(run(isa)).enumerate() {
                    let same = a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
                    assert!(same, "{isa} {activation:?}({}) = {b}, scalar {a}", x[index]);
                }
            }
        }
    }
}
