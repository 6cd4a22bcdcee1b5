//! Bindings of the graph crate: JSON in, arrays by name in and out.

#![expect(
    clippy::disallowed_methods,
    reason = "lists of inputs and dims, no more than the graph has"
)]

use std::sync::{Arc, Mutex, PoisonError};

use numpy::{PyArrayDescr, PyArrayDescrMethods, PyUntypedArray, PyUntypedArrayMethods};
use pyo3::exceptions::{PyKeyError, PyNotImplementedError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use qcore_graph::{Compiled, DType, Dim, Graph, GraphError, Output, Tensor};
use qcore_kernels::{isa, threads};

use crate::array::Raw;
use crate::error::to_py;
use crate::run::{LONG, run_as};

fn graph_to_py(error: GraphError) -> PyErr {
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
struct Given<'a> {
    dtype: DType,
    dims: &'a [usize],
    bytes: &'a [u8],
}

impl<'a> Given<'a> {
    fn new(object: &'a Bound<'_, PyAny>, name: &str) -> PyResult<Self> {
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
fn arrays<'py>(py: Python<'py>, outputs: &[Output]) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let empty = py.import("numpy")?.getattr("empty")?;
    outputs.iter().map(|out| empty.call1((out.dims.clone(), out.dtype.name()))).collect()
}

/// Runs a compiled graph over arrays that were checked.
fn run(
    py: Python<'_>,
    compiled: &Compiled,
    inputs: &[&[u8]],
    arrays: &[Bound<'_, PyAny>],
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
    run_as(py, compiled.work() / 2, graph_to_py, || compiled.run(isa, inputs, &mut outputs))
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
fn given<'a>(graph: &Graph, inputs: &'a [Bound<'_, PyAny>]) -> PyResult<Vec<Given<'a>>> {
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
fn named<'py>(graph: &Graph, inputs: &Bound<'py, PyDict>) -> PyResult<Vec<Bound<'py, PyAny>>> {
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

fn compiled(
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
    /// A graph from its JSON text; `tensors` are what its constants are.
    #[new]
    fn new(py: Python<'_>, spec: &str, tensors: Vec<Bound<'_, PyAny>>) -> PyResult<Self> {
        let mut constants = Vec::with_capacity(tensors.len());
        for (index, tensor) in tensors.iter().enumerate() {
            let given = Given::new(tensor, &format!("tensors[{index}]"))?;
            let tensor = Tensor::from_bytes(given.dtype, given.dims, given.bytes);
            constants.push(tensor.map_err(graph_to_py)?);
        }
        let graph = run_as(py, LONG, graph_to_py, || Graph::new(spec, &constants))?;
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
        let (graph, ready) = (Arc::clone(&self.graph), Mutex::new(None));
        let session = PySession { graph, dims, threads, ready };
        let by_value = (0..session.dims.len()).any(|input| session.graph.is_by_value(input));
        if !by_value {
            let none = vec![None; session.dims.len()];
            let graph = &session.graph;
            let make = || graph.compiled(&session.dims, &none, graph.outputs());
            let compiled = run_as(py, LONG, graph_to_py, make)?;
            let ready = Ready::new(py, graph, compiled, Vec::new())?;
            *session.ready.lock().unwrap_or_else(PoisonError::into_inner) = Some(ready);
        }
        Ok(session)
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

/// A graph for fixed shapes, with arrays of its own for its outputs.
#[pyclass(name = "Session", module = "qcore._core", frozen)]
pub(crate) struct PySession {
    graph: Arc<Graph>,
    dims: Vec<Vec<usize>>,
    threads: Option<usize>,
    ready: Mutex<Option<Ready>>,
}

/// A plan with its arrays.
struct Ready {
    compiled: Arc<Compiled>,
    arrays: Vec<Py<PyAny>>,
    outputs: Py<PyDict>,
    /// The elements of the inputs that decide shapes.
    values: Vec<Vec<u8>>,
}

impl Ready {
    fn new(
        py: Python<'_>,
        graph: &Graph,
        compiled: Arc<Compiled>,
        values: Vec<Vec<u8>>,
    ) -> PyResult<Self> {
        let arrays = arrays(py, compiled.outputs())?;
        let outputs = PyDict::new(py);
        for (output, array) in compiled.outputs().iter().zip(&arrays) {
            outputs.set_item(graph.name(output.value), array)?;
        }
        let arrays = arrays.into_iter().map(Bound::unbind).collect();
        Ok(Self { compiled, arrays, outputs: outputs.unbind(), values })
    }
}

#[pymethods]
impl PySession {
    /// Runs arrays by name into the session's own arrays, which the next call overwrites.
    fn run<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let graph = &*self.graph;
        let objects = named(graph, inputs)?;
        let given = given(graph, &objects)?;
        for ((input, dims), declared) in given.iter().zip(&self.dims).zip(graph.inputs()) {
            if input.dims != dims {
                let (name, found) = (&declared.name, input.dims);
                return Err(PyValueError::new_err(format!(
                    "input '{name}' has shape {found:?}; the session's is {dims:?}"
                )));
            }
        }
        let deciding = || {
            given
                .iter()
                .enumerate()
                .filter(|(index, _)| graph.is_by_value(*index))
                .map(|(_, i)| i.bytes)
        };
        // Taken out, so that a second thread that calls meanwhile makes its own.
        let held = self.ready.lock().unwrap_or_else(PoisonError::into_inner).take();
        let fits = |ready: &Ready| ready.values.iter().map(Vec::as_slice).eq(deciding());
        let ready = match held {
            Some(ready) if fits(&ready) => ready,
            _ => {
                let compiled = compiled(py, graph, &given, graph.outputs())?;
                let values = deciding().map(<[u8]>::to_vec).collect();
                Ready::new(py, graph, compiled, values)?
            }
        };
        let bytes: Vec<&[u8]> = given.iter().map(|input| input.bytes).collect();
        let arrays: Vec<Bound<'_, PyAny>> =
            ready.arrays.iter().map(|array| array.bind(py).clone()).collect();
        let call = || run(py, &ready.compiled, &bytes, &arrays);
        let result = self.threads.map_or_else(call, |most| threads::at_most(most, call));
        let outputs = ready.outputs.bind(py).clone();
        *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = Some(ready);
        result.map(|()| outputs)
    }

    /// Bytes of the arena that a run works in; 0 before the first run where inputs decide shapes.
    #[getter]
    fn arena_bytes(&self) -> usize {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.as_ref().map_or(0, |ready| ready.compiled.arena_bytes())
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyGraph>()?;
    module.add_class::<PySession>()
}
