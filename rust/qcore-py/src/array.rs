//! NumPy arrays as slices: the buffer edge.
//!
//! The Python side hands over C-contiguous, aligned arrays of native byte order; what is not so is
//! refused here, not misread. Borrows go through rust-numpy's run-time checks, so an array cannot be
//! read and written at once.

use numpy::{Element, PyReadonlyArrayDyn, PyReadwriteArrayDyn, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

/// The elements of a C-contiguous array.
pub(crate) fn slice<'a, T: Element>(
    array: &'a PyReadonlyArrayDyn<'_, T>,
    name: &str,
) -> PyResult<&'a [T]> {
    // as_slice takes Fortran's order too.
    match array.as_slice() {
        Ok(slice) if array.is_c_contiguous() => Ok(slice),
        _ => Err(PyValueError::new_err(format!("{name} is not C-contiguous"))),
    }
}

/// The elements of a writable C-contiguous array.
pub(crate) fn slice_mut<'a, T: Element>(
    array: &'a mut PyReadwriteArrayDyn<'_, T>,
    name: &str,
) -> PyResult<&'a mut [T]> {
    if !array.is_c_contiguous() {
        return Err(PyValueError::new_err(format!("{name} is not C-contiguous")));
    }
    array.as_slice_mut().map_err(|_| PyValueError::new_err(format!("{name} is not C-contiguous")))
}

/// A writable array of type `T`, or an error that names it.
pub(crate) fn writable<'py, T: Element>(
    array: &Bound<'py, PyAny>,
    name: &str,
) -> PyResult<PyReadwriteArrayDyn<'py, T>> {
    array.extract().map_err(|_| {
        PyTypeError::new_err(format!("{name} is read-only, shared or of another dtype"))
    })
}

/// The error for an array whose dtype no kernel takes.
pub(crate) fn wrong_dtype(array: &Bound<'_, PyAny>, name: &str) -> PyErr {
    let found = array.getattr("dtype").map_or_else(|_| "no array".into(), |d| d.to_string());
    PyTypeError::new_err(format!("{name} has dtype {found}, which this operation does not take"))
}

/// Runs `$body` with `$view` bound to a read-only view of `$array`, whichever of the types it has.
macro_rules! with_readonly {
    ($array:expr, $name:literal, [$($type:ty),+], |$view:ident| $body:expr) => {{
        let array: &pyo3::Bound<'_, pyo3::PyAny> = $array;
        $(
            if let Ok($view) = array.extract::<numpy::PyReadonlyArrayDyn<'_, $type>>() {
                $body
            } else
        )+
        { Err($crate::array::wrong_dtype(array, $name)) }
    }};
}

/// Runs `$body` with `$view` bound to a writable view of `$array`, whichever of the types it has.
macro_rules! with_writable {
    ($array:expr, $name:literal, [$($type:ty),+], |$view:ident| $body:expr) => {{
        let array: &pyo3::Bound<'_, pyo3::PyAny> = $array;
        $(
            if let Ok(mut $view) = array.extract::<numpy::PyReadwriteArrayDyn<'_, $type>>() {
                $body
            } else
        )+
        { Err($crate::array::wrong_dtype(array, $name)) }
    }};
}

pub(crate) use {with_readonly, with_writable};
