//! The machine: instruction sets, threads, how this extension was built.

use numpy::{PyReadonlyArray1, PyReadwriteArray1};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use qcore_kernels::{Isa, gemm, isa, threads};

use crate::error::to_py;
use crate::run::{leave_when, run};

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

/// Those that this CPU can run, but whose kernels never ran on such a CPU: not selected unasked.
#[pyfunction]
fn unverified_isas() -> Vec<&'static str> {
    Isa::available().filter(|isa| !isa.is_verified()).map(Isa::name).collect()
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

/// What a Python function gives; the operations that it calls use at most so many threads.
#[pyfunction]
fn at_most<'py>(threads: usize, call: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    threads::at_most(threads, || call.call0())
}

/// Keeps the operations that the calling thread starts on that thread from now on, and stops them once
/// `leave` says that nobody waits for them any more.
#[pyfunction]
#[pyo3(signature = (leave=None))]
fn work_alone(leave: Option<Py<PyAny>>) {
    threads::work_alone();
    leave_when(leave);
}

/// The name of the int8 micro-kernel in force.
#[pyfunction]
fn kernel_id() -> PyResult<&'static str> {
    isa::active().map(gemm::kernel_id).map_err(to_py)
}

/// What int8 products decide by on the instruction set in force: bytes of A to a block, the same where
/// B is laid out for each, rows from which B is widened, rows up to which it is read where it lies, by
/// rows and by columns, and multiply-adds of a thread.
#[pyfunction]
fn product_limits() -> PyResult<[usize; 6]> {
    let limits = isa::active().map(gemm::limits_of).map_err(to_py)?;
    Ok([
        limits.left_bytes,
        limits.left_bytes_for_strips,
        limits.many_rows,
        limits.few_rows,
        limits.few_rows_of_columns,
        limits.grain,
    ])
}

/// Operations a second that the dot instruction in force reaches on registers alone.
#[pyfunction]
fn peak_rate(py: Python<'_>) -> PyResult<f64> {
    let isa = isa::active().map_err(to_py)?;
    Ok(py.detach(|| gemm::peak_rate(isa)))
}

/// The wrapping sum of integers: a loop that only reads, to compare a product's rate with.
#[pyfunction]
fn read_all(py: Python<'_>, values: PyReadonlyArray1<'_, i32>) -> PyResult<i32> {
    let values = values.as_slice()?;
    run(py, values.len(), || gemm::read_all(values))
}

/// Writes what integers saturate to: a loop that moves the bytes that quantizing does.
#[pyfunction]
fn move_all(
    py: Python<'_>,
    values: PyReadonlyArray1<'_, i32>,
    mut out: PyReadwriteArray1<'_, i8>,
) -> PyResult<()> {
    let (values, out) = (values.as_slice()?, out.as_slice_mut()?);
    if values.len() != out.len() {
        return Err(PyValueError::new_err("values and out differ in length"));
    }
    run(py, values.len(), || gemm::move_all(values, out))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("build_profile", if cfg!(debug_assertions) { "debug" } else { "release" })?;
    module.add_function(wrap_pyfunction!(active_isa, module)?)?;
    module.add_function(wrap_pyfunction!(at_most, module)?)?;
    module.add_function(wrap_pyfunction!(available_isas, module)?)?;
    module.add_function(wrap_pyfunction!(kernel_id, module)?)?;
    module.add_function(wrap_pyfunction!(move_all, module)?)?;
    module.add_function(wrap_pyfunction!(num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(peak_rate, module)?)?;
    module.add_function(wrap_pyfunction!(product_limits, module)?)?;
    module.add_function(wrap_pyfunction!(read_all, module)?)?;
    module.add_function(wrap_pyfunction!(set_num_threads, module)?)?;
    module.add_function(wrap_pyfunction!(unverified_isas, module)?)?;
    module.add_function(wrap_pyfunction!(work_alone, module)?)
}
