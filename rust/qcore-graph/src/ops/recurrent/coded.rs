//! Weights of recurrent cells as integers.

use std::cell::RefCell;
use std::sync::Arc;

use qcore_kernels::epilogue::{Activation, FloatOutput};
use qcore_kernels::{Isa, memory, quant};

use crate::error::{Result, spec_error};
use crate::graph::attributes::Attributes;
use crate::memory::bytes_of;
use crate::operand::{Affine, Operand};

/// Codes of rows have their zero at 0; the scales are the rows' own.
const ROWS: Affine = Affine { scale: 1.0, zero_point: 0, signed: true };

/// The weights of one direction.
#[derive(Clone)]
pub(super) struct Coded {
    input: Arc<dyn Operand>,
    /// Those of the state; of a GRU, those of the update and reset gates.
    pub(super) state: Arc<dyn Operand>,
    /// Of a GRU, those of the state that its reset gate has passed, or will.
    pub(super) fresh: Option<Arc<dyn Operand>>,
}

/// Reads the weights of so many directions; none where they are floats.
pub(super) fn read(a: Attributes<'_>, directions: usize, apart: bool) -> Result<Vec<Coded>> {
    if a.raw("input0").is_none() {
        return Ok(Vec::new());
    }
    (0..directions)
        .map(|d| {
            let of = |part: &str| a.operand(&format!("{part}{d}"));
            let fresh = if apart { Some(of("fresh")?) } else { None };
            Ok(Coded { input: of("input")?, state: of("state")?, fresh })
        })
        .collect()
}

impl Coded {
    /// Checks the sizes of the weights of `wide` sums.
    pub(super) fn check(&self, inputs: usize, hidden: usize, wide: usize) -> Result<()> {
        let of_state = if self.fresh.is_some() { wide - hidden } else { wide };
        let all = [
            (Some(&self.input), inputs, wide),
            (Some(&self.state), hidden, of_state),
            (self.fresh.as_ref(), hidden, hidden),
        ];
        for (weights, k, n) in all {
            let Some(weights) = weights else { continue };
            let found = (weights.inputs(), weights.outputs());
            if found != (k, n) || !weights.is_integer() || k == 0 {
                let kind = weights.kind();
                return Err(spec_error!("weights are {kind} {found:?}, not integers {:?}", (k, n)));
            }
        }
        Ok(())
    }

    /// The products of the input's rows, with what is added to them.
    pub(super) fn inputs(&self, isa: Isa, x: &[f32], bias: &[f32], out: &mut [f32]) -> Result<()> {
        product(isa, &*self.input, x, bias, out)
    }
}

#[derive(Default)]
struct Room {
    codes: Vec<i8>,
    scale: Vec<f32>,
}

thread_local! {
    static ROOM: RefCell<Room> = RefCell::default();
}

/// `out = x · weightsᵀ + bias`, row by row.
fn product(
    isa: Isa,
    weights: &dyn Operand,
    x: &[f32],
    bias: &[f32],
    out: &mut [f32],
) -> Result<()> {
    memory::with_kept(&ROOM, |room| {
        let Room { codes, scale } = room;
        let rows = x.len() / weights.inputs();
        memory::resize(codes, x.len(), 0)?;
        memory::resize(scale, rows, 0.0)?;
        quant::quantize_rows_i8_with(isa, x, weights.inputs(), codes, scale)?;
        let activation = Activation::Linear;
        let output = FloatOutput { scale: weights.scale(), row_scale: scale, bias, activation };
        weights.to_float(isa, bytes_of(&codes[..]), ROWS, rows, output, out)?;
        Ok(())
    })
}

/// `sums += x · weightsᵀ` of one row.
pub(super) fn add_product(
    isa: Isa,
    weights: &dyn Operand,
    x: &[f32],
    sums: &mut [f32],
) -> Result<()> {
    thread_local! {
        static SUMS: RefCell<Vec<f32>> = RefCell::default();
    }
    memory::with_kept(&SUMS, |room| {
        memory::resize(room, sums.len(), 0.0)?;
        product(isa, weights, x, &[], room)?;
        sums.iter_mut().zip(room.iter()).for_each(|(sum, part)| *sum += part);
        Ok(())
    })
}
