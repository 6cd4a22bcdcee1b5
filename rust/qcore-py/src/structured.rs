//! Bindings of the structured matrices of the `sparse` room.

use std::sync::Arc;

use numpy::{Element, PyArray1, PyReadonlyArray1, PyReadonlyArray2, PyReadwriteArray2};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use qcore_graph::operand::{BandsF32, BlocksI8, NofMI8, Operand, SparseF32};
use qcore_kernels::memory;
use qcore_kernels::sparse::{
    Blocks, BlocksInteger, LaidOut, NofM, NofMInteger, Structured, StructuredFloat, Value,
};

use crate::array::{copy_of, wrong_dtype};
use crate::error::to_py;
use crate::run::{LONG, run};
use crate::sparse::{PyCsr, Stored, view, with_indices_array};

/// A matrix of one kind, of each type of value.
enum Typed<F, I, U> {
    F32(F),
    I8(I),
    U8(U),
}

type NofMs = Typed<StructuredFloat<NofM<f32>>, NofMInteger<i8>, NofMInteger<u8>>;
type BlockMatrices = Typed<StructuredFloat<Blocks<f32>>, Arc<BlocksInteger<i8>>, BlocksInteger<u8>>;

/// Runs `$body` with `$matrix` bound to the matrix, whatever its values.
macro_rules! with_matrix {
    ($typed:expr, |$matrix:ident| $body:expr) => {
        match $typed {
            Typed::F32(typed) => {
                let $matrix = typed.matrix();
                $body
            }
            Typed::I8(typed) => {
                let $matrix = typed.matrix();
                $body
            }
            Typed::U8(typed) => {
                let $matrix = typed.matrix();
                $body
            }
        }
    };
}

/// N values of each M neighbours of a row.
#[pyclass(name = "NofM", module = "qcore._core", frozen)]
pub(crate) struct PyNofM {
    typed: NofMs,
}

/// Whole blocks of rows and columns.
#[pyclass(name = "Blocks", module = "qcore._core", frozen)]
pub(crate) struct PyBlocks {
    typed: BlockMatrices,
}

/// The type of the values, as NumPy has it.
fn dtype<'py, F, I, U>(py: Python<'py>, typed: &Typed<F, I, U>) -> Bound<'py, PyAny> {
    match typed {
        Typed::F32(_) => numpy::dtype::<f32>(py).into_any(),
        Typed::I8(_) => numpy::dtype::<i8>(py).into_any(),
        Typed::U8(_) => numpy::dtype::<u8>(py).into_any(),
    }
}

/// Writes a matrix into a C-contiguous array of its shape and dtype.
fn fill<V: Value + Element>(
    py: Python<'_>,
    matrix: &impl Structured<V>,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let mut out: PyReadwriteArray2<'_, V> = out.extract().map_err(|_| wrong_dtype(out, "out"))?;
    let out = out.as_slice_mut()?;
    run(py, LONG, || matrix.to_dense(out))
}

/// `out = a @ x` or `x @ a` of floats.
fn floats<A: Structured<f32> + Send>(
    py: Python<'_>,
    a: &StructuredFloat<A>,
    x: &Bound<'_, PyAny>,
    left: bool,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let x: PyReadonlyArray2<'_, f32> = x.extract().map_err(|_| wrong_dtype(x, "x"))?;
    let mut out: PyReadwriteArray2<'_, f32> = out.extract().map_err(|_| wrong_dtype(out, "out"))?;
    let (x, out) = (view(&x)?, out.as_slice_mut()?);
    run(py, LONG, || a.multiply(x, left, out))
}

/// `$a.multiply` of integers, whatever the types of `x` and `out`.
macro_rules! integers {
    ($py:expr, $a:expr, $x:expr, $zero:expr, $left:expr, $out:expr) => {{
        let (a, x, out): (_, &Bound<'_, PyAny>, &Bound<'_, PyAny>) = ($a, $x, $out);
        macro_rules! run {
            ($x_type:ty, $out_type:ty) => {{
                let x: PyReadonlyArray2<'_, $x_type> =
                    x.extract().map_err(|_| wrong_dtype(x, "x"))?;
                let mut out: PyReadwriteArray2<'_, $out_type> =
                    out.extract().map_err(|_| wrong_dtype(out, "out"))?;
                let (x, out) = (view(&x)?, out.as_slice_mut()?);
                run($py, LONG, || a.multiply(x, $zero, $left, out))
            }};
        }
        let narrow = out.extract::<PyReadonlyArray2<'_, i32>>().is_ok();
        let signed = x.extract::<PyReadonlyArray2<'_, i8>>().is_ok();
        match (signed, narrow) {
            (true, true) => run!(i8, i32),
            (true, false) => run!(i8, i64),
            (false, true) => run!(u8, i32),
            (false, false) => run!(u8, i64),
        }
    }};
}

/// Builds a matrix of the dtype that `$array` has: without the GIL `$body`, with `$given` bound to what
/// `$prepare` makes of the array, which is `$view`.
macro_rules! typed_of {
    (
        $py:expr, $array:expr, $name:literal, $readonly:ident,
        |$view:ident| $given:ident = $prepare:expr, $body:expr
    ) => {{
        let array: &Bound<'_, PyAny> = $array;
        if let Ok($view) = array.extract::<$readonly<'_, f32>>() {
            let $given = $prepare;
            run($py, LONG, || Ok(Typed::F32(StructuredFloat::new($body?))))
        } else if let Ok($view) = array.extract::<$readonly<'_, i8>>() {
            let $given = $prepare;
            run($py, LONG, || Ok(Typed::I8($body?.into())))
        } else if let Ok($view) = array.extract::<$readonly<'_, u8>>() {
            let $given = $prepare;
            run($py, LONG, || Ok(Typed::U8($body?.into())))
        } else {
            Err(wrong_dtype(array, $name))
        }
    }};
}

/// Floats as weights, as they are laid out.
fn float_weights(laid_out: &LaidOut) -> Box<dyn Operand> {
    match laid_out {
        LaidOut::Bands(bands) => Box::new(BandsF32(Arc::clone(bands))),
        LaidOut::Csr(csr) => Box::new(SparseF32(Arc::clone(csr))),
    }
}

fn integers_only() -> PyErr {
    PyTypeError::new_err("weights are float32, or int8 with a scale")
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

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyNofM>()?;
    module.add_class::<PyBlocks>()
}
