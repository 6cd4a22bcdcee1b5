//! Graphs made in a few lines, and tensors to run them on.

use qcore_graph::{Compiled, DType, Graph, Result, Tensor, memory};
use qcore_kernels::Isa;
use qcore_kernels::aligned::AlignedBytes;
use serde_json::{Value, json};

use crate::random::Random;

/// A graph under construction.
#[derive(Default)]
pub(crate) struct Net {
    inputs: Vec<Value>,
    pub(crate) outputs: Vec<String>,
    constants: serde_json::Map<String, Value>,
    nodes: Vec<Value>,
    tensors: Vec<Tensor>,
    codes: serde_json::Map<String, Value>,
}

impl Net {
    /// Declares an input; a dim that is a text is named.
    pub(crate) fn input(mut self, name: &str, dtype: DType, shape: Value) -> Self {
        self.inputs.push(json!({"name": name, "dtype": dtype.name(), "shape": shape}));
        self
    }

    /// Adds a constant.
    pub(crate) fn constant(mut self, name: &str, tensor: Tensor) -> Self {
        self.constants.insert(name.to_owned(), json!(self.tensors.len()));
        self.tensors.push(tensor);
        self
    }

    /// Adds a node; names are parted by spaces, `-` is an absent one.
    pub(crate) fn node(mut self, op: &str, inputs: &str, outputs: &str, attributes: Value) -> Self {
        let names = |text: &str| -> Vec<String> {
            text.split(' ')
                .filter(|name| !name.is_empty())
                .map(|name| name.trim_matches('-').to_owned())
                .collect()
        };
        self.nodes.push(json!({
            "op": op,
            "inputs": names(inputs),
            "outputs": names(outputs),
            "attributes": attributes,
        }));
        self
    }

    /// Says that a value or an int8 constant is codes.
    pub(crate) fn codes(mut self, name: &str, codes: Value) -> Self {
        self.codes.insert(name.to_owned(), codes);
        self
    }

    /// The nodes so far.
    pub(crate) fn nodes(&self) -> &[Value] {
        &self.nodes
    }

    /// Adds a node of another graph.
    pub(crate) fn copy_node(mut self, node: &Value) -> Self {
        self.nodes.push(node.clone());
        self
    }

    /// Gives a constant of this graph, with its codes, to another.
    pub(crate) fn copy_constant(&self, to: Self, name: &str) -> Self {
        let index = self.constants[name].as_u64().unwrap() as usize;
        let to = to.constant(name, self.tensors[index].clone());
        match self.codes.get(name) {
            Some(codes) => to.codes(name, codes.clone()),
            None => to,
        }
    }

    /// Names the outputs.
    pub(crate) fn output(mut self, names: &str) -> Self {
        self.outputs = names.split(' ').map(str::to_owned).collect();
        self
    }

    pub(crate) fn graph(&self) -> Result<Graph> {
        let spec = json!({
            "inputs": self.inputs,
            "outputs": self.outputs,
            "constants": self.constants,
            "codes": self.codes,
            "nodes": self.nodes,
        });
        Graph::new(&spec.to_string(), &self.tensors)
    }

    /// Compiles and runs once; the outputs.
    pub(crate) fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let graph = self.graph()?;
        let outputs = graph.outputs().to_vec();
        run(&graph, inputs, &outputs)
    }
}

/// Runs a graph once for some values.
pub(crate) fn run(graph: &Graph, inputs: &[Tensor], values: &[usize]) -> Result<Vec<Tensor>> {
    let shapes: Vec<Vec<usize>> = inputs.iter().map(|tensor| tensor.dims().to_vec()).collect();
    let bytes: Vec<Option<&[u8]>> = inputs.iter().map(|tensor| Some(tensor.bytes())).collect();
    let compiled = graph.compiled(&shapes, &bytes, values)?;
    let mut buffers = buffers(&compiled);
    run_into(&compiled, Isa::best(), inputs, &mut buffers)?;
    compiled
        .outputs()
        .iter()
        .zip(&buffers)
        .map(|(output, buffer)| Tensor::from_bytes(output.dtype, &output.dims, buffer))
        .collect()
}

/// Memory for the outputs of a plan.
pub(crate) fn buffers(compiled: &Compiled) -> Vec<AlignedBytes> {
    let len =
        |output: &qcore_graph::Output| output.dims.iter().product::<usize>() * output.dtype.size();
    compiled.outputs().iter().map(|output| AlignedBytes::zeroed(len(output)).unwrap()).collect()
}

/// Runs a plan into memory that is there.
pub(crate) fn run_into(
    compiled: &Compiled,
    isa: Isa,
    inputs: &[Tensor],
    buffers: &mut [AlignedBytes],
) -> Result<()> {
    let inputs: Vec<&[u8]> = inputs.iter().map(Tensor::bytes).collect();
    let mut outputs: Vec<&mut [u8]> = buffers.iter_mut().map(|bytes| &mut bytes[..]).collect();
    compiled.run(isa, &inputs, &mut outputs)
}

/// Floats between -1 and 1, of 2001 values.
pub(crate) fn floats(random: &mut Random, dims: &[usize]) -> Tensor {
    let values: Vec<f32> =
        (0..dims.iter().product()).map(|_| (random.below(2001) as f32 - 1000.0) / 1000.0).collect();
    Tensor::new(DType::F32, dims, &values).unwrap()
}

/// A vector of int64.
pub(crate) fn ints(values: &[i64]) -> Tensor {
    Tensor::ints(values).unwrap()
}

/// The bits of floats, so that equal means equal to the bit.
pub(crate) fn bits(tensor: &Tensor) -> &[i32] {
    memory::cast(tensor.bytes())
}

/// Whether floats are near what is due.
pub(crate) fn assert_near(found: &Tensor, due: &[f64], what: &str) {
    let found = found.elements::<f32>();
    assert_eq!(found.len(), due.len(), "{what}");
    for (at, (&found, &due)) in found.iter().zip(due).enumerate() {
        let near = (f64::from(found) - due).abs() <= 1e-5 * (1.0 + due.abs());
        assert!(near, "{what}: element {at} is {found}, not {due}");
    }
}

/// Every index of a shape, the last dim fastest.
pub(crate) fn indices(dims: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    let dims = dims.to_vec();
    (0..dims.iter().product()).map(move |mut at: usize| {
        let mut index = vec![0; dims.len()];
        for axis in (0..dims.len()).rev() {
            index[axis] = at % dims[axis];
            at /= dims[axis];
        }
        index
    })
}

/// The element of a tensor at an index that is broadcast to it.
pub(crate) fn at(values: &[f32], dims: &[usize], index: &[usize]) -> f64 {
    let index = &index[index.len() - dims.len()..];
    let place = dims.iter().zip(index).fold(0, |place, (&dim, &i)| place * dim + i % dim.max(1));
    f64::from(values[place])
}
