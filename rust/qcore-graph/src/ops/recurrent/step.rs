//! The steps of a recurrent network, one after the other.

use super::coded::{Coded, add_product};
use super::gates::Gate;
use super::{Cell, Sizes};
use qcore_kernels::Isa;
use qcore_kernels::gemm::add_row_times_with;
use qcore_kernels::interrupt::Pace;

use crate::error::Result;
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::work;

pub(super) struct RecurrentStep {
    pub(super) cell: Cell,
    pub(super) sizes: Sizes,
    pub(super) backwards: Vec<bool>,
    pub(super) gates: Vec<Gate>,
    pub(super) clip: f32,
    pub(super) batch_first: bool,
    /// One for each direction; none where weights are floats.
    pub(super) coded: Vec<Coded>,
    /// Where the optional inputs are among those of the step.
    pub(super) at: [Option<usize>; 8],
}

/// What a direction reads and writes.
struct Direction<'a> {
    /// Weights of the state, where they are floats.
    r: &'a [f32],
    coded: Option<&'a Coded>,
    /// Biases of the recurrence; empty where there are none.
    bias: &'a [f32],
    peephole: &'a [f32],
    gates: &'a [Gate],
}

impl RecurrentStep {
    /// One step of one sequence: sums hold the input's products and its bias.
    fn cell(
        &self,
        isa: Isa,
        d: &Direction<'_>,
        sums: &mut [f32],
        h: &mut [f32],
        c: &mut [f32],
        room: &mut [f32],
    ) -> Result<()> {
        let (n, clip) = (self.sizes.hidden, self.clip);
        match self.cell {
            Cell::Plain => {
                d.add_state(isa, h, sums)?;
                add(sums, d.bias);
                d.gates[0].apply(isa, clip, sums);
                h.copy_from_slice(sums);
            }
            Cell::Lstm { coupled } => {
                d.add_state(isa, h, sums)?;
                add(sums, d.bias);
                let [f, g, last] = [d.gates[0], d.gates[1], d.gates[2]];
                // In the order i, o, f, c, as are the peepholes of the first three.
                let (input, rest) = sums.split_at_mut(n);
                let (output, rest) = rest.split_at_mut(n);
                let (forget, fresh) = rest.split_at_mut(n);
                let [of_input, of_output, of_forget] = [0, 1, 2]
                    .map(|part| d.peephole.get(part * n..(part + 1) * n).unwrap_or_default());
                add_product_of(input, of_input, c);
                f.apply(isa, clip, input);
                if coupled {
                    forget.iter_mut().zip(&*input).for_each(|(forget, x)| *forget = 1.0 - x);
                } else {
                    add_product_of(forget, of_forget, c);
                    f.apply(isa, clip, forget);
                }
                g.apply(isa, clip, fresh);
                for (j, c) in c.iter_mut().enumerate() {
                    *c = forget[j] * *c + input[j] * fresh[j];
                }
                add_product_of(output, of_output, c);
                f.apply(isa, clip, output);
                h.copy_from_slice(c);
                last.apply(isa, f32::INFINITY, h);
                h.iter_mut().zip(&*output).for_each(|(h, output)| *h *= output);
            }
            Cell::Gru { linear_before_reset } => {
                let [f, g] = [d.gates[0], d.gates[1]];
                let bias = |j: usize| d.bias.get(j).copied().unwrap_or(0.0);
                // The update and reset gates are the first two thirds of each row of weights.
                let (gates, fresh) = sums.split_at_mut(2 * n);
                room[..n].fill(0.0);
                d.add_gates(isa, h, gates, linear_before_reset.then_some(&mut room[..n]))?;
                add(gates, &d.bias[..d.bias.len().min(2 * n)]);
                f.apply(isa, clip, gates);
                let reset = &gates[n..];
                if linear_before_reset {
                    for j in 0..n {
                        fresh[j] += reset[j] * (room[j] + bias(2 * n + j));
                    }
                } else {
                    room[..n].iter_mut().zip(reset).zip(&*h).for_each(|((x, r), h)| *x = r * h);
                    d.add_fresh(isa, &room[..n], fresh)?;
                    for (j, fresh) in fresh.iter_mut().enumerate() {
                        *fresh += bias(2 * n + j);
                    }
                }
                g.apply(isa, clip, fresh);
                for (j, h) in h.iter_mut().enumerate() {
                    let update = gates[j];
                    *h = (1.0 - update) * fresh[j] + update * *h;
                }
            }
        }
        Ok(())
    }
}

/// `sums += values`, of which there may be none.
fn add(sums: &mut [f32], values: &[f32]) {
    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
}

/// `sums += a * b`, where `a` may be empty.
fn add_product_of(sums: &mut [f32], a: &[f32], b: &[f32]) {
    sums.iter_mut().zip(a).zip(b).for_each(|((sum, a), b)| *sum += a * b);
}

impl Direction<'_> {
    /// Adds the state's products to all sums.
    fn add_state(&self, isa: Isa, h: &[f32], sums: &mut [f32]) -> Result<()> {
        match self.coded {
            Some(coded) => add_product(isa, &*coded.state, h, sums),
            None => Ok(add_row_times_with(isa, h, self.r, sums)?),
        }
    }

    /// Adds the state's products to the two gates of a GRU, and to `fresh`.
    fn add_gates(
        &self,
        isa: Isa,
        h: &[f32],
        gates: &mut [f32],
        mut fresh: Option<&mut [f32]>,
    ) -> Result<()> {
        let n = h.len();
        if let Some(coded) = self.coded {
            add_product(isa, &*coded.state, h, gates)?;
            return fresh.map_or(Ok(()), |fresh| self.add_fresh(isa, h, fresh));
        }
        for (&x, row) in h.iter().zip(self.r.chunks_exact(3 * n)) {
            gates.iter_mut().zip(row).for_each(|(sum, &w)| *sum += x * w);
            if let Some(fresh) = &mut fresh {
                fresh.iter_mut().zip(&row[2 * n..]).for_each(|(sum, &w)| *sum += x * w);
            }
        }
        Ok(())
    }

    /// Adds the products of a state with the last third of a GRU's weights.
    fn add_fresh(&self, isa: Isa, x: &[f32], fresh: &mut [f32]) -> Result<()> {
        let n = x.len();
        if let Some(weights) = self.coded.and_then(|coded| coded.fresh.as_ref()) {
            return add_product(isa, &**weights, x, fresh);
        }
        for (&x, row) in x.iter().zip(self.r.chunks_exact(3 * n)) {
            fresh.iter_mut().zip(&row[2 * n..]).for_each(|(sum, &w)| *sum += x * w);
        }
        Ok(())
    }
}

impl Step for RecurrentStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let Sizes { steps, batch, inputs, hidden, directions, wide } = self.sizes;
        let isa = io.isa;
        let x = io.input::<f32>(0);
        let floats = self.coded.is_empty();
        let [w, r] = [1, 2].map(|at| if floats { io.input::<f32>(at) } else { &[] });
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
        let mut pace = Pace::new();
        for d in 0..directions {
            let (h, c) = states.split_at_mut(batch * hidden);
            h.fill(0.0);
            c.fill(0.0);
            let coded = self.coded.get(d);
            let both = bias.get(d * 2 * wide..(d + 1) * 2 * wide).unwrap_or(&[]);
            let (own, recurrence) = both.split_at(both.len() / 2);
            let direction = Direction {
                r: r.get(d * hidden * wide..(d + 1) * hidden * wide).unwrap_or(&[]),
                coded,
                bias: recurrence,
                peephole: peephole.get(d * 3 * hidden..(d + 1) * 3 * hidden).unwrap_or(&[]),
                gates: &self.gates[d * per..(d + 1) * per],
            };
            if let Some(coded) = coded {
                coded.inputs(isa, x, own, products)?;
            }
            let w = w.get(d * inputs * wide..(d + 1) * inputs * wide).unwrap_or(&[]);
            let rows = if floats { steps * batch } else { 0 };
            for (row, sums) in products.chunks_exact_mut(wide.max(1)).take(rows).enumerate() {
                pace.check(work(&[inputs, wide]))?;
                sums.fill(0.0);
                let x = x.get(row * inputs..(row + 1) * inputs).unwrap_or(&[]);
                add_row_times_with(isa, x, w, sums)?;
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
                    pace.check(work(&[hidden, wide]))?;
                    let t = if self.backwards[d] { len - 1 - at } else { at };
                    let row = if self.batch_first { b * steps + t } else { t * batch + b };
                    sums.copy_from_slice(&products[row * wide..][..wide]);
                    self.cell(isa, &direction, sums, h, c, reset)?;
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
        match (self.cell, self.coded.is_empty()) {
            (Cell::Lstm { .. }, true) => "lstm",
            (Cell::Lstm { .. }, false) => "lstm int8",
            (Cell::Gru { .. }, true) => "gru",
            (Cell::Gru { .. }, false) => "gru int8",
            (Cell::Plain, _) => "rnn",
        }
    }

    fn work(&self) -> usize {
        let Sizes { steps, batch, inputs, hidden, directions, wide } = self.sizes;
        work(&[steps, batch, directions, wide, inputs.saturating_add(hidden)])
    }
}
