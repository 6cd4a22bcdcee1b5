//! int32 sums to the codes of the next layer.

use super::lanes::{ByColumn, MAX_LANES, check_length, load_few};
use crate::error::{KernelError, Result};
use crate::isa::{self, Isa};
use crate::quant::Code;
use crate::simd::{Simd, SimdOp, dispatch};
use crate::view::as_signed;

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

impl<'a> Residual<'a> {
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

    /// The codes of a row, from its first column on.
    fn row(&self, row: usize, columns: usize) -> &'a [u8] {
        &self.codes[row * self.stride..][..columns]
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
    requantize_block(isa, 0, sums, n, &output, None, out.chunks_exact_mut(n));
    Ok(())
}

/// Turns a block of sums into rows of codes; a residual starts where the block does.
#[inline]
pub(crate) fn requantize_block<'o, C: Code>(
    isa: Isa,
    column: usize,
    sums: &[i32],
    stride: usize,
    output: &Requantize<'_>,
    residual: Option<Residual<'_>>,
    rows: impl Iterator<Item = &'o mut [C]>,
) {
    dispatch(isa, RequantizeBlock { column, sums, stride, output, residual, rows });
}

struct RequantizeBlock<'a, R> {
    column: usize,
    sums: &'a [i32],
    stride: usize,
    output: &'a Requantize<'a>,
    residual: Option<Residual<'a>>,
    rows: R,
}

impl<'o, C: Code, R: Iterator<Item = &'o mut [C]>> SimdOp for RequantizeBlock<'_, R> {
    type Output = ();

    #[inline(always)]
    fn eval<S: Simd>(self, s: S) {
        let RequantizeBlock { column, sums, stride, output, residual, rows } = self;
        let steps = Steps {
            multiplier: ByColumn::new(s, output.multiplier, column, 1.0),
            bias: ByColumn::new(s, output.bias, column, 0),
            zero: s.splat_i32(output.zero_point),
            // The codes' range before the zero point is added: exact in float32.
            low: s.splat_f32((output.min - output.zero_point) as f32),
            high: s.splat_f32((output.max - output.zero_point) as f32),
        };
        let rows = sums.chunks(stride).zip(rows);
        match residual {
            None => {
                for (sums, out) in rows {
                    steps.row(s, sums, &Nothing, out);
                }
            }
            Some(residual) => {
                let zero = s.splat_i32(residual.zero_point);
                let multiplier = s.splat_f32(residual.multiplier);
                for (index, (sums, out)) in rows.enumerate() {
                    let codes = residual.row(index, out.len());
                    if residual.signed {
                        let codes = as_signed(codes);
                        steps.row(s, sums, &Plus { codes, zero, multiplier }, out);
                    } else {
                        steps.row(s, sums, &Plus { codes, zero, multiplier }, out);
                    }
                }
            }
        }
    }
}

/// What is added to the levels of a row before they are clamped.
trait Term<S: Simd> {
    /// To `LANES` levels from column `at` on.
    fn add(&self, s: S, level: S::F32, at: usize) -> S::F32;
    /// To fewer levels than there are lanes, the first `count` of a row.
    fn add_few(&self, s: S, level: S::F32, count: usize) -> S::F32;
}

struct Nothing;

impl<S: Simd> Term<S> for Nothing {
    #[inline(always)]
    fn add(&self, _: S, level: S::F32, _: usize) -> S::F32 {
        level
    }

    #[inline(always)]
    fn add_few(&self, _: S, level: S::F32, _: usize) -> S::F32 {
        level
    }
}

/// A row of codes times their multiplier.
struct Plus<'a, S: Simd, C> {
    codes: &'a [C],
    zero: S::I32,
    multiplier: S::F32,
}

impl<S: Simd, C: Code> Plus<'_, S, C> {
    #[inline(always)]
    fn with(&self, s: S, level: S::F32, codes: S::I32) -> S::F32 {
        let value = s.to_f32(s.sub_i32(codes, self.zero));
        s.add(level, s.mul(value, self.multiplier))
    }
}

impl<S: Simd, C: Code> Term<S> for Plus<'_, S, C> {
    #[inline(always)]
    fn add(&self, s: S, level: S::F32, at: usize) -> S::F32 {
        let codes = &self.codes[at..at + S::LANES];
        // SAFETY: there are LANES codes.
        self.with(s, level, unsafe { C::load(s, codes.as_ptr()) })
    }

    #[inline(always)]
    fn add_few(&self, s: S, level: S::F32, count: usize) -> S::F32 {
        let mut room = [C::default(); MAX_LANES];
        room[..count].copy_from_slice(&self.codes[..count]);
        // SAFETY: the room has MAX_LANES elements.
        self.with(s, level, unsafe { C::load(s, room.as_ptr()) })
    }
}

/// What a block's columns are requantized with.
struct Steps<'a, S: Simd> {
    multiplier: ByColumn<'a, f32, S>,
    bias: ByColumn<'a, i32, S>,
    zero: S::I32,
    low: S::F32,
    high: S::F32,
}

/// The real number, in steps of the output, that a sum stands for.
#[inline(always)]
fn level<S: Simd>(s: S, sum: S::I32, bias: S::I32, multiplier: S::F32) -> S::F32 {
    s.mul(s.to_f32(s.add_i32(sum, bias)), multiplier)
}

impl<S: Simd> Steps<'_, S> {
    /// A row.
    #[inline(always)]
    fn row<C: Code>(&self, s: S, sums: &[i32], term: &impl Term<S>, out: &mut [C]) {
        let columns = out.len();
        if columns < S::LANES {
            self.few(s, sums, term, out);
            return;
        }
        let wide = 4 * S::LANES;
        let body = columns / wide * wide;
        for at in (0..body).step_by(wide) {
            let mut codes = [self.zero; 4];
            // A loop, not `map`: what array methods call is not compiled for the vectors' features.
            for (quarter, code) in codes.iter_mut().enumerate() {
                *code = self.codes(s, sums, term, at + quarter * S::LANES);
            }
            // SAFETY: 4 * LANES elements of this row are left.
            unsafe { C::store4(s, out[at..body].as_mut_ptr(), codes) };
        }
        let mut at = body;
        while at < columns {
            // The last vector ends with the row and so repeats some codes.
            at = at.min(columns - S::LANES);
            let codes = self.codes(s, sums, term, at);
            // SAFETY: LANES elements of this row are left.
            unsafe { C::store(s, out[at..at + S::LANES].as_mut_ptr(), codes) };
            at += S::LANES;
        }
    }

    /// The codes of `LANES` sums from column `at` of the block on.
    #[inline(always)]
    fn codes(&self, s: S, sums: &[i32], term: &impl Term<S>, at: usize) -> S::I32 {
        let sums = &sums[at..at + S::LANES];
        // SAFETY: there are LANES sums.
        let sum = unsafe { s.load_i32(sums.as_ptr()) };
        let level = level(s, sum, self.bias.at(at), self.multiplier.at(at));
        self.code(s, term.add(s, level, at))
    }

    #[inline(always)]
    fn code(&self, s: S, level: S::F32) -> S::I32 {
        // The bounds are integers, so it does not matter that rounding comes after them, where the
        // conversion does it.
        let level = s.min(s.max(level, self.low), self.high);
        s.add_i32(s.to_i32(level), self.zero)
    }

    /// A row that fills no vector.
    #[inline(always)]
    fn few<C: Code>(&self, s: S, sums: &[i32], term: &impl Term<S>, out: &mut [C]) {
        let count = out.len();
        let sum = load_few(s, &sums[..count]);
        let level = level(s, sum, self.bias.few(0, count), self.multiplier.few(0, count));
        let code = self.code(s, term.add_few(s, level, count));
        let mut codes = [C::default(); MAX_LANES];
        // SAFETY: the room has MAX_LANES elements.
        unsafe { C::store(s, codes.as_mut_ptr(), code) };
        out.copy_from_slice(&codes[..count]);
    }
}
