//! Fixed-point arithmetic as TensorFlow Lite defines it: multipliers of 31 bits and a shift, results
//! rounded twice.
//!
//! Jacob et al., "Quantization and Training of Neural Networks for Efficient
//! Integer-Arithmetic-Only Inference", 2018, section 2.2; gemmlowp's `fixedpoint.h` names the steps.

/// A real factor as an integer over 2³¹, and a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedPoint {
    multiplier: i32,
    shift: i32,
}

impl FixedPoint {
    /// The nearest to a factor that is not negative; ties go away from 0.
    #[must_use]
    pub fn new(factor: f64) -> Self {
        if factor == 0.0 || !factor.is_finite() {
            return Self { multiplier: 0, shift: 0 };
        }
        // factor = fraction * 2^shift, the fraction in [0.5, 1).
        let mut shift = factor.log2().floor() as i32 + 1;
        let mut fraction = factor / f64::from(shift).exp2();
        if fraction >= 1.0 {
            (fraction, shift) = (fraction / 2.0, shift + 1);
        } else if fraction < 0.5 {
            (fraction, shift) = (fraction * 2.0, shift - 1);
        }
        let mut scaled = (fraction * (1_i64 << 31) as f64).round() as i64;
        if scaled == 1 << 31 {
            (scaled, shift) = (scaled / 2, shift + 1);
        }
        if shift < -31 {
            return Self { multiplier: 0, shift: 0 };
        }
        Self { multiplier: scaled as i32, shift }
    }

    /// `x * factor`, rounded after the multiplication, half away from 0, and once more after the
    /// shift.
    #[inline(always)]
    #[must_use]
    pub fn times(self, x: i32) -> i32 {
        let (left, right) = (self.shift.max(0), (-self.shift).max(0));
        divide_by_pot(high_mul(x.wrapping_shl(left as u32), self.multiplier), right as u32)
    }

    /// `x * factor`, rounded once, half up.
    #[inline(always)]
    #[must_use]
    pub fn times_once(self, x: i32) -> i32 {
        let shift = (31 - self.shift).clamp(1, 62);
        let product = i64::from(x) * i64::from(self.multiplier);
        (product.wrapping_add(1 << (shift - 1)) >> shift) as i32
    }

    /// `x * factor` of a factor above 1, which is rounded once.
    #[inline(always)]
    #[must_use]
    pub(super) fn times_above_one(self, x: i32) -> i32 {
        high_mul(x.wrapping_shl(self.shift.max(0) as u32), self.multiplier)
    }

    /// The power of two.
    #[must_use]
    pub(super) fn shift(self) -> i32 {
        self.shift
    }
}

/// `a * b / 2³¹`, rounded half away from 0; what does not fit saturates.
#[inline(always)]
pub(super) fn high_mul(a: i32, b: i32) -> i32 {
    if a == i32::MIN && b == i32::MIN {
        return i32::MAX;
    }
    let product = i64::from(a) * i64::from(b);
    let nudge = if product >= 0 { 1 << 30 } else { 1 - (1 << 30) };
    ((product + nudge) / (1 << 31)) as i32
}

/// `x / 2^exponent`, rounded half away from 0.
#[inline(always)]
pub(super) fn divide_by_pot(x: i32, exponent: u32) -> i32 {
    let mask = ((1_i64 << exponent) - 1) as i32;
    let remainder = x & mask;
    let threshold = (mask >> 1) + i32::from(x < 0);
    (x >> exponent.min(31)) + i32::from(remainder > threshold)
}

/// `x * 2^exponent`; what does not fit saturates.
#[inline(always)]
pub(super) fn times_pot(x: i32, exponent: u32) -> i32 {
    (i64::from(x) << exponent).clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_the_nearest_fractions() {
        for factor in [1.0, 0.5, 0.3, 0.001_234_5, 0.999_999_999_9, 3.7, 1e-8, 1e-12] {
            let FixedPoint { multiplier, shift } = FixedPoint::new(factor);
            let found = f64::from(multiplier) / (1_i64 << 31) as f64 * f64::from(shift).exp2();
            assert!((found / factor - 1.0).abs() < 1e-9 || (factor < 1e-9 && found == 0.0));
            assert!(multiplier == 0 || multiplier >= 1 << 30, "{factor}");
        }
        assert_eq!(FixedPoint::new(0.0).times(1000), 0);
        assert_eq!(FixedPoint::new(0.5), FixedPoint { multiplier: 1 << 30, shift: 0 });
    }

    #[test]
    fn products_are_rounded_half_away_from_zero() {
        let half = FixedPoint::new(0.5);
        assert_eq!([3, -3, 5, -5].map(|x| half.times(x)), [2, -1, 3, -2]);
        assert_eq!([3, -3, 5, -5].map(|x| half.times_once(x)), [2, -1, 3, -2]);
        assert_eq!([5, 6, 7, -5, -6, -7].map(|x| divide_by_pot(x, 2)), [1, 2, 2, -1, -2, -2]);
        assert_eq!(high_mul(i32::MIN, i32::MIN), i32::MAX);
        assert_eq!([3, 1 << 29, -(1 << 30)].map(|x| times_pot(x, 2)), [12, i32::MAX, i32::MIN]);
        for x in (-100_000..100_000).step_by(37) {
            let factor = 0.012_345;
            let exact = f64::from(x) * factor;
            assert!((f64::from(FixedPoint::new(factor).times(x)) - exact).abs() < 0.51);
            assert!((f64::from(FixedPoint::new(factor).times_once(x)) - exact).abs() < 0.501);
        }
    }
}
