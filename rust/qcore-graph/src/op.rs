//! What an op is: what it says of its outputs, and what it becomes.

use crate::error::Result;
use crate::fact::{Fact, Inputs};
use crate::graph::attributes::Attributes;
use crate::lower::Context;

/// An op with its attributes read and checked.
pub(crate) trait Op: Send + Sync {
    /// Types and shapes of the outputs; their values, where they follow from shapes alone.
    fn facts(&self, inputs: Inputs<'_>) -> Result<Vec<Fact>>;

    /// Adds the steps that compute the outputs.
    fn lower(&self, cx: &mut Context<'_>) -> Result<()>;

    /// Inputs whose elements decide shapes: a graph is compiled for their values.
    fn known_inputs(&self) -> &'static [usize] {
        &[]
    }

    /// Whether each element of the output is a function of one element of each input, of floats.
    fn is_elementwise(&self) -> bool {
        false
    }

    /// Whether an input is taken as rows of codes, each with a scale of its own, and never as floats.
    fn takes_row_codes(&self, _input: usize) -> bool {
        false
    }

    /// Whether outputs depend on the shapes of the inputs only.
    fn reads_shapes_only(&self) -> bool {
        false
    }
}

/// What the table hands to an op's constructor.
pub(crate) struct Spec<'a> {
    pub(crate) op: &'static str,
    pub(crate) attributes: Attributes<'a>,
    pub(crate) outputs: usize,
}

impl Spec<'_> {
    /// Refuses a node of more outputs than the op has.
    pub(crate) fn gives(&self, most: usize) -> Result<()> {
        if self.outputs <= most {
            return Ok(());
        }
        Err(crate::error::spec_error!("it has {} outputs; there are at most {most}", self.outputs))
    }
}

/// A constructor of the table.
pub(crate) type Make = fn(&Spec<'_>) -> Result<Box<dyn Op>>;
