//! exp, log, erf, tanh and what is made of them: one polynomial each, on every instruction set.
//!
//! Multiplications and additions stay apart (no fused ones, but in `coarse`), so that results are the
//! same to the bit everywhere. Bodies are over any [`Simd`]; errors against float64 are measured by the tests over
//! all magnitudes and said at each function.

mod coarse;
mod erf;
mod exp;
mod gates;
mod log;
mod pow;
mod size;

pub(crate) use coarse::{exp2_nonpositive, gelu_coarse};
pub(crate) use erf::erf;
pub(crate) use exp::{exp, exp_nonpositive, sigmoid, tanh};
pub(crate) use gates::{clip, elu, gelu, gelu_tanh, hard_sigmoid, hard_swish, leaky_relu, silu};
pub(crate) use log::{log, softplus};
pub(crate) use pow::pow;
pub(crate) use size::{SIZE, largest_size_bits};

use crate::simd::Simd;

/// The most lanes that a vector of any instruction set has.
pub(crate) const MAX_LANES: usize = 16;

/// The polynomial with these coefficients, the highest first, by Horner's rule.
#[inline(always)]
fn horner<S: Simd, const N: usize>(s: S, x: S::F32, coefficients: [f32; N]) -> S::F32 {
    let mut sum = s.splat_f32(coefficients[0]);
    for &coefficient in &coefficients[1..] {
        sum = s.add(s.mul(sum, x), s.splat_f32(coefficient));
    }
    sum
}

/// `size`, which is not negative, with the sign of `x`.
#[inline(always)]
fn with_sign<S: Simd>(s: S, size: S::F32, x: S::F32) -> S::F32 {
    let sign = s.and_i32(s.bits_of(x), s.splat_i32(i32::MIN));
    // The sign bit of `size` is 0: the sum sets it.
    s.float_of(s.add_i32(s.bits_of(size), sign))
}
