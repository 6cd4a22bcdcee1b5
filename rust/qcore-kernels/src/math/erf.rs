//! The error function.

use super::{exp_nonpositive, horner, with_sign};
use crate::simd::Simd;

/// Where the two forms meet.
const MIDDLE: f32 = 0.921_875;
/// From here on the error function is 1 as a float.
const ONE_FROM: f32 = 4.0;

/// `erf(x) / x - 1` in `x²`, for `x` up to 0.93: a minimax fit, rounded coefficient by coefficient.
const SMALL: [f32; 7] = [
    7.969_663_4e-5,
    -8.043_839_5e-4,
    5.191_948e-3,
    -2.685_558_8e-2,
    1.128_362_4e-1,
    -3.761_263e-1,
    1.283_791_7e-1,
];

/// `ln(1 - erf(x))` for `x` from 0.9 to 4, weighted by `1 - erf(x)`: likewise.
const LARGE: [f32; 8] = [
    -2.090_584_9e-5,
    4.322_697_6e-4,
    -4.160_410_3e-3,
    2.509_129_2e-2,
    -1.082_364_3e-1,
    -6.333_867_3e-1,
    -1.129_495_1,
    1.705_514_4e-4,
];

/// The error function, within 2 units in the last place.
#[inline(always)]
pub(crate) fn erf<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let size = s.abs(x);
    let small = s.add(x, s.mul(x, horner(s, s.mul(x, x), SMALL)));
    let bounded = s.min(s.splat_f32(ONE_FROM), size);
    let rest = exp_nonpositive(s, horner(s, bounded, LARGE));
    let large = with_sign(s, s.sub(s.splat_f32(1.0), rest), x);
    // NaN fails the comparison, and went through the other form.
    s.select(s.lt(size, s.splat_f32(MIDDLE)), small, large)
}
