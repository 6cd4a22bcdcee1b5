//! Tensor files: checked reading, atomic writing. No Python in sight.
//!
//! The container is safetensors. A [`TensorFile`] has its header checked when it is opened (lengths
//! and limits before anything is allocated, then offsets, overlaps, types and the length of the
//! file) and reads one tensor's bytes at a time, or a range of them, so a checkpoint larger than
//! memory can be walked. [`write_tensors`] goes through [`write_atomic`]; who has no more than a part
//! of a file in memory takes [`plan_tensors`] and an [`AtomicFile`], as writers of other kinds of
//! files do: a reader sees the old file or the new one, never a part.

//!
//! ```
//! use std::collections::BTreeMap;
//! use qcore_files::{Dtype, Tensor, TensorFile, write_tensors};
//!
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("w.safetensors");
//! let tensor = Tensor { name: "w", dtype: Dtype::I8, shape: &[2, 2], data: &[1, 2, 3, 4] };
//! write_tensors(&path, &[tensor], &BTreeMap::new())?;
//!
//! let file = TensorFile::open(&path)?;
//! assert_eq!(file.names(), ["w"]);
//! let mut bytes = [0; 4];
//! file.read_into("w", &mut bytes)?;
//! assert_eq!(bytes, [1, 2, 3, 4]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]
// Lengths and offsets come from files: what does not fit is an error, and never wraps.
#![deny(clippy::arithmetic_side_effects)]

mod atomic;
mod drafts;
mod error;
mod header;
mod read;
mod write;

pub use atomic::{AtomicFile, write_atomic};
pub use drafts::{DraftFolder, remove_drafts, sweep_drafts};
pub use error::FileError;
pub use header::{Limits, dtype_named};
pub use read::{RegularFile, TensorFile, open_regular};
pub use safetensors::Dtype;
pub use write::{Tensor, plan_tensors, stored_len, write_tensors};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
