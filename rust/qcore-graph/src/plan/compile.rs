//! Compiling a graph for the shapes of its inputs: facts forwards, what is needed backwards, steps.

#![expect(
    clippy::disallowed_methods,
    reason = "lists of nodes and values, no more than the text has"
)]

use std::sync::{Arc, Mutex};

use crate::error::{GraphError, Result, spec_error, value_error};
use crate::fact::{Fact, Inputs};
use crate::graph::{Body, Graph, Node};
use crate::lower::{Builder, Context};
use crate::memory;
use crate::op::Op;
use crate::plan::compiled::{Compiled, Output};
use crate::plan::run::{self, Room};
use crate::shape;
use crate::tensor::Tensor;

/// What a plan is asked for.
pub(crate) struct Request<'a> {
    pub(crate) shapes: &'a [Vec<usize>],
    pub(crate) values: Vec<Option<Tensor>>,
    pub(crate) outputs: &'a [usize],
}

/// Known values of more elements are computed when the plan runs, not when it is made.
const FOLDED: usize = 1 << 24;

/// Bytes that known values may take that no file holds: a file of a few bytes can ask for any number.
/// As many again come for each byte of the graph's constants.
const MADE: usize = 1 << 30;
const MADE_OF_EACH: usize = 4;

/// Values of no more bytes are known whatever others take: they decide shapes.
const LITTLE: usize = 1 << 12;

/// What happens, in order.
enum Act<'a> {
    Node(&'a Node, &'a dyn Op),
    /// One value is another: what a branch gives.
    Same {
        from: usize,
        to: usize,
    },
}

/// Facts of values, and the acts that make them.
pub(crate) struct Forward<'a> {
    pub(crate) facts: Vec<Option<Fact>>,
    acts: Vec<Act<'a>>,
    /// Bytes that known values may still take.
    left: usize,
}

/// How strictly facts are inferred.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A node that does not fit is an error.
    Strict,
    /// What follows from a node that does not fit stays unknown.
    Lenient,
    /// As [`Mode::Lenient`], and only small values are computed.
    Small,
}

/// Compiles a graph.
pub(crate) fn compile(graph: &Graph, request: &Request<'_>) -> Result<Compiled> {
    let mut facts = vec![None; graph.names.len()];
    let mut builder = Builder::keeping(
        Arc::clone(&graph.prepared),
        Arc::clone(&graph.lasting),
        Arc::clone(&graph.codes),
    );
    for ((input, dims), value) in graph.inputs.iter().zip(request.shapes).zip(&request.values) {
        let len = shape::nbytes(dims, input.dtype)?;
        let fact = match value {
            Some(value) => Fact::known(value.clone()),
            None => Fact::new(input.dtype, dims.clone()),
        };
        facts[input.value] = Some(fact);
        builder.input(input.value, len);
    }
    let wanted = reaching(graph, request.outputs);
    let forward = forward(graph, facts, &wanted, Mode::Strict)?;
    lower(graph, forward, request.outputs, builder)
}

/// Which nodes of the outermost graph lead to these values.
fn reaching(graph: &Graph, outputs: &[usize]) -> Vec<bool> {
    let mut needed = vec![false; graph.names.len()];
    for &value in outputs {
        needed[value] = true;
    }
    let mut wanted = vec![false; graph.nodes.len()];
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        if node.outputs.iter().flatten().any(|&value| needed[value]) {
            wanted[index] = true;
            node.reads().for_each(|value| needed[value] = true);
        }
    }
    wanted
}

/// Facts of everything that the wanted nodes make.
pub(crate) fn forward<'a>(
    graph: &'a Graph,
    mut facts: Vec<Option<Fact>>,
    wanted: &[bool],
    mode: Mode,
) -> Result<Forward<'a>> {
    let mut left = MADE;
    for (&value, tensor) in &graph.constants {
        left = left.saturating_add(tensor.bytes().len().saturating_mul(MADE_OF_EACH));
        facts[value] = Some(Fact::known(tensor.clone()));
    }
    let mut forward = Forward { facts, acts: Vec::new(), left };
    for (node, _) in graph.nodes.iter().zip(wanted).filter(|(_, wanted)| **wanted) {
        forward.node(node, mode)?;
    }
    Ok(forward)
}

impl<'a> Forward<'a> {
    fn node(&mut self, node: &'a Node, mode: Mode) -> Result<()> {
        match self.try_node(node, mode) {
            Err(_) if mode != Mode::Strict => Ok(()),
            result => result.map_err(|error| error.at(&node.name, &node.op)),
        }
    }

    fn try_node(&mut self, node: &'a Node, mode: Mode) -> Result<()> {
        match &node.body {
            Body::Op(op) => self.op(node, &**op, mode),
            Body::If { then, otherwise } => {
                let condition = node.inputs.first().copied().flatten();
                let value = condition
                    .and_then(|value| self.facts[value].as_ref())
                    .and_then(|fact| fact.value.as_ref())
                    .ok_or_else(|| value_error!("the condition depends on what is computed"))?;
                let chosen = value.bytes().iter().any(|&byte| byte != 0);
                let branch = if chosen { then } else { otherwise };
                for node in &branch.nodes {
                    self.node(node, mode)?;
                }
                for (to, &from) in node.outputs.iter().zip(&branch.outputs) {
                    let Some(to) = *to else { continue };
                    self.facts[to] = self.facts[from].clone();
                    self.acts.push(Act::Same { from, to });
                }
                Ok(())
            }
        }
    }

    fn op(&mut self, node: &'a Node, op: &'a dyn Op, mode: Mode) -> Result<()> {
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for value in &node.inputs {
            inputs.push(match value {
                None => None,
                Some(value) => Some(
                    self.facts[*value]
                        .as_ref()
                        .ok_or_else(|| spec_error!("an input is not known"))?,
                ),
            });
        }
        let mut outputs = op.facts(Inputs(&inputs))?;
        if outputs.len() < node.outputs.len() {
            let (found, gives) = (node.outputs.len(), outputs.len());
            return Err(spec_error!("it has {found} outputs; there are at most {gives}"));
        }
        for fact in &outputs {
            shape::nbytes(&fact.dims, fact.dtype)?;
        }
        let limit = if mode == Mode::Small { FOLDED >> 8 } else { FOLDED };
        let all = inputs.iter().flatten().all(|fact| fact.value.is_some());
        let open = outputs.iter().any(|fact| fact.value.is_none());
        let bytes = made(&inputs, &outputs);
        let fits = bytes <= self.left.max(LITTLE);
        if all && open && fits && outputs.iter().all(|fact| fact.count() <= limit) {
            outputs = fold(op, &inputs, &outputs)?.into_iter().map(Fact::known).collect();
        }
        if outputs.iter().any(|fact| fact.value.is_some()) {
            if !fits {
                let left = self.left;
                return Err(value_error!(
                    "it gives {bytes} bytes before anything runs, of which {left} are left"
                ));
            }
            self.left = self.left.saturating_sub(bytes);
        }
        for (value, fact) in node.outputs.iter().zip(outputs) {
            if let Some(value) = *value {
                self.facts[value] = Some(fact);
            }
        }
        self.acts.push(Act::Node(node, op));
        Ok(())
    }
}

/// Bytes of outputs that are not those of an input in another shape.
fn made(inputs: &[Option<&Fact>], outputs: &[Fact]) -> usize {
    let of = |fact: &Fact| fact.value.as_ref().map(Tensor::identity);
    let fresh = |fact: &&Fact| {
        of(fact).is_none_or(|id| !inputs.iter().flatten().any(|input| of(input) == Some(id)))
    };
    let bytes = |fact: &Fact| fact.count().saturating_mul(fact.dtype.size());
    outputs.iter().filter(fresh).fold(0, |sum, fact| sum.saturating_add(bytes(fact)))
}

/// Computes a node whose inputs are known, by the steps that it lowers to.
pub(crate) fn fold(op: &dyn Op, inputs: &[Option<&Fact>], outputs: &[Fact]) -> Result<Vec<Tensor>> {
    let mut builder = Builder::default();
    let input_values: Vec<Option<usize>> =
        inputs.iter().enumerate().map(|(index, fact)| fact.map(|_| index)).collect();
    let output_values: Vec<Option<usize>> =
        (0..outputs.len()).map(|index| Some(inputs.len() + index)).collect();
    let mut cx = Context {
        inputs: Inputs(inputs),
        outputs,
        node: 0,
        input_values: &input_values,
        output_values: &output_values,
        builder: &mut builder,
    };
    op.lower(&mut cx)?;
    let wanted: Vec<(usize, &Fact)> =
        outputs.iter().enumerate().map(|(index, fact)| (inputs.len() + index, fact)).collect();
    let plan = builder.finish(&wanted, 0)?;
    let mut bytes = Vec::with_capacity(outputs.len());
    for &len in &plan.output_lens {
        bytes.push(memory::zeroed(len)?);
    }
    let mut slices: Vec<&mut [u8]> = bytes.iter_mut().map(|bytes| &mut bytes[..]).collect();
    let isa = qcore_kernels::isa::active()?;
    run::run(&plan, &mut Room::new(&plan)?, &[], isa, &[], &mut slices, |_| {})?;
    let tensor = |(fact, bytes): (&Fact, _)| Tensor::from_aligned(fact.dtype, &fact.dims, bytes);
    Ok(outputs.iter().zip(bytes).map(tensor).collect())
}

/// Computes, once, what depends on constants alone; what cannot be is left for the compilation to
/// refuse.
pub(crate) fn fold_constants(graph: &mut Graph) {
    let facts = vec![None; graph.names.len()];
    let wanted = vec![true; graph.nodes.len()];
    let Ok(forward) = forward(graph, facts, &wanted, Mode::Lenient) else { return };
    let known: Vec<(usize, Tensor)> = forward
        .facts
        .iter()
        .enumerate()
        .filter_map(|(value, fact)| Some((value, fact.as_ref()?.value.clone()?)))
        .collect();
    graph.constants.extend(known);
    let constants = &graph.constants;
    graph
        .nodes
        .retain(|node| !node.outputs.iter().flatten().all(|value| constants.contains_key(value)));
}

/// Lowers the acts that lead to the outputs.
fn lower(
    graph: &Graph,
    forward: Forward<'_>,
    outputs: &[usize],
    mut builder: Builder,
) -> Result<Compiled> {
    let Forward { facts, acts, .. } = forward;
    let known = |value: usize| facts[value].as_ref().is_some_and(|fact| fact.value.is_some());
    let mut needed = vec![false; facts.len()];
    for &value in outputs {
        needed[value] = true;
    }
    let mut live = vec![false; acts.len()];
    for (index, act) in acts.iter().enumerate().rev() {
        let open = |value: usize| needed[value] && !known(value);
        match act {
            Act::Node(node, _) => {
                if node.outputs.iter().flatten().any(|&value| open(value)) {
                    live[index] = true;
                    node.inputs.iter().flatten().for_each(|&value| needed[value] = true);
                }
            }
            Act::Same { from, to } => {
                if open(*to) {
                    live[index] = true;
                    needed[*from] = true;
                }
            }
        }
    }
    for (act, _) in acts.iter().zip(&live).filter(|(_, live)| **live) {
        match act {
            Act::Same { from, .. } => builder.ask(*from, false),
            Act::Node(node, op) => {
                for (index, value) in node.inputs.iter().enumerate() {
                    if let Some(value) = *value {
                        builder.ask(value, op.takes_row_codes(index));
                    }
                }
            }
        }
    }
    for &value in outputs {
        builder.ask(value, false);
    }
    let mut nodes = Vec::new();
    for (act, _) in acts.iter().zip(&live).filter(|(_, live)| **live) {
        match act {
            Act::Same { from, to } => builder.same(*from, *to),
            Act::Node(node, op) => {
                nodes.push(node.name.clone());
                let at = nodes.len() - 1;
                lower_node(node, *op, &facts, &mut builder, at)
                    .map_err(|error| error.at(&node.name, &node.op))?;
            }
        }
    }
    nodes.push("outputs".to_owned());
    let mut wanted = Vec::with_capacity(outputs.len());
    for &value in outputs {
        let fact = facts[value].as_ref();
        let name = &graph.names[value];
        wanted.push((
            value,
            fact.ok_or_else(|| {
                GraphError::Value(format!("value '{name}' lies in a branch that is not taken"))
            })?,
        ));
    }
    let plan = builder.finish(&wanted, nodes.len() - 1)?;
    let outputs = wanted
        .iter()
        .map(|(value, fact)| Output { value: *value, dtype: fact.dtype, dims: fact.dims.clone() })
        .collect();
    Ok(Compiled { plan, outputs, nodes, rooms: Mutex::default() })
}

fn lower_node(
    node: &Node,
    op: &dyn Op,
    facts: &[Option<Fact>],
    builder: &mut Builder,
    at: usize,
) -> Result<()> {
    let inputs: Vec<Option<&Fact>> =
        node.inputs.iter().map(|value| value.and_then(|value| facts[value].as_ref())).collect();
    let outputs = op.facts(Inputs(&inputs))?;
    if builder.tabulate(node, op, &inputs, &outputs, at)? {
        return Ok(());
    }
    op.lower(&mut Context {
        inputs: Inputs(&inputs),
        outputs: &outputs,
        node: at,
        input_values: &node.inputs,
        output_values: &node.outputs,
        builder,
    })
}
