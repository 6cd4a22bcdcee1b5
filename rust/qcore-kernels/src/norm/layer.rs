//! Layer normalization and its form without a mean.

use crate::error::{KernelError, Result};
use crate::isa::{self, Isa};
use crate::math::MAX_LANES;
use crate::reduce::{CenteredSquare, Plain, Square, Sum, reduce_rows};
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
    if x.len() != out.len() {
        let (found, results) = (x.len(), out.len());
        return Err(KernelError::Shape(format!("{found} values have {results} results")));
    }
    norm.check(x.len(), n)?;
    if x.is_empty() {
        return Ok(());
    }
    let rows = x.len() / n;
    let tasks = threads::tasks_for(rows, n, GRAIN);
    threads::for_each_chunk(out, threads::share(rows, tasks, n) * n, |start, out| {
        let x = x[start..start + out.len()].as_ptr();
        dispatch(isa, LayerNorm { norm, x, out: out.as_mut_ptr(), rows: out.len() / n, n });
    });
    Ok(())
}

/// [`layer_norm_with`] of rows that become the results, on the calling thread.
pub fn layer_norm_in_place_with(isa: Isa, norm: Norm<'_>, x: &mut [f32], n: usize) -> Result<()> {
    norm.check(x.len(), n)?;
    let out = x.as_mut_ptr();
    dispatch(isa, LayerNorm { norm, x: out.cast_const(), out, rows: x.len() / n.max(1), n });
    Ok(())
}

impl Norm<'_> {
    /// Checks that so many values are rows of `n`, and that there are as many parameters.
    fn check(&self, values: usize, n: usize) -> Result<()> {
        if values == 0 {
            return Ok(());
        }
        if n == 0 || !values.is_multiple_of(n) {
            return Err(KernelError::Shape(format!("{values} values are not rows of {n}")));
        }
        for (name, values) in [("scale", self.scale), ("bias", self.bias)] {
            if !values.is_empty() && values.len() != n {
                let found = values.len();
                return Err(KernelError::Shape(format!(
                    "{name} has {found} elements, not 0 or {n}"
                )));
            }
        }
        Ok(())
    }
}

/// Rows that are normalized side by side: each waits for its sums.
const TOGETHER: usize = 4;

/// `rows` rows of `n` from `x` to `out`, which are valid for them and may be the same.
struct LayerNorm<'a> {
    norm: Norm<'a>,
    x: *const f32,
    out: *mut f32,
    rows: usize,
    n: usize,
}

impl SimdOp for LayerNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let mut row = 0;
        while row + TOGETHER <= self.rows {
            self.block::<S, TOGETHER>(s, row);
            row += TOGETHER;
        }
        while row < self.rows {
            self.block::<S, 1>(s, row);
            row += 1;
        }
    }
}

impl LayerNorm<'_> {
    /// `N` rows from one on.
    #[allow(clippy::needless_range_loop, reason = "loops over indices are unrolled whole")]
    #[inline(always)]
    fn block<S: Simd, const N: usize>(&self, s: S, first: usize) {
        let Norm { centered, epsilon, scale, bias } = self.norm;
        let (x, out) = (self.x.wrapping_add(first * self.n), self.out.wrapping_add(first * self.n));
        let count = self.n as f32;
        let mut mean = [0.0; N];
        let square = {
            let mut rows = [&[][..]; N];
            for row in 0..N {
                // SAFETY: whoever made this vouches for the rows, and nothing is written while they are
                // borrowed.
                rows[row] = unsafe { std::slice::from_raw_parts(x.add(row * self.n), self.n) };
            }
            if centered {
                mean = reduce_rows(s, rows, [Plain; N], Sum);
                let mut terms = [CenteredSquare(0.0); N];
                for row in 0..N {
                    mean[row] /= count;
                    terms[row] = CenteredSquare(mean[row]);
                }
                reduce_rows(s, rows, terms, Sum)
            } else {
                reduce_rows(s, rows, [Square; N], Sum)
            }
        };
        let (mut means, mut inverses) = ([s.splat_f32(0.0); N], [s.splat_f32(0.0); N]);
        for row in 0..N {
            means[row] = s.splat_f32(mean[row]);
            inverses[row] = s.splat_f32(1.0 / (square[row] / count + epsilon).sqrt());
        }
        let apply = Apply { means, inverses };
        let (no_scale, no_bias) = (s.splat_f32(1.0), s.splat_f32(-0.0));
        let body = self.n / S::LANES * S::LANES;
        for at in (0..body).step_by(S::LANES) {
            // SAFETY: LANES elements follow in x and out, and in scale and bias unless empty.
            unsafe {
                let scale =
                    if scale.is_empty() { no_scale } else { s.load_f32(scale[at..].as_ptr()) };
                let bias = if bias.is_empty() { no_bias } else { s.load_f32(bias[at..].as_ptr()) };
                for row in 0..N {
                    let place = row * self.n + at;
                    let y = apply.row(s, row, s.load_f32(x.add(place)), scale, bias);
                    s.store_f32(out.add(place), y);
                }
            }
        }
        let rest = self.n - body;
        if rest == 0 {
            return;
        }
        let (mut scales, mut biases) = ([1.0; MAX_LANES], [-0.0; MAX_LANES]);
        if !scale.is_empty() {
            scales[..rest].copy_from_slice(&scale[body..]);
        }
        if !bias.is_empty() {
            biases[..rest].copy_from_slice(&bias[body..]);
        }
        for row in 0..N {
            let (mut room, place) = ([0.0_f32; MAX_LANES], row * self.n + body);
            // SAFETY: the rooms have MAX_LANES elements; `rest` elements follow in x and out.
            unsafe {
                room.as_mut_ptr().copy_from_nonoverlapping(x.add(place), rest);
                let (scale, bias) = (s.load_f32(scales.as_ptr()), s.load_f32(biases.as_ptr()));
                let y = apply.row(s, row, s.load_f32(room.as_ptr()), scale, bias);
                s.store_f32(room.as_mut_ptr(), y);
                out.add(place).copy_from_nonoverlapping(room.as_ptr(), rest);
            }
        }
    }
}

/// What the elements of some rows go through.
struct Apply<S: Simd, const N: usize> {
    means: [S::F32; N],
    inverses: [S::F32; N],
}

impl<S: Simd, const N: usize> Apply<S, N> {
    #[inline(always)]
    fn row(&self, s: S, row: usize, x: S::F32, scale: S::F32, bias: S::F32) -> S::F32 {
        let value = s.mul(s.sub(x, self.means[row]), self.inverses[row]);
        s.add(s.mul(value, scale), bias)
    }
}
