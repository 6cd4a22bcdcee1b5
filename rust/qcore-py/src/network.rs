//! Bindings of chains of dense layers.

use std::sync::{Arc, Mutex};

use numpy::{PyReadonlyArray2, PyReadonlyArrayDyn};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use qcore_graph::chain::{Input, Layer, Program};
use qcore_graph::operand::{Affine, Dense, Operand};
use qcore_kernels::epilogue::Activation;
use qcore_kernels::gemm::FloatWeights;
use qcore_kernels::memory;
use qcore_kernels::view::MatRef;

use crate::array::{slice, slice_mut, writable};
use crate::error::to_py;
use crate::run::{LONG, run};
use crate::weights::PyPackedWeights;

type Floats<'py> = PyReadonlyArrayDyn<'py, f32>;

/// A network as it is put together, layer by layer from input to output.
#[pyclass(name = "ProgramBuilder", module = "qcore._core", frozen)]
pub(crate) struct PyProgramBuilder {
    layers: Mutex<Vec<Layer>>,
}

pub(crate) fn activation_named(name: &str) -> PyResult<Activation> {
    Activation::from_name(name).ok_or_else(|| {
        let allowed = "'linear', 'relu', 'sigmoid', 'softmax', 'tanh'";
        let text = format!("activation is '{name}'; it must be one of {allowed}");
        PyValueError::new_err(text)
    })
}

/// C-contiguous weights (out, in) as the view that kernels take.
pub(crate) fn matrix<'a, T: numpy::Element + Copy>(
    weight: &'a PyReadonlyArray2<'_, T>,
) -> PyResult<MatRef<'a, T>> {
    let (rows, cols) = weight.as_array().dim();
    let values =
        weight.as_slice().map_err(|_| PyValueError::new_err("weight is not C-contiguous"))?;
    MatRef::from_slice(values, rows, cols).map_err(to_py)
}

/// A static input with its parameters, or a dynamic one.
fn integer_input(source: Option<(f32, i32, bool)>) -> Input {
    source.map_or(Input::Dynamic, |(scale, zero_point, signed)| {
        Input::Static(Affine { scale, zero_point, signed })
    })
}

impl PyProgramBuilder {
    fn push(
        &self,
        input: Input,
        weights: Arc<dyn Operand>,
        bias: &Floats<'_>,
        activation: &str,
    ) -> PyResult<()> {
        let bias = memory::copied(slice(bias, "bias")?).map_err(to_py)?;
        let layer = Layer { input, weights, bias, activation: activation_named(activation)? };
        let mut layers =
            self.layers.lock().map_err(|_| PyRuntimeError::new_err("the builder is broken"))?;
        layers.push(layer);
        Ok(())
    }
}

#[pymethods]
impl PyProgramBuilder {
    #[new]
    fn new() -> Self {
        Self { layers: Mutex::new(Vec::new()) }
    }

    /// Adds a layer on floats. `weight` is float32 (out, in).
    fn float(
        &self,
        py: Python<'_>,
        weight: PyReadonlyArray2<'_, f32>,
        bias: Floats<'_>,
        activation: &str,
    ) -> PyResult<()> {
        let weight = matrix(&weight)?;
        let weights = Dense(run(py, LONG, || FloatWeights::from_f32(weight))?);
        self.push(Input::Float, Arc::new(weights), &bias, activation)
    }

    /// Adds a layer of weights that are laid out. `source` is the scale, the zero point
    /// and whether codes are signed of a static input of integers, or None for a dynamic one.
    fn packed(
        &self,
        weights: &PyPackedWeights,
        bias: Floats<'_>,
        activation: &str,
        source: Option<(f32, i32, bool)>,
    ) -> PyResult<()> {
        let weights = weights.shared();
        let input = if weights.is_integer() { integer_input(source) } else { Input::Float };
        self.push(input, weights, &bias, activation)
    }

    /// The network of the layers so far; the builder is empty afterwards.
    fn build(&self) -> PyResult<PyProgram> {
        let mut layers =
            self.layers.lock().map_err(|_| PyRuntimeError::new_err("the builder is broken"))?;
        let program = Program::new(std::mem::take(&mut layers)).map_err(to_py)?;
        Ok(PyProgram { program })
    }
}

/// A network in the form that runs.
#[pyclass(name = "Program", module = "qcore._core", frozen)]
pub(crate) struct PyProgram {
    program: Program,
}

#[pymethods]
impl PyProgram {
    /// Runs samples `x`, float32 (n, in), into `out`, float32 (n, out); `logits` leaves the last
    /// activation out.
    fn run(
        &self,
        py: Python<'_>,
        x: Floats<'_>,
        logits: bool,
        out: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let x = slice(&x, "x")?;
        let mut out = writable::<f32>(out, "out")?;
        let out = slice_mut(&mut out, "out")?;
        let rows = out.len() / self.program.outputs().max(1);
        // A few multiplications are one step.
        let work = self.program.work().saturating_mul(rows.max(1)) / 8;
        run(py, work, || self.program.run(x, logits, out))
    }

    /// How many values a row of the output has.
    #[getter]
    fn outputs(&self) -> usize {
        self.program.outputs()
    }

    /// The kind of kernel that runs each layer.
    #[getter]
    fn kernels(&self) -> Vec<&'static str> {
        self.program.kernels().collect()
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyProgramBuilder>()?;
    module.add_class::<PyProgram>()
}
