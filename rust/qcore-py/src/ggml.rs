//! Bindings of the `ggml` room.

use numpy::PyReadonlyArrayDyn;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use qcore_kernels::ggml::{self, BlockType, TYPES};

use crate::array::{slice, slice_mut, writable};
use crate::run::{LONG, run};

/// The types of blocks: name, number in files, elements and bytes of a block, and whether it is
/// written.
#[pyfunction]
fn ggml_types() -> Vec<(&'static str, u32, usize, usize, bool)> {
    let line =
        |kind: &BlockType| (kind.name, kind.number, kind.elements, kind.bytes, kind.is_written());
    TYPES.iter().map(line).collect()
}

fn named(kind: &str) -> PyResult<&'static BlockType> {
    let unknown = || PyValueError::new_err(format!("kind is {kind:?}, no type of blocks"));
    ggml::by_name(kind).ok_or_else(unknown)
}

/// Encodes rows of `x` as blocks of the type `kind`; the squared error of an element counts
/// `importance` of its column.
#[pyfunction]
fn ggml_encode(
    py: Python<'_>,
    kind: &str,
    x: PyReadonlyArrayDyn<'_, f32>,
    importance: PyReadonlyArrayDyn<'_, f32>,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let kind = named(kind)?;
    let (x, importance) = (slice(&x, "x")?, slice(&importance, "importance")?);
    let mut out = writable::<u8>(out, "out")?;
    let out = slice_mut(&mut out, "out")?;
    run(py, LONG, || ggml::encode(kind, x, importance, out))
}

/// Decodes blocks of the type `kind` into `out`.
#[pyfunction]
fn ggml_decode(
    py: Python<'_>,
    kind: &str,
    blocks: PyReadonlyArrayDyn<'_, u8>,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let found = named(kind)?;
    let blocks = slice(&blocks, "blocks")?;
    let mut out = writable::<f32>(out, "out")?;
    let out = slice_mut(&mut out, "out")?;
    run(py, out.len(), || ggml::decode(found, blocks, out))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(ggml_types, module)?)?;
    module.add_function(wrap_pyfunction!(ggml_decode, module)?)?;
    module.add_function(wrap_pyfunction!(ggml_encode, module)?)?;
    Ok(())
}
