//! Bindings of the `prune` room.

use half::f16;
use numpy::{Element, PyReadonlyArrayDyn, PyReadwriteArrayDyn};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use qcore_kernels::prune::{self, Magnitude};

use crate::array::{slice, slice_mut, with_readonly, writable};
use crate::run::{LONG, run};

/// Writes into `masks` which weights stay when the `count` smallest magnitudes of all `arrays`, of
/// one dtype, go.
#[pyfunction]
fn keep_largest(
    py: Python<'_>,
    arrays: Vec<Bound<'_, PyAny>>,
    count: usize,
    masks: Vec<Bound<'_, PyAny>>,
) -> PyResult<()> {
    let Some(first) = arrays.first() else { return Ok(()) };
    if first.extract::<PyReadonlyArrayDyn<'_, f32>>().is_ok() {
        return keep_largest_of::<f32>(py, &arrays, count, &masks);
    }
    if first.extract::<PyReadonlyArrayDyn<'_, f64>>().is_ok() {
        return keep_largest_of::<f64>(py, &arrays, count, &masks);
    }
    keep_largest_of::<f16>(py, &arrays, count, &masks)
}

fn keep_largest_of<T: Magnitude + Element>(
    py: Python<'_>,
    arrays: &[Bound<'_, PyAny>],
    count: usize,
    masks: &[Bound<'_, PyAny>],
) -> PyResult<()> {
    let views = arrays
        .iter()
        .map(PyAnyMethods::extract::<PyReadonlyArrayDyn<'_, T>>)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| {
            PyTypeError::new_err("arrays must be float16, float32 or float64, all alike")
        })?;
    let parts = views.iter().map(|view| slice(view, "arrays")).collect::<PyResult<Vec<_>>>()?;
    let mut masks = masks
        .iter()
        .map(|mask| writable::<bool>(mask, "masks"))
        .collect::<PyResult<Vec<PyReadwriteArrayDyn<'_, bool>>>>()?;
    let mut masks =
        masks.iter_mut().map(|mask| slice_mut(mask, "masks")).collect::<PyResult<Vec<_>>>()?;
    run(py, LONG, || prune::keep_largest(&parts, count, &mut masks))
}

/// Writes into `mask` which weights stay when `n` of each `m` neighbours in rows of `row` do.
#[pyfunction]
fn keep_n_of_m(
    py: Python<'_>,
    weights: &Bound<'_, PyAny>,
    row: usize,
    n: usize,
    m: usize,
    mask: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let mut mask = writable::<bool>(mask, "mask")?;
    let mask = slice_mut(&mut mask, "mask")?;
    with_readonly!(weights, "weights", [f32, f64, f16], |weights| {
        let weights = slice(&weights, "weights")?;
        run(py, LONG, || prune::keep_n_of_m(weights, row, n, m, mask))
    })
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(keep_largest, module)?)?;
    module.add_function(wrap_pyfunction!(keep_n_of_m, module)?)
}
