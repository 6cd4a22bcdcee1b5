//! Rows as int8 codes, each with a scale of its own: what products of dynamic activations take.
//!
//! They are made once for all products that read a value, and where it is made if that is a step that
//! finishes whole rows.

use std::any::Any;
use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};

use qcore_kernels::{Isa, memory, quant, threads};

use super::{Builder, Context, Layout};
use crate::error::{GraphError, Result};
use crate::plan::run::Io;
use crate::plan::step::Step;
use crate::plan::{Origin, Ref};

/// Rows that are finished together: their floats stay in the second cache beside weights that make them,
/// and they are whole tiles of six rows.
pub(crate) const BLOCK: usize = 48;

/// Elementary operations below which a thread of its own costs more than it saves.
const GRAIN: usize = 1 << 20;

/// The codes of a value's rows, and a scale for each.
#[derive(Clone, Copy)]
pub(crate) struct RowCodes {
    pub(crate) codes: Ref,
    pub(crate) scale: Ref,
}

/// In which forms the readers of a value take it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) floats: bool,
    pub(crate) codes: bool,
}

impl Builder {
    /// Notes how a value is read.
    pub(crate) fn ask(&mut self, value: usize, as_codes: bool) {
        *self.readers.entry(value).or_default() += 1;
        let asked = self.asked.entry(value).or_default();
        if as_codes { asked.codes = true } else { asked.floats = true }
    }
}

impl Context<'_> {
    /// The rows of an input as codes.
    pub(crate) fn row_codes(&mut self, input: usize) -> Result<RowCodes> {
        let value = self.value(input)?;
        if let Some(&found) = self.builder.rows.get(&value) {
            return Ok(found);
        }
        let dims = &self.inputs.get(input)?.dims;
        let n = dims.last().copied().unwrap_or(1);
        let rows = crate::shape::product(&dims[..dims.len().saturating_sub(1)]);
        let targets = RowTargets { n, rows, asked: Asked { floats: false, codes: true } };
        let from = self.plain(input)?;
        let step = Box::new(Quantize(targets));
        let made = self.emit_buffers(step, vec![from], &targets.lens(), 0, None)?;
        let found = RowCodes { codes: made[0], scale: made[1] };
        self.builder.rows.insert(value, found);
        Ok(found)
    }

    /// Where the rows of output 0, of `n` elements each, are to go. Codes are those of its last axis.
    pub(crate) fn row_targets(&self, rows: usize, n: usize) -> RowTargets {
        let value = self.output_values.first().copied().flatten();
        let asked = value.and_then(|value| self.builder.asked.get(&value)).copied();
        let plain = Asked { floats: true, codes: false };
        // A value with codes of its own is what these stand for.
        let whole = self.outputs[0].dims.last() == Some(&n) && n > 0;
        let coded = self.output_affine(0).is_some() || !whole;
        RowTargets { n, rows, asked: asked.filter(|_| !coded).unwrap_or(plain) }
    }

    /// Adds a step that fills the targets of output 0.
    pub(crate) fn emit_rows(
        &mut self,
        step: Box<dyn Step>,
        inputs: Vec<Ref>,
        targets: RowTargets,
    ) -> Result<()> {
        let made = self.emit_buffers(step, inputs, &targets.lens(), 0, None)?;
        if targets.is_plain()
            && let Some(value) = self.output_values.first().copied().flatten()
        {
            self.builder.finished = Some((value, self.builder.drafts.len() - 1));
        }
        self.set_rows(targets, made)
    }

    /// Makes the step that has just made input 0 fill the targets of output 0, where nothing else reads
    /// what it made: `change` is told of the step and of its inputs, and says whether it can.
    pub(crate) fn join_rows(
        &mut self,
        targets: RowTargets,
        change: impl FnOnce(&mut dyn Any, &mut Vec<Ref>) -> bool,
    ) -> Result<bool> {
        let value = self.value(0)?;
        let builder = &mut *self.builder;
        let (readers, last) = (builder.readers.get(&value), builder.drafts.len().checked_sub(1));
        let (Some(1), Some(last)) = (readers, last) else { return Ok(false) };
        let draft = &mut builder.drafts[last];
        let open = (builder.finished == Some((value, last))).then(|| draft.step.open()).flatten();
        let Some(step) = open else { return Ok(false) };
        if !change(step, &mut draft.inputs) {
            return Ok(false);
        }
        builder.finished = None;
        builder.forms.remove(&value);
        let made: Vec<Ref> =
            targets.lens().into_iter().map(|len| builder.buffer(Origin::Step, len)).collect();
        builder.drafts[last].outputs.clone_from(&made);
        self.set_rows(targets, made)?;
        Ok(true)
    }

    /// Says which buffers hold output 0, as its targets have it.
    fn set_rows(&mut self, targets: RowTargets, made: Vec<Ref>) -> Result<()> {
        let mut made = made.into_iter();
        if targets.asked.floats
            && let Some(floats) = made.next()
        {
            self.set(0, Layout::Plain, floats)?;
        }
        if let (Some(codes), Some(scale)) = (made.next(), made.next())
            && let Some(value) = self.output_values.first().copied().flatten()
        {
            self.builder.rows.insert(value, RowCodes { codes, scale });
        }
        Ok(())
    }
}

/// Where finished rows go: as floats, as codes with a scale for each, or as both.
#[derive(Clone, Copy)]
pub(crate) struct RowTargets {
    /// Elements of a row.
    n: usize,
    rows: usize,
    asked: Asked,
}

/// A block of rows.
struct Part<'a> {
    first: usize,
    rows: usize,
    floats: Option<&'a mut [f32]>,
    codes: Option<(&'a mut [i8], &'a mut [f32])>,
}

thread_local! {
    /// Floats of rows of which only the codes are kept.
    static ROOM: RefCell<Vec<f32>> = RefCell::default();
}

impl RowTargets {
    /// Whether nothing but floats is wanted.
    pub(crate) fn is_plain(self) -> bool {
        !self.asked.codes
    }

    fn lens(self) -> Vec<usize> {
        let mut lens = Vec::new();
        if self.asked.floats {
            lens.push(self.rows * self.n * size_of::<f32>());
        }
        if self.asked.codes {
            lens.extend([self.rows * self.n, self.rows * size_of::<f32>()]);
        }
        lens
    }

    /// Elementary operations of a step that only moves rows.
    pub(crate) fn work(self) -> usize {
        crate::shape::work(&[self.rows, self.n])
    }

    /// Calls `make(first row, floats)` for blocks of at most `most` rows, `work` operations each, on
    /// the threads that there are: for all rows, or the first `kept`.
    pub(crate) fn run(
        self,
        io: &mut Io<'_>,
        kept: Option<usize>,
        most: usize,
        work: usize,
        make: impl Fn(usize, &mut [f32]) -> Result<()> + Sync + Send,
    ) -> Result<()> {
        let isa = io.isa;
        let mut outputs = 0..3;
        let mut floats: Option<&mut [f32]> = if self.asked.floats {
            Some(io.output(outputs.next().unwrap_or_default())?)
        } else {
            None
        };
        let mut codes: Option<(&mut [i8], &mut [f32])> = if self.asked.codes {
            Some((
                io.output(outputs.next().unwrap_or_default())?,
                io.output(outputs.next().unwrap_or_default())?,
            ))
        } else {
            None
        };
        let (n, rows) = (self.n, kept.unwrap_or(self.rows).min(self.rows));
        let mut first = 0;
        let mut next = |block: usize| {
            let rows = block.min(rows - first);
            let part = Part {
                first,
                rows,
                floats: floats.as_mut().and_then(|floats| floats.split_off_mut(..rows * n)),
                codes: codes.as_mut().and_then(|(codes, scale)| {
                    Some((codes.split_off_mut(..rows * n)?, scale.split_off_mut(..rows)?))
                }),
            };
            first += rows;
            part
        };
        let tasks = threads::tasks_for(rows, work, GRAIN);
        if tasks <= 1 {
            for _ in (0..rows).step_by(most) {
                self.part(isa, next(most), &make)?;
            }
            return Ok(());
        }
        let block = rows.div_ceil(tasks).min(most);
        let parts = (0..rows).step_by(block).map(|_| Mutex::new(next(block)));
        let parts = memory::collected(parts)?;
        let failed = Mutex::new(None);
        threads::try_for_each(parts.len(), |index| {
            let mut part = parts[index].lock().unwrap_or_else(PoisonError::into_inner);
            let Part { first, rows, floats, codes } = &mut *part;
            let part =
                Part { first: *first, rows: *rows, floats: floats.take(), codes: codes.take() };
            match self.part(isa, part, &make) {
                Err(GraphError::Kernel(error)) => Err(error),
                Err(error) => {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    Ok(())
                }
                Ok(()) => Ok(()),
            }
        })?;
        failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn part(
        self,
        isa: Isa,
        part: Part<'_>,
        make: &impl Fn(usize, &mut [f32]) -> Result<()>,
    ) -> Result<()> {
        let Part { first, rows, floats, codes } = part;
        let finish = |floats: &mut [f32]| {
            make(first, floats)?;
            if let Some((codes, scale)) = codes {
                quant::quantize_rows_i8_from(isa, first, floats, self.n, codes, scale)?;
            }
            Ok(())
        };
        match floats {
            Some(floats) => finish(floats),
            None => memory::with_kept(&ROOM, |room| {
                memory::resize(room, rows * self.n, 0.0)?;
                finish(room)
            }),
        }
    }
}

/// Floats to codes, row by row.
struct Quantize(RowTargets);

impl Step for Quantize {
    fn run(&self, io: &mut Io<'_>) -> Result<()> {
        let x = io.input::<f32>(0);
        let n = self.0.n;
        if n == 0 {
            return Ok(());
        }
        let isa = io.isa;
        let (codes, scale) = (io.output::<i8>(0)?, io.output::<f32>(1)?);
        quant::quantize_rows_i8_with(isa, x, n, codes, scale)?;
        Ok(())
    }

    fn kernel(&self) -> &'static str {
        "quantize rows"
    }

    fn work(&self) -> usize {
        crate::shape::work(&[self.0.rows, self.0.n])
    }
}
