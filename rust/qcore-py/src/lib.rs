//! The `qcore._core` extension module: a table of what each room registers, and nothing else.

use pyo3::prelude::*;

mod alone;
mod array;
mod entropy;
mod error;
mod files;
mod gemm;
mod ggml;
mod graph;
mod network;
mod planes;
mod prune;
mod quant;
mod run;
mod runtime;
mod sparse;
mod structured;
mod train;
mod weights;

/// Kernels behind the public functions of `qcore`; private, and checked by them.
#[pymodule(gil_used = false)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    // A wrong QCORE_ISA is told at once, not at the first call that would have used it.
    qcore_kernels::isa::active().map_err(error::to_py)?;
    alone::register(module)?;
    entropy::register(module)?;
    files::register(module)?;
    gemm::register(module)?;
    ggml::register(module)?;
    graph::register(module)?;
    network::register(module)?;
    planes::register(module)?;
    prune::register(module)?;
    quant::register(module)?;
    runtime::register(module)?;
    sparse::register(module)?;
    structured::register(module)?;
    train::register(module)?;
    weights::register(module)?;
    // The stub says what there is; a second list would have to be kept equal.
    module.delattr("__all__")
}
