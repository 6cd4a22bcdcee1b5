//! The one error type of this crate. Messages name the node, what was found and what is allowed.

use qcore_kernels::KernelError;

/// An op that no table line is there for: its name, how many nodes have it, the first of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The op.
    pub op: String,
    /// How many nodes have it.
    pub count: usize,
    /// The first node.
    pub first: String,
}

/// What building, compiling or running a graph can refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// Ops that are not in the table: a line for each, `op\tcount\tfirst node`.
    #[error("{}", lines(.0))]
    Unsupported(Vec<Missing>),
    /// A graph that is not well formed.
    #[error("{0}")]
    Spec(String),
    /// Shapes that do not fit together.
    #[error("{0}")]
    Shape(String),
    /// A type that an op does not take.
    #[error("{0}")]
    DType(String),
    /// A value that is not allowed.
    #[error("{0}")]
    Value(String),
    /// What a kernel refused.
    #[error("{0}")]
    Kernel(KernelError),
}

impl From<KernelError> for GraphError {
    fn from(error: KernelError) -> Self {
        GraphError::Kernel(error)
    }
}

impl GraphError {
    /// The same error, said of a node.
    pub(crate) fn at(self, node: &str, op: &str) -> Self {
        let say = |text: String| format!("node '{node}' ({op}): {text}");
        match self {
            GraphError::Shape(text) | GraphError::Kernel(KernelError::Shape(text)) => {
                GraphError::Shape(say(text))
            }
            GraphError::DType(text) => GraphError::DType(say(text)),
            GraphError::Value(text) | GraphError::Kernel(KernelError::Value(text)) => {
                GraphError::Value(say(text))
            }
            GraphError::Spec(text) => GraphError::Spec(say(text)),
            other => other,
        }
    }
}

fn lines(missing: &[Missing]) -> String {
    let line = |m: &Missing| format!("{}\t{}\t{}", m.op, m.count, m.first);
    missing.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The result of what this crate does.
pub type Result<T> = std::result::Result<T, GraphError>;

/// Shorthand for the common errors.
macro_rules! shape_error { ($($part:tt)*) => { $crate::error::GraphError::Shape(format!($($part)*)) } }
macro_rules! value_error { ($($part:tt)*) => { $crate::error::GraphError::Value(format!($($part)*)) } }
macro_rules! dtype_error { ($($part:tt)*) => { $crate::error::GraphError::DType(format!($($part)*)) } }
macro_rules! spec_error { ($($part:tt)*) => { $crate::error::GraphError::Spec(format!($($part)*)) } }
pub(crate) use {dtype_error, shape_error, spec_error, value_error};
