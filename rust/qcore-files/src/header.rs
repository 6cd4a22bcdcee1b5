//! The safetensors header: a length of eight bytes, then JSON.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

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
    let room = file_len.saturating_sub(LENGTH_BYTES as u64);
    if length > room {
        return Err(FileError::format(
            path,
            format!("is truncated: its header has {length} bytes, {room} are left in the file"),
        ));
    }
    Ok(length as usize)
}

/// What a header may ask for: a file of a few megabytes is not to cost minutes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most tensors.
    pub tensors: usize,
    /// The longest name, in bytes.
    pub name_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { tensors: 200_000, name_bytes: 4096 }
    }
}

/// NumPy's arrays have no more axes.
const MAX_AXES: usize = 64;

/// The names of a JSON object, each once; what they stand for is not kept.
struct Names {
    seen: HashSet<String>,
    count: usize,
    longest: usize,
    twice: Option<String>,
}

struct NamesVisitor(Limits);

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = Names;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
        let mut names = Names { seen: HashSet::new(), count: 0, longest: 0, twice: None };
        while let Some(name) = map.next_key::<String>()? {
            if name == RESERVED_NAME {
                let texts = map.next_value_seed(NamesSeed(self.0))?;
                names.twice = names.twice.or(texts.twice);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
            names.count = names.count.saturating_add(1);
            names.longest = names.longest.max(name.len());
            if names.count > self.0.tensors.saturating_add(1) || names.twice.is_some() {
                continue; // it is refused; the rest is only skipped
            }
            if names.seen.contains(&name) {
                names.twice = Some(name);
            } else {
                names.seen.insert(name);
            }
        }
        Ok(names)
    }
}

struct NamesSeed(Limits);

impl<'de> DeserializeSeed<'de> for NamesSeed {
    type Value = Names;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Names, D::Error> {
        from.deserialize_map(NamesVisitor(self.0))
    }
}

/// Refuses names that are there twice, and more than the limits allow, before anything is built.
fn check_names(path: &Path, json: &[u8], limits: Limits) -> Result<(), FileError> {
    let mut from = serde_json::Deserializer::from_slice(json);
    let names = NamesSeed(limits).deserialize(&mut from).map_err(corrupt(path))?;
    if let Some(name) = names.twice {
        let reason = format!("has a corrupt header: the name '{name}' is there twice");
        return Err(FileError::format(path, reason));
    }
    let texts = usize::from(names.seen.contains(RESERVED_NAME));
    let tensors = names.count.saturating_sub(texts);
    if tensors > limits.tensors {
        let most = limits.tensors;
        let reason = format!("has {tensors} tensors, max_tensors is {most}");
        return Err(FileError::Limit { path: path.to_owned(), reason });
    }
    if names.longest > limits.name_bytes {
        let (longest, most) = (names.longest, limits.name_bytes);
        let reason = format!("has a name of {longest} bytes, max_name_bytes is {most}");
        return Err(FileError::Limit { path: path.to_owned(), reason });
    }
    Ok(())
}

fn corrupt(path: &Path) -> impl Fn(serde_json::Error) -> FileError + '_ {
    |error| FileError::format(path, format!("has a corrupt header: {error}"))
}

/// Parses the JSON and checks every offset, shape and type, and that the tensors fill the file.
pub(crate) fn parse(
    path: &Path,
    json: &[u8],
    data_len: u64,
    limits: Limits,
) -> Result<Metadata, FileError> {
    check_names(path, json, limits)?;
    let metadata: Metadata = serde_json::from_slice(json).map_err(corrupt(path))?;
    for (name, info) in metadata.tensors() {
        if info.shape.len() > MAX_AXES {
            let axes = info.shape.len();
            return Err(FileError::format(
                path,
                format!("is corrupt: tensor '{name}' has {axes} axes, {MAX_AXES} are the most"),
            ));
        }
    }
    let expected = metadata.data_len() as u64;
    if expected > data_len {
        return Err(FileError::format(
            path,
            format!("is truncated: its tensors have {expected} bytes, {data_len} are in the file"),
        ));
    }
    if expected < data_len {
        let extra = data_len.saturating_sub(expected);
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
    let mut members = Vec::new();
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
    let length = (json.len() as u64).to_le_bytes();
    Ok(length.into_iter().chain(json.into_bytes()).collect())
}
