//! A graph for fixed shapes, in memory that is there before it runs.

#![expect(
    clippy::disallowed_methods,
    reason = "lists of inputs and dims, no more than the graph has"
)]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use numpy::npyffi::PyArray_CheckExact;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use qcore_graph::{Compiled, Graph};
use qcore_kernels::threads;

use crate::graph::{Given, arrays, compiled, given, graph_to_py, named, run, run_each};
use crate::run::{LONG, run_as};

/// A graph for fixed shapes, with arrays of its own for its outputs.
#[pyclass(name = "Session", module = "qcore._core", frozen)]
pub(crate) struct PySession {
    graph: Arc<Graph>,
    /// Those of the inputs.
    names: Vec<Py<PyString>>,
    dims: Vec<Vec<usize>>,
    threads: Option<usize>,
    ready: Mutex<Option<Ready>>,
}

/// A plan with its arrays.
pub(crate) struct Ready {
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

impl PySession {
    /// A graph for inputs of these shapes.
    pub(crate) fn new(
        py: Python<'_>,
        graph: Arc<Graph>,
        dims: Vec<Vec<usize>>,
        threads: Option<usize>,
    ) -> PyResult<Self> {
        let names = graph.inputs().iter().map(|input| PyString::new(py, &input.name).unbind());
        let session =
            Self { names: names.collect(), graph, dims, threads, ready: Mutex::new(None) };
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

    /// What runs arrays that were checked. It is taken out, so that a second thread that calls
    /// meanwhile makes its own.
    fn ready_for(&self, py: Python<'_>, given: &[Given<'_>]) -> PyResult<Ready> {
        let graph = &*self.graph;
        let deciding = || {
            given
                .iter()
                .enumerate()
                .filter(|(index, _)| graph.is_by_value(*index))
                .map(|(_, i)| i.bytes)
        };
        let held = self.ready.lock().unwrap_or_else(PoisonError::into_inner).take();
        match held {
            Some(ready) if ready.values.iter().map(Vec::as_slice).eq(deciding()) => Ok(ready),
            _ => {
                let compiled = compiled(py, graph, given, graph.outputs())?;
                let values = deciding().map(<[u8]>::to_vec).collect();
                Ready::new(py, graph, compiled, values)
            }
        }
    }

    /// Runs arrays that were checked.
    fn run_given<'py>(&self, py: Python<'py>, given: &[Given<'_>]) -> PyResult<Bound<'py, PyDict>> {
        let ready = self.ready_for(py, given)?;
        let bytes: Vec<&[u8]> = given.iter().map(|input| input.bytes).collect();
        let arrays: Vec<Bound<'_, PyAny>> =
            ready.arrays.iter().map(|array| array.bind(py).clone()).collect();
        let call = || run(py, &ready.compiled, &bytes, &arrays);
        let result = self.threads.map_or_else(call, |most| threads::at_most(most, call));
        let outputs = ready.outputs.bind(py).clone();
        *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = Some(ready);
        result.map(|()| outputs)
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
        self.run_given(py, &given)
    }

    /// [`PySession::run`] of a dict of arrays that are what the session runs on already; None where
    /// anything is to be checked, converted or refused.
    fn run_as_given<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let Ok(inputs) = inputs.cast_exact::<PyDict>() else { return Ok(None) };
        if inputs.len() != self.names.len() {
            return Ok(None);
        }
        let mut objects = Vec::with_capacity(self.names.len());
        for name in &self.names {
            match inputs.get_item(name)? {
                // SAFETY: an object that is alive.
                Some(array) if unsafe { PyArray_CheckExact(py, array.as_ptr()) } != 0 => {
                    objects.push(array);
                }
                _ => return Ok(None),
            }
        }
        let mut found = Vec::with_capacity(objects.len());
        for ((array, declared), dims) in objects.iter().zip(self.graph.inputs()).zip(&self.dims) {
            match Given::new(array, &declared.name) {
                Ok(one) if one.dtype == declared.dtype && one.dims == dims => found.push(one),
                _ => return Ok(None),
            }
        }
        // The caller may change the dict.
        self.run_given(py, &found)?.copy().map(Some)
    }

    /// The least time of each step in so many runs: its node, its kernel, about how many operations
    /// on elements it does, and nanoseconds.
    fn times<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyDict>,
        runs: usize,
    ) -> PyResult<Vec<(String, String, usize, u64)>> {
        let objects = named(&self.graph, inputs)?;
        let given = given(&self.graph, &objects)?;
        let ready = self.ready_for(py, &given)?;
        let compiled = &ready.compiled;
        let bytes: Vec<&[u8]> = given.iter().map(|input| input.bytes).collect();
        let arrays: Vec<Bound<'_, PyAny>> =
            ready.arrays.iter().map(|array| array.bind(py).clone()).collect();
        let mut least = vec![Duration::MAX; compiled.kernels().count()];
        for _ in 0..runs {
            let least = &mut least;
            let mut call = || {
                run_each(py, compiled, &bytes, &arrays, |isa, inputs, outputs| {
                    compiled.run_timed(isa, inputs, outputs, least)
                })
            };
            match self.threads {
                Some(most) => threads::at_most(most, call)?,
                None => call()?,
            }
        }
        let steps = compiled.kernels().zip(compiled.works()).zip(least);
        let step = |(((node, kernel), work), least): (((&str, &str), usize), Duration)| {
            (node.to_owned(), kernel.to_owned(), work, least.as_nanos() as u64)
        };
        let found = steps.map(step).collect();
        *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = Some(ready);
        Ok(found)
    }

    /// Bytes of the arena that a run works in; 0 before the first run where inputs decide shapes.
    #[getter]
    fn arena_bytes(&self) -> usize {
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.as_ref().map_or(0, |ready| ready.compiled.arena_bytes())
    }
}
