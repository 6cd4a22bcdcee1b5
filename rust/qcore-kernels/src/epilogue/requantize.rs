//! int32 sums to the codes of the next layer.

use super::lanes::{ByColumn, MAX_LANES, check_length, load_few};
use super::term::{Nothing, Plus, Term};
use crate::error::{KernelError, Result};
use crate::isa::{self, Isa};
use crate::quant::Code;
use crate::simd::{Simd, SimdOp, dispatch};

/// Sums that are requantized together.
const BLOCK: usize = 1 << 12;

/// `clamp(rint(f32(acc + bias) * multiplier) + zero_point, min, max)`; for a `ReLU`, `min` is the zero
/// point.
#[derive(Debug, Clone, Copy)]
pub struct Requantize<'a> {
    /// Empty, 1 element, or one for each column; in units of the sums.
    pub bias: &'a [i32],
    /// `(scale of a * scale of b) / scale of the output`: 1 element, or one for each column.
    pub multiplier: &'a [f32],
    /// The code of 0.
    pub zero_point: i32,
    /// The least code.
    pub min: i32,
    /// The greatest code.
    pub max: i32,
}

impl Requantize<'_> {
    /// Checks the lengths against `n` columns, and the codes against their type.
    pub fn check<C: Code>(&self, n: usize) -> Result<()> {
        check_length("multiplier", self.multiplier.len(), n)?;
        if !self.bias.is_empty() {
            check_length("bias", self.bias.len(), n)?;
        }
        if self.min < C::MIN || self.max > C::MAX || self.min > self.max {
            return Err(KernelError::Value(format!(
                "codes from {} to {}; they must be within {} to {}",
                self.min,
                self.max,
                C::MIN,
                C::MAX
            )));
        }
        if !(C::MIN..=C::MAX).contains(&self.zero_point) {
            return Err(KernelError::Value(format!(
                "zero_point is {}; it must be {} to {}",
                self.zero_point,
                C::MIN,
                C::MAX
            )));
        }
        Ok(())
    }
}

/// Codes of what is added to the results before they are clamped, in the results' own shape:
/// `f32(acc + bias) * multiplier + f32(code - zero_point) * residual_multiplier`, rounded once.
#[derive(Debug, Clone, Copy)]
pub struct Residual<'a> {
    /// The codes, as bytes.
    pub codes: &'a [u8],
    /// Whether they are int8, not uint8.
    pub signed: bool,
    /// The code of 0.
    pub zero_point: i32,
    /// Its scale / scale of the output.
    pub multiplier: f32,
    /// Elements from a row to the next.
    pub stride: usize,
}

impl Residual<'_> {
    /// Checks the codes against a result of (m, n).
    pub fn check(&self, m: usize, n: usize) -> Result<()> {
        let needed = match (m, n) {
            (0, _) | (_, 0) => Some(0),
            _ => (m - 1).checked_mul(self.stride).and_then(|above| above.checked_add(n)),
        };
        if (m > 1 && self.stride < n) || needed.is_none_or(|needed| self.codes.len() < needed) {
            return Err(KernelError::Shape(format!(
                "residual has {} codes; ({m}, {n}) with rows {} apart needs more",
                self.codes.len(),
                self.stride
            )));
        }
        Ok(())
    }

    /// The part from a row and a column on.
    pub(crate) fn from(self, row: usize, column: usize) -> Self {
        Self { codes: &self.codes[row * self.stride + column..], ..self }
    }
}

/// [`requantize_rows_with`] on the instruction set in force.
pub fn requantize_rows<C: Code>(
    sums: &[i32],
    n: usize,
    output: Requantize<'_>,
    out: &mut [C],
) -> Result<()> {
    requantize_rows_with(isa::active()?, sums, n, output, out)
}

/// Turns rows of `n` sums into codes.
pub fn requantize_rows_with<C: Code>(
    isa: Isa,
    sums: &[i32],
    n: usize,
    output: Requantize<'_>,
    out: &mut [C],
) -> Result<()> {
    if sums.is_empty() && out.is_empty() {
        return Ok(());
    }
    if n == 0 || !sums.len().is_multiple_of(n) || out.len() != sums.len() {
        return Err(KernelError::Shape(format!(
            "{} sums and {} codes are not rows of {n}",
            sums.len(),
            out.len()
        )));
    }
    output.check::<C>(n)?;
    // Rows that stay in the first cache while their columns are gone through.
    let together = (BLOCK / n).max(1) * n;
    for (sums, out) in sums.chunks(together).zip(out.chunks_mut(together)) {
        let block = Block { rows: sums.len() / n, columns: n, sums, stride: n };
        // SAFETY: the part of the result has as many elements as there are sums.
        unsafe { requantize_block(isa, 0, block, &output, None, out.as_mut_ptr(), n) };
    }
    Ok(())
}

/// Rows of sums, some of their columns.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a> {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    /// From the first element of the block on.
    pub(crate) sums: &'a [i32],
    /// Elements from a row to the next.
    pub(crate) stride: usize,
}

/// Turns a block of sums into codes, rows `out_stride` apart; a residual starts where the block does.
/// `column` is the first column among those that have parameters.
///
/// # Safety
/// `out` is valid for writing the block.
#[inline]
pub(crate) unsafe fn requantize_block<C: Code>(
    isa: Isa,
    column: usize,
    block: Block<'_>,
    output: &Requantize<'_>,
    residual: Option<Residual<'_>>,
    out: *mut C,
    out_stride: usize,
) {
    let Block { rows, columns, sums, stride } = block;
    if rows == 0 || columns == 0 {
        return;
    }
    assert!(sums.len() >= (rows - 1) * stride + columns, "sums of every row");
    dispatch(isa, RequantizeBlock { column, block, output, residual, out, out_stride });
}

struct RequantizeBlock<'a, C> {
    column: usize,
    block: Block<'a>,
    output: &'a Requantize<'a>,
    residual: Option<Residual<'a>>,
    out: *mut C,
    out_stride: usize,
}

impl<C: Code> SimdOp for RequantizeBlock<'_, C> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        match self.residual {
            None if self.output.bias.is_empty() => self.all::<S, false>(s, &Nothing),
            None => self.all::<S, true>(s, &Nothing),
            Some(residual) => {
                residual.check(self.block.rows, self.block.columns).expect("a code for each sum");
                let zero = s.splat_i32(residual.zero_point);
                let multiplier = s.splat_f32(residual.multiplier);
                let (codes, stride) = (residual.codes.as_ptr(), residual.stride);
                if residual.signed {
                    self.all::<S, true>(
                        s,
                        &Plus { codes: codes.cast::<i8>(), stride, zero, multiplier },
                    );
                } else {
                    self.all::<S, true>(s, &Plus { codes, stride, zero, multiplier });
                }
            }
        }
    }
}

/// What some columns are requantized with.
#[derive(Clone, Copy)]
struct Parameters<S: Simd> {
    bias: S::I32,
    multiplier: S::F32,
}

/// What all columns are requantized with.
#[derive(Clone, Copy)]
struct Range<S: Simd> {
    zero: S::I32,
    low: S::F32,
    high: S::F32,
}

impl<S: Simd> Parameters<S> {
    /// The real numbers, in steps of the output, that sums stand for.
    #[inline(always)]
    fn level<const BIAS: bool>(self, s: S, sum: S::I32) -> S::F32 {
        let sum = if BIAS { s.add_i32(sum, self.bias) } else { sum };
        s.mul(s.to_f32(sum), self.multiplier)
    }
}

impl<S: Simd> Range<S> {
    /// The nearest integer of a level that is not above the greatest; where it is below all, that of
    /// anything below them, and so where it is NaN.
    #[inline(always)]
    fn nearest(self, s: S, level: S::F32) -> S::I32 {
        s.to_i32_below(level, self.high)
    }

    #[inline(always)]
    fn code(self, s: S, level: S::F32) -> S::I32 {
        // The bounds are integers, so it does not matter that rounding comes after them, where the
        // conversion does it.
        s.add_i32(s.to_i32_between(level, self.low, self.high), self.zero)
    }
}

impl<C: Code> RequantizeBlock<'_, C> {
    /// Some columns after others, and in these row by row: their parameters are loaded once.
    #[inline(always)]
    fn all<S: Simd, const BIAS: bool>(&self, s: S, term: &impl Term<S>) {
        let Self { column, block: Block { rows, columns, sums, stride }, output, .. } = *self;
        let multiplier = ByColumn::new(s, output.multiplier, column, 1.0);
        let bias = ByColumn::new(s, output.bias, column, 0);
        let range = Range {
            zero: s.splat_i32(output.zero_point),
            // The codes' range before the zero point is added: exact in float32.
            low: s.splat_f32((output.min - output.zero_point) as f32),
            high: s.splat_f32((output.max - output.zero_point) as f32),
        };
        if columns < S::LANES {
            let parameters =
                Parameters { bias: bias.few(0, columns), multiplier: multiplier.few(0, columns) };
            self.few::<S, BIAS>(s, term, parameters, range);
            return;
        }
        let at_column = |at: usize| Parameters { bias: bias.at(at), multiplier: multiplier.at(at) };
        let wide = 4 * S::LANES;
        let from_zero = C::from_zero(s, output.zero_point, output.min);
        // Rows that fill a part of four vectors are taken some at a time where they lie side by side.
        let dense = columns < wide
            && wide.is_multiple_of(columns)
            && columns.is_multiple_of(S::LANES)
            && stride == columns
            && self.out_stride == columns
            && term.is_dense(columns);
        let (body, group) = if dense { (wide, wide / columns) } else { (columns / wide * wide, 1) };
        let groups = rows / group;
        for at in (0..body).step_by(wide) {
            let mut four = [at_column(0); 4];
            // Loops, not `map`: what array methods call is not compiled for the vectors' features.
            for (quarter, parameters) in four.iter_mut().enumerate() {
                *parameters = at_column((at + quarter * S::LANES) % columns);
            }
            for index in 0..groups {
                let row = index * group;
                let mut levels = [range.zero; 4];
                // SAFETY: every row has these sums, as was checked, and its place in the result, as
                // the caller of `requantize_block` promised; dense rows lie behind one another.
                unsafe {
                    let from = sums.as_ptr().add(row * stride + at);
                    for quarter in 0..4 {
                        let sum = s.load_i32(from.add(quarter * S::LANES));
                        let level = four[quarter].level::<BIAS>(s, sum);
                        let place = at + quarter * S::LANES;
                        let level = term.add(s, level, row, place, S::LANES);
                        levels[quarter] = range.nearest(s, level);
                    }
                    let to = self.out.add(row * self.out_stride + at);
                    C::store4_from(s, to, levels, from_zero);
                }
            }
        }
        let (first, body) = if dense { (groups * group, 0) } else { (0, body) };
        let mut at = body;
        while at < columns {
            // The last vector ends with the columns and so repeats some codes.
            at = at.min(columns - S::LANES);
            let parameters = at_column(at);
            for row in first..rows {
                // SAFETY: as above.
                unsafe {
                    let sum = s.load_i32(sums.as_ptr().add(row * stride + at));
                    let level = term.add(s, parameters.level::<BIAS>(s, sum), row, at, S::LANES);
                    let to = self.out.add(row * self.out_stride + at);
                    C::store(s, to, range.code(s, level));
                }
            }
            at += S::LANES;
        }
    }

    /// Columns that fill no vector.
    #[inline(always)]
    fn few<S: Simd, const BIAS: bool>(
        &self,
        s: S,
        term: &impl Term<S>,
        parameters: Parameters<S>,
        range: Range<S>,
    ) {
        let Block { rows, columns, sums, stride } = self.block;
        // Where rows follow one another a vector may write into those behind: they come later.
        let behind = S::LANES.div_ceil(columns);
        let whole = if self.out_stride == columns { rows.saturating_sub(behind) } else { 0 };
        for row in 0..rows {
            let from = &sums[row * stride..];
            // SAFETY: a vector of sums where there are as many; the room has MAX_LANES elements; a
            // vector of codes where so many of the block's are left, as few of this row's elsewhere.
            unsafe {
                let sum = if from.len() >= S::LANES {
                    s.load_i32(from.as_ptr())
                } else {
                    load_few(s, &from[..columns])
                };
                let level = term.add(s, parameters.level::<BIAS>(s, sum), row, 0, columns);
                let code = range.code(s, level);
                let to = self.out.add(row * self.out_stride);
                if row < whole {
                    C::store(s, to, code);
                } else {
                    let mut codes = [C::default(); MAX_LANES];
                    C::store(s, codes.as_mut_ptr(), code);
                    to.copy_from_nonoverlapping(codes.as_ptr(), columns);
                }
            }
        }
    }
}
