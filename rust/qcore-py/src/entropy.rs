//! Bindings of the `entropy` room.

use numpy::{IntoPyArray, PyArray1, PyReadonlyArrayDyn};
use pyo3::prelude::*;
use qcore_kernels::entropy::{self, MatrixShape};

use crate::array::{slice, slice_mut, writable};
use crate::error::to_py;
use crate::run::{LONG, run};

type Bytes<'py> = PyReadonlyArrayDyn<'py, u8>;
/// Rows, columns, levels, the usual code, and how many columns make a line of an image.
type Shape = (usize, usize, usize, u8, usize);

fn shape_of((rows, columns, levels, zero, stride): Shape) -> MatrixShape {
    MatrixShape { rows, columns, levels, zero, stride }
}

/// The bytes of a matrix of codes.
#[pyfunction]
fn entropy_encode<'py>(
    py: Python<'py>,
    codes: Bytes<'_>,
    shape: Shape,
) -> PyResult<Bound<'py, PyArray1<u8>>> {
    let codes = slice(&codes, "codes")?;
    let bytes = run(py, LONG, || entropy::encode_matrix(codes, shape_of(shape)))?;
    Ok(bytes.into_pyarray(py))
}

/// What the flag "holds another code than the usual one" costs in bits at each position, if it does
/// not and if it does.
#[pyfunction]
fn entropy_costs(
    py: Python<'_>,
    codes: Bytes<'_>,
    shape: Shape,
    zero_bits: &Bound<'_, PyAny>,
    full_bits: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let codes = slice(&codes, "codes")?;
    let mut zero_bits = writable::<f32>(zero_bits, "zero_bits")?;
    let mut full_bits = writable::<f32>(full_bits, "full_bits")?;
    let (zero, full) =
        (slice_mut(&mut zero_bits, "zero_bits")?, slice_mut(&mut full_bits, "full_bits")?);
    run(py, LONG, || entropy::matrix_costs(codes, shape_of(shape), zero, full))
}

/// Checks that a matrix of a shape may lie in so many bytes.
#[pyfunction]
fn entropy_check(bytes: usize, shape: Shape) -> PyResult<()> {
    shape_of(shape).check_bytes(bytes).map_err(to_py)
}

/// Fills `out` with the codes of a matrix.
#[pyfunction]
fn entropy_decode(
    py: Python<'_>,
    bytes: Bytes<'_>,
    shape: Shape,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let bytes = slice(&bytes, "bytes")?;
    let mut out = writable::<u8>(out, "out")?;
    let out = slice_mut(&mut out, "out")?;
    run(py, LONG, || entropy::decode_matrix(bytes, shape_of(shape), out))
}

/// Decodes a matrix to rows of what is not usual: how many each row has, their columns and codes.
#[pyfunction]
#[allow(clippy::type_complexity, reason = "three arrays")]
fn entropy_decode_sparse<'py>(
    py: Python<'py>,
    bytes: Bytes<'_>,
    shape: Shape,
) -> PyResult<(Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i32>>, Bound<'py, PyArray1<u8>>)> {
    let bytes = slice(&bytes, "bytes")?;
    let sparse = run(py, LONG, || entropy::decode_sparse(bytes, shape_of(shape)))?;
    Ok((
        sparse.starts.into_pyarray(py),
        sparse.columns.into_pyarray(py),
        sparse.codes.into_pyarray(py),
    ))
}

/// The bytes of a few integers.
#[pyfunction]
fn entropy_encode_integers<'py>(
    py: Python<'py>,
    values: PyReadonlyArrayDyn<'_, i32>,
) -> PyResult<Bound<'py, PyArray1<u8>>> {
    let values = slice(&values, "values")?;
    Ok(run(py, values.len(), || entropy::encode_integers(values))?.into_pyarray(py))
}

/// Fills `out` with a few integers.
#[pyfunction]
fn entropy_decode_integers(
    py: Python<'_>,
    bytes: Bytes<'_>,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let mut out = writable::<i32>(out, "out")?;
    let (bytes, out) = (slice(&bytes, "bytes")?, slice_mut(&mut out, "out")?);
    run(py, out.len(), || entropy::decode_integers(bytes, out))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(entropy_encode, module)?)?;
    module.add_function(wrap_pyfunction!(entropy_check, module)?)?;
    module.add_function(wrap_pyfunction!(entropy_costs, module)?)?;
    module.add_function(wrap_pyfunction!(entropy_decode, module)?)?;
    module.add_function(wrap_pyfunction!(entropy_decode_sparse, module)?)?;
    module.add_function(wrap_pyfunction!(entropy_encode_integers, module)?)?;
    module.add_function(wrap_pyfunction!(entropy_decode_integers, module)?)
}
