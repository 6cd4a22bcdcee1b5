//! The fused multiply-add without the instruction for it.

/// `a * b + c` with one rounding.
///
/// The product of two floats is exact in double precision. Their sum is rounded to odd there: where it
/// is not exact, the last bit is set, so that the second rounding, to float, cannot meet a tie that
/// the first one made (Boldo and Melquiond, *Emulation of FMA and Correctly Rounded Sums: Proved
/// Algorithms Using Rounding to Odd*, 2008). Double has more than twice float's bits and two more, as
/// this asks for, subnormal results included.
#[inline]
pub(super) fn fma(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_feature = "fma", target_arch = "aarch64")) {
        return a.mul_add(b, c);
    }
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    // What the sum lost (Knuth): exact, unless something is not finite.
    let part = sum - product;
    let lost = (product - (sum - part)) + (c - part);
    let bits = sum.to_bits();
    if lost == 0.0 || !lost.is_finite() || bits & 1 == 1 {
        return sum as f32;
    }
    // Even and inexact: the odd neighbour on the side of what was lost.
    let away = (lost > 0.0) == (sum > 0.0);
    f64::from_bits(if away { bits + 1 } else { bits - 1 }) as f32
}

#[cfg(test)]
mod tests {
    use super::fma;

    /// Floats of all sizes: any bits, and bits near a few sizes, where sums cancel and meet ties.
    fn floats(count: usize) -> impl Iterator<Item = f32> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        (0..count).map(move |index| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let bits = (state >> 32) as u32;
            match index % 4 {
                0 => f32::from_bits(bits),
                1 => f32::from_bits(bits & 0x807f_ffff | 0x3f80_0000),
                2 => f32::from_bits(bits & 0x8000_0fff | 0x3f80_0000),
                _ => f32::from_bits(bits & 0x81ff_ffff),
            }
        })
    }

    #[test]
    fn it_is_the_exact_one() {
        let values: Vec<f32> = floats(240).chain([0.0, -0.0, f32::INFINITY, f32::MAX]).collect();
        for &a in &values {
            for &b in &values {
                for &c in &values {
                    let (found, exact) = (fma(a, b, c), a.mul_add(b, c));
                    let same = found.to_bits() == exact.to_bits();
                    assert!(same || found.is_nan() && exact.is_nan(), "{a:e} {b:e} {c:e}");
                }
            }
        }
    }

    #[test]
    fn a_sum_that_cancels_keeps_what_the_product_had() {
        let a = 1.0 + f32::EPSILON;
        // a * a = 1 + 2 e + e^2: without the last term the result would be 0.
        assert_eq!(fma(a, a, -(1.0 + 2.0 * f32::EPSILON)), f32::EPSILON * f32::EPSILON);
    }
}
