//! Bindings of the `ggml` room.

use numpy::PyReadonlyArrayDyn;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use qcore_kernels::ggml::{self, TYPES};

use crate::array::{slice, slice_mut, writable};
use crate::run::run;

/// The types of blocks: name, number in files, elements and bytes of a block.
#[pyfunction]
fn ggml_types() -> Vec<(&'static str, u32, usize, usize)> {
    TYPES.iter().map(|kind| (kind.name, kind.number, kind.elements, kind.bytes)).collect()
}

/// Decodes blocks of the type `kind` into `out`.
#[pyfunction]
fn ggml_decode(
    py: Python<'_>,
    kind: &str,
    blocks: PyReadonlyArrayDyn<'_, u8>,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let found = ggml::by_name(kind)
        .ok_or_else(|| PyValueError::new_err(format!("kind is {kind:?}, no type of blocks")))?;
    let blocks = slice(&blocks, "blocks")?;
    let mut out = writable::<f32>(out, "out")?;
    let out = slice_mut(&mut out, "out")?;
    run(py, out.len(), || ggml::decode(found, blocks, out))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(ggml_types, module)?)?;
    module.add_function(wrap_pyfunction!(ggml_decode, module)?)?;
    Ok(())
}
