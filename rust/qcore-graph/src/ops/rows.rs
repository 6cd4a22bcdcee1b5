//! Rows of sequences without their padding: packed before a run of steps that take row by row, spread
//! out after it.
//!
//! What a mask hides is hidden in all heads and rows: a key to which nothing is added is kept, one to
//! which -1e4 or less is added has a weight of exactly 0 and is left out. Where a mask has anything
//! else, all rows are kept, and the mask is used as it is.

use crate::dtype::DType;
use crate::error::{Result, shape_error};
use crate::fact::{Fact, Inputs};
use crate::lower::{BLOCK, Context, RowTargets};
use crate::op::{Make, Op, Spec};
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::shape::{product, work};

pub(super) const OPS: &[(&str, Make)] =
    &[("PackRows", pack), ("Packing", packing), ("UnpackRows", unpack)];

/// From where on what is added hides a key.
const HIDDEN: f32 = -1e4;

/// Which rows are kept, as steps read it.
#[derive(Clone, Copy)]
pub(super) struct Kept<'a> {
    /// Whether the mask is that of the padding alone, so that what is kept needs none.
    pub(super) packed: bool,
    /// How many rows are kept.
    pub(super) rows: usize,
    /// Where each sequence starts among them, and where the last ends.
    starts: &'a [i32],
    /// Where each of them was.
    places: &'a [i32],
}

impl<'a> Kept<'a> {
    /// What `Packing` wrote for sequences of a batch.
    pub(super) fn new(words: &'a [i32], batch: usize) -> Self {
        let (head, rest) = words.split_at(2);
        let (starts, places) = rest.split_at(batch + 1);
        let rows = usize::try_from(head[1]).unwrap_or(0).min(places.len());
        Self { packed: head[0] != 0, rows, starts, places }
    }

    /// The kept rows of a sequence.
    pub(super) fn sequence(&self, index: usize) -> std::ops::Range<usize> {
        let at = |index: usize| usize::try_from(self.starts[index]).unwrap_or(0).min(self.rows);
        at(index)..at(index + 1)
    }

    /// Where a kept row was.
    fn place(&self, row: usize) -> usize {
        usize::try_from(self.places[row]).unwrap_or(0)
    }
}

/// Words of a packing.
fn words(batch: usize, tokens: usize) -> usize {
    batch * tokens + batch + 3
}

/// Batch and tokens of a packing and of the rows that it is of.
fn sizes(rows: &Fact, packing: &Fact) -> Result<(usize, usize)> {
    let &[batch, tokens, _] = &rows.dims[..] else {
        return Err(shape_error!("{:?} is not (batch, tokens, width)", rows.dims));
    };
    if packing.dtype != DType::I32 || packing.dims != [words(batch, tokens)] {
        return Err(shape_error!("packing {:?} is not that of {:?}", packing.dims, rows.dims));
    }
    Ok((batch, tokens))
}

/// The packing that a step of rows `(batch, tokens, width)` has as its input, if it has one.
pub(super) fn check(inputs: Inputs<'_>, input: usize, rows: &Fact) -> Result<()> {
    match inputs.optional(input) {
        Some(packing) => sizes(rows, packing).map(|_| ()),
        None => Ok(()),
    }
}

/// Which rows a mask `(batch, 1, 1, tokens)` keeps.
struct Packing;

fn packing(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    spec.gives(1)?;
    Ok(Box::new(Packing))
}

impl Op for Packing {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let mask = inputs.of(0, DType::F32)?;
        let &[batch, 1, 1, tokens] = &mask.dims[..] else {
            return Err(shape_error!("the mask {:?} is not (batch, 1, 1, tokens)", mask.dims));
        };
        if i32::try_from(words(batch, tokens)).is_err() {
            return Err(shape_error!("the mask {:?} is too large", mask.dims));
        }
        Ok(vec![Fact::new(DType::I32, vec![words(batch, tokens)])])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let dims = &cx.inputs.get(0)?.dims;
        let step = Box::new(PackingStep { batch: dims[0], tokens: dims[3] });
        let mask = cx.plain(0)?;
        cx.emit_plain(step, vec![mask])
    }
}

struct PackingStep {
    batch: usize,
    tokens: usize,
}

impl Step for PackingStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let mask = io.input::<f32>(0);
        let (head, rest) = io.output::<i32>(0)?.split_at_mut(2);
        let (starts, places) = rest.split_at_mut(self.batch + 1);
        let packed = mask.iter().all(|&added| added == 0.0 || added <= HIDDEN);
        starts[0] = 0;
        let mut kept = 0;
        for (index, &added) in mask.iter().enumerate() {
            if !packed || added == 0.0 {
                places[kept] = index as i32;
                kept += 1;
            }
            if (index + 1).is_multiple_of(self.tokens) {
                starts[(index + 1) / self.tokens] = kept as i32;
            }
        }
        if mask.is_empty() {
            starts.fill(0);
        }
        head.copy_from_slice(&[i32::from(packed), kept as i32]);
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        "packing"
    }

    fn work(&self) -> usize {
        work(&[self.batch, self.tokens])
    }
}

/// The rows that are kept, one after the other.
struct Pack;

fn pack(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    spec.gives(1)?;
    Ok(Box::new(Pack))
}

impl Op for Pack {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.of(0, DType::F32)?;
        sizes(x, inputs.get(1)?)?;
        Ok(vec![Fact::new(DType::F32, x.dims.clone())])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let dims = cx.inputs.get(0)?.dims.clone();
        let targets = cx.row_targets(dims[0] * dims[1], dims[2]);
        let refs = vec![cx.plain(0)?, cx.plain(1)?];
        let step = Box::new(PackStep { batch: dims[0], n: dims[2], targets });
        cx.emit_rows(step, refs, targets)
    }
}

struct PackStep {
    batch: usize,
    n: usize,
    targets: RowTargets,
}

impl Step for PackStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let (x, n) = (io.input::<f32>(0), self.n);
        let kept = Kept::new(io.input(1), self.batch);
        self.targets.run(io, Some(kept.rows), BLOCK, n, |first, out| {
            for (index, out) in out.chunks_exact_mut(n.max(1)).enumerate() {
                let from = kept.place(first + index) * n;
                out.copy_from_slice(&x[from..from + n]);
            }
            Ok(())
        })
    }

    fn kernel(&self) -> &'static str {
        "pack rows"
    }

    fn work(&self) -> usize {
        self.targets.work()
    }
}

/// Rows where they were, and zeros where none was kept.
struct Unpack;

fn unpack(spec: &Spec<'_>) -> Result<Box<dyn Op>> {
    spec.gives(1)?;
    Ok(Box::new(Unpack))
}

impl Op for Unpack {
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>> {
        let x = inputs.of(0, DType::F32)?;
        sizes(x, inputs.get(1)?)?;
        Ok(vec![Fact::new(DType::F32, x.dims.clone())])
    }

    fn lower(&self, cx: &mut Context<'_>) -> Result<()> {
        let dims = cx.inputs.get(0)?.dims.clone();
        let step = Box::new(UnpackStep { batch: dims[0], n: dims[2], count: product(&dims) });
        let refs = vec![cx.plain(0)?, cx.plain(1)?];
        cx.emit_plain(step, refs)
    }
}

struct UnpackStep {
    batch: usize,
    n: usize,
    count: usize,
}

impl Step for UnpackStep {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let (x, n) = (io.input::<f32>(0), self.n);
        let kept = Kept::new(io.input(1), self.batch);
        let out = io.output::<f32>(0)?;
        let mut next = 0;
        // Kept rows come in the order of their places.
        for (row, x) in x.chunks_exact(n.max(1)).take(kept.rows).enumerate() {
            let to = kept.place(row) * n;
            out[next..to].fill(0.0);
            out[to..to + n].copy_from_slice(x);
            next = to + n;
        }
        out[next..].fill(0.0);
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        "unpack rows"
    }

    fn work(&self) -> usize {
        self.count
    }
}
