//! From the text of a graph to its nodes.

#![expect(
    clippy::disallowed_methods,
    reason = "lists of nodes and values, no more than the text has"
)]

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::dtype::DType;
use crate::error::{GraphError, Missing, Result, spec_error};
use crate::fact::Dim;
use crate::graph::attributes::{Attributes, Parts};
use crate::graph::spec::{self, NodeSpec};
use crate::graph::{Body, Branch, Input, Node};
use crate::lower::{Codes, WeightCodes};
use crate::op::Spec;
use crate::operand::Affine;
use crate::ops;
use crate::tensor::Tensor;

/// What a text says.
pub(crate) struct Read {
    pub(crate) names: Vec<String>,
    /// Of the outermost graph.
    pub(crate) by_name: HashMap<String, usize>,
    pub(crate) inputs: Vec<Input>,
    pub(crate) outputs: Vec<usize>,
    pub(crate) constants: HashMap<usize, Tensor>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) codes: Codes,
}

/// Reads a text that refers to these parts.
pub(crate) fn read(spec: &str, parts: Parts<'_>) -> Result<Read> {
    let json: Value = serde_json::from_str(spec)
        .map_err(|error| spec_error!("the graph is no JSON text: {error}"))?;
    let map = spec::object(&json, "the graph")?;
    let exact = match map.get("exact") {
        None | Some(Value::Null) => false,
        // Values keep their own rounding there; nothing else is computed otherwise.
        Some(Value::String(text)) if text == "onnx" => false,
        Some(Value::String(text)) if text == "tflite" => true,
        Some(found) => return Err(spec_error!("exact is {found}; it must be 'tflite' or 'onnx'")),
    };
    let mut reader =
        Reader { parts, names: Vec::new(), constants: HashMap::new(), missing: Vec::new(), exact };
    let mut scope = Scope { names: HashMap::new(), outer: None };
    let mut inputs = Vec::new();
    for input in spec::list(map, "inputs")? {
        inputs.push(reader.input(input, &mut scope)?);
    }
    let nodes = reader.body(map, &mut scope)?;
    if !reader.missing.is_empty() {
        return Err(GraphError::Unsupported(reader.missing));
    }
    let mut outputs = Vec::new();
    for name in spec::texts(map, "outputs")? {
        let value = scope.find(name);
        outputs.push(value.ok_or_else(|| spec_error!("output '{name}' is made by no node"))?);
    }
    let codes = reader.codes(map, &scope)?;
    let Reader { names, constants, .. } = reader;
    Ok(Read { names, by_name: scope.names, inputs, outputs, constants, nodes, codes })
}

/// Values by name, from the outermost graph to the branch.
struct Scope<'s> {
    names: HashMap<String, usize>,
    outer: Option<&'s Scope<'s>>,
}

impl Scope<'_> {
    fn find(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied().or_else(|| self.outer.and_then(|outer| outer.find(name)))
    }
}

/// What is collected while a spec is read.
struct Reader<'a> {
    parts: Parts<'a>,
    names: Vec<String>,
    constants: HashMap<usize, Tensor>,
    missing: Vec<Missing>,
    /// Whether integers are those of TensorFlow Lite.
    exact: bool,
}

impl Reader<'_> {
    fn value(&mut self, name: &str, scope: &mut Scope<'_>) -> Result<usize> {
        if scope.names.contains_key(name) {
            return Err(spec_error!("value '{name}' is made twice"));
        }
        let value = self.names.len();
        self.names.push(name.to_owned());
        scope.names.insert(name.to_owned(), value);
        Ok(value)
    }

    fn input(&mut self, json: &Value, scope: &mut Scope<'_>) -> Result<Input> {
        let map = spec::object(json, "an input")?;
        let name = spec::text(map, "name")?.to_owned();
        let dtype = spec::text(map, "dtype")?;
        let dtype = DType::from_name(dtype).ok_or_else(|| {
            GraphError::DType(format!("input '{name}' is {dtype}, which does not run inside"))
        })?;
        let shape = match map.get("shape") {
            None | Some(Value::Null) => None,
            Some(_) => Some(dims(spec::list(map, "shape")?, &name)?),
        };
        let value = self.value(&name, scope)?;
        Ok(Input { name, dtype, shape, value })
    }

    /// Constants and nodes of a graph or a branch.
    fn body(&mut self, map: &Map<String, Value>, scope: &mut Scope<'_>) -> Result<Vec<Node>> {
        if let Some(constants) = map.get("constants").filter(|value| !value.is_null()) {
            for (name, index) in spec::object(constants, "'constants'")? {
                let tensor = index
                    .as_u64()
                    .and_then(|index| self.parts.tensors.get(usize::try_from(index).ok()?))
                    .ok_or_else(|| spec_error!("constant '{name}' is no index of a tensor"))?
                    .clone();
                let value = self.value(name, scope)?;
                self.constants.insert(value, tensor);
            }
        }
        let specs = spec::nodes(map)?;
        let mut outputs = Vec::with_capacity(specs.len());
        for node in &specs {
            let mut values = Vec::with_capacity(node.outputs.len());
            for name in &node.outputs {
                values.push(if name.is_empty() { None } else { Some(self.value(name, scope)?) });
            }
            outputs.push(values);
        }
        let mut nodes = Vec::with_capacity(specs.len());
        for (node, outputs) in specs.iter().zip(outputs) {
            if let Some(node) = self.node(node, outputs, scope)? {
                nodes.push(node);
            }
        }
        sorted(nodes, &self.names)
    }

    /// What the text says of codes: of values, and of int8 constants, which become the floats that
    /// their codes stand for.
    fn codes(&mut self, map: &Map<String, Value>, scope: &Scope<'_>) -> Result<Codes> {
        let mut codes = Codes::default();
        let Some(entries) = map.get("codes").filter(|value| !value.is_null()) else {
            return Ok(codes);
        };
        for (name, entry) in spec::object(entries, "'codes'")? {
            let wrong = |what: &str| spec_error!("the codes of '{name}' have {what}");
            let value = scope.find(name).ok_or_else(|| wrong("no value"))?;
            let entry = Attributes::new(Some(spec::object(entry, "codes")?), self.parts);
            let scale = match entry.raw("scale") {
                Some(Value::Array(_)) => entry.floats("scale")?.unwrap_or_default(),
                _ => vec![entry.float("scale")?.ok_or_else(|| wrong("no scale"))?],
            };
            if scale.is_empty() || scale.iter().any(|scale| !(scale.is_normal() && *scale > 0.0)) {
                return Err(wrong("a scale that is not above 0"));
            }
            let zero_point = i32::try_from(entry.int_or("zero_point", 0)?);
            let zero_point = zero_point.map_err(|_| wrong("a zero point that is no code"))?;
            let signed = entry.flag("signed", true)?;
            if let Some(tensor) = self.constants.get(&value).cloned() {
                if tensor.dtype() != DType::I8 || zero_point != 0 {
                    return Err(wrong("a constant that is not int8 with its zero at code 0"));
                }
                let rank = tensor.dims().len();
                let axis = entry.int("axis")?.map(|at| crate::shape::axis(at, rank)).transpose()?;
                let weights = WeightCodes { codes: tensor, scale, axis };
                self.constants.insert(value, weights.decoded()?);
                codes.weights.insert(value, weights);
                continue;
            }
            let affine = Affine { scale: scale[0], zero_point, signed };
            if scale.len() > 1 || !(affine.min()..=affine.max()).contains(&zero_point) {
                return Err(wrong("more than one scale, or a zero point that is no code"));
            }
            codes.values.insert(value, affine);
        }
        Ok(codes)
    }

    fn node(
        &mut self,
        node: &NodeSpec<'_>,
        outputs: Vec<Option<usize>>,
        scope: &Scope<'_>,
    ) -> Result<Option<Node>> {
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for name in &node.inputs {
            inputs.push(if name.is_empty() {
                None
            } else {
                let found = scope.find(name);
                Some(found.ok_or_else(|| {
                    spec_error!("node '{}' reads '{name}', which nothing makes", node.name)
                })?)
            });
        }
        let mut captured = Vec::new();
        let body = if node.op == "If" {
            let mut branch = |name| self.branch(node, name, outputs.len(), scope, &mut captured);
            Body::If { then: branch("then_branch")?, otherwise: branch("else_branch")? }
        } else if let Some((op, make)) = ops::find(node.op) {
            let attributes = Attributes::new(node.attributes, self.parts);
            let spec = Spec { op, attributes, outputs: outputs.len() };
            let made = if self.exact { ops::exact::exact(op, make, &spec) } else { make(&spec) };
            Body::Op(made.map_err(|error| error.at(&node.name, node.op))?)
        } else {
            match self.missing.iter_mut().find(|missing| missing.op == node.op) {
                Some(missing) => missing.count += 1,
                None => self.missing.push(Missing {
                    op: node.op.to_owned(),
                    count: 1,
                    first: node.name.clone(),
                }),
            }
            return Ok(None);
        };
        let (name, op) = (node.name.clone(), node.op.to_owned());
        Ok(Some(Node { name, op, body, inputs, outputs, captured }))
    }

    fn branch(
        &mut self,
        node: &NodeSpec<'_>,
        name: &str,
        outputs: usize,
        scope: &Scope<'_>,
        captured: &mut Vec<usize>,
    ) -> Result<Branch> {
        let at = &node.name;
        let json = node.attributes.and_then(|attributes| attributes.get(name));
        let map =
            spec::object(json.ok_or_else(|| spec_error!("node '{at}' (If) has no {name}"))?, name)?;
        let first = self.names.len();
        let mut inner = Scope { names: HashMap::new(), outer: Some(scope) };
        let nodes = self.body(map, &mut inner)?;
        let mut values = Vec::new();
        for output in spec::texts(map, "outputs")? {
            let value = inner.find(output);
            values.push(value.ok_or_else(|| {
                spec_error!("node '{at}' (If): {name} gives '{output}', which nothing makes")
            })?);
        }
        if values.len() != outputs {
            let found = values.len();
            return Err(spec_error!(
                "node '{at}' (If): {name} gives {found} values, not {outputs}"
            ));
        }
        let read = nodes.iter().flat_map(Node::reads).chain(values.iter().copied());
        captured.extend(read.filter(|&value| value < first));
        Ok(Branch { nodes, outputs: values })
    }
}

fn dims(shape: &[Value], name: &str) -> Result<Vec<Dim>> {
    shape
        .iter()
        .map(|dim| match dim {
            Value::String(text) => Ok(Dim::Named(text.clone())),
            dim => dim
                .as_u64()
                .and_then(|dim| usize::try_from(dim).ok())
                .map(Dim::Fixed)
                .ok_or_else(|| spec_error!("input '{name}' has a dim that is no size or name")),
        })
        .collect()
}

/// Nodes in an order in which each comes after what it reads; otherwise as they were.
fn sorted(nodes: Vec<Node>, names: &[String]) -> Result<Vec<Node>> {
    let mut maker = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        for value in node.outputs.iter().flatten() {
            maker.insert(*value, index);
        }
    }
    let mut waits = vec![0_usize; nodes.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        for maker in node.reads().filter_map(|value| maker.get(&value)) {
            waits[index] += 1;
            readers[*maker].push(index);
        }
    }
    let mut ready: std::collections::BTreeSet<usize> =
        (0..nodes.len()).filter(|&index| waits[index] == 0).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(index) = ready.pop_first() {
        order.push(index);
        for &reader in &readers[index] {
            waits[reader] -= 1;
            if waits[reader] == 0 {
                ready.insert(reader);
            }
        }
    }
    if order.len() < nodes.len() {
        let stuck = (0..nodes.len()).find(|&index| waits[index] > 0);
        let node = stuck.map_or("", |index| nodes[index].name.as_str());
        let _ = names;
        return Err(spec_error!("node '{node}' reads what it makes: the graph has a cycle"));
    }
    let mut nodes: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|index| nodes[index].take()).collect())
}
