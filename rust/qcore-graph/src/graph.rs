//! A graph: values, the nodes between them in an order in which they can run, and constants.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};

use crate::attributes::Attributes;
use crate::compile::{self, Compiled, Request};
use crate::dtype::DType;
use crate::error::{GraphError, Missing, Result, shape_error, spec_error};
use crate::fact::Dim;
use crate::lower::{Codes, Prepared, WeightCodes};
use crate::op::{Op, Spec};
use crate::operand::Affine;
use crate::ops;
use crate::spec::{self, NodeSpec};
use crate::tensor::Tensor;

/// An input of a graph, as it is declared.
#[derive(Debug, Clone)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub dtype: DType,
    /// Its shape, where the rank is known.
    pub shape: Option<Vec<Dim>>,
    pub(crate) value: usize,
}

/// What a node does.
pub(crate) enum Body {
    /// An op of the table.
    Op(Box<dyn Op>),
    /// The nodes of one of two branches, by input 0.
    If { then: Branch, otherwise: Branch },
}

/// Nodes of a branch and the values that it gives.
pub(crate) struct Branch {
    pub(crate) nodes: Vec<Node>,
    pub(crate) outputs: Vec<usize>,
}

/// A node; values are numbers, absent ones None.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) op: String,
    pub(crate) body: Body,
    pub(crate) inputs: Vec<Option<usize>>,
    pub(crate) outputs: Vec<Option<usize>>,
    /// Values from outside that branches read.
    pub(crate) captured: Vec<usize>,
}

impl Node {
    /// Every value that it reads.
    pub(crate) fn reads(&self) -> impl Iterator<Item = usize> {
        self.inputs.iter().flatten().copied().chain(self.captured.iter().copied())
    }
}

/// A network in a form that can be compiled for the shapes of its inputs and run.
pub struct Graph {
    pub(crate) names: Vec<String>,
    pub(crate) inputs: Vec<Input>,
    pub(crate) outputs: Vec<usize>,
    pub(crate) constants: HashMap<usize, Tensor>,
    pub(crate) nodes: Vec<Node>,
    /// Numbers of the inputs for whose elements a plan is compiled.
    pub(crate) by_value: Vec<bool>,
    by_name: HashMap<String, usize>,
    pub(crate) prepared: Arc<Prepared>,
    pub(crate) lasting: Arc<HashSet<usize>>,
    pub(crate) codes: Arc<Codes>,
    /// Plans of the last shapes, the latest last.
    compiled: Mutex<Vec<(Key, Arc<Compiled>)>>,
}

/// What a plan is made for.
#[derive(PartialEq, Eq, Clone)]
struct Key {
    shapes: Vec<Vec<usize>>,
    values: Vec<Option<Vec<u8>>>,
    outputs: Vec<usize>,
}

/// How many plans are kept.
const KEPT: usize = 16;

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
    tensors: &'a [Tensor],
    names: Vec<String>,
    constants: HashMap<usize, Tensor>,
    missing: Vec<Missing>,
}

impl Graph {
    /// Reads a graph from its JSON text; see the crate's documentation for the fields.
    pub fn new(spec: &str, tensors: &[Tensor]) -> Result<Self> {
        let json: Value = serde_json::from_str(spec)
            .map_err(|error| spec_error!("the graph is no JSON text: {error}"))?;
        let map = spec::object(&json, "the graph")?;
        let mut reader =
            Reader { tensors, names: Vec::new(), constants: HashMap::new(), missing: Vec::new() };
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
        let by_value = decisive(&names, &nodes, &inputs);
        let mut graph = Self {
            names,
            inputs,
            outputs,
            constants,
            nodes,
            by_value,
            by_name: scope.names,
            prepared: Arc::default(),
            lasting: Arc::default(),
            codes: Arc::new(codes),
            compiled: Mutex::default(),
        };
        compile::fold_constants(&mut graph);
        let codes = graph.codes.weights.values().map(|weights| &weights.codes);
        let lasting = graph.constants.values().chain(codes).map(Tensor::identity).collect();
        graph.lasting = Arc::new(lasting);
        Ok(graph)
    }

    /// The names of all ops that there are.
    pub fn ops() -> impl Iterator<Item = &'static str> {
        ops::names()
    }

    /// The inputs.
    #[must_use]
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// Whether plans are compiled for the elements of an input, which decide shapes.
    #[must_use]
    pub fn is_by_value(&self, input: usize) -> bool {
        self.by_value[input]
    }

    /// The outputs, by number.
    #[must_use]
    pub fn outputs(&self) -> &[usize] {
        &self.outputs
    }

    /// The number of a value.
    pub fn value(&self, name: &str) -> Result<usize> {
        let found = self.by_name.get(name).copied();
        found.ok_or_else(|| GraphError::Value(format!("the graph has no value '{name}'")))
    }

    /// Every value of the outermost graph, with its number.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&String, &usize)> {
        self.by_name.iter()
    }

    /// The name of a value.
    #[must_use]
    pub fn name(&self, value: usize) -> &str {
        &self.names[value]
    }

    /// The plan for these shapes of the inputs, and for the elements of those that decide shapes
    /// (others are ignored), which computes these values.
    pub fn compiled(
        &self,
        shapes: &[Vec<usize>],
        bytes: &[Option<&[u8]>],
        outputs: &[usize],
    ) -> Result<Arc<Compiled>> {
        self.check_shapes(shapes)?;
        let values = bytes
            .iter()
            .zip(&self.by_value)
            .map(|(bytes, &by_value)| bytes.filter(|_| by_value).map(<[u8]>::to_vec));
        let key =
            Key { shapes: shapes.to_vec(), values: values.collect(), outputs: outputs.to_vec() };
        let lock = || self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut kept = lock();
            if let Some(at) = kept.iter().position(|(other, _)| *other == key) {
                let entry = kept.remove(at);
                let compiled = Arc::clone(&entry.1);
                kept.push(entry);
                return Ok(compiled);
            }
        }
        let mut values = Vec::with_capacity(self.inputs.len());
        for ((input, shape), bytes) in self.inputs.iter().zip(shapes).zip(&key.values) {
            values.push(match bytes {
                Some(bytes) => Some(Tensor::from_bytes(input.dtype, shape, bytes)?),
                None => None,
            });
        }
        let compiled = Arc::new(compile::compile(self, &Request { shapes, values, outputs })?);
        let mut kept = lock();
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push((key, Arc::clone(&compiled)));
        Ok(compiled)
    }

    /// Whether shapes are those that the inputs declare.
    fn check_shapes(&self, shapes: &[Vec<usize>]) -> Result<()> {
        if shapes.len() != self.inputs.len() {
            let (found, wanted) = (shapes.len(), self.inputs.len());
            return Err(shape_error!("{found} inputs are given; the graph has {wanted}"));
        }
        let mut named: HashMap<&str, (usize, &str)> = HashMap::new();
        for (input, dims) in self.inputs.iter().zip(shapes) {
            let Some(shape) = &input.shape else { continue };
            let name = &input.name;
            if shape.len() != dims.len() {
                let (found, wanted) = (dims.len(), shape.len());
                return Err(shape_error!("input '{name}' has {found} dims; it must have {wanted}"));
            }
            for (axis, (declared, &dim)) in shape.iter().zip(dims).enumerate() {
                match declared {
                    Dim::Fixed(size) if *size != dim => {
                        return Err(shape_error!(
                            "input '{name}' has {dim} in dim {axis}; it must have {size}"
                        ));
                    }
                    Dim::Fixed(_) => {}
                    Dim::Named(text) => match named.insert(text, (dim, name)) {
                        Some((other, first)) if other != dim => {
                            return Err(shape_error!(
                                "input '{name}' has {dim} in dim {axis} ('{text}'), which is \
                                 {other} in input '{first}'"
                            ));
                        }
                        _ => {}
                    },
                }
            }
        }
        Ok(())
    }
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
                    .and_then(|index| self.tensors.get(usize::try_from(index).ok()?))
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
            let entry = Attributes::new(Some(spec::object(entry, "codes")?), self.tensors);
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
            let attributes = Attributes::new(node.attributes, self.tensors);
            let made = make(&Spec { op, attributes, outputs: outputs.len() });
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

/// Which inputs decide shapes: those from which an input that an op must know is computed.
fn decisive(names: &[String], nodes: &[Node], inputs: &[Input]) -> Vec<bool> {
    let mut needed = vec![false; names.len()];
    mark(nodes, &mut needed);
    inputs.iter().map(|input| needed[input.value]).collect()
}

fn mark(nodes: &[Node], needed: &mut [bool]) {
    for node in nodes.iter().rev() {
        let wanted = node.outputs.iter().flatten().any(|&value| needed[value]);
        match &node.body {
            Body::Op(op) => {
                for &index in op.known_inputs() {
                    if let Some(Some(value)) = node.inputs.get(index) {
                        needed[*value] = true;
                    }
                }
                if wanted && !op.reads_shapes_only() {
                    node.inputs.iter().flatten().for_each(|&value| needed[value] = true);
                }
            }
            Body::If { then, otherwise } => {
                if let Some(Some(condition)) = node.inputs.first() {
                    needed[*condition] = true;
                }
                for branch in [then, otherwise] {
                    for (output, &value) in node.outputs.iter().zip(&branch.outputs) {
                        if output.is_some_and(|output| needed[output]) {
                            needed[value] = true;
                        }
                    }
                    mark(&branch.nodes, needed);
                }
            }
        }
    }
}
