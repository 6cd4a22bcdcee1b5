//! Bindings of the graph crate: JSON in, arrays by name in and out.

#![expect(
    clippy::disallowed_methods,
    reason = "lists of inputs and dims, no more than the graph has"
)]

mod session;

use std::sync::Arc;

use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyKeyError, PyNotImplementedError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use qcore_graph::{Compiled, DType, Dim, Graph, GraphError, Output, Tensor};
use qcore_kernels::{Isa, isa};

use crate::array::Raw;
use crate::error::to_py;
use crate::graph::session::PySession;
use crate::run::{LONG, run_as};
use crate::weights::PyPackedWeights;

pub(crate) fn graph_to_py(error: GraphError) -> PyErr {
    let text = error.to_string();
    match error {
        GraphError::Unsupported(_) => PyNotImplementedError::new_err(text),
        GraphError::DType(_) => PyTypeError::new_err(text),
        GraphError::Kernel(error) => to_py(error),
        GraphError::Spec(_) | GraphError::Shape(_) | GraphError::Value(_) => {
            PyValueError::new_err(text)
        }
    }
}

/// An array's type, where graphs have it.
fn dtype_of(descr: &Bound<'_, PyArrayDescr>) -> Option<DType> {
    let native = descr.is_native_byteorder() != Some(false);
    native.then_some(match (descr.kind(), descr.itemsize()) {
        (b'f', 4) => DType::F32,
        (b'i', 8) => DType::I64,
        (b'i', 4) => DType::I32,
        (b'i', 1) => DType::I8,
        (b'u', 1) => DType::U8,
        (b'b', 1) => DType::Bool,
        _ => return None,
    })
}

/// A checked array: its type, its shape, its bytes.
pub(crate) struct Given<'a> {
    pub(crate) dtype: DType,
    pub(crate) dims: &'a [usize],
    pub(crate) bytes: &'a [u8],
}

impl<'a> Given<'a> {
    pub(crate) fn new(object: &'a Bound<'_, PyAny>, name: &str) -> PyResult<Self> {
        let array = object
            .cast::<PyUntypedArray>()
            .map_err(|_| PyTypeError::new_err(format!("input '{name}' is no array")))?;
        let dtype = dtype_of(&array.dtype()).ok_or_else(|| {
            PyTypeError::new_err(format!("input '{name}' has dtype {}", array.dtype()))
        })?;
        let bytes = Raw::new(object).and_then(|raw| raw.bytes(dtype.size()));
        let bytes = bytes.ok_or_else(|| {
            PyValueError::new_err(format!("input '{name}' is not C-contiguous and aligned"))
        })?;
        Ok(Self { dtype, dims: array.shape(), bytes })
    }
}

/// New arrays for outputs.
pub(crate) fn arrays<'py>(py: Python<'py>, outputs: &[Output]) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let empty = py.import("numpy")?.getattr("empty")?;
    outputs.iter().map(|out| empty.call1((out.dims.clone(), out.dtype.name()))).collect()
}

/// Runs a compiled graph over arrays that were checked.
pub(crate) fn run(
    py: Python<'_>,
    compiled: &Compiled,
    inputs: &[&[u8]],
    arrays: &[Bound<'_, PyAny>],
) -> PyResult<()> {
    run_each(py, compiled, inputs, arrays, |isa, inputs, outputs| {
        compiled.run(isa, inputs, outputs)
    })
}

/// [`run`] by another function of the graph.
pub(crate) fn run_each(
    py: Python<'_>,
    compiled: &Compiled,
    inputs: &[&[u8]],
    arrays: &[Bound<'_, PyAny>],
    call: impl FnOnce(Isa, &[&[u8]], &mut [&mut [u8]]) -> Result<(), GraphError> + Send,
) -> PyResult<()> {
    let mut outputs = Vec::with_capacity(arrays.len());
    for (array, output) in arrays.iter().zip(compiled.outputs()) {
        let raw = Raw::new(array);
        // SAFETY: the arrays were made here or by the session, which hands none out to be written
        // to while it runs; no two share memory, and none is an input.
        let bytes = raw.and_then(|raw| unsafe { raw.bytes_mut(output.dtype.size()) });
        outputs.push(bytes.ok_or_else(|| PyValueError::new_err("an output is not contiguous"))?);
    }
    // A session's output may be its next input: what would be overwritten is copied first.
    let overlaps = |input: &[u8]| outputs.iter().any(|out| overlap(input, out));
    let copies: Vec<Option<Tensor>> = if inputs.iter().any(|input| overlaps(input)) {
        let copy = |input: &&[u8]| Tensor::from_bytes(DType::U8, &[input.len()], input).map(Some);
        inputs.iter().map(copy).collect::<Result<_, _>>().map_err(graph_to_py)?
    } else {
        Vec::new()
    };
    let inputs: Vec<&[u8]> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| match copies.get(index) {
            Some(Some(copy)) => copy.bytes(),
            _ => *input,
        })
        .collect();
    let inputs = &inputs[..];
    let isa = isa::active().map_err(to_py)?;
    // A few operations are one step.
    run_as(py, compiled.work() / 2, graph_to_py, || call(isa, inputs, &mut outputs))
}

/// Whether two runs of bytes share any.
fn overlap(a: &[u8], b: &[u8]) -> bool {
    let (first, second) = (a.as_ptr_range(), b.as_ptr_range());
    !a.is_empty() && !b.is_empty() && first.start < second.end && second.start < first.end
}

/// A network as a graph of ops.
#[pyclass(name = "Graph", module = "qcore._core", frozen)]
pub(crate) struct PyGraph {
    graph: Arc<Graph>,
}

/// The inputs of a call, in the graph's order.
pub(crate) fn given<'a>(graph: &Graph, inputs: &'a [Bound<'_, PyAny>]) -> PyResult<Vec<Given<'a>>> {
    let mut out = Vec::with_capacity(inputs.len());
    for (declared, array) in graph.inputs().iter().zip(inputs) {
        let name = &declared.name;
        let found = Given::new(array, name)?;
        if found.dtype != declared.dtype {
            let (found, wanted) = (found.dtype, declared.dtype);
            let text = format!("input '{name}' is {found}; it must be {wanted}");
            return Err(PyTypeError::new_err(text));
        }
        out.push(found);
    }
    Ok(out)
}

/// The arrays of a call by the names of the graph's inputs.
pub(crate) fn named<'py>(
    graph: &Graph,
    inputs: &Bound<'py, PyDict>,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let mut out = Vec::with_capacity(graph.inputs().len());
    for input in graph.inputs() {
        let name = &input.name;
        let array = inputs.get_item(name)?;
        out.push(array.ok_or_else(|| PyValueError::new_err(format!("input '{name}' is missing")))?);
    }
    if inputs.len() > out.len() {
        for key in inputs.keys() {
            let name: String = key.extract()?;
            if !graph.inputs().iter().any(|input| input.name == name) {
                return Err(PyValueError::new_err(format!("the graph has no input '{name}'")));
            }
        }
    }
    Ok(out)
}

pub(crate) fn compiled(
    py: Python<'_>,
    graph: &Graph,
    given: &[Given<'_>],
    outputs: &[usize],
) -> PyResult<Arc<Compiled>> {
    let shapes: Vec<Vec<usize>> = given.iter().map(|input| input.dims.to_vec()).collect();
    let bytes: Vec<Option<&[u8]>> = given.iter().map(|input| Some(input.bytes)).collect();
    run_as(py, LONG, graph_to_py, || graph.compiled(&shapes, &bytes, outputs))
}

#[pymethods]
impl PyGraph {
    /// A graph from its JSON text; `tensors` are what its constants are, `operands` the weights that
    /// are laid out.
    #[new]
    #[pyo3(signature = (spec, tensors, operands=Vec::new()))]
    fn new(
        py: Python<'_>,
        spec: &str,
        tensors: Vec<Bound<'_, PyAny>>,
        operands: Vec<PyRef<'_, PyPackedWeights>>,
    ) -> PyResult<Self> {
        let mut constants = Vec::with_capacity(tensors.len());
        for (index, tensor) in tensors.iter().enumerate() {
            let given = Given::new(tensor, &format!("tensors[{index}]"))?;
            let tensor = Tensor::from_bytes(given.dtype, given.dims, given.bytes);
            constants.push(tensor.map_err(graph_to_py)?);
        }
        let operands: Vec<_> = operands.iter().map(|operand| operand.shared()).collect();
        let graph =
            run_as(py, LONG, graph_to_py, || Graph::with_operands(spec, &constants, &operands))?;
        Ok(Self { graph: Arc::new(graph) })
    }

    /// The names of all ops that graphs are made of.
    #[staticmethod]
    fn ops() -> Vec<&'static str> {
        let mut names: Vec<_> = Graph::ops().collect();
        names.sort_unstable();
        names
    }

    /// Runs arrays by name: the graph's outputs, or the values that are asked for.
    #[pyo3(signature = (inputs, values=None))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyDict>,
        values: Option<Vec<String>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let graph = &*self.graph;
        let objects = named(graph, inputs)?;
        let given = given(graph, &objects)?;
        let outputs = match values {
            None => graph.outputs().to_vec(),
            Some(names) => names
                .iter()
                .map(|name| graph.value(name))
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| PyKeyError::new_err(error.to_string()))?,
        };
        let compiled = compiled(py, graph, &given, &outputs)?;
        let arrays = arrays(py, compiled.outputs())?;
        let inputs: Vec<&[u8]> = given.iter().map(|input| input.bytes).collect();
        run(py, &compiled, &inputs, &arrays)?;
        let out = PyDict::new(py);
        for (output, array) in compiled.outputs().iter().zip(arrays) {
            out.set_item(graph.name(output.value), array)?;
        }
        Ok(out)
    }

    /// Types and shapes of all values, as a JSON text.
    fn infer(&self, py: Python<'_>) -> PyResult<String> {
        run_as(py, LONG, graph_to_py, || self.graph.infer())
    }

    /// The graph for fixed shapes: `shapes` holds the size of each named dim. Runs take at most so many
    /// threads.
    #[pyo3(signature = (shapes, threads=None))]
    fn session(
        &self,
        py: Python<'_>,
        shapes: &Bound<'_, PyDict>,
        threads: Option<usize>,
    ) -> PyResult<PySession> {
        let mut dims = Vec::with_capacity(self.graph.inputs().len());
        for input in self.graph.inputs() {
            let name = &input.name;
            let shape = input.shape.as_ref().ok_or_else(|| {
                PyValueError::new_err(format!("input '{name}' has no known rank"))
            })?;
            let mut sizes = Vec::with_capacity(shape.len());
            for dim in shape {
                sizes.push(match dim {
                    Dim::Fixed(size) => *size,
                    Dim::Named(dim) => {
                        let size = shapes.get_item(dim)?.ok_or_else(|| {
                            let text = format!("shapes has no '{dim}', a dim of input '{name}'");
                            PyValueError::new_err(text)
                        })?;
                        size.extract()?
                    }
                });
            }
            dims.push(sizes);
        }
        PySession::new(py, Arc::clone(&self.graph), dims, threads)
    }

    /// What runs for given arrays: pairs of a node and its kernel.
    fn kernels(
        &self,
        py: Python<'_>,
        inputs: &Bound<'_, PyDict>,
    ) -> PyResult<Vec<(String, String)>> {
        let graph = &*self.graph;
        let objects = named(graph, inputs)?;
        let given = given(graph, &objects)?;
        let compiled = compiled(py, graph, &given, graph.outputs())?;
        let pair = |(node, kernel): (&str, &str)| (node.to_owned(), kernel.to_owned());
        Ok(compiled.kernels().map(pair).collect())
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyGraph>()?;
    module.add_class::<PySession>()
}
