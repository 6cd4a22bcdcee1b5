//! LSTM, GRU and the plain recurrent cell.
//!
//! The input's product is made for all steps at once; then each step multiplies the state and goes
//! through the gates.

mod gates;

use gates::Gate;

use crate::dtype::DType;
use crate::error::{Result, shape_error, spec_error, value_error};
use crate::fact::{Fact, Inputs};
use crate::lower::{Context, Emit, Layout};
use crate::op::{Make, Op, Spec};
use crate::plan::Ref;
use crate::region::{CopyStep, Region};
use crate::run::Io;
use crate::shape::count;
use crate::step::Step;

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
        let mut checks = vec![
            (1, vec![d, wide, size]),
            (2, vec![d, wide, h]),
            (3, vec![d, 2 * wide]),
            (5, state.clone()),
        ];
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
        let w = transposed(cx, 1, [directions, wide, inputs])?;
        let r = transposed(cx, 2, [directions, wide, hidden])?;
        let mut refs = vec![x, w, r];
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
            at,
        });
        let layouts = vec![Layout::Plain; cx.outputs.len()];
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

struct RecurrentStep {
    cell: Cell,
    sizes: Sizes,
    backwards: Vec<bool>,
    gates: Vec<Gate>,
    clip: f32,
    batch_first: bool,
    /// Where the optional inputs are among those of the step.
    at: [Option<usize>; 8],
}

/// `sums += x @ w`, `w` of rows as long as `sums`.
fn accumulate(x: &[f32], w: &[f32], sums: &mut [f32]) {
    for (&x, row) in x.iter().zip(w.chunks_exact(sums.len().max(1))) {
        for (sum, &w) in sums.iter_mut().zip(row) {
            *sum += x * w;
        }
    }
}

/// What a direction reads and writes.
struct Direction<'a> {
    r: &'a [f32],
    /// Biases of the recurrence; empty where there are none.
    bias: &'a [f32],
    peephole: &'a [f32],
    gates: &'a [Gate],
}

impl RecurrentStep {
    fn clip(&self, x: f32) -> f32 {
        if self.clip.is_finite() { x.clamp(-self.clip, self.clip) } else { x }
    }

    /// One step of one sequence: sums hold the input's products and its bias.
    fn cell(
        &self,
        d: &Direction<'_>,
        sums: &mut [f32],
        h: &mut [f32],
        c: &mut [f32],
        room: &mut [f32],
    ) {
        let n = self.sizes.hidden;
        match self.cell {
            Cell::Plain => {
                accumulate(h, d.r, sums);
                for (j, h) in h.iter_mut().enumerate() {
                    let bias = d.bias.get(j).copied().unwrap_or(0.0);
                    *h = d.gates[0].of(self.clip(sums[j] + bias));
                }
            }
            Cell::Lstm { coupled } => {
                accumulate(h, d.r, sums);
                let bias = |j: usize| d.bias.get(j).copied().unwrap_or(0.0);
                let peep = |j: usize| d.peephole.get(j).copied().unwrap_or(0.0);
                let [f, g, last] = [d.gates[0], d.gates[1], d.gates[2]];
                for j in 0..n {
                    let sum = |gate: usize| sums[gate * n + j] + bias(gate * n + j);
                    let input = f.of(self.clip(sum(0) + peep(j) * c[j]));
                    let forget = if coupled {
                        1.0 - input
                    } else {
                        f.of(self.clip(sum(2) + peep(2 * n + j) * c[j]))
                    };
                    let fresh = g.of(self.clip(sum(3)));
                    c[j] = forget * c[j] + input * fresh;
                    let output = f.of(self.clip(sum(1) + peep(n + j) * c[j]));
                    h[j] = output * last.of(c[j]);
                }
            }
            Cell::Gru { linear_before_reset } => {
                let [f, g] = [d.gates[0], d.gates[1]];
                let bias = |j: usize| d.bias.get(j).copied().unwrap_or(0.0);
                // The update and reset gates are the first two thirds of each row of weights.
                let (gates, fresh) = sums.split_at_mut(2 * n);
                room[..n].fill(0.0);
                for (&x, row) in h.iter().zip(d.r.chunks_exact(3 * n)) {
                    for (sum, &w) in gates.iter_mut().zip(row) {
                        *sum += x * w;
                    }
                    if linear_before_reset {
                        for (sum, &w) in room.iter_mut().zip(&row[2 * n..]) {
                            *sum += x * w;
                        }
                    }
                }
                for (j, gate) in gates.iter_mut().enumerate() {
                    *gate = f.of(self.clip(*gate + bias(j)));
                }
                let reset = &gates[n..];
                if linear_before_reset {
                    for j in 0..n {
                        fresh[j] += reset[j] * (room[j] + bias(2 * n + j));
                    }
                } else {
                    for (i, row) in d.r.chunks_exact(3 * n).enumerate() {
                        let x = reset[i] * h[i];
                        for (sum, &w) in fresh.iter_mut().zip(&row[2 * n..]) {
                            *sum += x * w;
                        }
                    }
                    for (j, fresh) in fresh.iter_mut().enumerate() {
                        *fresh += bias(2 * n + j);
                    }
                }
                for (j, h) in h.iter_mut().enumerate() {
                    let fresh = g.of(self.clip(fresh[j]));
                    let update = gates[j];
                    *h = (1.0 - update) * fresh + update * *h;
                }
            }
        }
    }
}

impl Step for RecurrentStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let Sizes { steps, batch, inputs, hidden, directions, wide } = self.sizes;
        let [x, w, r] = [0, 1, 2].map(|index| io.input::<f32>(index));
        let optional =
            |index: usize| -> &[f32] { self.at[index].map_or(&[][..], |at| io.input::<f32>(at)) };
        let (bias, first_h, first_c, peephole) =
            (optional(3), optional(5), optional(6), optional(7));
        let lens = self.at[4].map(|at| io.input::<i32>(at));
        let room = io.scratch::<f32>()?;
        let (all, last_h) = (io.output::<f32>(0)?, io.output::<f32>(1)?);
        let mut last_c = match self.cell {
            Cell::Lstm { .. } => Some(io.output::<f32>(2)?),
            Cell::Gru { .. } | Cell::Plain => None,
        };
        all.fill(0.0);
        let (products, room) = room.split_at_mut(steps * batch * wide);
        let (sums, room) = room.split_at_mut(wide);
        let (reset, states) = room.split_at_mut(hidden);
        let per = self.cell.defaults().len();
        for d in 0..directions {
            let (h, c) = states.split_at_mut(batch * hidden);
            h.fill(0.0);
            c.fill(0.0);
            let w = &w[d * inputs * wide..][..inputs * wide];
            let both = bias.get(d * 2 * wide..(d + 1) * 2 * wide).unwrap_or(&[]);
            let (own, recurrence) = both.split_at(both.len() / 2);
            let direction = Direction {
                r: &r[d * hidden * wide..][..hidden * wide],
                bias: recurrence,
                peephole: peephole.get(d * 3 * hidden..(d + 1) * 3 * hidden).unwrap_or(&[]),
                gates: &self.gates[d * per..(d + 1) * per],
            };
            for (row, sums) in products.chunks_exact_mut(wide.max(1)).enumerate() {
                sums.fill(0.0);
                accumulate(x.get(row * inputs..(row + 1) * inputs).unwrap_or(&[]), w, sums);
                sums.iter_mut().zip(own).for_each(|(sum, bias)| *sum += bias);
            }
            for b in 0..batch {
                let len =
                    lens.map_or(steps, |lens| usize::try_from(lens[b]).unwrap_or(0).min(steps));
                let state =
                    if self.batch_first { b * directions + d } else { d * batch + b } * hidden;
                let (h, c) = (&mut h[b * hidden..][..hidden], &mut c[b * hidden..][..hidden]);
                if let Some(first) = first_h.get(state..state + hidden) {
                    h.copy_from_slice(first);
                }
                if let Some(first) = first_c.get(state..state + hidden) {
                    c.copy_from_slice(first);
                }
                for at in 0..len {
                    let t = if self.backwards[d] { len - 1 - at } else { at };
                    let row = if self.batch_first { b * steps + t } else { t * batch + b };
                    sums.copy_from_slice(&products[row * wide..][..wide]);
                    self.cell(&direction, sums, h, c, reset);
                    let to = if self.batch_first {
                        (b * steps + t) * directions + d
                    } else {
                        (t * directions + d) * batch + b
                    };
                    all[to * hidden..][..hidden].copy_from_slice(h);
                }
                last_h[state..state + hidden].copy_from_slice(h);
                if let Some(last) = &mut last_c {
                    last[state..state + hidden].copy_from_slice(c);
                }
            }
        }
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        match self.cell {
            Cell::Lstm { .. } => "lstm",
            Cell::Gru { .. } => "gru",
            Cell::Plain => "rnn",
        }
    }

    fn work(&self) -> usize {
        let Sizes { steps, batch, inputs, hidden, directions, wide } = self.sizes;
        steps * batch * directions * wide * (inputs + hidden)
    }
}
