//! The kinds of weights that a float product takes.

use super::panels::{PANEL, Panels};
use crate::error::{KernelError, Result};
use crate::interrupt::Pace;
use crate::memory;
use crate::view::MatRef;

/// Weights `[out, in]`, laid out for the float product.
#[derive(Debug)]
pub struct FloatWeights {
    pub(super) values: Values,
}

/// What is stored, and what it stands for.
#[derive(Debug)]
pub(super) enum Values {
    /// The weights themselves.
    F32(Panels<f32>),
    /// Codes: `(code - zero) * scale`.
    I8(Panels<i8>, Steps),
    /// Codes: `(code - zero) * scale`.
    U8(Panels<u8>, Steps),
    /// Indices into a codebook.
    Book(Panels<u8>, Book),
    /// Indices into a codebook whose levels each group scales.
    Scaled(Panels<u8>, Book, Steps),
}

/// Steps and zeros of codes, as the caller has them.
#[derive(Debug, Clone, Copy)]
pub enum CodeSteps<'a> {
    /// `scale[out, ceil(in / group)]`, row-major, and zeros of the same shape, or none. A group as
    /// long as a row gives each output one scale.
    Outputs {
        /// Inputs that share a scale.
        group: usize,
        /// Steps.
        scale: &'a [f32],
        /// Codes of 0; empty if all are 0.
        zero: &'a [i32],
    },
    /// One scale for each input, and one zero, or none.
    Inputs {
        /// Steps.
        scale: &'a [f32],
        /// Codes of 0; empty if all are 0.
        zero: &'a [i32],
    },
}

/// Which levels the codes of an element choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codebook {
    /// One book for all.
    One,
    /// A book for each output.
    Outputs,
    /// A book for each input.
    Inputs,
}

/// Steps as the decoder reads them; zeros are exact as floats.
#[derive(Debug)]
pub(super) enum Steps {
    /// `[panel][group][16]`.
    Outputs { group: usize, groups: usize, scale: Vec<f32>, zero: Vec<f32> },
    /// One for each input.
    Inputs { scale: Vec<f32>, zero: Vec<f32> },
}

/// Level `code` of an element is `levels[output * by_output + input * by_input + code]`.
#[derive(Debug)]
pub(super) struct Book {
    pub(super) levels: Vec<f32>,
    pub(super) by_output: usize,
    pub(super) by_input: usize,
}

impl FloatWeights {
    /// Float weights.
    pub fn from_f32(weights: MatRef<'_, f32>) -> Result<Self> {
        Ok(Self { values: Values::F32(Panels::new(weights)?) })
    }

    /// Int8 codes.
    pub fn from_i8(codes: MatRef<'_, i8>, steps: CodeSteps<'_>) -> Result<Self> {
        let steps = Steps::new(steps, codes.rows(), codes.cols())?;
        Ok(Self { values: Values::I8(Panels::new(codes)?, steps) })
    }

    /// Uint8 codes.
    pub fn from_u8(codes: MatRef<'_, u8>, steps: CodeSteps<'_>) -> Result<Self> {
        let steps = Steps::new(steps, codes.rows(), codes.cols())?;
        Ok(Self { values: Values::U8(Panels::new(codes)?, steps) })
    }

    /// Indices into books of `count` levels, which lie one after the other.
    pub fn from_codebook(
        codes: MatRef<'_, u8>,
        levels: &[f32],
        count: usize,
        kind: Codebook,
    ) -> Result<Self> {
        let (books, by_output, by_input) = match kind {
            Codebook::One => (1, 0, 0),
            Codebook::Outputs => (codes.rows(), count, 0),
            Codebook::Inputs => (codes.cols(), 0, count),
        };
        if books.checked_mul(count) != Some(levels.len()) || count == 0 {
            let found = levels.len();
            return Err(KernelError::Shape(format!(
                "levels has {found} elements, not {books} * {count}"
            )));
        }
        // Copied, then checked: another thread may write to the caller's codes.
        let panels = Panels::new(codes)?;
        let mut pace = Pace::new();
        for output in 0..codes.rows() {
            pace.check(codes.cols())?;
            for input in 0..codes.cols() {
                let code = usize::from(panels.get(output, input));
                if code >= count {
                    return Err(KernelError::Value(format!(
                        "code [{output}, {input}] is {code}; there are {count} levels"
                    )));
                }
            }
        }
        // Outputs that fill up the last panel look up code 0 of books of their own.
        let more = memory::size(&[PANEL, by_output.max(1)])?;
        let mut filled = memory::with_capacity(memory::sum(&[levels.len(), more])?)?;
        memory::extend(&mut filled, levels)?;
        memory::resize(&mut filled, levels.len() + more, 0.0)?;
        let levels = filled;
        let book = Book { levels, by_output, by_input };
        Ok(Self { values: Values::Book(panels, book) })
    }

    /// Indices into one book, whose levels are multiplied by `scale[out, ceil(in / group)]`.
    pub fn from_scaled_codebook(
        codes: MatRef<'_, u8>,
        levels: &[f32],
        group: usize,
        scale: &[f32],
    ) -> Result<Self> {
        let steps = CodeSteps::Outputs { group, scale, zero: &[] };
        let steps = Steps::new(steps, codes.rows(), codes.cols())?;
        match Self::from_codebook(codes, levels, levels.len(), Codebook::One)?.values {
            Values::Book(panels, book) => Ok(Self { values: Values::Scaled(panels, book, steps) }),
            values => Ok(Self { values }),
        }
    }

    /// How many values a row of the input has.
    #[must_use]
    pub fn inputs(&self) -> usize {
        match &self.values {
            Values::F32(panels) => panels.inputs(),
            Values::I8(panels, _) => panels.inputs(),
            Values::U8(panels, _) | Values::Book(panels, _) | Values::Scaled(panels, ..) => {
                panels.inputs()
            }
        }
    }

    /// How many values a row of the output has.
    #[must_use]
    pub fn outputs(&self) -> usize {
        match &self.values {
            Values::F32(panels) => panels.outputs(),
            Values::I8(panels, _) => panels.outputs(),
            Values::U8(panels, _) | Values::Book(panels, _) | Values::Scaled(panels, ..) => {
                panels.outputs()
            }
        }
    }

    /// Bytes in memory.
    #[must_use]
    pub fn nbytes(&self) -> usize {
        match &self.values {
            Values::F32(panels) => panels.nbytes(),
            Values::I8(panels, steps) => panels.nbytes() + steps.nbytes(),
            Values::U8(panels, steps) => panels.nbytes() + steps.nbytes(),
            Values::Book(panels, book) => panels.nbytes() + size_of_val(&book.levels[..]),
            Values::Scaled(panels, book, steps) => {
                panels.nbytes() + size_of_val(&book.levels[..]) + steps.nbytes()
            }
        }
    }

    /// What is stored, for people to see.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.values {
            Values::F32(_) => "dense float32",
            Values::I8(..) | Values::U8(..) => "dense codes to float32",
            Values::Book(..) | Values::Scaled(..) => "dense codebook to float32",
        }
    }
}

impl Steps {
    fn new(steps: CodeSteps<'_>, outputs: usize, inputs: usize) -> Result<Self> {
        let (CodeSteps::Outputs { scale, zero, .. } | CodeSteps::Inputs { scale, zero }) = steps;
        let wanted = match steps {
            CodeSteps::Outputs { group: 0, .. } => {
                return Err(KernelError::Shape("groups have 0 elements".to_owned()));
            }
            // No inputs need no scales, and as many as there are outputs are welcome.
            CodeSteps::Outputs { .. } if inputs == 0 => scale.len(),
            CodeSteps::Outputs { group, .. } => memory::size(&[outputs, inputs.div_ceil(group)])?,
            CodeSteps::Inputs { .. } => inputs,
        };
        if scale.len() != wanted || !(zero.is_empty() || zero.len() == wanted) {
            return Err(KernelError::Shape(format!(
                "scale has {} elements and zero_point {}; there must be {wanted}",
                scale.len(),
                zero.len()
            )));
        }
        let zero = memory::collected(zero.iter().map(|&zero| zero as f32))?;
        Ok(match steps {
            CodeSteps::Outputs { group, .. } => {
                let groups = inputs.div_ceil(group);
                let scale = by_panel(scale, outputs, groups)?;
                let zero = by_panel(&zero, outputs, groups)?;
                Steps::Outputs { group, groups, scale, zero }
            }
            CodeSteps::Inputs { .. } => Steps::Inputs { scale: memory::copied(scale)?, zero },
        })
    }

    fn nbytes(&self) -> usize {
        match self {
            Steps::Outputs { scale, zero, .. } | Steps::Inputs { scale, zero } => {
                size_of_val(&scale[..]) + size_of_val(&zero[..])
            }
        }
    }
}

/// `[out, groups]` as `[panel][group][16]`; nothing stays nothing.
fn by_panel(values: &[f32], outputs: usize, groups: usize) -> Result<Vec<f32>> {
    if values.is_empty() || groups == 0 {
        return Ok(Vec::new());
    }
    let size = memory::size(&[outputs.div_ceil(PANEL), groups, PANEL])?;
    let mut panels = memory::filled(0.0, size)?;
    for (output, row) in values.chunks_exact(groups).enumerate() {
        for (group, &value) in row.iter().enumerate() {
            panels[(output / PANEL * groups + group) * PANEL + output % PANEL] = value;
        }
    }
    Ok(panels)
}
