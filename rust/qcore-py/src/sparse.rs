//! Bindings of the `sparse` room.

use std::sync::Arc;

use numpy::ndarray::ArrayView1;
use numpy::{
    Element, PyArray1, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2, PyReadwriteArray2,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use qcore_graph::operand::{Operand, SparseF32, SparseI8};
use qcore_kernels::KernelError;
use qcore_kernels::made::Made;
use qcore_kernels::sparse::{
    Csr, Float, FloatCsr, Indices, Int8Value, IntegerCsr, Order, Sum, Value, multiply,
    multiply_integer,
};
use qcore_kernels::view::MatRef;

use crate::array::wrong_dtype;
use crate::error::to_py;

/// A matrix of each type of value.
enum Matrix {
    F32(Arc<FloatCsr<f32>>),
    F64(FloatCsr<f64>),
    I8(Arc<IntegerCsr<i8>>),
    U8(IntegerCsr<u8>),
}

/// Runs `$body` with `$csr` bound to the matrix, whatever its values.
macro_rules! with_csr {
    ($matrix:expr, |$csr:ident| $body:expr) => {
        match &*$matrix {
            Matrix::F32(matrix) => {
                let $csr = matrix.matrix();
                $body
            }
            Matrix::F64(matrix) => {
                let $csr = matrix.matrix();
                $body
            }
            Matrix::I8(matrix) => {
                let $csr = matrix.matrix();
                $body
            }
            Matrix::U8(matrix) => {
                let $csr = matrix.matrix();
                $body
            }
        }
    };
}

/// Makes a matrix of the type that `$array`, of `$dimensions`, has: `$body` with `$view` bound to it.
macro_rules! matrix_of {
    ($array:expr, $name:literal, $readonly:ident, |$view:ident| $body:expr) => {{
        let array: &Bound<'_, PyAny> = $array;
        if let Ok($view) = array.extract::<$readonly<'_, f32>>() {
            Ok(Matrix::F32(Arc::new(FloatCsr::new($body))))
        } else if let Ok($view) = array.extract::<$readonly<'_, f64>>() {
            Ok(Matrix::F64(FloatCsr::new($body)))
        } else if let Ok($view) = array.extract::<$readonly<'_, i8>>() {
            Ok(Matrix::I8(Arc::new(IntegerCsr::new($body))))
        } else if let Ok($view) = array.extract::<$readonly<'_, u8>>() {
            Ok(Matrix::U8(IntegerCsr::new($body)))
        } else {
            Err(wrong_dtype(array, $name))
        }
    }};
}

impl Matrix {
    fn transposed(&self) -> Self {
        match self {
            Matrix::F32(csr) => Matrix::F32(Arc::new(FloatCsr::new(csr.matrix().transposed()))),
            Matrix::F64(csr) => Matrix::F64(FloatCsr::new(csr.matrix().transposed())),
            Matrix::I8(csr) => Matrix::I8(Arc::new(IntegerCsr::new(csr.matrix().transposed()))),
            Matrix::U8(csr) => Matrix::U8(IntegerCsr::new(csr.matrix().transposed())),
        }
    }
}

/// A CSR matrix whose structure has been checked.
#[pyclass(name = "Csr", module = "qcore._core", frozen)]
pub(crate) struct PyCsr {
    matrix: Arc<Matrix>,
    /// Made when it is first needed; the matrix never changes.
    transposed: Made<Arc<Matrix>>,
}

impl From<Matrix> for PyCsr {
    fn from(matrix: Matrix) -> Self {
        Self { matrix: Arc::new(matrix), transposed: Made::new() }
    }
}

macro_rules! from_csr {
    ($($type:ty: $make:expr;)+) => {$(
        impl From<Csr<$type>> for PyCsr {
            fn from(csr: Csr<$type>) -> Self {
                $make(csr).into()
            }
        }
    )+};
}

from_csr! {
    f32: |csr| Matrix::F32(Arc::new(FloatCsr::new(csr)));
    i8: |csr| Matrix::I8(Arc::new(IntegerCsr::new(csr)));
    u8: |csr| Matrix::U8(IntegerCsr::new(csr));
}

/// A copy of column indices.
pub(crate) fn with_indices_array<'py>(py: Python<'py>, indices: &Indices) -> Bound<'py, PyAny> {
    match indices {
        Indices::U16(indices) => PyArray1::from_slice(py, indices).into_any(),
        Indices::U32(indices) => PyArray1::from_slice(py, indices).into_any(),
        Indices::U64(indices) => PyArray1::from_slice(py, indices).into_any(),
    }
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
        self.transposed.get_or_make(|| Ok(Arc::new(self.matrix.transposed())))
    }
}

/// An array of any strides as a matrix.
pub(crate) fn view<'a, T: Element + Copy>(array: &'a PyReadonlyArray2<'_, T>) -> MatRef<'a, T> {
    let array = array.as_array();
    let ((rows, cols), strides) = (array.dim(), array.strides());
    // SAFETY: the view vouches for its elements while the array is borrowed.
    unsafe { MatRef::from_raw(array.as_ptr(), rows, cols, strides[0], strides[1]) }
}

/// The elements of one of a matrix's own arrays, as a read-only array that keeps the matrix alive.
fn borrowed<'py, T: Element>(
    owner: &Bound<'py, PyCsr>,
    values: &[T],
) -> PyResult<Bound<'py, PyAny>> {
    let view = ArrayView1::from(values);
    // SAFETY: the class is frozen and its matrix never changes or moves; the array keeps it alive.
    let array = unsafe { PyArray1::borrow_from_array(&view, owner.clone().into_any()) };
    let array = array.try_readwrite()?.make_nonwriteable();
    Ok((*array).clone().into_any())
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
    let x = oriented(view(&x), order);
    py.detach(|| multiply(csr, x, order, out)).map_err(to_py)
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
        let x = oriented(view(&x), order);
        return py.detach(|| multiply_integer(csr, x, x_zero, order, out)).map_err(to_py);
    }
    let x: PyReadonlyArray2<'_, u8> = x.extract().map_err(|_| wrong_dtype(x, "x"))?;
    let x = oriented(view(&x), order);
    py.detach(|| multiply_integer(csr, x, x_zero, order, out)).map_err(to_py)
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
        data: &Bound<'_, PyAny>,
        indices: &Bound<'_, PyAny>,
        indptr: &Bound<'_, PyAny>,
        rows: usize,
        cols: usize,
    ) -> PyResult<Self> {
        fn build<V: Value + Element>(
            data: &PyReadonlyArray1<'_, V>,
            indices: &Bound<'_, PyAny>,
            indptr: &Bound<'_, PyAny>,
            rows: usize,
            cols: usize,
        ) -> PyResult<Csr<V>> {
            let values = data.as_slice()?.to_vec();
            if let Ok(indices) = indices.extract::<PyReadonlyArray1<'_, i32>>() {
                let indptr: PyReadonlyArray1<'_, i32> = indptr.extract()?;
                return Csr::new(rows, cols, indptr.as_slice()?, indices.as_slice()?, values)
                    .map_err(to_py);
            }
            let indices: PyReadonlyArray1<'_, i64> = indices.extract()?;
            let indptr: PyReadonlyArray1<'_, i64> = indptr.extract()?;
            Csr::new(rows, cols, indptr.as_slice()?, indices.as_slice()?, values).map_err(to_py)
        }
        let matrix = matrix_of!(data, "data", PyReadonlyArray1, |data| build(
            &data, indices, indptr, rows, cols
        )?)?;
        Ok(matrix.into())
    }

    /// The values at the given rows and columns, int64 arrays.
    #[staticmethod]
    fn from_coordinates(
        data: &Bound<'_, PyAny>,
        row: PyReadonlyArray1<'_, i64>,
        col: PyReadonlyArray1<'_, i64>,
        rows: usize,
        cols: usize,
    ) -> PyResult<Self> {
        let (row, col) = (row.as_slice()?, col.as_slice()?);
        let matrix = matrix_of!(data, "data", PyReadonlyArray1, |data| {
            Csr::from_coordinates(rows, cols, row, col, data.as_slice()?).map_err(to_py)?
        })?;
        Ok(matrix.into())
    }

    /// The elements of a dense matrix where `mask`, C-contiguous, is true; without it, those that are
    /// not zero.
    #[staticmethod]
    fn from_dense(
        dense: &Bound<'_, PyAny>,
        mask: Option<PyReadonlyArray2<'_, bool>>,
    ) -> PyResult<Self> {
        let mask = mask.as_ref().map(|mask| mask.as_slice()).transpose()?;
        let matrix = matrix_of!(dense, "dense", PyReadonlyArray2, |dense| {
            let dense = view(&dense);
            match mask {
                Some(mask) if mask.len() != dense.rows() * dense.cols() => {
                    return Err(PyValueError::new_err("where has another shape than the matrix"));
                }
                Some(mask) => Csr::from_dense_where(dense, |_, place| mask[place]),
                None => Csr::from_dense(dense),
            }
        })?;
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
            py.detach(|| csr.to_dense(out)).map_err(to_py)
        }
        with_csr!(self.matrix, |csr| fill(py, csr, out))
    }

    /// Rows and columns exchanged; made once.
    fn transpose(&self, py: Python<'_>) -> PyResult<Self> {
        let matrix = py.detach(|| self.transposed().cloned()).map_err(to_py)?;
        Ok(Self { matrix, transposed: Made::with(Arc::clone(&self.matrix)) })
    }

    /// Rows `start` to `stop`.
    fn rows_in(&self, start: usize, stop: usize) -> PyResult<Self> {
        let (rows, _) = self.shape();
        if start > stop || stop > rows {
            return Err(PyValueError::new_err(format!("rows {start} to {stop} are not in {rows}")));
        }
        let matrix = match &*self.matrix {
            Matrix::F32(csr) => {
                Matrix::F32(Arc::new(FloatCsr::new(csr.matrix().rows_in(start..stop))))
            }
            Matrix::F64(csr) => Matrix::F64(FloatCsr::new(csr.matrix().rows_in(start..stop))),
            Matrix::I8(csr) => {
                Matrix::I8(Arc::new(IntegerCsr::new(csr.matrix().rows_in(start..stop))))
            }
            Matrix::U8(csr) => Matrix::U8(IntegerCsr::new(csr.matrix().rows_in(start..stop))),
        };
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
            (py.detach(|| self.transposed()).map_err(to_py)?, Order::Columns)
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
    fn equals(&self, other: &Self) -> bool {
        match (&*self.matrix, &*other.matrix) {
            (Matrix::F32(a), Matrix::F32(b)) => a.matrix() == b.matrix(),
            (Matrix::F64(a), Matrix::F64(b)) => a.matrix() == b.matrix(),
            (Matrix::I8(a), Matrix::I8(b)) => a.matrix() == b.matrix(),
            (Matrix::U8(a), Matrix::U8(b)) => a.matrix() == b.matrix(),
            _ => false,
        }
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
    fn data<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        with_csr!(slf.get().matrix, |csr| borrowed(slf, csr.values()))
    }

    /// The column of each value: uint16, uint32 or uint64.
    #[getter]
    fn indices<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        with_csr!(slf.get().matrix, |csr| match csr.indices() {
            Indices::U16(indices) => borrowed(slf, indices),
            Indices::U32(indices) => borrowed(slf, indices),
            Indices::U64(indices) => borrowed(slf, indices),
        })
    }

    /// Where each row starts, and the last one ends.
    #[getter]
    fn indptr<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        with_csr!(slf.get().matrix, |csr| borrowed(slf, csr.indptr()))
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyCsr>()
}
