//! Whole blocks of rows and columns.

use std::sync::Arc;

use numpy::{PyArray1, PyReadonlyArray1, PyReadonlyArray2, PyReadwriteArray2};
use pyo3::prelude::*;
use qcore_graph::operand::{BlocksI8, Operand};
use qcore_kernels::memory;
use qcore_kernels::sparse::{Blocks, BlocksInteger, Structured, StructuredFloat};

use super::{
    Typed, dtype, fill, float_weights, floats, integers, integers_only, typed_of, with_matrix,
};
use crate::array::{copy_of, wrong_dtype};
use crate::error::to_py;
use crate::run::{LONG, run};
use crate::sparse::{PyCsr, Stored, view, with_indices_array};

type BlockMatrices = Typed<StructuredFloat<Blocks<f32>>, Arc<BlocksInteger<i8>>, BlocksInteger<u8>>;

/// Whole blocks of rows and columns.
#[pyclass(name = "Blocks", module = "qcore._core", frozen)]
pub(crate) struct PyBlocks {
    typed: BlockMatrices,
}

impl PyBlocks {
    pub(crate) fn rows(&self) -> usize {
        with_matrix!(&self.typed, |matrix| matrix.rows())
    }

    /// The matrix as weights (out, in) of a layer; integers with a scale for each output.
    pub(crate) fn weights(
        &self,
        py: Python<'_>,
        scale: Option<Vec<f32>>,
    ) -> PyResult<Box<dyn Operand>> {
        match (&self.typed, scale) {
            (Typed::F32(a), None) => Ok(float_weights(run(py, LONG, || a.laid_out())?)),
            (Typed::I8(a), Some(scale)) => Ok(Box::new(BlocksI8 { codes: Arc::clone(a), scale })),
            _ => Err(integers_only()),
        }
    }
}

#[pymethods]
impl PyBlocks {
    /// A matrix from its three arrays: `data` has `height * width` values for each of the `indices`.
    #[new]
    fn new(
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        indices: PyReadonlyArray1<'_, i64>,
        indptr: PyReadonlyArray1<'_, i64>,
        block: (usize, usize),
        rows: usize,
        cols: usize,
    ) -> PyResult<Self> {
        let (indices, indptr) = (indices.as_slice()?, indptr.as_slice()?);
        let typed = typed_of!(
            py,
            data,
            "data",
            PyReadonlyArray1,
            |data| values = data.as_slice()?,
            Blocks::new(rows, cols, block, indptr, indices, values)
        )?;
        Ok(Self { typed })
    }

    /// The blocks of a dense matrix in which any element is not zero.
    #[staticmethod]
    fn from_dense(
        py: Python<'_>,
        dense: &Bound<'_, PyAny>,
        height: usize,
        width: usize,
    ) -> PyResult<Self> {
        let typed = typed_of!(
            py,
            dense,
            "dense",
            PyReadonlyArray2,
            |dense| dense = view(&dense)?,
            Blocks::from_dense(dense, height, width)
        )?;
        Ok(Self { typed })
    }

    /// Writes the matrix into a C-contiguous array of its shape and dtype.
    fn to_dense(&self, py: Python<'_>, out: &Bound<'_, PyAny>) -> PyResult<()> {
        with_matrix!(&self.typed, |matrix| fill(py, matrix, out))
    }

    /// The values that are not zero.
    fn to_csr(&self, py: Python<'_>) -> PyResult<PyCsr> {
        with_matrix!(&self.typed, |matrix| run(py, LONG, || Stored::matrix(matrix.to_csr()?)))
    }

    /// Rows and columns exchanged.
    fn transpose(&self, py: Python<'_>) -> PyResult<Self> {
        run(py, LONG, || {
            let typed = match &self.typed {
                Typed::F32(a) => Typed::F32(StructuredFloat::new(a.matrix().transposed()?)),
                Typed::I8(a) => Typed::I8(a.matrix().transposed()?.into()),
                Typed::U8(a) => Typed::U8(a.matrix().transposed()?.into()),
            };
            Ok(Self { typed })
        })
    }

    /// Fills `out` with `a @ (x - x_zero)`, or with `(x - x_zero) @ a` if `left`; as `Csr.multiply`.
    fn multiply(
        &self,
        py: Python<'_>,
        x: &Bound<'_, PyAny>,
        x_zero: i32,
        left: bool,
        out: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        match &self.typed {
            Typed::F32(a) => floats(py, a, x, left, out),
            Typed::I8(a) => integers!(py, &**a, x, x_zero, left, out),
            Typed::U8(a) => integers!(py, a, x, x_zero, left, out),
        }
    }

    /// Whether shape, blocks, places and values are the same, in matrices of one dtype.
    fn equals(&self, py: Python<'_>, other: &Self) -> bool {
        py.detach(|| match (&self.typed, &other.typed) {
            (Typed::F32(a), Typed::F32(b)) => a.matrix() == b.matrix(),
            (Typed::I8(a), Typed::I8(b)) => a.matrix() == b.matrix(),
            (Typed::U8(a), Typed::U8(b)) => a.matrix() == b.matrix(),
            _ => false,
        })
    }

    /// (rows, columns).
    #[getter]
    fn shape(&self) -> (usize, usize) {
        with_matrix!(&self.typed, |matrix| (matrix.rows(), matrix.cols()))
    }

    /// The type of the values.
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        dtype(py, &self.typed)
    }

    /// How many values are stored.
    #[getter]
    fn nnz(&self) -> usize {
        with_matrix!(&self.typed, |matrix| matrix.stored_values())
    }

    /// (rows, columns) of a block.
    #[getter]
    fn block(&self) -> (usize, usize) {
        with_matrix!(&self.typed, |matrix| (matrix.height(), matrix.width()))
    }

    /// Bytes of the three arrays.
    #[getter]
    fn nbytes(&self) -> usize {
        with_matrix!(&self.typed, |matrix| matrix.nbytes())
    }

    /// The stored values, block after block.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        with_matrix!(&self.typed, |matrix| Ok(copy_of(py, matrix.values())?.into_any()))
    }

    /// The column of blocks of each block: uint16, uint32 or uint64.
    #[getter]
    fn indices<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        with_matrix!(&self.typed, |matrix| with_indices_array(py, matrix.indices()))
    }

    /// Where each row of blocks starts, and the last one ends.
    #[getter]
    fn indptr<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<i64>>> {
        with_matrix!(&self.typed, |matrix| {
            let indptr = memory::collected(matrix.indptr().iter().map(|&at| at as i64));
            Ok(PyArray1::from_vec(py, indptr.map_err(to_py)?))
        })
    }
}
