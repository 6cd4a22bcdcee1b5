//! The attributes of a node, read by type.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::{Result, spec_error};
use crate::operand::Operand;
use crate::tensor::Tensor;

/// What a text refers to by number.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub(crate) tensors: &'a [Tensor],
    /// Weights that are laid out for their kernels.
    pub(crate) operands: &'a [Arc<dyn Operand>],
}

/// Attributes by name. A tensor is `{"tensor": index}` into the tensors of the graph, weights are
/// `{"operand": index}`.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a> {
    values: Option<&'a Map<String, Value>>,
    parts: Parts<'a>,
}

impl<'a> Attributes<'a> {
    /// Attributes of a node of a spec.
    pub(crate) fn new(values: Option<&'a Map<String, Value>>, parts: Parts<'a>) -> Self {
        Self { values, parts }
    }

    /// The raw value; null is absent.
    pub(crate) fn raw(self, name: &str) -> Option<&'a Value> {
        self.values.and_then(|values| values.get(name)).filter(|value| !value.is_null())
    }

    /// An integer; bools count as 0 and 1.
    pub(crate) fn int(self, name: &str) -> Result<Option<i64>> {
        self.raw(name).map(|value| int(value).ok_or_else(|| wrong(name, "an integer"))).transpose()
    }

    /// An integer, or what it is when absent.
    pub(crate) fn int_or(self, name: &str, default: i64) -> Result<i64> {
        Ok(self.int(name)?.unwrap_or(default))
    }

    /// Whether an integer is there and not 0.
    pub(crate) fn flag(self, name: &str, default: bool) -> Result<bool> {
        Ok(self.int(name)?.map_or(default, |value| value != 0))
    }

    /// Integers.
    pub(crate) fn ints(self, name: &str) -> Result<Option<Vec<i64>>> {
        self.list(name, int, "a list of integers")
    }

    /// A number.
    pub(crate) fn float(self, name: &str) -> Result<Option<f32>> {
        self.raw(name).map(|value| float(value).ok_or_else(|| wrong(name, "a number"))).transpose()
    }

    /// A number, or what it is when absent.
    pub(crate) fn float_or(self, name: &str, default: f32) -> Result<f32> {
        Ok(self.float(name)?.unwrap_or(default))
    }

    /// Numbers.
    pub(crate) fn floats(self, name: &str) -> Result<Option<Vec<f32>>> {
        self.list(name, float, "a list of numbers")
    }

    /// A text.
    pub(crate) fn text(self, name: &str) -> Result<Option<&'a str>> {
        self.raw(name).map(|value| value.as_str().ok_or_else(|| wrong(name, "a text"))).transpose()
    }

    /// A text, or what it is when absent.
    pub(crate) fn text_or(self, name: &str, default: &'a str) -> Result<&'a str> {
        Ok(self.text(name)?.unwrap_or(default))
    }

    /// Texts.
    pub(crate) fn texts(self, name: &str) -> Result<Option<Vec<String>>> {
        self.list(name, |value| value.as_str().map(str::to_owned), "a list of texts")
    }

    /// A tensor.
    pub(crate) fn tensor(self, name: &str) -> Result<Option<Tensor>> {
        let Some(value) = self.raw(name) else { return Ok(None) };
        let index = value.get("tensor").and_then(Value::as_u64);
        let tensor = index.and_then(|index| self.parts.tensors.get(usize::try_from(index).ok()?));
        tensor.cloned().map(Some).ok_or_else(|| wrong(name, "{\"tensor\": index}"))
    }

    /// Weights that are laid out.
    pub(crate) fn operand(self, name: &str) -> Result<Arc<dyn Operand>> {
        let index = self.raw(name).and_then(|value| value.get("operand")).and_then(Value::as_u64);
        let found = index.and_then(|index| self.parts.operands.get(usize::try_from(index).ok()?));
        found.cloned().ok_or_else(|| wrong(name, "{\"operand\": index}"))
    }

    fn list<T>(
        self,
        name: &str,
        read: impl Fn(&Value) -> Option<T>,
        what: &str,
    ) -> Result<Option<Vec<T>>> {
        let Some(value) = self.raw(name) else { return Ok(None) };
        value
            .as_array()
            .and_then(|values| values.iter().map(read).collect::<Option<Vec<T>>>())
            .map(Some)
            .ok_or_else(|| wrong(name, what))
    }
}

fn wrong(name: &str, what: &str) -> crate::error::GraphError {
    spec_error!("attribute '{name}' is not {what}")
}

fn int(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_bool().map(i64::from))
}

/// JSON has no infinities; they are written as texts.
fn float(value: &Value) -> Option<f32> {
    match value {
        Value::String(text) => text.parse().ok(),
        value => value.as_f64().map(|value| value as f32),
    }
}
