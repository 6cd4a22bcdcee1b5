//! The machine: instruction sets, threads, how this extension was built.

use pyo3::prelude::*;
use qcore_kernels::{Isa, isa, threads};

use crate::error::to_py;

/// The instruction set in force.
#[pyfunction]
fn active_isa() -> PyResult<&'static str> {
    isa::active().map(Isa::name).map_err(to_py)
}

/// The instruction sets that this CPU can run, from the plainest to the best.
#[pyfunction]
fn available_isas() -> Vec<&'static str> {
    Isa::available().map(Isa::name).collect()
}

/// How many threads operations may use.
#[pyfunction]
fn num_threads() -> usize {
    threads::count()
}

/// Sets how many threads operations may use.
#[pyfunction]
fn set_num_threads(num_threads: usize) -> PyResult<()> {
    threads::set(num_threads).map_err(to_py)
}

/// Keeps the operations that the calling thread starts on that thread from now on.
#[pyfunction]
fn work_alone() {
    threads::work_alone();
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("build_profile", if cfg!(debug_assertions) { "debug" } else { "release" })?;
    module.add_function(wrap_pyfunction!(active_isa, module)?)?;
    module.add_function(wrap_pyfunction!(available_isas, module)?)?;
    module.add_function(wrap_pyfunction!(num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(set_num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(work_alone, module)?)
}
