//! Bindings of the `planes` room.

use numpy::{IntoPyArray, PyArray1, PyReadonlyArrayDyn};
use pyo3::prelude::*;
use qcore_kernels::planes;

use crate::array::{slice, slice_mut, writable};
use crate::run::{LONG, run};

/// How many elements a chunk has, and the most bytes that so many, of a width, take coded.
#[pyfunction]
fn planes_sizes(bytes: usize, width: usize) -> (usize, usize) {
    (planes::CHUNK, planes::most_bytes(bytes, width))
}

/// The bytes of elements of `width` bytes, coded.
#[pyfunction]
fn planes_encode<'py>(
    py: Python<'py>,
    bytes: PyReadonlyArrayDyn<'_, u8>,
    width: usize,
) -> PyResult<Bound<'py, PyArray1<u8>>> {
    let bytes = slice(&bytes, "bytes")?;
    Ok(run(py, LONG, || planes::encode(bytes, width))?.into_pyarray(py))
}

/// Fills `out` with the bytes of elements of `width` bytes.
#[pyfunction]
fn planes_decode(
    py: Python<'_>,
    coded: PyReadonlyArrayDyn<'_, u8>,
    width: usize,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let coded = slice(&coded, "coded")?;
    let mut out = writable::<u8>(out, "out")?;
    let out = slice_mut(&mut out, "out")?;
    run(py, LONG, || planes::decode(coded, width, out))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(planes_sizes, module)?)?;
    module.add_function(wrap_pyfunction!(planes_encode, module)?)?;
    module.add_function(wrap_pyfunction!(planes_decode, module)?)
}
