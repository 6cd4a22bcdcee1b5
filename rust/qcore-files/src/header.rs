//! The safetensors header: a length of eight bytes, then JSON.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use crate::FileError;

/// The bytes before the JSON: its length, little-endian.
pub(crate) const LENGTH_BYTES: usize = 8;
/// The key beside the tensors' names that holds free text.
pub(crate) const RESERVED_NAME: &str = "__metadata__";
/// Other readers refuse more than this, and so do we.
pub(crate) const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The type that a header calls `name`.
#[must_use]
pub fn dtype_named(name: &str) -> Option<Dtype> {
    serde_json::from_value(name.into()).ok()
}

/// The JSON's length, checked against the format's limit and the file's length.
pub(crate) fn checked_length(
    path: &Path,
    prefix: [u8; LENGTH_BYTES],
    file_len: u64,
) -> Result<usize, FileError> {
    let length = u64::from_le_bytes(prefix);
    if length > MAX_HEADER_BYTES {
        return Err(FileError::format(
            path,
            format!(
                "is not a safetensors file: its first 8 bytes give a header of {length} bytes, \
                 the limit is {MAX_HEADER_BYTES}"
            ),
        ));
    }
    let room = file_len - LENGTH_BYTES as u64;
    if length > room {
        return Err(FileError::format(
            path,
            format!("is truncated: its header has {length} bytes, {room} are left in the file"),
        ));
    }
    Ok(length as usize)
}

/// Parses the JSON and checks every offset, shape and type, and that the tensors fill the file.
pub(crate) fn parse(path: &Path, json: &[u8], data_len: u64) -> Result<Metadata, FileError> {
    let metadata: Metadata = serde_json::from_slice(json)
        .map_err(|error| FileError::format(path, format!("has a corrupt header: {error}")))?;
    let expected = metadata.data_len() as u64;
    if expected > data_len {
        return Err(FileError::format(
            path,
            format!("is truncated: its tensors have {expected} bytes, {data_len} are in the file"),
        ));
    }
    if expected < data_len {
        let extra = data_len - expected;
        return Err(FileError::format(
            path,
            format!("is corrupt: {extra} bytes follow the last tensor"),
        ));
    }
    Ok(metadata)
}

/// The length and the JSON of a file with these tensors, in this order, and these texts.
pub(crate) fn build(
    texts: &BTreeMap<String, String>,
    tensors: &[(&str, TensorInfo)],
) -> Result<Vec<u8>, FileError> {
    let encode = |error: serde_json::Error| FileError::Value(error.to_string());
    let mut members = Vec::with_capacity(tensors.len() + 1);
    if !texts.is_empty() {
        let texts = serde_json::to_string(texts).map_err(encode)?;
        members.push(format!("\"{RESERVED_NAME}\":{texts}"));
    }
    for (name, info) in tensors {
        let name = serde_json::to_string(name).map_err(encode)?;
        let info = serde_json::to_string(info).map_err(encode)?;
        members.push(format!("{name}:{info}"));
    }
    let mut json = format!("{{{}}}", members.join(","));
    // Spaces bring the tensors to a multiple of eight bytes.
    while json.len() % LENGTH_BYTES != 0 {
        json.push(' ');
    }
    if json.len() as u64 > MAX_HEADER_BYTES {
        return Err(FileError::Value(format!(
            "the names and descriptions need a header of {} bytes, the limit is {MAX_HEADER_BYTES}",
            json.len()
        )));
    }
    let mut header = (json.len() as u64).to_le_bytes().to_vec();
    header.extend_from_slice(json.as_bytes());
    Ok(header)
}
