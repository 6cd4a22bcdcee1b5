//! The steps of a recurrent network, one after the other.

use super::gates::Gate;
use super::{Cell, Sizes};
use qcore_kernels::Isa;
use qcore_kernels::gemm::add_row_times_with;
use qcore_kernels::interrupt::Pace;

use crate::error::Result;
use crate::run::Io;
use crate::shape::work;
use crate::step::Step;

pub(super) struct RecurrentStep {
    pub(super) cell: Cell,
    pub(super) sizes: Sizes,
    pub(super) backwards: Vec<bool>,
    pub(super) gates: Vec<Gate>,
    pub(super) clip: f32,
    pub(super) batch_first: bool,
    /// Where the optional inputs are among those of the step.
    pub(super) at: [Option<usize>; 8],
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
        isa: Isa,
        d: &Direction<'_>,
        sums: &mut [f32],
        h: &mut [f32],
        c: &mut [f32],
        room: &mut [f32],
    ) -> Result<()> {
        let n = self.sizes.hidden;
        match self.cell {
            Cell::Plain => {
                add_row_times_with(isa, h, d.r, sums)?;
                for (j, h) in h.iter_mut().enumerate() {
                    let bias = d.bias.get(j).copied().unwrap_or(0.0);
                    *h = d.gates[0].of(self.clip(sums[j] + bias));
                }
            }
            Cell::Lstm { coupled } => {
                add_row_times_with(isa, h, d.r, sums)?;
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
        Ok(())
    }
}

impl Step for RecurrentStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let Sizes { steps, batch, inputs, hidden, directions, wide } = self.sizes;
        let isa = io.isa;
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
        let mut pace = Pace::new();
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
        match self.cell {
            Cell::Lstm { .. } => "lstm",
            Cell::Gru { .. } => "gru",
            Cell::Plain => "rnn",
        }
    }

    fn work(&self) -> usize {
        let Sizes { steps, batch, inputs, hidden, directions, wide } = self.sizes;
        work(&[steps, batch, directions, wide, inputs.saturating_add(hidden)])
    }
}
