//! The one error type of this crate. Messages name the argument, what was found and what is allowed.

/// What a kernel entry can refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// `QCORE_ISA`, or a caller, named an instruction set that does not exist or that this CPU lacks.
    #[error("QCORE_ISA is {found:?}: {problem}; available here: {available}")]
    Isa {
        /// The name that was asked for.
        found: String,
        /// Unknown, or not on this CPU.
        problem: &'static str,
        /// The names that would be accepted.
        available: String,
    },
    /// Shapes, lengths or structure that do not fit together.
    #[error("{0}")]
    Shape(String),
    /// A value that is not allowed.
    #[error("{0}")]
    Value(String),
    /// An integer result that does not fit its type.
    #[error("{0}")]
    Overflow(String),
    /// Memory that is not there, or more of it than there are addresses.
    #[error("{0}")]
    Memory(String),
    /// The caller was asked, and wanted the operation to stop.
    #[error("the operation was interrupted")]
    Interrupted,
}

/// The result of a kernel entry.
pub type Result<T> = std::result::Result<T, KernelError>;
