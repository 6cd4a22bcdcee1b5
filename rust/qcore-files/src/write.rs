//! Writing tensors: the header from their names and shapes, then their bytes, never a copy of all.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;

use crate::header::{self, RESERVED_NAME};
use crate::{FileError, write_atomic};

/// One tensor to write: little-endian, row-major.
#[derive(Debug, Clone, Copy)]
pub struct Tensor<'a> {
    /// Unique in its file.
    pub name: &'a str,
    /// The safetensors type.
    pub dtype: Dtype,
    /// The shape; empty for a scalar.
    pub shape: &'a [usize],
    /// As many bytes as type and shape ask for.
    pub data: &'a [u8],
}

/// Writes the tensors and the texts to `path`, atomically.
///
/// The bytes depend on nothing but the arguments; the order of `tensors` does not matter.
pub fn write_tensors(
    path: &Path,
    tensors: &[Tensor<'_>],
    texts: &BTreeMap<String, String>,
) -> Result<(), FileError> {
    let sorted = sorted(tensors);
    let header = header_of(&sorted, texts)?;
    write_atomic(path, |file| {
        file.write_all(&header)?;
        sorted.iter().try_for_each(|tensor| file.write_all(tensor.data))
    })
}

/// How many bytes [`write_tensors`] would write.
pub fn stored_len(
    tensors: &[Tensor<'_>],
    texts: &BTreeMap<String, String>,
) -> Result<u64, FileError> {
    let header = header_of(&sorted(tensors), texts)?;
    Ok(tensors.iter().fold(header.len() as u64, |sum, tensor| sum + tensor.data.len() as u64))
}

/// Widest elements first, then by name: every tensor lies aligned to its element.
fn sorted<'a>(tensors: &[Tensor<'a>]) -> Vec<Tensor<'a>> {
    let mut sorted = tensors.to_vec();
    sorted.sort_by(|a, b| b.dtype.cmp(&a.dtype).then(a.name.cmp(b.name)));
    sorted
}

fn header_of(
    sorted: &[Tensor<'_>],
    texts: &BTreeMap<String, String>,
) -> Result<Vec<u8>, FileError> {
    let mut names = HashSet::new();
    let mut offset = 0;
    let mut infos = Vec::with_capacity(sorted.len());
    for tensor in sorted {
        if tensor.name == RESERVED_NAME || !names.insert(tensor.name) {
            let fault = if tensor.name == RESERVED_NAME { "reserved" } else { "used twice" };
            return Err(FileError::Value(format!("the tensor name '{}' is {fault}", tensor.name)));
        }
        if nbytes(tensor) != Some(tensor.data.len()) {
            return Err(FileError::Value(format!(
                "tensor '{}' has {} bytes, which is not what {} values of shape {:?} take",
                tensor.name,
                tensor.data.len(),
                tensor.dtype,
                tensor.shape
            )));
        }
        let end = offset + tensor.data.len();
        let info = TensorInfo {
            dtype: tensor.dtype,
            shape: tensor.shape.to_vec(),
            data_offsets: (offset, end),
        };
        infos.push((tensor.name, info));
        offset = end;
    }
    header::build(texts, &infos)
}

/// The bytes that a tensor's type and shape ask for, where they are whole and fit.
fn nbytes(tensor: &Tensor<'_>) -> Option<usize> {
    let count =
        tensor.shape.iter().try_fold(1_usize, |count, &length| count.checked_mul(length))?;
    let bits = count.checked_mul(tensor.dtype.bitsize())?;
    bits.is_multiple_of(8).then_some(bits / 8)
}
