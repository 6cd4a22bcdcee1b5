//! Reading: the header at once, the tensors one by one.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Metadata, TensorInfo};

use crate::FileError;
use crate::header::{self, LENGTH_BYTES, Limits};

/// An open safetensors file with a checked header; tensors are read on request.
///
/// Reads do not share a position, so threads may use one `TensorFile` together.
#[derive(Debug)]
pub struct TensorFile {
    path: PathBuf,
    file: File,
    metadata: Metadata,
    data_start: u64,
}

impl TensorFile {
    /// Opens `path` and checks its header against the file's length.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Self::open_within(path, Limits::default())
    }

    /// The same, with other limits than the usual ones.
    pub fn open_within(path: &Path, limits: Limits) -> Result<Self, FileError> {
        let (file, file_len) = open_regular(path)?;
        if file_len < LENGTH_BYTES as u64 {
            return Err(FileError::format(
                path,
                format!(
                    "is not a safetensors file: it has {file_len} bytes, at least 8 are needed"
                ),
            ));
        }
        let mut prefix = [0; LENGTH_BYTES];
        read_at(path, &file, &mut prefix, 0)?;
        let length = header::checked_length(path, prefix, file_len)?;
        #[expect(clippy::disallowed_methods, reason = "no more than the file has, and a limit")]
        let mut json = vec![0; length];
        read_at(path, &file, &mut json, LENGTH_BYTES as u64)?;
        let data_start = (LENGTH_BYTES as u64).saturating_add(length as u64);
        let metadata = header::parse(path, &json, file_len.saturating_sub(data_start), limits)?;
        Ok(Self { path: path.to_owned(), file, metadata, data_start })
    }

    /// The tensors' names, in the order of their bytes; those without bytes by name.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut tensors: Vec<_> = self.metadata.tensors().into_iter().collect();
        tensors.sort_by(|(a, at), (b, place)| (at.data_offsets, a).cmp(&(place.data_offsets, b)));
        tensors.into_iter().map(|(name, _)| name).collect()
    }

    /// The texts that the header carries beside the tensors.
    #[must_use]
    pub fn texts(&self) -> Option<&HashMap<String, String>> {
        self.metadata.metadata().as_ref()
    }

    /// A tensor's type, shape and place.
    #[must_use]
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.metadata.info(name)
    }

    /// Fills `out`, which has the tensor's length, with its bytes.
    pub fn read_into(&self, name: &str, out: &mut [u8]) -> Result<(), FileError> {
        let info = self.known(name)?;
        let (start, end) = info.data_offsets;
        let len = end.saturating_sub(start);
        if out.len() != len {
            let given = out.len();
            return Err(FileError::Value(format!(
                "`out` has {given} bytes, tensor '{name}' has {len}"
            )));
        }
        read_at(&self.path, &self.file, out, self.data_start.saturating_add(start as u64))
    }

    /// Fills `out` with a tensor's bytes from `offset` on.
    pub fn read_range(&self, name: &str, offset: usize, out: &mut [u8]) -> Result<(), FileError> {
        let info = self.known(name)?;
        let (start, end) = info.data_offsets;
        let len = end.saturating_sub(start);
        if offset.checked_add(out.len()).is_none_or(|last| last > len) {
            return Err(FileError::Value(format!(
                "bytes {offset} to {offset} + {} are asked for, tensor '{name}' has {len}",
                out.len()
            )));
        }
        let first = self.data_start.saturating_add(start as u64).saturating_add(offset as u64);
        read_at(&self.path, &self.file, out, first)
    }

    fn known(&self, name: &str) -> Result<&TensorInfo, FileError> {
        self.info(name)
            .ok_or_else(|| FileError::Value(format!("there is no tensor named '{name}'")))
    }
}

/// A regular file that is read at any offset, by any thread.
#[derive(Debug)]
pub struct RegularFile {
    path: PathBuf,
    file: File,
    len: u64,
}

impl RegularFile {
    /// Opens `path`; see [`open_regular`].
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let (file, len) = open_regular(path)?;
        Ok(Self { path: path.to_owned(), file, len })
    }

    /// The length that it had when it was opened.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it had no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fills `out` with the bytes from `offset` on.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), FileError> {
        read_at(&self.path, &self.file, out, offset)
    }
}

/// Opens a regular file and tells its length.
///
/// Anything else is refused before it is opened: opening a pipe would wait for its writer.
pub fn open_regular(path: &Path) -> Result<(File, u64), FileError> {
    let check = |found: &fs::Metadata| {
        if found.is_dir() {
            Err(FileError::io(path)(io::ErrorKind::IsADirectory.into()))
        } else if found.is_file() {
            Ok(found.len())
        } else {
            Err(FileError::format(path, "is not a regular file"))
        }
    };
    check(&fs::metadata(path).map_err(FileError::io(path))?)?;
    let file = File::open(path).map_err(FileError::io(path))?;
    let length = check(&file.metadata().map_err(FileError::io(path))?)?;
    Ok((file, length))
}

/// Reads exactly `out.len()` bytes at `offset`; a file that shrank meanwhile is truncated.
fn read_at(path: &Path, file: &File, out: &mut [u8], offset: u64) -> Result<(), FileError> {
    let mut done = 0_usize;
    while done < out.len() {
        let at = offset.saturating_add(done as u64);
        match read_some(file, &mut out[done..], at) {
            Ok(0) => {
                let reason = format!("is truncated: it ends at byte {at}");
                return Err(FileError::format(path, reason));
            }
            Ok(count) => done = done.saturating_add(count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FileError::io(path)(error)),
        }
    }
    Ok(())
}

#[cfg(unix)]
fn read_some(file: &File, out: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, out, offset)
}

#[cfg(windows)]
fn read_some(file: &File, out: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, out, offset)
}
