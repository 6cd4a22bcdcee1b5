//! Running a plan: every step in order, on places of the caller's arrays and of one arena.
//!
//! The one file of the run that needs `unsafe`: a step reads some parts of the arena and writes
//! others. That they do not overlap was checked when the plan was made.

use std::marker::PhantomData;

use qcore_kernels::Isa;
use qcore_kernels::aligned::AlignedBytes;
use qcore_kernels::interrupt::Pace;

use crate::error::{Result, shape_error, value_error};
use crate::memory::{self, Element, cast, cast_mut};
use crate::plan::{Place, Placed, Plan};
use crate::tensor::Tensor;

/// The memory of one run, kept for the next.
pub(crate) struct Room {
    arena: AlignedBytes,
}

impl Room {
    /// Memory for a plan.
    pub(crate) fn new(plan: &Plan) -> Result<Self> {
        Ok(Self { arena: memory::zeroed(plan.arena)? })
    }
}

/// What a step reads and writes.
pub(crate) struct Io<'a> {
    /// The instruction set in force.
    pub(crate) isa: Isa,
    placed: &'a Placed,
    memory: Memory<'a>,
    taken: u128,
}

/// All the places of a run.
#[derive(Clone, Copy)]
struct Memory<'a> {
    inputs: &'a [&'a [u8]],
    constants: &'a [Tensor],
    outputs: *mut &'a mut [u8],
    arena: *mut u8,
    life: PhantomData<&'a mut [u8]>,
}

impl Memory<'_> {
    /// The first byte of a place and their number.
    fn of(&self, place: &Place) -> (*mut u8, usize) {
        match place {
            Place::Input(index) => {
                (self.inputs[*index].as_ptr().cast_mut(), self.inputs[*index].len())
            }
            Place::Constant(index) => {
                let bytes = self.constants[*index].bytes();
                (bytes.as_ptr().cast_mut(), bytes.len())
            }
            Place::Output(index) => {
                // SAFETY: `Plan::check` keeps the index below the number of outputs, and no borrow of
                // the list lives longer than this line.
                let output = unsafe { &mut *self.outputs.add(*index) };
                (output.as_mut_ptr(), output.len())
            }
            Place::Arena(range) => (self.arena.wrapping_add(range.start), range.len()),
        }
    }
}

impl<'a> Io<'a> {
    /// Elements of an input. The one that is overwritten has none: it is in output 0.
    #[must_use]
    pub(crate) fn input<T: Element>(&self, index: usize) -> &'a [T] {
        if self.placed.in_place == Some(index) {
            return &[];
        }
        let (ptr, len) = self.memory.of(&self.placed.inputs[index]);
        // SAFETY: the bytes are initialised and live for 'a; `Plan::check` saw that no output or
        // scratch of this step overlaps them, so nothing writes to them while the step runs.
        cast(unsafe { std::slice::from_raw_parts(ptr, len) })
    }

    /// Elements of an output, to be written; each output once.
    pub(crate) fn output<T: Element>(&mut self, index: usize) -> Result<&'a mut [T]> {
        let bit = 1_u128 << index;
        if self.taken & bit != 0 {
            return Err(value_error!("output {index} is taken twice; this is a defect"));
        }
        self.taken |= bit;
        let (ptr, len) = self.memory.of(&self.placed.outputs[index]);
        // SAFETY: the bytes are initialised and live for 'a; `Plan::check` saw that they overlap no
        // input, scratch or other output of this step, and `taken` that this is their only borrow.
        Ok(cast_mut(unsafe { std::slice::from_raw_parts_mut(ptr, len) }))
    }

    /// Room of as many bytes as the step asked for; once.
    pub(crate) fn scratch<T: Element>(&mut self) -> Result<&'a mut [T]> {
        const BIT: u128 = 1 << 127;
        if self.taken & BIT != 0 {
            return Err(value_error!("scratch is taken twice; this is a defect"));
        }
        self.taken |= BIT;
        let (ptr, len) = self.memory.of(&Place::Arena(self.placed.scratch.clone()));
        // SAFETY: as in `output`.
        Ok(cast_mut(unsafe { std::slice::from_raw_parts_mut(ptr, len) }))
    }

    /// The input that is in output 0's place already.
    #[must_use]
    pub(crate) fn in_place(&self) -> Option<usize> {
        self.placed.in_place
    }

    /// Output 0 with the elements of input 0 in it, wherever they were.
    pub(crate) fn overwrite<T: Element>(&mut self) -> Result<&'a mut [T]> {
        let from = self.input::<T>(0);
        let in_place = self.in_place() == Some(0);
        let out = self.output::<T>(0)?;
        if !in_place {
            memory::copy(from, out)?;
        }
        Ok(out)
    }
}

/// Work between two looks at whether to stop: well under a millisecond with vectors. To look costs as
/// much as a short step.
const LOOK: usize = 1 << 22;

/// Runs a plan, whose steps belong to `nodes`. Inputs and outputs are aligned to their elements.
/// `done` is told of every step that has ended.
pub(crate) fn run(
    plan: &Plan,
    room: &mut Room,
    nodes: &[String],
    isa: Isa,
    inputs: &[&[u8]],
    outputs: &mut [&mut [u8]],
    mut done: impl FnMut(usize),
) -> Result<()> {
    let fits = inputs.iter().map(|bytes| bytes.len()).eq(plan.input_lens.iter().copied())
        && outputs.iter().map(|bytes| bytes.len()).eq(plan.output_lens.iter().copied());
    if !fits || room.arena.len() < plan.arena {
        return Err(shape_error!("inputs and outputs are not as long as the plan's"));
    }
    let memory = Memory {
        inputs,
        constants: &plan.constants,
        // The lifetime is that of this call; no reference outlives a step.
        outputs: outputs.as_mut_ptr().cast(),
        arena: room.arena.as_mut_ptr(),
        life: PhantomData,
    };
    let mut pace = Pace::of(LOOK);
    for (index, placed) in plan.steps.iter().enumerate() {
        pace.check(placed.step.work())?;
        let result = placed.step.run(&mut Io { isa, placed, memory, taken: 0 });
        result.map_err(|error| match nodes.get(placed.node) {
            Some(node) => error.at(node, placed.step.kernel()),
            None => error,
        })?;
        done(index);
    }
    Ok(())
}
