//! A step of a plan: one kernel with its arguments settled.

use std::any::Any;

use crate::error::Result;
use crate::plan::run::Io;

/// Reads inputs and writes outputs; allocates nothing.
pub(crate) trait Step: Send + Sync {
    /// Runs it.
    fn run(&self, io: &mut Io<'_>) -> Result<()>;

    /// The kernel, for people to see.
    fn kernel(&self) -> &str;

    /// Itself, where a step behind it may become a part of it.
    fn open(&mut self) -> Option<&mut dyn Any> {
        None
    }

    /// About how many operations on elements it does.
    fn work(&self) -> usize;
}
