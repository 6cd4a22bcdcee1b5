//! Tensor files: bytes in and out of NumPy's buffers.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};

use numpy::{PyReadonlyArray1, PyReadwriteArray1};
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use qcore_files::{Dtype, FileError, Limits, Tensor, TensorFile as File, dtype_named};

use crate::error::file_to_py;

/// Names, safetensors types and shapes, each with its bytes.
type Entries<'py> = Vec<(String, String, Vec<usize>, PyReadonlyArray1<'py, u8>)>;

/// An open safetensors file whose header has been checked.
#[pyclass(frozen, module = "qcore._core")]
struct TensorFile(File);

#[pymethods]
impl TensorFile {
    #[new]
    #[pyo3(signature = (path, max_tensors=None, max_name_bytes=None))]
    #[allow(clippy::needless_pass_by_value, reason = "what PyO3 extracts")]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        max_tensors: Option<usize>,
        max_name_bytes: Option<usize>,
    ) -> PyResult<Self> {
        let usual = Limits::default();
        let limits = Limits {
            tensors: max_tensors.unwrap_or(usual.tensors),
            name_bytes: max_name_bytes.unwrap_or(usual.name_bytes),
        };
        py.detach(|| File::open_within(&path, limits))
            .map(Self)
            .map_err(|error| file_to_py(py, error))
    }

    /// The tensors' names, in the order of their bytes.
    fn names(&self) -> Vec<String> {
        self.0.names()
    }

    /// The texts of the header.
    fn texts(&self) -> HashMap<String, String> {
        self.0.texts().cloned().unwrap_or_default()
    }

    /// A tensor's safetensors type, shape and size in bytes.
    fn info(&self, name: &str) -> PyResult<(String, Vec<usize>, usize)> {
        let info = self.0.info(name).ok_or_else(|| PyKeyError::new_err(name.to_owned()))?;
        let (start, end) = info.data_offsets;
        Ok((info.dtype.to_string(), info.shape.clone(), end - start))
    }

    /// Fills `out` with a tensor's bytes.
    #[allow(clippy::needless_pass_by_value, reason = "what PyO3 extracts")]
    fn read_into(
        &self,
        py: Python<'_>,
        name: &str,
        mut out: PyReadwriteArray1<'_, u8>,
    ) -> PyResult<()> {
        let bytes = out.as_slice_mut()?;
        py.detach(|| self.0.read_into(name, bytes)).map_err(|error| file_to_py(py, error))
    }

    /// Fills `out` with a tensor's bytes from `offset` on.
    #[allow(clippy::needless_pass_by_value, reason = "what PyO3 extracts")]
    fn read_range(
        &self,
        py: Python<'_>,
        name: &str,
        offset: usize,
        mut out: PyReadwriteArray1<'_, u8>,
    ) -> PyResult<()> {
        let bytes = out.as_slice_mut()?;
        py.detach(|| self.0.read_range(name, offset, bytes)).map_err(|error| file_to_py(py, error))
    }
}

/// A regular file that is read at any offset.
#[pyclass(frozen, module = "qcore._core")]
struct RegularFile(qcore_files::RegularFile);

#[pymethods]
impl RegularFile {
    #[new]
    #[allow(clippy::needless_pass_by_value, reason = "what PyO3 extracts")]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        py.detach(|| qcore_files::RegularFile::open(&path))
            .map(Self)
            .map_err(|error| file_to_py(py, error))
    }

    /// The length that it had when it was opened.
    #[getter]
    fn nbytes(&self) -> u64 {
        self.0.len()
    }

    /// Fills `out` with the bytes from `offset` on.
    #[allow(clippy::needless_pass_by_value, reason = "what PyO3 extracts")]
    fn read_at(
        &self,
        py: Python<'_>,
        offset: u64,
        mut out: PyReadwriteArray1<'_, u8>,
    ) -> PyResult<()> {
        let bytes = out.as_slice_mut()?;
        py.detach(|| self.0.read_at(offset, bytes)).map_err(|error| file_to_py(py, error))
    }
}

/// A file in the making, which takes its place when it is committed and is gone otherwise.
#[pyclass(frozen, module = "qcore._core")]
struct AtomicFile(RwLock<Option<qcore_files::AtomicFile>>);

#[pymethods]
impl AtomicFile {
    #[new]
    #[allow(clippy::needless_pass_by_value, reason = "what PyO3 extracts")]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        py.detach(|| qcore_files::AtomicFile::create(&path))
            .map(|file| Self(RwLock::new(Some(file))))
            .map_err(|error| file_to_py(py, error))
    }

    /// Where the bytes lie until the file is complete.
    #[getter]
    fn temporary_path(&self) -> PyResult<PathBuf> {
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Some(file) => Ok(file.temporary_path().to_owned()),
            None => Err(closed()),
        }
    }

    /// Writes bytes from `offset` on.
    #[allow(clippy::needless_pass_by_value, reason = "what PyO3 extracts")]
    fn write_at(
        &self,
        py: Python<'_>,
        offset: u64,
        data: PyReadonlyArray1<'_, u8>,
    ) -> PyResult<()> {
        let bytes = data.as_slice()?;
        self.with(py, |file| file.write_at(offset, bytes))
    }

    /// Makes the file that long.
    fn set_len(&self, py: Python<'_>, len: u64) -> PyResult<()> {
        self.with(py, |file| file.set_len(len))
    }

    /// Syncs the file and puts it in its place.
    fn commit(&self, py: Python<'_>) -> PyResult<()> {
        let file = self.take().ok_or_else(closed)?;
        py.detach(|| file.commit()).map_err(|error| file_to_py(py, error))
    }

    /// Removes what was written, unless it was committed.
    fn discard(&self) {
        drop(self.take());
    }
}

impl AtomicFile {
    fn take(&self) -> Option<qcore_files::AtomicFile> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn with(
        &self,
        py: Python<'_>,
        operation: impl FnOnce(&qcore_files::AtomicFile) -> Result<(), FileError> + Send,
    ) -> PyResult<()> {
        py.detach(|| {
            let slot = self.0.read().unwrap_or_else(PoisonError::into_inner);
            slot.as_ref().map(operation)
        })
        .ok_or_else(closed)?
        .map_err(|error| file_to_py(py, error))
    }
}

fn closed() -> PyErr {
    PyValueError::new_err("the file is complete or given up")
}

/// A folder for files that are to take their places together; gone when it is closed.
#[pyclass(frozen, module = "qcore._core")]
struct DraftFolder(RwLock<Option<qcore_files::DraftFolder>>);

#[pymethods]
impl DraftFolder {
    #[new]
    #[allow(clippy::needless_pass_by_value, reason = "what PyO3 extracts")]
    fn new(py: Python<'_>, parent: PathBuf) -> PyResult<Self> {
        py.detach(|| qcore_files::DraftFolder::create(&parent))
            .map(|folder| Self(RwLock::new(Some(folder))))
            .map_err(|error| file_to_py(py, error))
    }

    /// Where it is.
    #[getter]
    fn path(&self) -> PyResult<PathBuf> {
        let slot = self.0.read().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref().map(|folder| folder.path().to_owned()).ok_or_else(closed)
    }

    /// Removes it with all that is still in it.
    fn close(&self) {
        drop(self.0.write().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Removes the files that this process is writing: for an exit that does not wait.
#[pyfunction]
fn remove_drafts(py: Python<'_>) {
    py.detach(qcore_files::remove_drafts);
}

/// The header of a safetensors file with these tensors, and where each one's bytes start.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "what PyO3 extracts")]
fn plan_tensor_file(
    py: Python<'_>,
    entries: Vec<(String, String, Vec<usize>)>,
    texts: BTreeMap<String, String>,
) -> PyResult<(Bound<'_, PyBytes>, Vec<u64>)> {
    let mut tensors = Vec::new();
    for (name, dtype, shape) in &entries {
        tensors.push((name.as_str(), known_dtype(dtype)?, shape.as_slice()));
    }
    let (header, starts) = py
        .detach(|| qcore_files::plan_tensors(&tensors, &texts))
        .map_err(|error| file_to_py(py, error))?;
    Ok((PyBytes::new(py, &header), starts))
}

fn known_dtype(name: &str) -> PyResult<Dtype> {
    dtype_named(name)
        .ok_or_else(|| PyValueError::new_err(format!("safetensors has no type '{name}'")))
}

/// Writes a safetensors file, atomically.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "what PyO3 extracts")]
fn write_tensor_file(
    py: Python<'_>,
    path: PathBuf,
    entries: Entries<'_>,
    texts: BTreeMap<String, String>,
) -> PyResult<()> {
    with_tensors(py, &entries, |tensors| qcore_files::write_tensors(&path, tensors, &texts))
}

/// The bytes that `write_tensor_file` would write.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "what PyO3 extracts")]
fn tensor_file_nbytes(
    py: Python<'_>,
    entries: Entries<'_>,
    texts: BTreeMap<String, String>,
) -> PyResult<u64> {
    with_tensors(py, &entries, |tensors| qcore_files::stored_len(tensors, &texts))
}

fn with_tensors<T: Send>(
    py: Python<'_>,
    entries: &Entries<'_>,
    operation: impl FnOnce(&[Tensor<'_>]) -> Result<T, FileError> + Send,
) -> PyResult<T> {
    let mut tensors = Vec::new();
    for (name, dtype, shape, data) in entries {
        tensors.push(Tensor { name, dtype: known_dtype(dtype)?, shape, data: data.as_slice()? });
    }
    py.detach(|| operation(&tensors)).map_err(|error| file_to_py(py, error))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<AtomicFile>()?;
    module.add_class::<DraftFolder>()?;
    module.add_class::<RegularFile>()?;
    module.add_class::<TensorFile>()?;
    module.add_function(wrap_pyfunction!(plan_tensor_file, module)?)?;
    module.add_function(wrap_pyfunction!(remove_drafts, module)?)?;
    module.add_function(wrap_pyfunction!(tensor_file_nbytes, module)?)?;
    module.add_function(wrap_pyfunction!(write_tensor_file, module)?)
}
