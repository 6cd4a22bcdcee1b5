//! From a graph to what runs: facts, steps, places in one arena, and the running itself.

mod arena;
pub(crate) mod compile;
pub(crate) mod compiled;
pub(crate) mod infer;
pub(crate) mod run;
pub(crate) mod step;

pub(crate) use arena::{Buffer, Draft, MAX_OUTPUTS, Origin, Place, Placed, Plan, Ref};
