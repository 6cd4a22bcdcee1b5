//! int32 sums to float32: scale, bias, activation.

use super::activation::{Activation, Clamp};
use super::lanes::{ByColumn, MAX_LANES, check_length, load_few};
use crate::elementwise::{Unary, map_row};
use crate::error::{KernelError, Result};
use crate::isa::{self, Isa};
use crate::math::gelu_coarse;
use crate::norm::softmax_row;
use crate::simd::{Simd, SimdOp, dispatch};

/// `activation(f32(acc) * (row_scale * scale) + bias)`.
#[derive(Debug, Clone, Copy)]
pub struct FloatOutput<'a> {
    /// The step of the sums: 1 element, or one for each column.
    pub scale: &'a [f32],
    /// A step of each row's own, as dynamic quantization finds it: empty, or one for each row.
    pub row_scale: &'a [f32],
    /// Empty, 1 element, or one for each column.
    pub bias: &'a [f32],
    /// The activation.
    pub activation: Activation,
}

impl FloatOutput<'_> {
    /// Checks the lengths against a result of (m, n).
    pub fn check(&self, m: usize, n: usize) -> Result<()> {
        check_length("scale", self.scale.len(), n)?;
        if !self.bias.is_empty() {
            check_length("bias", self.bias.len(), n)?;
        }
        if !self.row_scale.is_empty() && self.row_scale.len() != m {
            let found = self.row_scale.len();
            return Err(KernelError::Shape(format!("row_scale has {found} elements, not {m}")));
        }
        Ok(())
    }
}

/// [`float_rows_with`] on the instruction set in force.
pub fn float_rows(sums: &[i32], n: usize, output: FloatOutput<'_>, out: &mut [f32]) -> Result<()> {
    float_rows_with(isa::active()?, sums, n, output, out)
}

/// Turns rows of `n` sums into floats, softmax included.
pub fn float_rows_with(
    isa: Isa,
    sums: &[i32],
    n: usize,
    output: FloatOutput<'_>,
    out: &mut [f32],
) -> Result<()> {
    if sums.is_empty() && out.is_empty() {
        return Ok(());
    }
    if n == 0 || !sums.len().is_multiple_of(n) || out.len() != sums.len() {
        return Err(KernelError::Shape(format!(
            "{} sums and {} results are not rows of {n}",
            sums.len(),
            out.len()
        )));
    }
    output.check(sums.len() / n, n)?;
    float_block(isa, 0, 0, sums, n, &output, out.chunks_exact_mut(n));
    if output.activation.is_of_rows() {
        for row in out.chunks_exact_mut(n) {
            softmax_row(isa, row);
        }
    }
    Ok(())
}

/// Turns a block of sums into rows of floats; all but what is done to whole rows.
#[inline]
pub(crate) fn float_block<'o>(
    isa: Isa,
    row: usize,
    column: usize,
    sums: &[i32],
    stride: usize,
    output: &FloatOutput<'_>,
    rows: impl Iterator<Item = &'o mut [f32]>,
) {
    dispatch(isa, FloatBlock { isa, row, column, sums, stride, output, rows });
}

struct FloatBlock<'a, R> {
    isa: Isa,
    row: usize,
    column: usize,
    sums: &'a [i32],
    stride: usize,
    output: &'a FloatOutput<'a>,
    rows: R,
}

impl<'o, R: Iterator<Item = &'o mut [f32]>> SimdOp for FloatBlock<'_, R> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let FloatBlock { isa, row, column, sums, stride, output, rows } = self;
        let scale = ByColumn::new(s, output.scale, column, 1.0);
        let bias = ByColumn::new(s, output.bias, column, -0.0);
        let (clamp, rest) = (output.activation.clamp(s), output.activation.rest());
        // As exact as sums of codes deserve, and done while they are in a register.
        let gelu = rest == Some(Unary::Gelu);
        let rest = rest.filter(|_| !gelu);
        for ((index, sums), out) in sums.chunks(stride).enumerate().zip(rows) {
            let row_scale = output.row_scale.get(row + index).copied().unwrap_or(1.0);
            let finish = Finish { row_scale: s.splat_f32(row_scale), clamp, gelu };
            let columns = out.len();
            if columns < S::LANES {
                let (scale, bias) = (scale.few(0, columns), bias.few(0, columns));
                let y = finish.apply(s, load_few(s, &sums[..columns]), scale, bias);
                let mut room = [0.0; MAX_LANES];
                // SAFETY: the room has MAX_LANES elements.
                unsafe { s.store_f32(room.as_mut_ptr(), y) };
                out.copy_from_slice(&room[..columns]);
                if let Some(function) = rest {
                    map_row(isa, function, out);
                }
                continue;
            }
            let sums = &sums[..columns];
            let mut at = 0;
            while at < columns {
                // The last vector ends with the row and so repeats some columns.
                at = at.min(columns - S::LANES);
                // SAFETY: at + LANES <= columns, of which sums and results have as many.
                unsafe {
                    let sum = s.load_i32(sums.as_ptr().add(at));
                    let y = finish.apply(s, sum, scale.at(at), bias.at(at));
                    s.store_f32(out.as_mut_ptr().add(at), y);
                }
                at += S::LANES;
            }
            if let Some(function) = rest {
                map_row(isa, function, out);
            }
        }
    }
}

/// What the sums of a row go through.
#[derive(Clone, Copy)]
struct Finish<S: Simd> {
    row_scale: S::F32,
    clamp: Clamp<S>,
    gelu: bool,
}

impl<S: Simd> Finish<S> {
    #[inline(always)]
    fn apply(self, s: S, sum: S::I32, scale: S::F32, bias: S::F32) -> S::F32 {
        let scaled = s.mul(s.to_f32(sum), s.mul(self.row_scale, scale));
        let y = s.add(scaled, bias);
        if self.gelu { gelu_coarse(s, y) } else { self.clamp.apply(s, y) }
    }
}
