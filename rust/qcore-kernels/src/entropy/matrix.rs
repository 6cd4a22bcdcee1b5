//! A matrix of codes: for each position whether it holds the usual code, where not, on which side of
//! it, and how far.

use super::coder::{Coder, Decoder, Encoder};
use super::context::{Before, CONTEXTS, Contexts};
use super::model::{Bit, Tree};
use crate::error::{KernelError, Result};
use crate::interrupt::Pace;
use crate::memory;

/// What a decoder must know beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatrixShape {
    /// Rows of the matrix.
    pub rows: usize,
    /// Columns of the matrix.
    pub columns: usize,
    /// How many different codes there are: 1 to 256, each below.
    pub levels: usize,
    /// The code that is usual: that of pruned weights.
    pub zero: u8,
    /// How many columns make a line of an image; 0 where columns are nothing of the kind.
    pub stride: usize,
}

/// No decision costs less than a 1,400th bit, so a byte holds at most so many positions.
const MOST_POSITIONS_A_BYTE: usize = 12_000;

impl MatrixShape {
    /// Checks that a matrix of this shape may lie in so many bytes, before anything is allocated.
    pub fn check_bytes(self, bytes: usize) -> Result<()> {
        self.check()?;
        let Self { rows, columns, .. } = self;
        let most = bytes.saturating_add(8).saturating_mul(MOST_POSITIONS_A_BYTE);
        // Rows without columns, and columns without rows, take memory too.
        if rows.max(1).checked_mul(columns.max(1)).is_none_or(|positions| positions > most) {
            return Err(KernelError::Value(format!(
                "{bytes} bytes do not hold a matrix of {rows} x {columns}"
            )));
        }
        Ok(())
    }

    fn check(self) -> Result<()> {
        let Self { rows, columns, levels, zero, stride } = self;
        if !(1..=256).contains(&levels) || zero as usize >= levels {
            return Err(KernelError::Value(format!("code {zero} of {levels} levels is not one")));
        }
        if stride > columns || rows.checked_mul(columns).is_none() {
            return Err(KernelError::Shape(format!(
                "a stride of {stride} does not fit a matrix of {rows} x {columns}"
            )));
        }
        Ok(())
    }
}

/// Signs of the full positions beside one: none, below, above or both.
const SIDES: usize = 9;

/// The models of all decisions about a matrix: those of the encoder and the decoder are alike.
struct Models {
    shape: MatrixShape,
    contexts: Contexts,
    full: [Bit; CONTEXTS],
    above: [Bit; SIDES],
    /// How far below and above the usual code.
    far: [Tree; 2],
    /// This row: 0 where a position holds the usual code, 1 below it, 2 above.
    sides: Vec<u8>,
    pace: Pace,
}

impl Models {
    fn new(shape: MatrixShape) -> Result<Self> {
        let below = shape.zero as usize;
        let pad = memory::sum(&[shape.stride, 1])?;
        Ok(Self {
            shape,
            contexts: Contexts::new(shape.columns, shape.stride)?,
            full: [Bit::rare(5); CONTEXTS],
            above: [Bit::even(); SIDES],
            far: [Tree::new(below), Tree::new(shape.levels - below - 1)],
            sides: memory::zeroed(memory::sum(&[shape.columns, pad])?)?,
            pace: Pace::new(),
        })
    }

    /// Takes a coder through the decisions of a row, and writes what they were into the row.
    #[inline(always)]
    fn row(&mut self, row: &mut [u8], coder: &mut impl Coder) -> Result<()> {
        // A few operations for each position.
        self.pace.check(row.len().saturating_mul(8))?;
        if self.shape.levels == 1 {
            row.fill(self.shape.zero);
            return Ok(());
        }
        self.contexts.start_row();
        if self.shape.stride > 0 {
            self.positions::<true>(row, coder)?;
        } else {
            self.positions::<false>(row, coder)?;
        }
        self.contexts.end_row();
        Ok(())
    }

    #[inline(always)]
    fn positions<const LINES: bool>(
        &mut self,
        row: &mut [u8],
        coder: &mut impl Coder,
    ) -> Result<()> {
        let zero = self.shape.zero;
        let pad = self.shape.stride + 1;
        if LINES {
            self.sides.fill(0);
        }
        let (mut before, mut side) = (Before::default(), 0);
        for (column, code) in row.iter_mut().enumerate() {
            let context = self.contexts.at::<LINES>(column, before);
            let full = coder.flag(&mut self.full[context as usize], *code != zero);
            before = before.then(full);
            if !full {
                *code = zero;
                side = 0;
                continue;
            }
            self.contexts.fill(column);
            let line = if LINES { self.sides[column + 1] as usize } else { 0 };
            *code = self.other(*code, side * 3 + line, coder)?;
            side = 1 + usize::from(*code > zero);
            if LINES {
                self.sides[column + pad] = side as u8;
            }
        }
        Ok(())
    }

    /// Goes through a row of codes, and writes what each position's flag costs.
    fn costs(&mut self, codes: &[u8], zero_bits: &mut [f32], full_bits: &mut [f32]) {
        let zero = self.shape.zero;
        let lines = self.shape.stride > 0;
        self.contexts.start_row();
        let mut before = Before::default();
        for (column, &code) in codes.iter().enumerate() {
            let context = if lines {
                self.contexts.at::<true>(column, before)
            } else {
                self.contexts.at::<false>(column, before)
            };
            let bit = &mut self.full[context as usize];
            (zero_bits[column], full_bits[column]) = bit.costs();
            let full = code != zero;
            bit.learn(full);
            before = before.then(full);
            if full {
                self.contexts.fill(column);
            }
        }
        self.contexts.end_row();
    }

    /// Codes which one a code is that is not the usual one.
    #[inline(always)]
    fn other(&mut self, code: u8, sides: usize, coder: &mut impl Coder) -> Result<u8> {
        let zero = self.shape.zero as usize;
        let (code, above) = (code as usize, self.shape.levels - zero - 1);
        let up = above > 0 && (zero == 0 || coder.choice(&mut self.above[sides], code > zero));
        let count = if up { above } else { zero };
        let number = self.far[usize::from(up)].walk(code.abs_diff(zero).wrapping_sub(1), coder);
        if number >= count {
            return Err(KernelError::Value(
                "the coded matrix holds a code beyond its levels".into(),
            ));
        }
        Ok(if up { zero + 1 + number } else { zero - 1 - number } as u8)
    }
}

/// The bytes of a matrix of codes, rows one after another.
pub fn encode_matrix(codes: &[u8], shape: MatrixShape) -> Result<Vec<u8>> {
    shape.check()?;
    if shape.rows.checked_mul(shape.columns) != Some(codes.len()) {
        return Err(KernelError::Shape(format!(
            "codes has {} values; {} x {} are needed",
            codes.len(),
            shape.rows,
            shape.columns
        )));
    }
    if let Some(at) = codes.iter().position(|&code| code as usize >= shape.levels) {
        let (code, levels) = (codes[at], shape.levels);
        return Err(KernelError::Value(format!(
            "codes[{at}] is {code}; there are {levels} levels"
        )));
    }
    let (mut models, mut encoder) = (Models::new(shape)?, Encoder::new());
    let mut row = memory::zeroed::<u8>(shape.columns)?;
    for codes in codes.chunks_exact(shape.columns.max(1)) {
        row.copy_from_slice(codes);
        models.row(&mut row, &mut encoder)?;
    }
    encoder.finish()
}

/// Decodes a matrix row by row.
pub struct MatrixDecoder<'a> {
    models: Models,
    decoder: Decoder<'a>,
    rows_left: usize,
}

impl<'a> MatrixDecoder<'a> {
    /// A decoder at the first row. What is allocated is bounded by the bytes.
    pub fn new(bytes: &'a [u8], shape: MatrixShape) -> Result<Self> {
        shape.check_bytes(bytes.len())?;
        Ok(Self {
            models: Models::new(shape)?,
            decoder: Decoder::new(bytes),
            rows_left: shape.rows,
        })
    }

    /// Writes the next row's codes, of the columns' number.
    pub fn next_row(&mut self, row: &mut [u8]) -> Result<()> {
        let columns = self.models.shape.columns;
        if self.rows_left == 0 || row.len() != columns {
            return Err(KernelError::Shape(format!("there is no row of {} codes", row.len())));
        }
        self.rows_left -= 1;
        // A copy of its own stays in registers.
        let mut decoder = self.decoder;
        self.models.row(row, &mut decoder)?;
        self.decoder = decoder;
        Ok(())
    }

    /// Checks that the rows took all bytes.
    pub fn finish(self) -> Result<()> {
        if self.rows_left > 0 || self.decoder.has_more() {
            return Err(KernelError::Value("the coded matrix has bytes left over".into()));
        }
        Ok(())
    }
}

/// Fills `out` with a whole matrix.
pub fn decode_matrix(bytes: &[u8], shape: MatrixShape, out: &mut [u8]) -> Result<()> {
    let mut decoder = MatrixDecoder::new(bytes, shape)?;
    if out.len() != shape.rows * shape.columns {
        return Err(KernelError::Shape(format!(
            "out has {} values; {} x {} are needed",
            out.len(),
            shape.rows,
            shape.columns
        )));
    }
    if shape.columns == 0 {
        decoder.rows_left = 0;
    }
    out.chunks_exact_mut(shape.columns.max(1)).try_for_each(|row| decoder.next_row(row))?;
    decoder.finish()
}

/// The codes that are not the usual one, row by row.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SparseCodes {
    /// Where each row starts in the others, and where the last ends.
    pub starts: Vec<i64>,
    /// Ascending in each row.
    pub columns: Vec<i32>,
    /// One for each column.
    pub codes: Vec<u8>,
}

/// Decodes a matrix without its usual codes: memory grows with the others.
pub fn decode_sparse(bytes: &[u8], shape: MatrixShape) -> Result<SparseCodes> {
    if i32::try_from(shape.columns).is_err() {
        return Err(KernelError::Shape(format!("{} columns do not fit int32", shape.columns)));
    }
    let mut decoder = MatrixDecoder::new(bytes, shape)?;
    let mut row = memory::zeroed::<u8>(shape.columns)?;
    let mut starts = memory::with_capacity(memory::sum(&[shape.rows, 1])?)?;
    starts.push(0);
    let mut sparse = SparseCodes { starts, ..SparseCodes::default() };
    for _ in 0..shape.rows {
        decoder.next_row(&mut row)?;
        for (column, &code) in row.iter().enumerate() {
            if code != shape.zero {
                memory::push(&mut sparse.columns, column as i32)?;
                memory::push(&mut sparse.codes, code)?;
            }
        }
        sparse.starts.push(sparse.codes.len() as i64);
    }
    decoder.finish()?;
    Ok(sparse)
}

/// What it costs in bits, at each position, to say that it holds the usual code and that it does not,
/// as the coder's model stands there.
pub fn matrix_costs(
    codes: &[u8],
    shape: MatrixShape,
    zero_bits: &mut [f32],
    full_bits: &mut [f32],
) -> Result<()> {
    shape.check()?;
    let size = shape.rows * shape.columns;
    if codes.len() != size || zero_bits.len() != size || full_bits.len() != size {
        return Err(KernelError::Shape(format!("codes and bits must have {size} values")));
    }
    let mut models = Models::new(shape)?;
    let width = shape.columns.max(1);
    let bits = zero_bits.chunks_exact_mut(width).zip(full_bits.chunks_exact_mut(width));
    for (codes, (zero_bits, full_bits)) in codes.chunks_exact(width).zip(bits) {
        models.pace.check(codes.len().saturating_mul(8))?;
        models.costs(codes, zero_bits, full_bits);
    }
    Ok(())
}
