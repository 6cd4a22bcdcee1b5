//! How an error below becomes a Python exception: the one place for it.

use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use qcore_kernels::KernelError;

/// The exception for a kernel's error.
pub(crate) fn to_py(error: KernelError) -> PyErr {
    let text = error.to_string();
    match error {
        KernelError::Overflow(_) => PyOverflowError::new_err(text),
        KernelError::Isa { .. } | KernelError::Shape(_) | KernelError::Value(_) => {
            PyValueError::new_err(text)
        }
    }
}
