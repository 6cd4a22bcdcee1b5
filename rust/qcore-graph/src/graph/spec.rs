//! The text that describes a graph, read.

use serde_json::{Map, Value};

use crate::error::{Result, spec_error};

/// A JSON object, or an error that names it.
pub(crate) fn object<'a>(value: &'a Value, what: &str) -> Result<&'a Map<String, Value>> {
    value.as_object().ok_or_else(|| spec_error!("{what} is not an object"))
}

/// A field that is a list; absent is empty.
pub(crate) fn list<'a>(map: &'a Map<String, Value>, name: &str) -> Result<&'a [Value]> {
    match map.get(name) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(values)) => Ok(values),
        Some(_) => Err(spec_error!("'{name}' is not a list")),
    }
}

/// A field that is a list of texts.
pub(crate) fn texts<'a>(map: &'a Map<String, Value>, name: &str) -> Result<Vec<&'a str>> {
    list(map, name)?
        .iter()
        .map(|value| value.as_str().ok_or_else(|| spec_error!("'{name}' has what is no text")))
        .collect()
}

/// A field that is a text.
pub(crate) fn text<'a>(map: &'a Map<String, Value>, name: &str) -> Result<&'a str> {
    map.get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| spec_error!("'{name}' is missing or no text"))
}

/// A node as the text has it.
pub(crate) struct NodeSpec<'a> {
    pub(crate) name: String,
    pub(crate) op: &'a str,
    pub(crate) inputs: Vec<&'a str>,
    pub(crate) outputs: Vec<&'a str>,
    pub(crate) attributes: Option<&'a Map<String, Value>>,
}

/// The nodes of a graph or of a branch.
pub(crate) fn nodes(map: &Map<String, Value>) -> Result<Vec<NodeSpec<'_>>> {
    list(map, "nodes")?
        .iter()
        .enumerate()
        .map(|(index, value)| {
            let node = object(value, "a node")?;
            let op = text(node, "op")?;
            let name = match node.get("name").and_then(Value::as_str) {
                Some(name) if !name.is_empty() => name.to_owned(),
                _ => format!("{op}_{index}"),
            };
            let attributes = match node.get("attributes") {
                None | Some(Value::Null) => None,
                Some(value) => Some(object(value, "'attributes'")?),
            };
            let (inputs, outputs) = (texts(node, "inputs")?, texts(node, "outputs")?);
            Ok(NodeSpec { name, op, inputs, outputs, attributes })
        })
        .collect()
}
