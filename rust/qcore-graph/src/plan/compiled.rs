//! A graph that was compiled for given shapes: what it computes, and how it is run.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use qcore_kernels::Isa;

use crate::dtype::DType;
use crate::error::Result;
use crate::plan::Plan;
use crate::plan::run::{self, Room};

/// A value that a plan computes.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its number in the graph.
    pub value: usize,
    /// The type of its elements.
    pub dtype: DType,
    /// Its shape.
    pub dims: Vec<usize>,
}

/// A graph for given shapes, ready to run.
pub struct Compiled {
    pub(crate) plan: Plan,
    pub(crate) outputs: Vec<Output>,
    pub(crate) nodes: Vec<String>,
    /// Memory of runs that have ended.
    pub(crate) rooms: Mutex<Vec<Room>>,
}

impl Compiled {
    /// What it computes.
    #[must_use]
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// About how many operations on elements a run does.
    #[must_use]
    pub fn work(&self) -> usize {
        self.plan.work
    }

    /// Bytes of the arena that a run works in.
    #[must_use]
    pub fn arena_bytes(&self) -> usize {
        self.plan.arena
    }

    /// The steps: the node of each and the kernel that runs it.
    pub fn kernels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.plan.steps.iter().map(|placed| {
            (self.nodes.get(placed.node).map_or("", String::as_str), placed.step.kernel())
        })
    }

    /// About how many operations on elements each step does.
    pub fn works(&self) -> impl Iterator<Item = usize> {
        self.plan.steps.iter().map(|placed| placed.step.work())
    }

    /// Runs it: the bytes of each input of the graph that no plan is made for, in their order, to the
    /// bytes of each output. All are aligned to their elements. Once as many runs have ended as go
    /// on at a time, it allocates nothing.
    pub fn run(&self, isa: Isa, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) -> Result<()> {
        self.run_and_tell(isa, inputs, outputs, |_| {})
    }

    /// [`Compiled::run`], and the least time that each step took so far: `least` has one for each.
    pub fn run_timed(
        &self,
        isa: Isa,
        inputs: &[&[u8]],
        outputs: &mut [&mut [u8]],
        least: &mut [Duration],
    ) -> Result<()> {
        // What it costs to look at the clock is not the steps'.
        let looks = || Instant::now().elapsed();
        let look = looks().min(looks()).min(looks()).min(looks());
        let mut before = Instant::now();
        self.run_and_tell(isa, inputs, outputs, |step| {
            let taken = before.elapsed().saturating_sub(look);
            if let Some(least) = least.get_mut(step) {
                *least = taken.min(*least);
            }
            before = Instant::now();
        })
    }

    fn run_and_tell(
        &self,
        isa: Isa,
        inputs: &[&[u8]],
        outputs: &mut [&mut [u8]],
        done: impl FnMut(usize),
    ) -> Result<()> {
        // Nobody waits: a thread that a fork left behind may hold the lock for ever.
        let spare = self.rooms.try_lock().ok().and_then(|mut rooms| rooms.pop());
        let mut room = match spare {
            Some(room) => room,
            None => Room::new(&self.plan)?,
        };
        let result = run::run(&self.plan, &mut room, &self.nodes, isa, inputs, outputs, done);
        if let Ok(mut rooms) = self.rooms.try_lock() {
            rooms.push(room);
        }
        result
    }
}
