//! Activations made of the other functions.

use super::{erf, exp_nonpositive, sigmoid, tanh};
use crate::simd::Simd;

/// `min(max(x, low), high)`; NaN stays NaN.
#[inline(always)]
pub(crate) fn clip<S: Simd>(s: S, x: S::F32, low: S::F32, high: S::F32) -> S::F32 {
    // Of two operands of which one is NaN, `min` and `max` give the second.
    s.min(high, s.max(low, x))
}

/// `min(max(slope * x + offset, 0), 1)`.
#[inline(always)]
pub(crate) fn hard_sigmoid<S: Simd>(s: S, x: S::F32, slope: f32, offset: f32) -> S::F32 {
    let line = s.add(s.mul(x, s.splat_f32(slope)), s.splat_f32(offset));
    clip(s, line, s.splat_f32(0.0), s.splat_f32(1.0))
}

/// `x * min(max(x / 6 + 1/2, 0), 1)`.
#[inline(always)]
pub(crate) fn hard_swish<S: Simd>(s: S, x: S::F32) -> S::F32 {
    s.mul(x, hard_sigmoid(s, x, 1.0 / 6.0, 0.5))
}

/// `x` times its logistic function.
#[inline(always)]
pub(crate) fn silu<S: Simd>(s: S, x: S::F32) -> S::F32 {
    s.mul(x, sigmoid(s, x))
}

/// `x/2 * (1 + erf(x / √2))`.
#[inline(always)]
pub(crate) fn gelu<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let part = erf(s, s.mul(x, s.splat_f32(std::f32::consts::FRAC_1_SQRT_2)));
    s.mul(s.mul(x, s.splat_f32(0.5)), s.add(s.splat_f32(1.0), part))
}

/// `x/2 * (1 + tanh(√(2/π) * (x + 0.044715 x³)))`.
#[inline(always)]
pub(crate) fn gelu_tanh<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let cube = s.mul(s.mul(x, x), x);
    let inner = s.add(x, s.mul(cube, s.splat_f32(0.044_715)));
    let part = tanh(s, s.mul(inner, s.splat_f32(0.797_884_6)));
    s.mul(s.mul(x, s.splat_f32(0.5)), s.add(s.splat_f32(1.0), part))
}

/// `x` above 0, `slope * x` below.
#[inline(always)]
pub(crate) fn leaky_relu<S: Simd>(s: S, x: S::F32, slope: S::F32) -> S::F32 {
    s.select(s.lt(x, s.splat_f32(0.0)), s.mul(x, slope), x)
}

/// `x` above 0, `scale * (e^x - 1)` below.
#[inline(always)]
pub(crate) fn elu<S: Simd>(s: S, x: S::F32, scale: f32) -> S::F32 {
    let below = s.sub(exp_nonpositive(s, s.min(s.splat_f32(0.0), x)), s.splat_f32(1.0));
    s.select(s.lt(x, s.splat_f32(0.0)), s.mul(below, s.splat_f32(scale)), x)
}
