//! Bindings of the exact int8 products.

use std::mem::MaybeUninit;
use std::ops::Range;

use numpy::{Element, PyArray1, PyArray2, PyArrayDyn, PyArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyTuple};
use qcore_kernels::gemm::{
    Int8, Integer, PackedI8, Right, ZeroPoint, matmul_integer, matmul_integer_uninit_with,
    matmul_integer_with,
};
use qcore_kernels::interrupt::Pace;
use qcore_kernels::isa;
use qcore_kernels::view::MatRef;

use crate::alone;
use crate::array::{NPY_BYTE, NPY_INT, NPY_UBYTE, Raw, empty, writable, zeros};
use crate::error::to_py;
use crate::run::{LONG, run};

/// The right operand of an exact integer product, laid out once for this CPU.
///
/// Made by `qcore.pack`; immutable. `np.asarray(p)` gives the matrix back.
#[pyclass(name = "PackedMatrix", module = "qcore", frozen)]
pub(crate) struct PyPackedMatrix {
    packed: PackedI8,
}

#[pymethods]
impl PyPackedMatrix {
    /// NumPy's operators would take the matrix as bytes, whose products wrap: they raise `TypeError`.
    #[classattr]
    fn __array_ufunc__() -> Option<i32> {
        None
    }

    #[new]
    fn new(py: Python<'_>, b: &Bound<'_, PyAny>) -> PyResult<Self> {
        let Some(matrix) = operand(b)? else {
            return Err(PyTypeError::new_err("b must be an int8 or uint8 matrix"));
        };
        let isa = isa::active().map_err(to_py)?;
        let work = matrix.rows().saturating_mul(matrix.cols());
        Ok(Self { packed: run(py, work, || PackedI8::new(isa, matrix))? })
    }

    /// (K, N).
    #[getter]
    fn shape(&self) -> (usize, usize) {
        (self.packed.k(), self.packed.n())
    }

    /// The number of axes: 2.
    #[getter]
    fn ndim(&self) -> usize {
        <[usize; 2]>::from(self.shape()).len()
    }

    /// The type of the matrix: int8 or uint8.
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        if self.packed.is_unsigned() {
            numpy::dtype::<u8>(py).into_any()
        } else {
            numpy::dtype::<i8>(py).into_any()
        }
    }

    /// Bytes in memory, as laid out.
    #[getter]
    fn nbytes(&self) -> usize {
        self.packed.nbytes()
    }

    /// The matrix, as `np.asarray` asks for it.
    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if copy == Some(false) {
            let text = "a packed matrix has to be unpacked: it has no array without a copy";
            return Err(PyValueError::new_err(text));
        }
        let array = if self.packed.is_unsigned() {
            unpacked::<u8>(py, &self.packed)?
        } else {
            unpacked::<i8>(py, &self.packed)?
        };
        match dtype {
            Some(dtype) => array.call_method1("astype", (dtype,)),
            None => Ok(array),
        }
    }

    fn __reduce__<'py>(
        slf: &Bound<'py, Self>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let py = slf.py();
        let array = slf.get().__array__(py, None, None)?;
        Ok((slf.get_type().into_any(), PyTuple::new(py, [array])?))
    }

    fn __repr__(&self) -> String {
        let kind = if self.packed.is_unsigned() { "uint8" } else { "int8" };
        let (k, n) = (self.packed.k(), self.packed.n());
        format!("PackedMatrix(({k}, {n}), {kind}, {} bytes)", self.packed.nbytes())
    }
}

fn unpacked<'py, T: Element + Byte>(
    py: Python<'py>,
    packed: &PackedI8,
) -> PyResult<Bound<'py, PyAny>> {
    let (k, n) = (packed.k(), packed.n());
    let array: Bound<'py, PyArray2<T>> = zeros(py, &[k, n])?;
    let mut view = array.try_readwrite()?;
    let slice = view.as_slice_mut()?;
    run(py, slice.len(), || {
        let mut pace = Pace::new();
        for (row, values) in slice.chunks_exact_mut(n.max(1)).enumerate() {
            pace.check(n)?;
            for (column, value) in values.iter_mut().enumerate() {
                *value = T::from_value(packed.get(row, column));
            }
        }
        Ok(())
    })?;
    drop(view);
    Ok(array.into_any())
}

/// int8 and uint8.
trait Byte: Send {
    fn from_value(value: i32) -> Self;
}

impl Byte for i8 {
    fn from_value(value: i32) -> Self {
        value as i8
    }
}

impl Byte for u8 {
    fn from_value(value: i32) -> Self {
        value as u8
    }
}

/// A two-dimensional int8 or uint8 array of any strides, as the kernels take it.
fn operand<'a>(array: &'a Bound<'_, PyAny>) -> PyResult<Option<Int8<'a>>> {
    let Some(array) = Raw::new(array) else { return Ok(None) };
    let (&[rows, cols], &[row_stride, col_stride]) = (array.shape, array.strides) else {
        return Ok(None);
    };
    // SAFETY: NumPy vouches for every element within shape and strides, which count bytes; a byte
    // needs no alignment; the array is alive while it is borrowed. Others may write to it only where
    // they would race with NumPy's own functions too.
    unsafe {
        match array.kind {
            NPY_BYTE => {
                let data = array.data().cast::<i8>();
                let matrix = MatRef::from_raw(data, rows, cols, row_stride, col_stride);
                Ok(Some(matrix.map_err(to_py)?.into()))
            }
            NPY_UBYTE => {
                let matrix = MatRef::from_raw(array.data(), rows, cols, row_stride, col_stride);
                Ok(Some(matrix.map_err(to_py)?.into()))
            }
            _ => Ok(None),
        }
    }
}

/// The right operand, packed or not.
fn right<'a>(b: &'a Bound<'_, PyAny>) -> PyResult<Option<Right<'a>>> {
    match b.cast::<PyPackedMatrix>() {
        Ok(packed) => Ok(Some(Right::Packed(&packed.get().packed))),
        Err(_) => Ok(operand(b)?.map(Right::Matrix)),
    }
}

fn right_shape(b: &Right<'_>) -> (usize, usize) {
    (b.k(), b.n())
}

/// The plain case of `matmul_integer` with as little as can be between the caller and the kernel:
/// two matrices and zero points that are numbers, to an int32 matrix, `out` or a new one. None where
/// anything is out of the ordinary, for the long way to take or refuse.
#[pyfunction]
fn matmul_integer_plain<'py>(
    py: Python<'py>,
    a: &Bound<'py, PyAny>,
    b: &Bound<'py, PyAny>,
    a_zero_point: &Bound<'py, PyAny>,
    b_zero_point: &Bound<'py, PyAny>,
    target: Option<&Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let (Some(a), Some(b)) = (operand(a)?, right(b)?) else { return Ok(None) };
    let (Some(za), Some(zb)) = (zero_of(a_zero_point), zero_of(b_zero_point)) else {
        return Ok(None);
    };
    let (m, (k, n)) = (a.rows(), right_shape(&b));
    if a.cols() != k {
        return Ok(None);
    }
    let isa = isa::active().map_err(to_py)?;
    // In steps of a vector, of which each costs as much as one of other operations.
    let work = m.saturating_mul(n).saturating_mul(k) / 16;
    let points = (ZeroPoint::One(za), ZeroPoint::One(zb));
    if let Some(target) = target {
        let Some(found) = Raw::new(target) else { return Ok(None) };
        let inputs =
            [Some(extent(&a)), if let Right::Matrix(b) = &b { Some(extent(b)) } else { None }];
        let own = found.data().addr()..found.data().addr() + found.len() * size_of::<i32>();
        let apart =
            inputs.iter().flatten().all(|other| other.end <= own.start || own.end <= other.start);
        if found.shape != [m, n] || !apart {
            return Ok(None);
        }
        // SAFETY: NPY_INT is the number of i32, and the memory is apart from that of the operands.
        let Some(out) = (unsafe { found.slice_mut::<i32>(NPY_INT) }) else { return Ok(None) };
        run(py, work, || matmul_integer_with(isa, a, b, points.0, points.1, out))?;
        return Ok(Some(target.clone()));
    }
    // SAFETY: every element is written below before anyone can read it, or the array is dropped.
    let array: Bound<'py, PyArray2<i32>> = unsafe { empty(py, &[m, n])? };
    // SAFETY: the array is new: m * n elements, contiguous, aligned, and nobody else's.
    let out: &mut [MaybeUninit<i32>] =
        unsafe { std::slice::from_raw_parts_mut(array.data().cast(), m * n) };
    run(py, work, || matmul_integer_uninit_with(isa, a, b, points.0, points.1, out))?;
    Ok(Some(array.into_any()))
}

/// The best time of the kernel of `a @ b` alone, in seconds, of so many rounds.
#[pyfunction]
fn matmul_alone(
    py: Python<'_>,
    a: &Bound<'_, PyAny>,
    b: &Bound<'_, PyAny>,
    rounds: usize,
) -> PyResult<f64> {
    let (Some(a), Some(b)) = (operand(a)?, right(b)?) else {
        return Err(PyTypeError::new_err("a and b must be int8 or uint8 matrices"));
    };
    alone::matmul(py, a, b, rounds)
}

/// The addresses that a matrix of bytes lies between.
fn extent(matrix: &Int8<'_>) -> Range<usize> {
    let (first, strides) = match matrix {
        Int8::I8(m) => {
            (m.as_ptr().addr(), [(m.rows(), m.row_stride()), (m.cols(), m.col_stride())])
        }
        Int8::U8(m) => {
            (m.as_ptr().addr(), [(m.rows(), m.row_stride()), (m.cols(), m.col_stride())])
        }
    };
    let (mut low, mut high) = (0_isize, 1_isize);
    for (count, stride) in strides {
        if count == 0 {
            return first..first;
        }
        let reach = (count as isize - 1) * stride;
        low += reach.min(0);
        high += reach.max(0);
    }
    first.wrapping_add_signed(low)..first.wrapping_add_signed(high)
}

/// A zero point that is an integer; truth is none.
fn zero_of(value: &Bound<'_, PyAny>) -> Option<i32> {
    if value.is_instance_of::<PyBool>() { None } else { value.extract().ok() }
}

/// Writes the exact product into `out`, C-contiguous int32 or int64 (m, n). Zero points are int32
/// arrays of one element, or one for each row of `a` or column of `b`.
#[pyfunction(name = "matmul_integer")]
fn matmul_integer_general(
    py: Python<'_>,
    a: &Bound<'_, PyAny>,
    b: &Bound<'_, PyAny>,
    a_zero_point: &Bound<'_, PyArray1<i32>>,
    b_zero_point: &Bound<'_, PyArray1<i32>>,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (Some(a), Some(b)) = (operand(a)?, right(b)?) else {
        return Err(PyTypeError::new_err("a and b must be int8 or uint8 matrices"));
    };
    let (za, zb) = (a_zero_point.try_readonly()?, b_zero_point.try_readonly()?);
    let (za, zb) = (zero_point(za.as_slice()?), zero_point(zb.as_slice()?));
    if out.cast::<PyArrayDyn<i64>>().is_ok() {
        return into::<i64>(py, a, b, za, zb, out);
    }
    into::<i32>(py, a, b, za, zb, out)
}

fn into<T: Integer + Element>(
    py: Python<'_>,
    a: Int8<'_>,
    b: Right<'_>,
    za: ZeroPoint<'_>,
    zb: ZeroPoint<'_>,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let mut out = writable::<T>(out, "out")?;
    let out = crate::array::slice_mut(&mut out, "out")?;
    run(py, LONG, || matmul_integer(a, b, za, zb, out))
}

fn zero_point(values: &[i32]) -> ZeroPoint<'_> {
    match values {
        [one] => ZeroPoint::One(*one),
        each => ZeroPoint::Each(each),
    }
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyPackedMatrix>()?;
    module.add_function(wrap_pyfunction!(matmul_alone, module)?)?;
    module.add_function(wrap_pyfunction!(matmul_integer_plain, module)?)?;
    module.add_function(wrap_pyfunction!(matmul_integer_general, module)?)
}
