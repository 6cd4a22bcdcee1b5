//! Attention of rows in which heads lie side by side, as one step.

use qcore_kernels::attention::{Attention, Mask};

use super::rows::Kept;
use crate::dtype::DType;
use crate::error::{Result, shape_error, spec_error};
use crate::fact::{Fact, Inputs};
use crate::lower::{Context, RowTargets};
use crate::op::{Make, Op, Spec};
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::{broadcast, broadcast_strides, work};

pub(super) const OPS: &[(&str, Make)] = &[("Attention", attention)];

/// Rows that go together: keys and values are laid out once for them.
const ROWS: usize = 256;

/// Inputs are queries (batch, rows, heads · size), or with heads as an axis of their own, keys and values (batch, keys, heads · size), and what
/// is added to the scaled products, which broadcasts to (batch, heads, rows, keys). With a packing,
/// input 4, of the rows that are kept.
struct Attend {
    heads: [usize; 2],
    scale: Option<f32>,
    how: How,
    /// Whether heads are an axis of the output.
    apart: bool,
}

#[derive(Clone, Copy)]
struct How {
    causal: bool,
    /// Whether the products are of int8, made of the floats as they come.
    integer: bool,
    /// Whether a row of which the mask hides all keys is 0.
    guarded: bool,
}

fn attention(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    let a = &spec.attributes;
    let heads = |name: &str| -> Result<usize> {
        let found = a.int(name)?.and_then(|heads| usize::try_from(heads).ok());
        found
            .filter(|&heads| heads > 0)
            .ok_or_else(|| spec_error!("attribute '{name}' is missing or below 1"))
    };
    let heads = [heads("q_num_heads")?, heads("kv_num_heads")?];
    if !heads[0].is_multiple_of(heads[1]) {
        let [q, kv] = heads;
        return Err(spec_error!("{q} heads of queries are no multiple of {kv} of keys"));
    }
    Ok(Box::new(Attend {
        heads,
        scale: a.float("scale")?,
        apart: a.flag("apart", false)?,
        how: How {
            causal: a.flag("is_causal", false)?,
            integer: a.flag("dynamic", false)?,
            guarded: a.flag("guarded", false)?,
        },
    }))
}

/// Sizes of a node.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    rows: usize,
    keys: usize,
    /// Elements of a head of queries and keys, and of values.
    heads: [usize; 2],
}

impl Attend {
    fn sizes(&self, inputs: Inputs<'_>) -> Result<Sizes> {
        let dims = |index: usize, heads: usize| -> Result<[usize; 3]> {
            let found = &inputs.of(index, DType::F32)?.dims;
            let dims = match found[..] {
                [batch, rows, width] => [batch, rows, width],
                [batch, rows, of, size] if of == heads => [batch, rows, of * size],
                _ => {
                    return Err(shape_error!(
                        "input {index} {found:?} is not (batch, rows, heads · size)"
                    ));
                }
            };
            if !dims[2].is_multiple_of(heads) {
                return Err(shape_error!("input {index} {found:?} has not {heads} heads"));
            }
            Ok(dims)
        };
        let (q, k) = (dims(0, self.heads[0])?, dims(1, self.heads[1])?);
        let v = dims(2, self.heads[1])?;
        let d = q[2] / self.heads[0];
        if k[0] != q[0] || v[..2] != k[..2] || k[2] != d * self.heads[1] {
            return Err(shape_error!("queries {q:?}, keys {k:?} and values {v:?} do not fit"));
        }
        let heads = [d, v[2] / self.heads[1]];
        if inputs.optional(4).is_some() {
            super::rows::check(inputs, 4, inputs.get(0)?)?;
            if q[1] != k[1] || inputs.optional(3).is_none() {
                return Err(shape_error!("packed rows attend to themselves, under their mask"));
            }
        }
        let sizes = Sizes { batch: q[0], rows: q[1], keys: k[1], heads };
        if inputs.optional(3).is_some() {
            let found = &inputs.of(3, DType::F32)?.dims;
            let all = [sizes.batch, self.heads[0], sizes.rows, sizes.keys];
            if found.len() > 4 || broadcast(&[found, &all])? != all {
                return Err(shape_error!("the mask {found:?} does not broadcast to {all:?}"));
            }
        }
        Ok(sizes)
    }
}

impl Op for Attend {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let sizes = self.sizes(inputs)?;
        let (heads, size) = (self.heads[0], sizes.heads[1]);
        let dims = if self.apart {
            vec![sizes.batch, sizes.rows, heads, size]
        } else {
            vec![sizes.batch, sizes.rows, heads * size]
        };
        Ok(vec![Fact::new(DType::F32, dims)])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let sizes = self.sizes(cx.inputs)?;
        let mut refs = vec![cx.plain(0)?, cx.plain(1)?, cx.plain(2)?];
        let mask = match cx.inputs.optional(3) {
            None => None,
            Some(fact) => {
                let all = [sizes.batch, self.heads[0], sizes.rows, sizes.keys];
                let strides = broadcast_strides(&fact.dims, &all);
                refs.push(cx.plain(3)?);
                Some([strides[0], strides[1], strides[2], strides[3]])
            }
        };
        let packing = match cx.inputs.optional(4) {
            Some(_) => {
                refs.push(cx.plain(4)?);
                true
            }
            None => false,
        };
        let width = self.heads[0] * sizes.heads[1];
        let targets = cx.row_targets(sizes.batch * sizes.rows, width);
        let scale = self.scale.unwrap_or_else(|| 1.0 / (sizes.heads[0] as f32).sqrt());
        let Self { heads, how, .. } = *self;
        let step = Box::new(AttendStep { heads, scale, how, sizes, mask, packing, targets });
        cx.emit_rows(step, refs, targets)
    }
}

#[allow(clippy::struct_excessive_bools, reason = "what a step does, each by itself")]
struct AttendStep {
    heads: [usize; 2],
    scale: f32,
    how: How,
    sizes: Sizes,
    /// Strides of the mask.
    mask: Option<[usize; 4]>,
    /// Whether input 4 says which rows are kept.
    packing: bool,
    targets: RowTargets,
}

impl AttendStep {
    /// Operations of a row.
    fn each(&self) -> usize {
        let Sizes { keys, heads: [d, dv], .. } = self.sizes;
        work(&[self.heads[0], keys, d + dv + 16])
    }
}

impl Step for AttendStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let Sizes { rows, keys, heads: [d, dv], .. } = self.sizes;
        let [q, k, v] = [0, 1, 2].map(|index| io.input::<f32>(index));
        let mask = self.mask.map(|strides| (io.input::<f32>(3), strides));
        let [q_heads, of_keys] = self.heads;
        let (q_width, k_width, v_width) = (q_heads * d, of_keys * d, of_keys * dv);
        let (isa, width) = (io.isa, q_heads * dv);
        if width == 0 || rows == 0 {
            return Ok(());
        }
        let kept = self.packing.then(|| Kept::new(io.input(4), self.sizes.batch));
        // Kept rows have no padding among them to be masked.
        let packed = kept.is_some_and(|kept| kept.packed);
        let most = kept.map(|kept| kept.rows);
        self.targets.run(io, most, ROWS, self.each(), |mut first, mut out| {
            let mut batch = 0;
            while !out.is_empty() {
                let (start, end) = if let Some(kept) = &kept {
                    while kept.sequence(batch).end <= first {
                        batch += 1;
                    }
                    let sequence = kept.sequence(batch);
                    (sequence.start, sequence.end)
                } else {
                    batch = first / rows;
                    (batch * rows, (batch + 1) * rows)
                };
                let row = first - start;
                let count = (out.len() / width).min(end - first);
                let (part, rest) = out.split_at_mut(count * width);
                let (from, keys) =
                    if kept.is_some() { (start, end - start) } else { (batch * keys, keys) };
                let mask = mask.filter(|_| !packed).map(|(data, strides)| Mask {
                    data: &data[batch * strides[0] + row * strides[2]..],
                    strides: [strides[1], strides[2], strides[3]],
                });
                let attention = Attention {
                    heads: self.heads,
                    sizes: [d, dv],
                    scale: self.scale,
                    keys,
                    q: (&q[first * q_width..], q_width),
                    k: (&k[from * k_width..], k_width),
                    v: (&v[from * v_width..], v_width),
                    mask,
                    causal: self.how.causal.then_some(row + 1),
                    integer: self.how.integer,
                    guarded: self.how.guarded,
                };
                attention.run(isa, part)?;
                (first, out) = (first + count, rest);
            }
            Ok(())
        })
    }

    fn kernel(&self) -> &'static str {
        if self.how.integer { "attention int8" } else { "attention" }
    }

    fn work(&self) -> usize {
        work(&[self.sizes.batch, self.sizes.rows, self.each()])
    }
}
