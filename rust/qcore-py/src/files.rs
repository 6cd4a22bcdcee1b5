//! Tensor files: bytes in and out of NumPy's buffers.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use numpy::{PyReadonlyArray1, PyReadwriteArray1};
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use qcore_files::{FileError, Tensor, TensorFile as File, dtype_named};

use crate::error::file_to_py;

/// Names, safetensors types and shapes, each with its bytes.
type Entries<'py> = Vec<(String, String, Vec<usize>, PyReadonlyArray1<'py, u8>)>;

/// An open safetensors file whose header has been checked.
#[pyclass(frozen, module = "qcore._core")]
struct TensorFile(File);

#[pymethods]
impl TensorFile {
    #[new]
    #[allow(clippy::needless_pass_by_value, reason = "what PyO3 extracts")]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        py.detach(|| File::open(&path)).map(Self).map_err(|error| file_to_py(py, error))
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
    let mut tensors = Vec::with_capacity(entries.len());
    for (name, dtype, shape, data) in entries {
        let dtype = dtype_named(dtype)
            .ok_or_else(|| PyValueError::new_err(format!("safetensors has no type '{dtype}'")))?;
        tensors.push(Tensor { name, dtype, shape, data: data.as_slice()? });
    }
    py.detach(|| operation(&tensors)).map_err(|error| file_to_py(py, error))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<TensorFile>()?;
    module.add_function(wrap_pyfunction!(tensor_file_nbytes, module)?)?;
    module.add_function(wrap_pyfunction!(write_tensor_file, module)?)
}
