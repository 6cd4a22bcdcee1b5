//! Tensor files: checked reading, atomic writing. No Python in sight.
//!
//! The container is safetensors. A [`TensorFile`] has its header checked when it is opened (lengths
//! and limits before anything is allocated, then offsets, overlaps, types and the length of the
//! file) and reads one tensor's bytes at a time, so a checkpoint larger than memory can be walked.
//! [`write_tensors`] goes through [`write_atomic`], which other kinds of files use as well: a reader
//! sees the old file or the new one, never a part.

#![forbid(unsafe_code)]

mod atomic;
mod error;
mod header;
mod read;
mod write;

pub use atomic::write_atomic;
pub use error::FileError;
pub use header::dtype_named;
pub use read::{TensorFile, open_regular};
pub use safetensors::Dtype;
pub use write::{Tensor, stored_len, write_tensors};
