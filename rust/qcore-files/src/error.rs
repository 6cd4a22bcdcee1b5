//! What can go wrong with a file, always with its path.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a file could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file is not what it says it is: truncated, corrupt, or not a file at all.
    #[error("'{}' {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Reads on from the file's name: "is truncated: ...".
        reason: String,
    },
    /// The file is of the format, and larger than the caller allows.
    #[error("'{}' {reason}", path.display())]
    Limit {
        /// The file.
        path: PathBuf,
        /// Reads on from the file's name: "has ...".
        reason: String,
    },
    /// The operating system refused.
    #[error("'{}': {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The caller asked for something that no file can hold.
    #[error("{0}")]
    Value(String),
}

impl FileError {
    pub(crate) fn format(path: &Path, reason: impl Into<String>) -> Self {
        Self::Format { path: path.to_owned(), reason: reason.into() }
    }

    /// For `map_err`: the operating system's error about `path`.
    pub(crate) fn io(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |source| Self::Io { path: path.to_owned(), source }
    }
}
