//! The activations of layers.

use crate::elementwise::Unary;
use crate::math::clip;
use crate::simd::Simd;

/// What a layer does to its sums.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Activation {
    /// Nothing.
    #[default]
    Linear,
    /// A function of each element.
    Each(Unary),
    /// `e^x` divided by the sum of it over the row.
    Softmax,
}

impl Activation {
    /// `max(x, 0)`.
    pub const RELU: Self = Self::Each(Unary::Relu);
    /// `1 / (1 + e^-x)`.
    pub const SIGMOID: Self = Self::Each(Unary::Sigmoid);
    /// The hyperbolic tangent.
    pub const TANH: Self = Self::Each(Unary::Tanh);

    /// The activation of a name: "linear", "softmax", or that of a [`Unary`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "linear" => Some(Self::Linear),
            "softmax" => Some(Self::Softmax),
            _ => Unary::from_name(name).map(Self::Each),
        }
    }

    /// What results are clamped to, if that is all that it does.
    #[must_use]
    pub fn bounds(self) -> Option<(f32, f32)> {
        match self {
            Self::Linear => Some((f32::NEG_INFINITY, f32::INFINITY)),
            Self::Each(function) => function.bounds(),
            Self::Softmax => None,
        }
    }

    /// The clamp that a kernel applies as it stores results; [`Activation::rest`] is what follows.
    #[inline(always)]
    pub(crate) fn clamp<S: Simd>(self, s: S) -> Clamp<S> {
        let (low, high) = self.bounds().unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        Clamp { low: s.splat_f32(low), high: s.splat_f32(high) }
    }

    /// What is left to do to each element after the clamp.
    pub(crate) fn rest(self) -> Option<Unary> {
        match self {
            Self::Each(function) if function.bounds().is_none() => Some(function),
            _ => None,
        }
    }

    /// Whether a row is finished as one.
    pub(crate) fn is_of_rows(self) -> bool {
        self == Self::Softmax
    }
}

/// Bounds of results; minus infinity and infinity change nothing.
#[derive(Clone, Copy)]
pub(crate) struct Clamp<S: Simd> {
    low: S::F32,
    high: S::F32,
}

impl<S: Simd> Clamp<S> {
    /// Clamps; NaN stays NaN.
    #[inline(always)]
    pub(crate) fn apply(self, s: S, x: S::F32) -> S::F32 {
        clip(s, x, self.low, self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::epilogue::finish_rows_with;
    use crate::isa::Isa;

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
            for activation in [Activation::SIGMOID, Activation::TANH] {
                let mut y = x.clone();
                finish_rows_with(isa, &mut y, x.len(), &[], activation).unwrap();
                for (&x, &y) in x.iter().zip(&y) {
                    let wide = f64::from(x);
                    let exact = match activation {
                        Activation::TANH => wide.tanh(),
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
            Activation::RELU,
            Activation::SIGMOID,
            Activation::TANH,
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
