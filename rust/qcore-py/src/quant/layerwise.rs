//! Bindings of what chooses a layer's codes by its outputs.

use numpy::PyReadonlyArrayDyn;
use pyo3::prelude::*;
use qcore_kernels::memory;
use qcore_kernels::quant::{self, Levels};

use crate::array::{slice, slice_mut, writable};
use crate::error::to_py;
use crate::run::{LONG, run};

/// Writes the levels that GPTQ chooses for `weights` into the int32 array `out`.
#[pyfunction]
fn gptq(
    py: Python<'_>,
    weights: PyReadonlyArrayDyn<'_, f64>,
    factor: PyReadonlyArrayDyn<'_, f64>,
    order: PyReadonlyArrayDyn<'_, i64>,
    scale: PyReadonlyArrayDyn<'_, f64>,
    low: PyReadonlyArrayDyn<'_, i32>,
    high: PyReadonlyArrayDyn<'_, i32>,
    pruned: PyReadonlyArrayDyn<'_, bool>,
    group: usize,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (weights, factor) = (slice(&weights, "weights")?, slice(&factor, "factor")?);
    // A negative number becomes one that is far too large, and is refused below.
    let order = slice(&order, "order")?.iter().map(|&at| at as usize);
    let order = memory::collected(order).map_err(to_py)?;
    let (scale, low, high) = (slice(&scale, "scale")?, slice(&low, "low")?, slice(&high, "high")?);
    let pruned = slice(&pruned, "pruned")?;
    let levels = Levels { scale, low, high, group, pruned };
    let mut out = writable::<i32>(out, "out")?;
    let out = slice_mut(&mut out, "out")?;
    run(py, LONG, || quant::gptq(weights, factor, &order, levels, out))
}

/// Improves the levels in `codes` by coordinate descent, and writes the steps that fit them best
/// into `out_scale`.
#[pyfunction]
fn descend(
    py: Python<'_>,
    product: PyReadonlyArrayDyn<'_, f64>,
    hessian: PyReadonlyArrayDyn<'_, f64>,
    scale: PyReadonlyArrayDyn<'_, f64>,
    low: PyReadonlyArrayDyn<'_, i32>,
    high: PyReadonlyArrayDyn<'_, i32>,
    pruned: PyReadonlyArrayDyn<'_, bool>,
    group: usize,
    rounds: usize,
    refit: bool,
    out_scale: &Bound<'_, PyAny>,
    codes: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (product, hessian) = (slice(&product, "product")?, slice(&hessian, "hessian")?);
    let (scale, low, high) = (slice(&scale, "scale")?, slice(&low, "low")?, slice(&high, "high")?);
    let pruned = slice(&pruned, "pruned")?;
    let levels = Levels { scale, low, high, group, pruned };
    let mut out_scale = writable::<f64>(out_scale, "out_scale")?;
    let out_scale = slice_mut(&mut out_scale, "out_scale")?;
    let mut codes = writable::<i32>(codes, "codes")?;
    let codes = slice_mut(&mut codes, "codes")?;
    run(py, LONG, || quant::descend(product, hessian, levels, rounds, refit, out_scale, codes))
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(descend, module)?)?;
    module.add_function(wrap_pyfunction!(gptq, module)?)
}
