//! N values of each M neighbours of a row.

use std::sync::Arc;

use numpy::{PyArray1, PyReadonlyArray1, PyReadonlyArray2, PyReadwriteArray2};
use pyo3::prelude::*;
use qcore_graph::operand::{NofMI8, Operand};
use qcore_kernels::memory;
use qcore_kernels::sparse::{NofM, NofMInteger, Structured, StructuredFloat};

use super::{
    Typed, dtype, fill, float_weights, floats, integers, integers_only, typed_of, with_matrix,
};
use crate::array::{copy_of, wrong_dtype};
use crate::run::{LONG, run};
use crate::sparse::{PyCsr, Stored, view};

type NofMs = Typed<StructuredFloat<NofM<f32>>, NofMInteger<i8>, NofMInteger<u8>>;

/// N values of each M neighbours of a row.
#[pyclass(name = "NofM", module = "qcore._core", frozen)]
pub(crate) struct PyNofM {
    typed: NofMs,
}

impl PyNofM {
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
            (Typed::I8(a), Some(scale)) => {
                let codes = Arc::clone(run(py, LONG, || a.transposed())?);
                Ok(Box::new(NofMI8 { codes, scale }))
            }
            _ => Err(integers_only()),
        }
    }
}

#[pymethods]
impl PyNofM {
    /// The matrix of a dense one that has at most `n` values in each group of `m`.
    #[staticmethod]
    fn from_dense(py: Python<'_>, dense: &Bound<'_, PyAny>, n: usize, m: usize) -> PyResult<Self> {
        let typed = typed_of!(
            py,
            dense,
            "dense",
            PyReadonlyArray2,
            |dense| dense = view(&dense)?,
            NofM::from_dense(dense, n, m)
        )?;
        Ok(Self { typed })
    }

    /// The matrix of these values and places.
    #[staticmethod]
    fn from_codes(
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        codes: PyReadonlyArray1<'_, u64>,
        n: usize,
        m: usize,
        rows: usize,
        cols: usize,
    ) -> PyResult<Self> {
        let codes = codes.as_slice()?;
        let typed = typed_of!(
            py,
            data,
            "data",
            PyReadonlyArray1,
            |data| values = data.as_slice()?,
            NofM::from_codes(rows, cols, n, m, memory::copied(values)?, memory::copied(codes)?)
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
            Typed::I8(a) => integers!(py, a, x, x_zero, left, out),
            Typed::U8(a) => integers!(py, a, x, x_zero, left, out),
        }
    }

    /// Whether shape, pattern, places and values are the same, in matrices of one dtype.
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

    /// (N, M).
    #[getter]
    fn pattern(&self) -> (usize, usize) {
        with_matrix!(&self.typed, |matrix| (matrix.n(), matrix.m()))
    }

    /// Bytes of values and places.
    #[getter]
    fn nbytes(&self) -> usize {
        with_matrix!(&self.typed, |matrix| matrix.nbytes())
    }

    /// The stored values, N for each group.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        with_matrix!(&self.typed, |matrix| Ok(copy_of(py, matrix.values())?.into_any()))
    }

    /// Their places in the groups.
    #[getter]
    fn places<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<u8>>> {
        let places = with_matrix!(&self.typed, |matrix| run(py, LONG, || matrix.places()))?;
        Ok(PyArray1::from_vec(py, places))
    }

    /// The places as they are stored: M - 1 bits for each group.
    #[getter]
    fn codes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyArray1<u64>>> {
        with_matrix!(&self.typed, |matrix| copy_of(py, matrix.codes()))
    }
}
