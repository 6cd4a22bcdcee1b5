//! A graph: values, the nodes between them in an order in which they can run, and constants.

#![expect(
    clippy::disallowed_methods,
    reason = "lists of nodes and values, no more than the text has"
)]

pub(crate) mod attributes;
pub(crate) mod read;
mod spec;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::dtype::DType;
use crate::error::{GraphError, Result, shape_error};
use crate::fact::Dim;
use crate::graph::attributes::Parts;
use crate::graph::read::{Read, read};
use crate::lower::{Codes, Prepared};
use crate::op::Op;
use crate::operand::Operand;
use crate::ops;
use crate::plan::compile::{self, Request};
use crate::plan::compiled::Compiled;
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

impl Graph {
    /// Reads a graph from its JSON text; see the crate's documentation for the fields.
    pub fn new(spec: &str, tensors: &[Tensor]) -> Result<Self> {
        Self::with_operands(spec, tensors, &[])
    }

    /// [`Graph::new`] of a text that refers to weights, too, which are laid out for their kernels.
    pub fn with_operands(
        spec: &str,
        tensors: &[Tensor],
        operands: &[Arc<dyn Operand>],
    ) -> Result<Self> {
        let Read { names, by_name, inputs, outputs, constants, nodes, codes } =
            read(spec, Parts { tensors, operands })?;
        let by_value = decisive(&names, &nodes, &inputs);
        let mut graph = Self {
            names,
            inputs,
            outputs,
            constants,
            nodes,
            by_value,
            by_name,
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
