//! From steps over buffers to steps over places in one arena.
//!
//! A buffer lives from the step that writes it to the last that reads it. Where a step may overwrite
//! an input that nothing reads afterwards, both share one storage. Storages whose lives overlap get
//! places that do not.

// What runs relies on these places: none may wrap.
#![deny(clippy::arithmetic_side_effects)]
#![expect(
    clippy::disallowed_methods,
    reason = "lists of nodes and values, no more than the text has"
)]

use std::ops::Range;

use qcore_kernels::memory;

use crate::error::{Result, value_error};
use crate::plan::step::Step;
use crate::tensor::Tensor;

/// Where a buffer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The caller's input.
    Input(usize),
    /// A constant of the plan.
    Constant(usize),
    /// A step.
    Step,
}

/// Bytes that steps read and write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Buffer {
    pub(crate) origin: Origin,
    pub(crate) len: usize,
}

/// A buffer's number.
pub(crate) type Ref = usize;

/// A step over buffers.
pub(crate) struct Draft {
    pub(crate) node: usize,
    pub(crate) step: Box<dyn Step>,
    pub(crate) inputs: Vec<Ref>,
    pub(crate) outputs: Vec<Ref>,
    pub(crate) scratch: usize,
    /// The input whose memory output 0 may take.
    pub(crate) in_place: Option<usize>,
}

/// Where bytes are while a plan runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// The caller's input.
    Input(usize),
    /// The caller's output.
    Output(usize),
    /// A constant.
    Constant(usize),
    /// A part of the arena.
    Arena(Range<usize>),
}

/// A step over places.
pub(crate) struct Placed {
    pub(crate) node: usize,
    pub(crate) step: Box<dyn Step>,
    pub(crate) inputs: Vec<Place>,
    pub(crate) outputs: Vec<Place>,
    pub(crate) scratch: Range<usize>,
    /// The input that is in output 0's place.
    pub(crate) in_place: Option<usize>,
}

/// What runs.
pub(crate) struct Plan {
    pub(crate) steps: Vec<Placed>,
    pub(crate) constants: Vec<Tensor>,
    pub(crate) input_lens: Vec<usize>,
    pub(crate) output_lens: Vec<usize>,
    pub(crate) arena: usize,
    pub(crate) work: usize,
}

/// Places start on cache lines.
const LINE: usize = 64;

/// The most outputs of a step: one bit of a mask for each.
pub(crate) const MAX_OUTPUTS: usize = 128;

/// Memory of one or more buffers that follow each other.
struct Storage {
    len: usize,
    life: Range<usize>,
    output: Option<usize>,
    start: usize,
}

impl Plan {
    /// Plans steps in the order in which they are given. `outputs` are the buffers, each written by a
    /// step and each named once, that are the caller's.
    pub(crate) fn new(
        buffers: &[Buffer],
        drafts: Vec<Draft>,
        constants: Vec<Tensor>,
        outputs: &[Ref],
        input_lens: Vec<usize>,
    ) -> Result<Self> {
        let (of, mut storages, granted) = storages(buffers, &drafts, outputs)?;
        let scratch: Vec<usize> = drafts
            .iter()
            .enumerate()
            .map(|(at, draft)| {
                storages.push(Storage {
                    len: draft.scratch,
                    life: at..at.saturating_add(1),
                    output: None,
                    start: 0,
                });
                storages.len().saturating_sub(1)
            })
            .collect();
        let arena = place(&mut storages)?;
        let range = |s: &Storage| s.start..s.start.saturating_add(s.len);
        let places = |refs: &[Ref]| -> Vec<Place> {
            let place = |&r: &Ref| match buffers[r].origin {
                Origin::Input(index) => Place::Input(index),
                Origin::Constant(index) => Place::Constant(index),
                Origin::Step => {
                    let storage = &storages[of[r]];
                    storage.output.map_or_else(|| Place::Arena(range(storage)), Place::Output)
                }
            };
            refs.iter().map(place).collect()
        };
        let work = drafts.iter().map(|d| d.step.work()).fold(0, usize::saturating_add);
        let steps = drafts
            .into_iter()
            .zip(granted)
            .zip(scratch)
            .map(|((draft, in_place), scratch)| Placed {
                node: draft.node,
                inputs: places(&draft.inputs),
                outputs: places(&draft.outputs),
                step: draft.step,
                scratch: range(&storages[scratch]),
                in_place,
            })
            .collect();
        let output_lens: Vec<usize> = outputs.iter().map(|&r| buffers[r].len).collect();
        // Said before anything is computed.
        memory::admit(memory::sum(&output_lens)?)?;
        memory::admit(arena)?;
        let plan = Self { steps, constants, input_lens, output_lens, arena, work };
        plan.check()?;
        Ok(plan)
    }

    /// What running relies on: no step's outputs and scratch overlap each other or its inputs, but
    /// for the input that is overwritten; places are within the arena and on cache lines.
    fn check(&self) -> Result<()> {
        for placed in &self.steps {
            let scratch = Place::Arena(placed.scratch.clone());
            let written: Vec<&Place> = placed.outputs.iter().chain([&scratch]).collect();
            let sound = placed.outputs.len() <= MAX_OUTPUTS
                && written.iter().all(|place| self.is_writable(place))
                && written.iter().enumerate().all(|(at, a)| {
                    let others = written[..at].iter().copied();
                    let read = placed.inputs.iter().enumerate();
                    let read = read.filter(|(i, _)| !(placed.in_place == Some(*i) && at == 0));
                    others.chain(read.map(|(_, place)| place)).all(|b| !overlap(a, b))
                })
                && placed.in_place.is_none_or(|input| {
                    placed
                        .inputs
                        .get(input)
                        .is_some_and(|place| Some(place) == placed.outputs.first())
                })
                && placed.inputs.iter().all(|place| match place {
                    Place::Input(index) => *index < self.input_lens.len(),
                    Place::Constant(index) => *index < self.constants.len(),
                    Place::Output(_) | Place::Arena(_) => self.is_writable(place),
                });
            if !sound {
                let kernel = placed.step.kernel();
                return Err(value_error!("the plan of a {kernel} step overlaps; this is a defect"));
            }
        }
        Ok(())
    }

    fn is_writable(&self, place: &Place) -> bool {
        match place {
            Place::Output(index) => *index < self.output_lens.len(),
            Place::Arena(range) => {
                range.start <= range.end
                    && range.end <= self.arena
                    && range.start.is_multiple_of(LINE)
            }
            Place::Input(_) | Place::Constant(_) => false,
        }
    }
}

fn overlap(a: &Place, b: &Place) -> bool {
    match (a, b) {
        (Place::Arena(a), Place::Arena(b)) => {
            !a.is_empty() && !b.is_empty() && a.start < b.end && b.start < a.end
        }
        (Place::Output(a), Place::Output(b)) => a == b,
        _ => false,
    }
}

/// Which storage each buffer has, the storages, and which steps overwrite which input.
#[allow(clippy::type_complexity, reason = "three lists that are made together")]
fn storages(
    buffers: &[Buffer],
    drafts: &[Draft],
    outputs: &[Ref],
) -> Result<(Vec<usize>, Vec<Storage>, Vec<Option<usize>>)> {
    let mut last_read = vec![0; buffers.len()];
    for (at, draft) in drafts.iter().enumerate() {
        for &input in &draft.inputs {
            last_read[input] = at;
        }
    }
    let mut output_of = vec![None; buffers.len()];
    for (index, &r) in outputs.iter().enumerate() {
        if buffers[r].origin != Origin::Step || output_of[r].is_some() {
            return Err(value_error!("output {index} has no step of its own; this is a defect"));
        }
        output_of[r] = Some(index);
    }
    let mut of = vec![usize::MAX; buffers.len()];
    let mut storages: Vec<Storage> = Vec::new();
    let mut granted = Vec::with_capacity(drafts.len());
    for (at, draft) in drafts.iter().enumerate() {
        let mut shared = None;
        for (index, &output) in draft.outputs.iter().enumerate() {
            let end = last_read[output].max(at).saturating_add(1);
            if index == 0
                && let Some(input) = draft.in_place
                && let Some(&r) = draft.inputs.get(input)
                && buffers[r].origin == Origin::Step
                && buffers[r].len == buffers[output].len
                && last_read[r] == at
                && draft.inputs.iter().filter(|&&other| of[other] == of[r]).count() == 1
                && (storages[of[r]].output.is_none() || output_of[output].is_none())
                && output_of[r].is_none()
                && storages[of[r]].life.end == at.saturating_add(1)
            {
                let storage = &mut storages[of[r]];
                storage.life.end = end;
                storage.output = storage.output.or(output_of[output]);
                of[output] = of[r];
                shared = Some(input);
                continue;
            }
            let len = buffers[output].len;
            of[output] = storages.len();
            storages.push(Storage { len, life: at..end, output: output_of[output], start: 0 });
        }
        granted.push(shared);
    }
    Ok((of, storages, granted))
}

/// Gives every storage that is not the caller's a place; returns the bytes of the arena.
fn place(storages: &mut [Storage]) -> Result<usize> {
    let mut order: Vec<usize> = (0..storages.len())
        .filter(|&s| storages[s].output.is_none() && storages[s].len > 0)
        .collect();
    // The largest first: small ones fit into what is left between.
    order.sort_by_key(|&s| (std::cmp::Reverse(storages[s].len), s));
    let mut placed: Vec<usize> = Vec::with_capacity(order.len());
    let mut arena = 0_usize;
    for s in order {
        let len = storages[s].len.checked_next_multiple_of(LINE);
        let len = len.ok_or_else(|| value_error!("a buffer is longer than memory"))?;
        let life = storages[s].life.clone();
        let mut start = 0_usize;
        // `placed` is kept in the order of their starts.
        for &other in &placed {
            let other = &storages[other];
            let together = other.life.start < life.end && life.start < other.life.end;
            if !together {
                continue;
            }
            if start.saturating_add(len) <= other.start {
                break;
            }
            let end = other.start.saturating_add(other.len).checked_next_multiple_of(LINE);
            start = start.max(end.unwrap_or(usize::MAX));
        }
        storages[s].start = start;
        let end = start.checked_add(len).filter(|&end| isize::try_from(end).is_ok());
        arena = arena.max(end.ok_or_else(|| value_error!("the arena is longer than memory"))?);
        let at = placed.partition_point(|&other| storages[other].start <= start);
        placed.insert(at, s);
    }
    Ok(arena)
}
