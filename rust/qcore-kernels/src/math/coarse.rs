//! Functions of what comes from int8 products or goes into them: within a small part of a code's step,
//! and several times as fast as those for floats. Their multiply-adds are fused ones, which give the
//! same bits everywhere.

use super::clip;
use crate::simd::Simd;

/// From here on the normal distribution's function is taken to be constant.
const FAR: f32 = 4.4;
/// `(Φ(x) - 1/2) / x` in `x²`, for `x` up to [`FAR`]: a fit of least largest error of `x · Φ(x)`.
const NORMAL: [f32; 9] = [
    3.572_617_2e-11,
    -3.756_620_3e-9,
    1.741_705_2e-7,
    -4.726_398e-6,
    8.430_873e-5,
    -1.055_085_8e-3,
    9.643_331e-3,
    -6.607_69e-2,
    3.987_618_7e-1,
];
/// `2^x` for `x` in [-1/2, 1/2]: a fit of least largest relative error, 7.5e-5.
const EXP2: [f32; 4] = [5.517_168e-2, 2.426_112_4e-1, 6.932_61e-1, 9.999_280_7e-1];
/// Adding it rounds a float of less than 2^22 to an integer, which its last bits then hold.
const ROUNDING: f32 = 12_582_912.0;
/// Below it `2^x` times a byte rounds to 0.
const LOW: f32 = -12.0;

/// `x · Φ(x)`, within 5e-5; NaN stays NaN.
#[inline(always)]
pub(crate) fn gelu_coarse<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let (near, far) = (s.splat_f32(-FAR), s.splat_f32(FAR));
    let t = clip(s, x, near, far);
    let square = s.mul(t, t);
    let mut sum = s.splat_f32(NORMAL[0]);
    for &coefficient in &NORMAL[1..] {
        sum = s.fma(sum, square, s.splat_f32(coefficient));
    }
    // Of two operands of which one is NaN, `max` gives the second.
    s.mul(s.max(near, x), s.fma(t, sum, s.splat_f32(0.5)))
}

/// `factor · 2^x` for `x <= 0`, within 7.5e-5 of it; about 0 below -12, and for NaN.
#[inline(always)]
pub(crate) fn exp2_nonpositive<S: Simd>(s: S, x: S::F32, factor: f32) -> S::F32 {
    let x = s.max(x, s.splat_f32(LOW));
    let rounding = s.splat_f32(ROUNDING);
    let shifted = s.add(x, rounding);
    let rest = s.sub(x, s.sub(shifted, rounding));
    let mut sum = s.splat_f32(EXP2[0] * factor);
    for &coefficient in &EXP2[1..] {
        sum = s.fma(sum, rest, s.splat_f32(coefficient * factor));
    }
    // The power of two goes into the exponent; what `ROUNDING` is itself is shifted out.
    let power = s.shl_i32::<23>(s.bits_of(shifted));
    s.float_of(s.add_i32(s.bits_of(sum), power))
}
