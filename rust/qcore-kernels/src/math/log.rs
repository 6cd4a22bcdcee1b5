//! The natural logarithm.

use super::{exp_nonpositive, horner};
use crate::simd::Simd;

/// `(ln(1 + x) - x + x²/2) / x³` for `1 + x` from √½ to √2: a minimax fit, rounded coefficient by
/// coefficient.
const LOG: [f32; 9] = [
    6.915_612_5e-2,
    -1.178_937e-1,
    1.187_261_94e-1,
    -1.238_440_2e-1,
    1.421_871_6e-1,
    -1.666_925e-1,
    2.000_222_4e-1,
    -2.499_998_7e-1,
    3.333_331e-1,
];

/// ln 2 in two parts, the first of few bits, so that its multiples are exact.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;

/// √½, by its bits.
const ROOT_HALF: i32 = 0x3f35_04f3;

/// `ln(2^power * (1 + x))` for `1 + x` from √½ to √2.
#[inline(always)]
fn log_of_parts<S: Simd>(s: S, power: S::F32, x: S::F32) -> S::F32 {
    let square = s.mul(x, x);
    let tail = s.mul(s.mul(square, x), horner(s, x, LOG));
    let tail = s.add(tail, s.mul(power, s.splat_f32(LN2_LOW)));
    let tail = s.sub(tail, s.mul(square, s.splat_f32(0.5)));
    s.add(s.add(x, tail), s.mul(power, s.splat_f32(LN2_HIGH)))
}

/// The natural logarithm, within 2 units in the last place; of 0 minus infinity, of less NaN.
#[inline(always)]
pub(crate) fn log<S: Simd>(s: S, x: S::F32) -> S::F32 {
    // Subnormals become normal first.
    let tiny = s.lt(x, s.splat_f32(f32::MIN_POSITIVE));
    let scaled = s.select(tiny, s.mul(x, s.splat_f32(16_777_216.0)), x);
    let bits = s.bits_of(scaled);
    let power = s.shr_i32::<23>(s.sub_i32(bits, s.splat_i32(ROOT_HALF)));
    let mantissa = s.float_of(s.sub_i32(bits, s.shl_i32::<23>(power)));
    let lost = s.select(tiny, s.splat_f32(24.0), s.splat_f32(0.0));
    let power = s.sub(s.to_f32(power), lost);
    let value = log_of_parts(s, power, s.sub(mantissa, s.splat_f32(1.0)));
    let zero = s.splat_f32(0.0);
    let value = s.select(s.eq(x, s.splat_f32(f32::INFINITY)), x, value);
    let value = s.select(s.eq(x, zero), s.splat_f32(f32::NEG_INFINITY), value);
    let value = s.select(s.lt(x, zero), s.splat_f32(f32::NAN), value);
    s.select(s.eq(x, x), value, x)
}

/// `ln(1 + e^x)`.
#[inline(always)]
pub(crate) fn softplus<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let zero = s.splat_f32(0.0);
    let one = s.splat_f32(1.0);
    // max(x, 0) + ln(1 + e^-|x|): what is added to 1 is at most 1.
    let e = exp_nonpositive(s, s.sub(zero, s.abs(x)));
    // From √2 on, half of 1 + e is taken, exactly.
    let above = s.lt(s.splat_f32(0.414), e);
    let half = s.mul(s.sub(e, one), s.splat_f32(0.5));
    let rest = s.select(above, half, e);
    let soft = log_of_parts(s, s.select(above, one, zero), rest);
    s.add(s.max(zero, x), soft)
}
