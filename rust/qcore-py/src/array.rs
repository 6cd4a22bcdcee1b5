//! NumPy arrays as slices: the buffer edge.
//!
//! The Python side hands over C-contiguous, aligned arrays of native byte order; what is not so is
//! refused here, not misread. Borrows go through rust-numpy's run-time checks, so an array cannot be
//! read and written at once.

use numpy::ndarray::Dimension;
use numpy::npyffi::PY_ARRAY_API;
use numpy::{
    BorrowError, Element, PyArray, PyArray1, PyArrayDescrMethods, PyArrayDyn, PyArrayMethods,
    PyReadonlyArrayDyn, PyReadwriteArrayDyn, PyUntypedArray, PyUntypedArrayMethods,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use qcore_kernels::memory;

use crate::error::to_py;

/// The elements of a C-contiguous array.
pub(crate) fn slice<'a, T: Element>(
    array: &'a PyReadonlyArrayDyn<'_, T>,
    name: &str,
) -> PyResult<&'a [T]> {
    // as_slice takes Fortran's order too.
    match array.as_slice() {
        Ok(slice) if array.is_c_contiguous() => Ok(slice),
        _ => Err(PyValueError::new_err(format!("{name} is not C-contiguous"))),
    }
}

/// The elements of a writable C-contiguous array.
pub(crate) fn slice_mut<'a, T: Element>(
    array: &'a mut PyReadwriteArrayDyn<'_, T>,
    name: &str,
) -> PyResult<&'a mut [T]> {
    if !array.is_c_contiguous() {
        return Err(PyValueError::new_err(format!("{name} is not C-contiguous")));
    }
    array.as_slice_mut().map_err(|_| PyValueError::new_err(format!("{name} is not C-contiguous")))
}

/// An array as NumPy keeps it, for calls too short to be borrowed the long way.
#[derive(Clone, Copy)]
pub(crate) struct Raw<'a> {
    /// The number of its type: one of the `NPY_` constants.
    pub(crate) kind: i32,
    pub(crate) shape: &'a [usize],
    /// In bytes.
    pub(crate) strides: &'a [isize],
    data: *mut u8,
    flags: i32,
    native: bool,
}

/// Numbers of NumPy's types and bits of its flags: parts of its stable interface.
pub(crate) const NPY_BYTE: i32 = 1;
pub(crate) const NPY_UBYTE: i32 = 2;
pub(crate) const NPY_INT: i32 = 5;
pub(crate) const NPY_FLOAT: i32 = 11;
const C_CONTIGUOUS: i32 = 1;
const ALIGNED: i32 = 0x100;
const WRITEABLE: i32 = 0x400;

impl<'a> Raw<'a> {
    /// The array, if `object` is one.
    pub(crate) fn new(object: &'a Bound<'_, PyAny>) -> Option<Self> {
        let array = object.cast::<PyUntypedArray>().ok()?;
        // SAFETY: an array object is alive while it is borrowed, and these are its own fields.
        let (data, flags) = unsafe {
            let fields = &(*array.as_array_ptr()).fields;
            (fields.data.cast(), fields.flags)
        };
        let dtype = array.dtype();
        let (kind, native) = (dtype.num(), dtype.is_native_byteorder() != Some(false));
        Some(Self { kind, shape: array.shape(), strides: array.strides(), data, flags, native })
    }

    /// Where element 0 is.
    pub(crate) fn data(&self) -> *mut u8 {
        self.data
    }

    /// How many elements there are.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The elements of a C-contiguous, aligned array of a type in native byte order.
    ///
    /// # Safety
    /// `kind` is the number of `T`, and nothing writes to the array meanwhile but what would race
    /// with NumPy's own functions too.
    pub(crate) unsafe fn slice<T: Element>(&self, kind: i32) -> Option<&'a [T]> {
        let wanted = C_CONTIGUOUS | ALIGNED;
        if self.kind != kind || self.flags & wanted != wanted || !self.native {
            return None;
        }
        // SAFETY: NumPy vouches for the elements; an empty array has a data pointer too.
        Some(unsafe { std::slice::from_raw_parts(self.data.cast(), self.len()) })
    }

    /// The elements of a C-contiguous, aligned, writable array.
    ///
    /// # Safety
    /// As [`Raw::slice`]; and nothing else refers to the elements meanwhile.
    pub(crate) unsafe fn slice_mut<T: Element>(&self, kind: i32) -> Option<&'a mut [T]> {
        let wanted = C_CONTIGUOUS | ALIGNED | WRITEABLE;
        if self.kind != kind || self.flags & wanted != wanted || !self.native {
            return None;
        }
        // SAFETY: as above; the caller vouches that there is no other reference.
        Some(unsafe { std::slice::from_raw_parts_mut(self.data.cast(), self.len()) })
    }

    /// The bytes of a C-contiguous, aligned array in native byte order, of elements of this size.
    pub(crate) fn bytes(&self, size: usize) -> Option<&'a [u8]> {
        let wanted = C_CONTIGUOUS | ALIGNED;
        if self.flags & wanted != wanted || !self.native {
            return None;
        }
        // SAFETY: NumPy vouches for the elements, which have no gaps; that nothing writes to them
        // meanwhile is the bargain of every NumPy function.
        Some(unsafe { std::slice::from_raw_parts(self.data, self.len() * size) })
    }

    /// The bytes of a C-contiguous, aligned, writable array, of elements of this size.
    ///
    /// # Safety
    /// Nothing else refers to the elements meanwhile.
    pub(crate) unsafe fn bytes_mut(&self, size: usize) -> Option<&'a mut [u8]> {
        let wanted = C_CONTIGUOUS | ALIGNED | WRITEABLE;
        if self.flags & wanted != wanted || !self.native {
            return None;
        }
        // SAFETY: as above; the caller vouches that there is no other reference.
        Some(unsafe { std::slice::from_raw_parts_mut(self.data, self.len() * size) })
    }

    /// Whether two C-contiguous arrays share no memory.
    pub(crate) fn is_apart(&self, size: usize, other: &Raw<'_>, other_size: usize) -> bool {
        let (mine, theirs) = (self.data.addr(), other.data.addr());
        mine + self.len() * size <= theirs || theirs + other.len() * other_size <= mine
    }
}

/// An array of type `T` to read, or an error that names it.
pub(crate) fn readonly<'py, T: Element>(
    array: &Bound<'py, PyAny>,
    name: &str,
) -> PyResult<PyReadonlyArrayDyn<'py, T>> {
    array.extract().map_err(|_| wrong_dtype(array, name))
}

/// Whether another call writes to an array, or reads it while it may be written.
fn is_busy(array: &Bound<'_, PyAny>) -> bool {
    let Ok(array) = array.cast::<PyUntypedArray>() else { return false };
    macro_rules! busy_as {
        ($($type:ty)+) => {
            $(if let Ok(array) = array.cast::<PyArrayDyn<$type>>() {
                let writable = matches!(array.try_readwrite(), Err(BorrowError::AlreadyBorrowed));
                return writable;
            })+
        };
    }
    busy_as!(f32 f64 half::f16 i8 u8 i16 u16 i32 u32 i64 u64 bool);
    false
}

fn busy(name: &str) -> PyErr {
    PyValueError::new_err(format!(
        "{name} is in use: another thread's call writes to its memory, or reads what would be written"
    ))
}

/// A writable array of type `T`, or an error that names it.
pub(crate) fn writable<'py, T: Element>(
    array: &Bound<'py, PyAny>,
    name: &str,
) -> PyResult<PyReadwriteArrayDyn<'py, T>> {
    array.extract().map_err(|_| {
        if is_busy(array) {
            return busy(name);
        }
        PyTypeError::new_err(format!("{name} is read-only or of another dtype"))
    })
}

/// A new array, C-contiguous, of elements that are still to be written; an error where there is no
/// memory for it.
fn unwritten<'py, T: Element, D: Dimension>(
    py: Python<'py>,
    shape: &[usize],
    zeroed: bool,
) -> PyResult<Bound<'py, PyArray<T, D>>> {
    let elements = memory::size(shape).map_err(to_py)?;
    memory::admit(memory::size(&[elements, size_of::<T>()]).map_err(to_py)?).map_err(to_py)?;
    let rank = shape.len() as i32;
    let dims = shape.as_ptr().cast_mut().cast();
    let dtype = T::get_dtype(py).into_dtype_ptr();
    // SAFETY: NumPy copies the dimensions, as many as there are, and takes the reference to the type;
    // what it returns is a new array of this type and rank, or null with an exception set.
    unsafe {
        let array = if zeroed {
            PY_ARRAY_API.PyArray_Zeros(py, rank, dims, dtype, 0)
        } else {
            PY_ARRAY_API.PyArray_Empty(py, rank, dims, dtype, 0)
        };
        Ok(Bound::from_owned_ptr_or_err(py, array)?.cast_into_unchecked())
    }
}

/// A new array of zeros.
pub(crate) fn zeros<'py, T: Element, D: Dimension>(
    py: Python<'py>,
    shape: &[usize],
) -> PyResult<Bound<'py, PyArray<T, D>>> {
    unwritten(py, shape, true)
}

/// A new array of which every element is still to be written.
///
/// # Safety
/// Nobody reads an element before it is written.
pub(crate) unsafe fn empty<'py, T: Element, D: Dimension>(
    py: Python<'py>,
    shape: &[usize],
) -> PyResult<Bound<'py, PyArray<T, D>>> {
    unwritten(py, shape, false)
}

/// A copy of elements as an array of one axis.
pub(crate) fn copy_of<'py, T: Element + Copy>(
    py: Python<'py>,
    values: &[T],
) -> PyResult<Bound<'py, PyArray1<T>>> {
    let values = memory::copied(values).map_err(to_py)?;
    Ok(PyArray1::from_vec(py, values))
}

/// The error for an array whose dtype no kernel takes, or that is in use by another thread's call.
pub(crate) fn wrong_dtype(array: &Bound<'_, PyAny>, name: &str) -> PyErr {
    if is_busy(array) {
        return busy(name);
    }
    let found = array.getattr("dtype").map_or_else(|_| "no array".into(), |d| d.to_string());
    PyTypeError::new_err(format!("{name} has dtype {found}, which this operation does not take"))
}

/// Runs `$body` with `$view` bound to a read-only view of `$array`, whichever of the types it has.
macro_rules! with_readonly {
    ($array:expr, $name:literal, [$($type:ty),+], |$view:ident| $body:expr) => {{
        let array: &pyo3::Bound<'_, pyo3::PyAny> = $array;
        $(
            if let Ok($view) = array.extract::<numpy::PyReadonlyArrayDyn<'_, $type>>() {
                $body
            } else
        )+
        { Err($crate::array::wrong_dtype(array, $name)) }
    }};
}

/// Runs `$body` with `$view` bound to a writable view of `$array`, whichever of the types it has.
macro_rules! with_writable {
    ($array:expr, $name:literal, [$($type:ty),+], |$view:ident| $body:expr) => {{
        let array: &pyo3::Bound<'_, pyo3::PyAny> = $array;
        $(
            if let Ok(mut $view) = array.extract::<numpy::PyReadwriteArrayDyn<'_, $type>>() {
                $body
            } else
        )+
        { Err($crate::array::wrong_dtype(array, $name)) }
    }};
}

pub(crate) use {with_readonly, with_writable};
