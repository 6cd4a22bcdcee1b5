//! How an error below becomes a Python exception: the one place for it.

use std::io;
use std::path::Path;

use pyo3::exceptions::{
    PyKeyboardInterrupt, PyMemoryError, PyOSError, PyOverflowError, PyValueError,
};
use pyo3::prelude::*;
use qcore_files::FileError;
use qcore_kernels::KernelError;

pyo3::import_exception!(qcore.errors, FormatError);
pyo3::import_exception!(qcore.errors, LimitError);

/// The exception for a kernel's error.
pub(crate) fn to_py(error: KernelError) -> PyErr {
    let text = error.to_string();
    match error {
        KernelError::Overflow(_) => PyOverflowError::new_err(text),
        KernelError::Memory(_) => PyMemoryError::new_err(text),
        KernelError::Interrupted => PyKeyboardInterrupt::new_err(()),
        KernelError::Isa { .. } | KernelError::Shape(_) | KernelError::Value(_) => {
            PyValueError::new_err(text)
        }
    }
}

/// The exception for a file's error.
#[allow(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
pub(crate) fn file_to_py(py: Python<'_>, error: FileError) -> PyErr {
    match &error {
        FileError::Io { path, source } => {
            os_error(py, path, source).unwrap_or_else(|failure| failure)
        }
        FileError::Value(text) => PyValueError::new_err(text.clone()),
        FileError::Limit { .. } => LimitError::new_err(error.to_string()),
        _ => FormatError::new_err(error.to_string()),
    }
}

/// An `OSError` with errno and file name, as `open` raises it; Python picks the subclass.
fn os_error(py: Python<'_>, path: &Path, error: &io::Error) -> PyResult<PyErr> {
    let codes = py.import("errno")?;
    let code: i32 = match (error.raw_os_error(), error.kind()) {
        (Some(code), _) => code,
        (None, io::ErrorKind::IsADirectory) => codes.getattr("EISDIR")?.extract()?,
        (None, io::ErrorKind::InvalidInput) => codes.getattr("EINVAL")?.extract()?,
        (None, _) => codes.getattr("EIO")?.extract()?,
    };
    let text: String = if error.raw_os_error().is_some() || error.get_ref().is_none() {
        py.import("os")?.call_method1("strerror", (code,))?.extract()?
    } else {
        error.to_string()
    };
    Ok(PyOSError::new_err((code, text, path.as_os_str().to_owned())))
}
