//! Writing tensors: the header from their names and shapes, then their bytes, never a copy of all.

use std::cmp::Reverse;
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

/// The header that [`write_tensors`] would write before tensors of these names, types and shapes,
/// and where each tensor's bytes start in the file, in the order given.
pub fn plan_tensors(
    tensors: &[(&str, Dtype, &[usize])],
    texts: &BTreeMap<String, String>,
) -> Result<(Vec<u8>, Vec<u64>), FileError> {
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by(|&a, &b| key(tensors[a].1, tensors[a].0).cmp(&key(tensors[b].1, tensors[b].0)));
    let sorted: Vec<_> = order.iter().map(|&index| tensors[index]).collect();
    let (header, ends) = layout_of(&sorted, texts)?;
    let first = header.len() as u64;
    let before = std::iter::once(0).chain(ends).map(|end| first.saturating_add(end as u64));
    let mut starts: Vec<(usize, u64)> = order.into_iter().zip(before).collect();
    starts.sort_unstable();
    Ok((header, starts.into_iter().map(|(_, start)| start).collect()))
}

/// How many bytes [`write_tensors`] would write.
pub fn stored_len(
    tensors: &[Tensor<'_>],
    texts: &BTreeMap<String, String>,
) -> Result<u64, FileError> {
    let header = header_of(&sorted(tensors), texts)?;
    let add = |sum: u64, tensor: &Tensor<'_>| sum.saturating_add(tensor.data.len() as u64);
    Ok(tensors.iter().fold(header.len() as u64, add))
}

/// Widest elements first, then by name: every tensor lies aligned to its element.
fn sorted<'a>(tensors: &[Tensor<'a>]) -> Vec<Tensor<'a>> {
    let mut sorted = tensors.to_vec();
    sorted.sort_by(|a, b| key(a.dtype, a.name).cmp(&key(b.dtype, b.name)));
    sorted
}

fn key(dtype: Dtype, name: &str) -> (Reverse<Dtype>, &str) {
    (Reverse(dtype), name)
}

fn header_of(
    sorted: &[Tensor<'_>],
    texts: &BTreeMap<String, String>,
) -> Result<Vec<u8>, FileError> {
    for tensor in sorted {
        if nbytes(tensor.dtype, tensor.shape) != Some(tensor.data.len()) {
            return Err(FileError::Value(format!(
                "tensor '{}' has {} bytes, which is not what {} values of shape {:?} take",
                tensor.name,
                tensor.data.len(),
                tensor.dtype,
                tensor.shape
            )));
        }
    }
    let places: Vec<_> = sorted.iter().map(|t| (t.name, t.dtype, t.shape)).collect();
    layout_of(&places, texts).map(|(header, _)| header)
}

/// The header, and where each tensor's bytes end, counted from the header's end.
fn layout_of(
    sorted: &[(&str, Dtype, &[usize])],
    texts: &BTreeMap<String, String>,
) -> Result<(Vec<u8>, Vec<usize>), FileError> {
    let mut names = HashSet::new();
    let (mut infos, mut ends) = (Vec::new(), Vec::new());
    let mut offset = 0_usize;
    for &(name, dtype, shape) in sorted {
        if name == RESERVED_NAME || !names.insert(name) {
            let fault = if name == RESERVED_NAME { "reserved" } else { "used twice" };
            return Err(FileError::Value(format!("the tensor name '{name}' is {fault}")));
        }
        let end =
            nbytes(dtype, shape).and_then(|len| offset.checked_add(len)).ok_or_else(|| {
                FileError::Value(format!("no file can hold tensor '{name}', {dtype} {shape:?}"))
            })?;
        infos
            .push((name, TensorInfo { dtype, shape: shape.to_vec(), data_offsets: (offset, end) }));
        ends.push(end);
        offset = end;
    }
    Ok((header::build(texts, &infos)?, ends))
}

/// The bytes that a type and a shape ask for, where they are whole and fit.
fn nbytes(dtype: Dtype, shape: &[usize]) -> Option<usize> {
    let count = shape.iter().try_fold(1_usize, |count, &length| count.checked_mul(length))?;
    let bits = count.checked_mul(dtype.bitsize())?;
    bits.is_multiple_of(8).then_some(bits / 8)
}
