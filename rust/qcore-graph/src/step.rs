//! A step of a plan: one kernel with its arguments settled.

use crate::error::Result;
use crate::run::Io;

/// Reads inputs and writes outputs; allocates nothing.
pub(crate) trait Step: Send + Sync {
    /// Runs it.
    fn run(&self, io: &mut Io<'_>) -> Result<()>;

    /// The kernel, for people to see.
    fn kernel(&self) -> &str;

    /// About how many operations on elements it does.
    fn work(&self) -> usize;
}
