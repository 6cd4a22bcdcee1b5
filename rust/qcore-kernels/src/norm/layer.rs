//! Layer normalization and its form without a mean.

use crate::error::{KernelError, Result};
use crate::isa::{self, Isa};
use crate::math::MAX_LANES;
use crate::reduce::{CenteredSquare, Plain, Square, Sum, reduce_row};
use crate::simd::{Simd, SimdOp, dispatch};
use crate::threads;

/// How a row is normalized.
#[derive(Debug, Clone, Copy)]
pub struct Norm<'a> {
    /// Whether the mean is taken away first (layer normalization), or not (root mean square).
    pub centered: bool,
    /// Added to the mean square.
    pub epsilon: f32,
    /// What normalized values are multiplied by: empty, or one for each column.
    pub scale: &'a [f32],
    /// What is added in the end: empty, or one for each column.
    pub bias: &'a [f32],
}

/// Elements below which a thread of its own costs more than it saves.
const GRAIN: usize = 1 << 16;

/// [`layer_norm_with`] on the instruction set in force.
pub fn layer_norm(norm: Norm<'_>, x: &[f32], n: usize, out: &mut [f32]) -> Result<()> {
    layer_norm_with(isa::active()?, norm, x, n, out)
}

/// Normalizes rows of `n`: `(x - mean) / sqrt(mean of (x - mean)² + epsilon) * scale + bias`.
pub fn layer_norm_with(
    isa: Isa,
    norm: Norm<'_>,
    x: &[f32],
    n: usize,
    out: &mut [f32],
) -> Result<()> {
    if x.is_empty() && out.is_empty() {
        return Ok(());
    }
    if n == 0 || !x.len().is_multiple_of(n) || out.len() != x.len() {
        return Err(KernelError::Shape(format!(
            "{} values and {} results are not rows of {n}",
            x.len(),
            out.len()
        )));
    }
    for (name, values) in [("scale", norm.scale), ("bias", norm.bias)] {
        if !values.is_empty() && values.len() != n {
            let found = values.len();
            return Err(KernelError::Shape(format!("{name} has {found} elements, not 0 or {n}")));
        }
    }
    let rows = x.len() / n;
    let tasks = threads::tasks_for(rows, n, GRAIN);
    threads::for_each_chunk(out, threads::share(rows, tasks, n) * n, |start, out| {
        let x = &x[start..start + out.len()];
        for (x, out) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
            dispatch(isa, Row { norm, x, out });
        }
    });
    Ok(())
}

struct Row<'a> {
    norm: Norm<'a>,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl SimdOp for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let Row { norm: Norm { centered, epsilon, scale, bias }, x, out } = self;
        let n = x.len() as f32;
        let (mean, square) = if centered {
            let mean = reduce_row(s, x, Plain, Sum) / n;
            (mean, reduce_row(s, x, CenteredSquare(mean), Sum) / n)
        } else {
            (0.0, reduce_row(s, x, Square, Sum) / n)
        };
        let inverse = s.splat_f32(1.0 / (square + epsilon).sqrt());
        let mean = s.splat_f32(mean);
        let (no_scale, no_bias) = (s.splat_f32(1.0), s.splat_f32(-0.0));
        let body = x.len() / S::LANES * S::LANES;
        for at in (0..body).step_by(S::LANES) {
            // SAFETY: LANES elements follow in x and out, and in scale and bias unless empty.
            unsafe {
                let scale =
                    if scale.is_empty() { no_scale } else { s.load_f32(scale[at..].as_ptr()) };
                let bias = if bias.is_empty() { no_bias } else { s.load_f32(bias[at..].as_ptr()) };
                let value = s.mul(s.sub(s.load_f32(x[at..].as_ptr()), mean), inverse);
                s.store_f32(out[at..].as_mut_ptr(), s.add(s.mul(value, scale), bias));
            }
        }
        let rest = x.len() - body;
        if rest == 0 {
            return;
        }
        let [mut value, mut scales, mut biases] =
            [[0.0_f32; MAX_LANES], [1.0; MAX_LANES], [-0.0; MAX_LANES]];
        value[..rest].copy_from_slice(&x[body..]);
        if !scale.is_empty() {
            scales[..rest].copy_from_slice(&scale[body..]);
        }
        if !bias.is_empty() {
            biases[..rest].copy_from_slice(&bias[body..]);
        }
        // SAFETY: the rooms have MAX_LANES elements.
        unsafe {
            let (scale, bias) = (s.load_f32(scales.as_ptr()), s.load_f32(biases.as_ptr()));
            let x = s.mul(s.sub(s.load_f32(value.as_ptr()), mean), inverse);
            s.store_f32(value.as_mut_ptr(), s.add(s.mul(x, scale), bias));
        }
        out[body..].copy_from_slice(&value[..rest]);
    }
}
