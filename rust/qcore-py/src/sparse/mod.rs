//! Bindings of the `sparse` room.

mod matrix;

use std::sync::Arc;

use numpy::PyUntypedArrayMethods;
use numpy::ndarray::ArrayView1;
use numpy::npyffi::NPY_ARRAY_WRITEABLE;
use numpy::{Element, PyArray1, PyReadonlyArray1, PyReadonlyArray2, PyReadwriteArray2};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use qcore_graph::operand::{Operand, SparseF32, SparseI8};
use qcore_kernels::KernelError;
use qcore_kernels::made;
use qcore_kernels::sparse::{
    Csr, Float, FloatCsr, Indices, Int8Value, IntegerCsr, Order, Sum, Value, multiply,
    multiply_integer,
};
use qcore_kernels::view::MatRef;

use crate::array::{copy_of, wrong_dtype};
use crate::error::to_py;
use crate::run::{LONG, run};

use matrix::{Made, Matrix, Structure, matrix_of, with_csr};

/// A value that a structured matrix can have, too.
pub(crate) trait Stored: Value + Element {
    /// The matrix of these values.
    fn matrix(csr: Csr<Self>) -> Made<PyCsr>;
}

macro_rules! stored {
    ($($type:ty: $make:ident)+) => {$(
        impl Stored for $type {
            fn matrix(csr: Csr<Self>) -> Made<PyCsr> {
                Matrix::$make(Ok(csr)).map(PyCsr::from)
            }
        }
    )+};
}

stored!(f32: f32 i8: i8 u8: u8);

/// A CSR matrix whose structure has been checked.
#[pyclass(name = "Csr", module = "qcore._core", frozen)]
pub(crate) struct PyCsr {
    matrix: Arc<Matrix>,
    /// Made when it is first needed; the matrix never changes.
    transposed: made::Made<Arc<Matrix>>,
}

impl From<Matrix> for PyCsr {
    fn from(matrix: Matrix) -> Self {
        Self { matrix: Arc::new(matrix), transposed: made::Made::new() }
    }
}

/// A copy of column indices.
pub(crate) fn with_indices_array<'py>(
    py: Python<'py>,
    indices: &Indices,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(match indices {
        Indices::U16(indices) => copy_of(py, indices)?.into_any(),
        Indices::U32(indices) => copy_of(py, indices)?.into_any(),
        Indices::U64(indices) => copy_of(py, indices)?.into_any(),
    })
}

impl PyCsr {
    /// The matrix as weights (out, in) of a layer; integers with a scale for each output.
    pub(crate) fn weights(&self, scale: Option<Vec<f32>>) -> PyResult<Box<dyn Operand>> {
        match (&*self.matrix, scale) {
            (Matrix::F32(csr), None) => Ok(Box::new(SparseF32(Arc::clone(csr)))),
            (Matrix::I8(csr), Some(scale)) => {
                Ok(Box::new(SparseI8 { codes: Arc::clone(csr), scale }))
            }
            _ => Err(PyTypeError::new_err("weights are float32, or int8 with a scale")),
        }
    }

    pub(crate) fn rows(&self) -> usize {
        with_csr!(self.matrix, |csr| csr.rows())
    }

    fn transposed(&self) -> Result<&Arc<Matrix>, KernelError> {
        self.transposed.get_or_make(|| Ok(Arc::new(self.matrix.transposed()?)))
    }
}

/// An array of any strides as a matrix.
pub(crate) fn view<'a, T: Element + Copy>(
    array: &'a PyReadonlyArray2<'_, T>,
) -> PyResult<MatRef<'a, T>> {
    let array = array.as_array();
    let ((rows, cols), strides) = (array.dim(), array.strides());
    // SAFETY: the view vouches for its elements while the array is borrowed.
    let matrix = unsafe { MatRef::from_raw(array.as_ptr(), rows, cols, strides[0], strides[1]) };
    matrix.map_err(to_py)
}

/// The elements of one of a matrix's own arrays, as a read-only array that keeps the matrix alive.
fn borrowed<'py, T: Element>(owner: &Bound<'py, PyCsr>, values: &[T]) -> Bound<'py, PyAny> {
    let view = ArrayView1::from(values);
    // SAFETY: the class is frozen and its matrix never changes or moves; the array keeps it alive. Nobody
    // else has the array yet. (To borrow it for writing would fail while another thread reads the matrix.)
    let array = unsafe {
        let array = PyArray1::borrow_from_array(&view, owner.clone().into_any());
        (*array.as_array_ptr()).fields.flags &= !NPY_ARRAY_WRITEABLE;
        array
    };
    array.into_any()
}

fn floats<V: Float + Element>(
    py: Python<'_>,
    csr: &FloatCsr<V>,
    x: &Bound<'_, PyAny>,
    order: Order,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let x: PyReadonlyArray2<'_, V> = x.extract().map_err(|_| wrong_dtype(x, "x"))?;
    let mut out: PyReadwriteArray2<'_, V> = out.extract().map_err(|_| wrong_dtype(out, "out"))?;
    let out = out.as_slice_mut()?;
    let x = oriented(view(&x)?, order);
    run(py, LONG, || multiply(csr, x, order, out))
}

fn integers<V: Int8Value>(
    py: Python<'_>,
    csr: &IntegerCsr<V>,
    x: &Bound<'_, PyAny>,
    x_zero: i32,
    order: Order,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if let Ok(mut out) = out.extract::<PyReadwriteArray2<'_, i32>>() {
        return integers_into(py, csr, x, x_zero, order, out.as_slice_mut()?);
    }
    let mut out: PyReadwriteArray2<'_, i64> = out.extract().map_err(|_| wrong_dtype(out, "out"))?;
    integers_into(py, csr, x, x_zero, order, out.as_slice_mut()?)
}

fn integers_into<V: Int8Value, T: Sum>(
    py: Python<'_>,
    csr: &IntegerCsr<V>,
    x: &Bound<'_, PyAny>,
    x_zero: i32,
    order: Order,
    out: &mut [T],
) -> PyResult<()> {
    if let Ok(x) = x.extract::<PyReadonlyArray2<'_, i8>>() {
        let x = oriented(view(&x)?, order);
        return run(py, LONG, || multiply_integer(csr, x, x_zero, order, out));
    }
    let x: PyReadonlyArray2<'_, u8> = x.extract().map_err(|_| wrong_dtype(x, "x"))?;
    let x = oriented(view(&x)?, order);
    run(py, LONG, || multiply_integer(csr, x, x_zero, order, out))
}

/// `x @ a` is the transpose of `aᵀ @ xᵀ`.
fn oriented<T: Copy>(x: MatRef<'_, T>, order: Order) -> MatRef<'_, T> {
    if order == Order::Columns { x.transposed() } else { x }
}

#[pymethods]
impl PyCsr {
    /// A matrix from its three arrays: `indices` and `indptr` are int32, or both int64.
    #[new]
    fn new(
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        indices: &Bound<'_, PyAny>,
        indptr: &Bound<'_, PyAny>,
        rows: usize,
        cols: usize,
    ) -> PyResult<Self> {
        let build = |structure: Structure<'_>| {
            matrix_of!(
                py,
                data,
                "data",
                PyReadonlyArray1,
                |data| values = data.as_slice()?,
                structure.build(rows, cols, values)
            )
        };
        let matrix = if let Ok(indices) = indices.extract::<PyReadonlyArray1<'_, i32>>() {
            let indptr: PyReadonlyArray1<'_, i32> = indptr.extract()?;
            build(Structure::I32(indices.as_slice()?, indptr.as_slice()?))?
        } else {
            let indices: PyReadonlyArray1<'_, i64> = indices.extract()?;
            let indptr: PyReadonlyArray1<'_, i64> = indptr.extract()?;
            build(Structure::I64(indices.as_slice()?, indptr.as_slice()?))?
        };
        Ok(matrix.into())
    }

    /// The values at the given rows and columns, int64 arrays.
    #[staticmethod]
    fn from_coordinates(
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        row: PyReadonlyArray1<'_, i64>,
        col: PyReadonlyArray1<'_, i64>,
        rows: usize,
        cols: usize,
    ) -> PyResult<Self> {
        let (row, col) = (row.as_slice()?, col.as_slice()?);
        let matrix = matrix_of!(
            py,
            data,
            "data",
            PyReadonlyArray1,
            |data| values = data.as_slice()?,
            Csr::from_coordinates(rows, cols, row, col, values)
        )?;
        Ok(matrix.into())
    }

    /// The elements of a dense matrix where `mask`, C-contiguous, is true; without it, those that are
    /// not zero.
    #[staticmethod]
    fn from_dense(
        py: Python<'_>,
        dense: &Bound<'_, PyAny>,
        mask: Option<PyReadonlyArray2<'_, bool>>,
    ) -> PyResult<Self> {
        let mask = mask.as_ref().map(|mask| mask.as_slice()).transpose()?;
        let matrix = matrix_of!(
            py,
            dense,
            "dense",
            PyReadonlyArray2,
            |dense| dense = view(&dense)?,
            match mask {
                Some(mask) if dense.rows().checked_mul(dense.cols()) != Some(mask.len()) => {
                    let text = "where has another shape than the matrix";
                    Err(KernelError::Shape(text.to_owned()))
                }
                Some(mask) => Csr::from_dense_where(dense, |_, place| mask[place]),
                None => Csr::from_dense(dense),
            }
        )?;
        Ok(matrix.into())
    }

    /// Writes the matrix into a C-contiguous array of its shape and dtype.
    fn to_dense(&self, py: Python<'_>, out: &Bound<'_, PyAny>) -> PyResult<()> {
        fn fill<V: Value + Element>(
            py: Python<'_>,
            csr: &Csr<V>,
            out: &Bound<'_, PyAny>,
        ) -> PyResult<()> {
            let mut out: PyReadwriteArray2<'_, V> =
                out.extract().map_err(|_| wrong_dtype(out, "out"))?;
            let out = out.as_slice_mut()?;
            run(py, LONG, || csr.to_dense(out))
        }
        with_csr!(self.matrix, |csr| fill(py, csr, out))
    }

    /// Rows and columns exchanged; made once.
    fn transpose(&self, py: Python<'_>) -> PyResult<Self> {
        let matrix = run(py, LONG, || self.transposed().cloned())?;
        Ok(Self { matrix, transposed: made::Made::with(Arc::clone(&self.matrix)) })
    }

    /// Rows `start` to `stop`.
    fn rows_in(&self, py: Python<'_>, start: usize, stop: usize) -> PyResult<Self> {
        let (rows, _) = self.shape();
        if start > stop || stop > rows {
            return Err(PyValueError::new_err(format!("rows {start} to {stop} are not in {rows}")));
        }
        let matrix = run(py, LONG, || self.matrix.rows_in(start..stop))?;
        Ok(matrix.into())
    }

    /// Fills `out` with `a @ (x - x_zero)`, or with `(x - x_zero) @ a` if `left`.
    ///
    /// `x` is of any strides; of the matrix's type, or any int8 for integers. `out` is C-contiguous;
    /// int32 or int64 for integers.
    fn multiply(
        &self,
        py: Python<'_>,
        x: &Bound<'_, PyAny>,
        x_zero: i32,
        left: bool,
        out: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let (matrix, order) = if left {
            (run(py, LONG, || self.transposed())?, Order::Columns)
        } else {
            (&self.matrix, Order::Rows)
        };
        match &**matrix {
            Matrix::F32(csr) => floats(py, csr, x, order, out),
            Matrix::F64(csr) => floats(py, csr, x, order, out),
            Matrix::I8(csr) => integers(py, csr, x, x_zero, order, out),
            Matrix::U8(csr) => integers(py, csr, x, x_zero, order, out),
        }
    }

    /// Whether shape, places and values are the same, in matrices of one dtype.
    fn equals(&self, py: Python<'_>, other: &Self) -> bool {
        py.detach(|| match (&*self.matrix, &*other.matrix) {
            (Matrix::F32(a), Matrix::F32(b)) => a.matrix() == b.matrix(),
            (Matrix::F64(a), Matrix::F64(b)) => a.matrix() == b.matrix(),
            (Matrix::I8(a), Matrix::I8(b)) => a.matrix() == b.matrix(),
            (Matrix::U8(a), Matrix::U8(b)) => a.matrix() == b.matrix(),
            _ => false,
        })
    }

    /// (rows, columns).
    #[getter]
    fn shape(&self) -> (usize, usize) {
        with_csr!(self.matrix, |csr| (csr.rows(), csr.cols()))
    }

    /// How many values are stored.
    #[getter]
    fn nnz(&self) -> usize {
        with_csr!(self.matrix, |csr| csr.nnz())
    }

    /// Bytes of the three arrays.
    #[getter]
    fn nbytes(&self) -> usize {
        with_csr!(self.matrix, |csr| csr.nbytes())
    }

    /// The stored values.
    #[getter]
    fn data<'py>(slf: &Bound<'py, Self>) -> Bound<'py, PyAny> {
        with_csr!(slf.get().matrix, |csr| borrowed(slf, csr.values()))
    }

    /// The column of each value: uint16, uint32 or uint64.
    #[getter]
    fn indices<'py>(slf: &Bound<'py, Self>) -> Bound<'py, PyAny> {
        with_csr!(slf.get().matrix, |csr| match csr.indices() {
            Indices::U16(indices) => borrowed(slf, indices),
            Indices::U32(indices) => borrowed(slf, indices),
            Indices::U64(indices) => borrowed(slf, indices),
        })
    }

    /// Where each row starts, and the last one ends.
    #[getter]
    fn indptr<'py>(slf: &Bound<'py, Self>) -> Bound<'py, PyAny> {
        with_csr!(slf.get().matrix, |csr| borrowed(slf, csr.indptr()))
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyCsr>()
}
