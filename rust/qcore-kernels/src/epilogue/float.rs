//! int32 sums to float32: scale, bias, activation.

use super::activation::{Activation, Clamp};
use super::lanes::{ByColumn, MAX_LANES, check_length, load_few};
use super::requantize::Block as SumBlock;
use crate::elementwise::{Unary, map_row};
use crate::error::{KernelError, Result};
use crate::isa::{self, Isa};
use crate::math::gelu_coarse;
use crate::norm::softmax_row;
use crate::simd::{Simd, SimdOp, dispatch};

/// Vectors of columns that go through all rows together.
const TOGETHER: usize = 4;

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
    let part = SumBlock { rows: sums.len() / n, columns: n, sums, stride: n };
    // SAFETY: as many results as sums, row after row.
    unsafe { float_block(isa, 0, 0, part, &output, out.as_mut_ptr(), n) };
    if output.activation.is_of_rows() {
        for row in out.chunks_exact_mut(n) {
            softmax_row(isa, row);
        }
    }
    Ok(())
}

/// Turns a block of sums into rows of floats, `out_stride` apart; all but what is done to whole rows.
/// `row` and `column` are the first among those that have parameters.
///
/// # Safety
/// `out` is valid for writing the block.
#[inline]
pub(crate) unsafe fn float_block(
    isa: Isa,
    row: usize,
    column: usize,
    part: SumBlock<'_>,
    output: &FloatOutput<'_>,
    out: *mut f32,
    out_stride: usize,
) {
    let SumBlock { rows, columns, sums, stride } = part;
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(sums.len() >= (rows - 1) * stride + columns, "sums of every row");
    dispatch(isa, FloatBlock { row, column, part, output, out, out_stride });
    // As exact as sums of codes deserve, GELU is done while they are in a register.
    if let Some(function) = output.activation.rest().filter(|&rest| rest != Unary::Gelu) {
        for row in 0..rows {
            // SAFETY: the caller vouches for the row, which no one else borrows.
            let out = unsafe { std::slice::from_raw_parts_mut(out.add(row * out_stride), columns) };
            map_row(isa, function, out);
        }
    }
}

struct FloatBlock<'a> {
    row: usize,
    column: usize,
    part: SumBlock<'a>,
    output: &'a FloatOutput<'a>,
    out: *mut f32,
    out_stride: usize,
}

impl SimdOp for FloatBlock<'_> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        if self.output.activation.rest() == Some(Unary::Gelu) {
            self.all::<S, true>(s);
        } else {
            self.all::<S, false>(s);
        }
    }
}

impl FloatBlock<'_> {
    #[inline(always)]
    fn all<S: Simd, const GELU: bool>(&self, s: S) {
        let columns = self.part.columns;
        let scale = ByColumn::new(s, self.output.scale, self.column, 1.0);
        let bias = ByColumn::new(s, self.output.bias, self.column, -0.0);
        if columns < S::LANES {
            self.few::<S, GELU>(s, scale.few(0, columns), bias.few(0, columns));
            return;
        }
        let mut at = 0;
        while at + TOGETHER * S::LANES <= columns {
            self.vectors::<S, TOGETHER, GELU>(s, at, &scale, &bias);
            at += TOGETHER * S::LANES;
        }
        while at < columns {
            // The last vector ends with the row and so repeats some columns.
            at = at.min(columns - S::LANES);
            self.vectors::<S, 1, GELU>(s, at, &scale, &bias);
            at += S::LANES;
        }
    }

    /// What the sums of a row go through.
    #[inline(always)]
    fn finish<S: Simd, const GELU: bool>(
        &self,
        s: S,
        row: usize,
        clamp: Clamp<S>,
    ) -> Finish<S, GELU> {
        let row_scale = self.output.row_scale.get(self.row + row).copied().unwrap_or(1.0);
        Finish { row_scale: s.splat_f32(row_scale), clamp }
    }

    /// `COUNT` vectors from column `at` on of all rows: their parameters stay in registers.
    #[allow(clippy::needless_range_loop, reason = "loops over indices are unrolled whole")]
    #[inline(always)]
    fn vectors<S: Simd, const COUNT: usize, const GELU: bool>(
        &self,
        s: S,
        at: usize,
        scale: &ByColumn<'_, f32, S>,
        bias: &ByColumn<'_, f32, S>,
    ) {
        let (mut scales, mut biases) = ([s.splat_f32(0.0); COUNT], [s.splat_f32(0.0); COUNT]);
        for index in 0..COUNT {
            scales[index] = scale.at(at + index * S::LANES);
            biases[index] = bias.at(at + index * S::LANES);
        }
        let clamp = self.output.activation.clamp(s);
        for row in 0..self.part.rows {
            let finish = self.finish::<S, GELU>(s, row, clamp);
            // SAFETY: COUNT vectors follow from the column on, in each row of the sums, as `float_block`
            // checked, and of the results, for which its caller vouches.
            unsafe {
                let sums = self.part.sums.as_ptr().add(row * self.part.stride + at);
                let out = self.out.add(row * self.out_stride + at);
                for index in 0..COUNT {
                    let sum = s.load_i32(sums.add(index * S::LANES));
                    let y = finish.apply(s, sum, scales[index], biases[index]);
                    s.store_f32(out.add(index * S::LANES), y);
                }
            }
        }
    }

    /// Rows of fewer columns than a vector has.
    #[inline(always)]
    fn few<S: Simd, const GELU: bool>(&self, s: S, scale: S::F32, bias: S::F32) {
        let (columns, clamp) = (self.part.columns, self.output.activation.clamp(s));
        for (row, sums) in self.part.sums.chunks(self.part.stride).take(self.part.rows).enumerate()
        {
            let finish = self.finish::<S, GELU>(s, row, clamp);
            let y = finish.apply(s, load_few(s, &sums[..columns]), scale, bias);
            let mut room = [0.0_f32; MAX_LANES];
            // SAFETY: the room has MAX_LANES elements; the caller of `float_block` vouches for the row.
            unsafe {
                s.store_f32(room.as_mut_ptr(), y);
                let out = self.out.add(row * self.out_stride);
                out.copy_from_nonoverlapping(room.as_ptr(), columns);
            }
        }
    }
}

/// What the sums of a row go through.
#[derive(Clone, Copy)]
struct Finish<S: Simd, const GELU: bool> {
    row_scale: S::F32,
    clamp: Clamp<S>,
}

impl<S: Simd, const GELU: bool> Finish<S, GELU> {
    #[inline(always)]
    fn apply(self, s: S, sum: S::I32, scale: S::F32, bias: S::F32) -> S::F32 {
        let scaled = s.mul(s.to_f32(sum), s.mul(self.row_scale, scale));
        let y = s.add(scaled, bias);
        if GELU { gelu_coarse(s, y) } else { self.clamp.apply(s, y) }
    }
}
