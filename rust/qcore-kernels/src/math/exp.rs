//! exp, tanh and the logistic function.
//!
//! exp is within 2 units in the last place above -87, below which it is 0 (the exact value is under
//! 1.7e-38); tanh and sigmoid are within 3 units in the last place of results above 1.7e-38. The
//! polynomials are those of Cephes (Moshier).

use super::horner;
use crate::simd::Simd;

/// Below it `exp` is taken to be 0.
const EXP_LOW: f32 = -87.0;
/// The last float whose `exp` is finite.
const EXP_HIGH: f32 = 88.722_84;
/// ln 2 in two parts, the first of few bits, so that its multiples are exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

const EXP: [f32; 6] =
    [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

const TANH: [f32; 5] =
    [-5.704_988_6e-3, 2.063_909e-2, -5.373_971_6e-2, 1.333_144_2e-1, -3.333_328_3e-1];

/// The power of two and the factor in [0.7, 1.42] of which `e^x` is the product.
#[inline(always)]
fn split<S: Simd>(s: S, x: S::F32) -> (S::F32, S::F32) {
    let power = s.round(s.mul(x, s.splat_f32(std::f32::consts::LOG2_E)));
    let rest = s.sub(x, s.mul(power, s.splat_f32(LN2_HIGH)));
    let rest = s.sub(rest, s.mul(power, s.splat_f32(LN2_LOW)));
    let tail = s.mul(horner(s, rest, EXP), s.mul(rest, rest));
    (power, s.add(s.add(tail, rest), s.splat_f32(1.0)))
}

/// `e^x` for `x <= 0`; NaN stays NaN.
#[inline(always)]
pub(crate) fn exp_nonpositive<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let low = s.splat_f32(EXP_LOW);
    let (power, mantissa) = split(s, s.max(x, low));
    let value = s.mul(mantissa, s.exp2_int(power));
    let value = s.select(s.lt(x, low), s.splat_f32(0.0), value);
    s.select(s.eq(x, x), value, x)
}

/// `e^x`; the bits of [`exp_nonpositive`] where that is defined.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let (low, high) = (s.splat_f32(EXP_LOW), s.splat_f32(EXP_HIGH));
    let (power, mantissa) = split(s, s.min(s.max(x, low), high));
    // 2^128 is no float: the last doubling is a step of its own.
    let most = s.min(power, s.splat_f32(127.0));
    let value = s.mul(s.mul(mantissa, s.exp2_int(most)), s.exp2_int(s.sub(power, most)));
    let value = s.select(s.lt(x, low), s.splat_f32(0.0), value);
    let value = s.select(s.lt(high, x), s.splat_f32(f32::INFINITY), value);
    s.select(s.eq(x, x), value, x)
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let zero = s.splat_f32(0.0);
    let one = s.splat_f32(1.0);
    let e = exp_nonpositive(s, s.sub(zero, s.abs(x)));
    let top = s.select(s.lt(x, zero), e, one);
    s.div(top, s.add(one, e))
}

/// The hyperbolic tangent.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let one = s.splat_f32(1.0);
    let zero = s.splat_f32(0.0);
    let size = s.abs(x);
    let square = s.mul(x, x);
    let small = s.add(s.mul(s.mul(horner(s, square, TANH), square), x), x);
    let e = exp_nonpositive(s, s.mul(size, s.splat_f32(-2.0)));
    let large = s.div(s.sub(one, e), s.add(one, e));
    let large = s.select(s.lt(x, zero), s.sub(zero, large), large);
    s.select(s.lt(size, s.splat_f32(0.625)), small, large)
}
