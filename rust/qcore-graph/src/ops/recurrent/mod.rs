//! LSTM, GRU and the plain recurrent cell.
//!
//! The input's product is made for all steps at once; then each step multiplies the state and goes
//! through the gates. Weights are floats, inputs 1 and 2 of a node, or laid out as integers, for which
//! the input's rows and the state become int8 with a scale of their own, step by step.

mod coded;
mod gates;
mod step;

use coded::Coded;
use gates::Gate;
use step::RecurrentStep;

use crate::dtype::DType;
use crate::error::{Result, shape_error, spec_error, value_error};
use crate::fact::{Fact, Inputs};
use crate::lower::{Context, Emit, Layout};
use crate::op::{Make, Op, Spec};
use crate::plan::Ref;
use crate::region::{CopyStep, Region};
use crate::shape::{count, same};

pub(super) const OPS: &[(&str, Make)] =
    &[("GRU", recurrent), ("LSTM", recurrent), ("RNN", recurrent)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cell {
    /// Gates i, o, f, c.
    Lstm {
        coupled: bool,
    },
    /// Gates z, r, h.
    Gru {
        linear_before_reset: bool,
    },
    Plain,
}

impl Cell {
    fn gates(self) -> usize {
        match self {
            Cell::Lstm { .. } => 4,
            Cell::Gru { .. } => 3,
            Cell::Plain => 1,
        }
    }

    fn defaults(self) -> &'static [&'static str] {
        match self {
            Cell::Lstm { .. } => &["sigmoid", "tanh", "tanh"],
            Cell::Gru { .. } => &["sigmoid", "tanh"],
            Cell::Plain => &["tanh"],
        }
    }
}

struct Recurrent {
    cell: Cell,
    hidden: usize,
    /// For each direction, whether it runs backwards.
    backwards: Vec<bool>,
    /// As many for each direction as the cell has.
    gates: Vec<Gate>,
    clip: f32,
    batch_first: bool,
    /// One for each direction; none where weights are floats.
    coded: Vec<Coded>,
}

fn recurrent(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let a = &spec.attributes;
    let cell = match spec.op {
        "LSTM" => Cell::Lstm { coupled: a.flag("input_forget", false)? },
        "GRU" => Cell::Gru { linear_before_reset: a.flag("linear_before_reset", false)? },
        _ => Cell::Plain,
    };
    let backwards = match a.text_or("direction", "forward")? {
        "forward" => vec![false],
        "reverse" => vec![true],
        "bidirectional" => vec![false, true],
        found => {
            let allowed = "'forward', 'reverse' or 'bidirectional'";
            return Err(value_error!("direction is '{found}'; it must be {allowed}"));
        }
    };
    let gates = gates::read(*a, cell.defaults(), backwards.len())?;
    let cell_parts = matches!(cell, Cell::Gru { .. });
    let coded = coded::read(*a, backwards.len(), cell_parts)?;
    let hidden = a.int("hidden_size")?.and_then(|size| usize::try_from(size).ok());
    let hidden = hidden.filter(|&size| size > 0);
    Ok(Box::new(Recurrent {
        cell,
        hidden: hidden
            .ok_or_else(|| spec_error!("attribute 'hidden_size' is missing or below 1"))?,
        backwards,
        gates,
        clip: a.float_or("clip", f32::INFINITY)?,
        batch_first: a.flag("layout", false)?,
        coded,
    }))
}

/// Sizes of a recurrent node.
#[derive(Clone, Copy)]
struct Sizes {
    steps: usize,
    batch: usize,
    inputs: usize,
    hidden: usize,
    directions: usize,
    /// Gates times hidden.
    wide: usize,
}

impl Recurrent {
    fn sizes(&self, inputs: Inputs<'_>) -> Result<Sizes> {
        let x = inputs.of(0, DType::F32)?;
        let [first, second, size]: [usize; 3] =
            x.dims[..].try_into().map_err(|_| shape_error!("x {:?} has not 3 dims", x.dims))?;
        let (steps, batch) = if self.batch_first { (second, first) } else { (first, second) };
        let (h, d) = (self.hidden, self.backwards.len());
        let wide = h.checked_mul(8).ok_or_else(|| shape_error!("hidden_size is {h}"))? / 8
            * self.cell.gates();
        let state = if self.batch_first { vec![batch, d, h] } else { vec![d, batch, h] };
        let mut checks = vec![(3, vec![d, 2 * wide]), (5, state.clone())];
        if self.coded.is_empty() {
            checks.extend([(1, vec![d, wide, size]), (2, vec![d, wide, h])]);
        }
        self.coded.iter().try_for_each(|coded| coded.check(size, h, wide))?;
        if let Cell::Lstm { .. } = self.cell {
            checks.extend([(6, state), (7, vec![d, 3 * h])]);
        }
        for (index, wanted) in checks {
            if index > 2 && inputs.optional(index).is_none() {
                continue;
            }
            let found = &inputs.of(index, DType::F32)?.dims;
            if *found != wanted {
                return Err(shape_error!("input {index} is {found:?}; it must be {wanted:?}"));
            }
        }
        if inputs.optional(4).is_some() && inputs.of(4, DType::I32)?.dims != [batch] {
            let found = &inputs.get(4)?.dims;
            return Err(shape_error!("sequence_lens is {found:?}; it must be [{batch}]"));
        }
        count(&[steps, batch, wide.max(1), d])?;
        Ok(Sizes { steps, batch, inputs: size, hidden: h, directions: d, wide })
    }
}

impl Op for Recurrent {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let Sizes { steps, batch, hidden, directions, .. } = self.sizes(inputs)?;
        let fact = |dims: Vec<usize>| Fact::new(DType::F32, dims);
        let (all, last) = if self.batch_first {
            (vec![batch, steps, directions, hidden], vec![batch, directions, hidden])
        } else {
            (vec![steps, directions, batch, hidden], vec![directions, batch, hidden])
        };
        let mut facts = vec![fact(all), fact(last.clone())];
        if let Cell::Lstm { .. } = self.cell {
            facts.push(fact(last));
        }
        Ok(facts)
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let sizes = self.sizes(cx.inputs)?;
        let Sizes { steps, batch, inputs, hidden, directions, wide } = sizes;
        let x = cx.plain(0)?;
        let mut refs = vec![x];
        if self.coded.is_empty() {
            refs.push(transposed(cx, 1, [directions, wide, inputs])?);
            refs.push(transposed(cx, 2, [directions, wide, hidden])?);
        }
        let mut at = [None; 8];
        for (index, at) in at.iter_mut().enumerate().skip(3) {
            if cx.inputs.optional(index).is_some() {
                *at = Some(refs.len());
                refs.push(cx.plain(index)?);
            }
        }
        // The input's products, a row of sums, a row of the reset state, the states.
        let room = count(&[steps, batch, wide])? + wide + hidden + 2 * batch * hidden;
        let step = Box::new(RecurrentStep {
            cell: self.cell,
            sizes,
            backwards: self.backwards.clone(),
            gates: self.gates.clone(),
            clip: self.clip,
            batch_first: self.batch_first,
            coded: self.coded.clone(),
            at,
        });
        let layouts = same(Layout::Plain, cx.outputs.len());
        let scratch = room * size_of::<f32>();
        cx.emit(Emit { step, inputs: refs, scratch, in_place: None, layouts: &layouts })
    }
}

/// Weights `[directions, out, in]` as `[directions, in, out]`.
fn transposed(cx: &mut Context<'_>, input: usize, dims: [usize; 3]) -> Result<Ref> {
    let region = Region::transpose(&dims, &[0, 2, 1]);
    let fact = cx.inputs.get(input)?.clone();
    if let Some(known) = &fact.value {
        let to = [dims[0], dims[2], dims[1]];
        let moved = cx.prepared(known, "recurrent", || region.apply(known, &to))?;
        return Ok(cx.constant(&moved));
    }
    let len = fact.count() * size_of::<f32>();
    let step = Box::new(CopyStep::new("transpose", size_of::<f32>(), region)?);
    let plain = cx.plain(input)?;
    Ok(cx.emit_buffers(step, vec![plain], &[len], 0, None)?[0])
}
