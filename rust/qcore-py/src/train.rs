//! Bindings of the `train` room.

use numpy::PyReadonlyArrayDyn;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use qcore_kernels::train::{self, Adam, Derivative, Sgd};

use crate::array::{slice, slice_mut, writable};
use crate::run::run;

type Floats<'py> = PyReadonlyArrayDyn<'py, f32>;

fn derivative(name: &str) -> PyResult<Derivative> {
    match name {
        "relu" => Ok(Derivative::Relu),
        "sigmoid" => Ok(Derivative::Sigmoid),
        "tanh" => Ok(Derivative::Tanh),
        "linear" => Ok(Derivative::Linear),
        _ => Err(PyValueError::new_err(format!("activation {name:?} has no elementwise form"))),
    }
}

/// One step of Adam over all parameters, in place.
#[pyfunction]
#[pyo3(signature = (params, grads, mean, square, step, learning_rate, beta1, beta2, epsilon, mask=None))]
fn adam_step(
    py: Python<'_>,
    params: &Bound<'_, PyAny>,
    grads: Floats<'_>,
    mean: &Bound<'_, PyAny>,
    square: &Bound<'_, PyAny>,
    step: i32,
    learning_rate: f32,
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    mask: Option<Floats<'_>>,
) -> PyResult<()> {
    let adam = Adam { learning_rate, beta1, beta2, epsilon };
    let mut params = writable::<f32>(params, "params")?;
    let mut mean = writable::<f32>(mean, "mean")?;
    let mut square = writable::<f32>(square, "square")?;
    let mask = mask.as_ref().map(|mask| slice(mask, "mask")).transpose()?;
    let (params, grads) = (slice_mut(&mut params, "params")?, slice(&grads, "grads")?);
    let (mean, square) = (slice_mut(&mut mean, "mean")?, slice_mut(&mut square, "square")?);
    run(py, params.len(), || train::adam_step(adam, step, params, grads, mean, square, mask))
}

/// One step of gradient descent with momentum over all parameters, in place.
#[pyfunction]
#[pyo3(signature = (params, grads, velocity, learning_rate, momentum, mask=None))]
fn sgd_step(
    py: Python<'_>,
    params: &Bound<'_, PyAny>,
    grads: Floats<'_>,
    velocity: &Bound<'_, PyAny>,
    learning_rate: f32,
    momentum: f32,
    mask: Option<Floats<'_>>,
) -> PyResult<()> {
    let mut params = writable::<f32>(params, "params")?;
    let mut velocity = writable::<f32>(velocity, "velocity")?;
    let mask = mask.as_ref().map(|mask| slice(mask, "mask")).transpose()?;
    let sgd = Sgd { learning_rate, momentum };
    let (params, grads) = (slice_mut(&mut params, "params")?, slice(&grads, "grads")?);
    let velocity = slice_mut(&mut velocity, "velocity")?;
    run(py, params.len(), || train::sgd_step(sgd, params, grads, velocity, mask))
}

/// Multiplies `delta` by the activation's derivative, given its output, and by `inside`.
#[pyfunction]
#[pyo3(signature = (delta, output, activation, inside=None))]
fn multiply_derivative(
    py: Python<'_>,
    delta: &Bound<'_, PyAny>,
    output: Floats<'_>,
    activation: &str,
    inside: Option<Floats<'_>>,
) -> PyResult<()> {
    let mut delta = writable::<f32>(delta, "delta")?;
    let inside = inside.as_ref().map(|inside| slice(inside, "inside")).transpose()?;
    let output = slice(&output, "output")?;
    let delta = slice_mut(&mut delta, "delta")?;
    let kind = derivative(activation)?;
    run(py, delta.len(), || train::multiply_derivative(delta, output, inside, kind))
}

/// Adds the gradient of `weight * T**2 * KL(target || softmax(logits / T))` to `delta`; returns the
/// loss. Arrays are (rows, cols).
#[pyfunction]
fn softmax_loss(
    py: Python<'_>,
    logits: Floats<'_>,
    target: Floats<'_>,
    cols: usize,
    temperature: f32,
    weight: f32,
    delta: &Bound<'_, PyAny>,
) -> PyResult<f64> {
    let mut delta = writable::<f32>(delta, "delta")?;
    let (logits, target) = (slice(&logits, "logits")?, slice(&target, "target")?);
    let delta = slice_mut(&mut delta, "delta")?;
    // An exponential costs as much as a few steps.
    run(py, delta.len().saturating_mul(8), || {
        train::softmax_loss(logits, target, cols, temperature, weight, delta)
    })
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(adam_step, module)?)?;
    module.add_function(wrap_pyfunction!(multiply_derivative, module)?)?;
    module.add_function(wrap_pyfunction!(sgd_step, module)?)?;
    module.add_function(wrap_pyfunction!(softmax_loss, module)?)
}
