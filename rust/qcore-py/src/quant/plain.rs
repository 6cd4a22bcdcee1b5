//! The plain cases of `quantize` and `dequantize`, with as little as can be before the kernel.

use std::sync::{Mutex, PoisonError};

use numpy::ndarray::{ArrayView0, IxDyn};
use numpy::npyffi::{NpyTypes, PY_ARRAY_API, get_type_object};
use numpy::{Element, PyArray0, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt};
use qcore_kernels::quant::{self, Code, Counts, Layout, Params};

use crate::array::{NPY_BYTE, NPY_FLOAT, NPY_INT, NPY_UBYTE, Raw, zeros};
use crate::run::run;

/// The plain case of `quantize`: float32, codes of at most 8 bits, one scale, given or found from the
/// greatest magnitude. Returns codes, scale, zero point, how many values saturated and whether the
/// range is narrow; None where anything is out of the ordinary, for the long way to take or refuse.
#[pyfunction]
fn quantize_plain<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    bits: &Bound<'py, PyAny>,
    signed: &Bound<'py, PyAny>,
    symmetric: &Bound<'py, PyAny>,
    narrow_range: &Bound<'py, PyAny>,
    scale: &Bound<'py, PyAny>,
    zero_point: &Bound<'py, PyAny>,
    out: Option<&Bound<'py, PyAny>>,
) -> PyResult<Option<Plain<'py>>> {
    let given = if scale.is_none() {
        None
    } else {
        let Some(step) = one_scale(scale) else { return Ok(None) };
        Some(step)
    };
    let Some(from) = Raw::new(x) else { return Ok(None) };
    let (Some(signed), Some(symmetric), Some(narrow)) =
        (flag(signed), optional_flag(symmetric), optional_flag(narrow_range))
    else {
        return Ok(None);
    };
    let Some(bits @ 2..=8) = integer(bits) else { return Ok(None) };
    // A range that is found is symmetric, and then signed codes leave out the least.
    let found = given.is_none();
    if found && (!zero_point.is_none() || symmetric == Some(false)) {
        return Ok(None);
    }
    let narrow = narrow.unwrap_or(found && signed);
    let half = 1 << (bits - 1);
    let (min, max) = if signed { (-half, half - 1) } else { (0, 2 * half - 1) };
    let min = min + i32::from(narrow);
    let zero_point = if !zero_point.is_none() {
        integer(zero_point)
    } else if signed || symmetric == Some(false) {
        Some(0)
    } else {
        Some(half)
    };
    let Some(zero_point) = zero_point else { return Ok(None) };
    let within = (min..=max).contains(&zero_point);
    // SAFETY: the array is alive, and only read.
    let values = unsafe { from.slice::<f32>(NPY_FLOAT) };
    let (true, Some(values)) = (within, values) else { return Ok(None) };
    let codes = match out {
        Some(out) => out.clone(),
        None if signed => zeros::<i8, IxDyn>(py, from.shape)?.into_any(),
        None => zeros::<u8, IxDyn>(py, from.shape)?.into_any(),
    };
    let Some(into) = Raw::new(&codes) else { return Ok(None) };
    if into.shape != from.shape || !into.is_apart(1, &from, 4) {
        return Ok(None);
    }
    let step = match given {
        Some(step) => step,
        None => match symmetric_step(py, values, max - min)? {
            Some(step) => step,
            None => return Ok(None),
        },
    };
    let (scales, zeros) = ([step], [zero_point]);
    let params = Params { layout: Layout::Tensor, scale: &scales, zero_point: &zeros, min, max };
    // SAFETY: the codes share no memory with x, and nothing else here refers to them.
    let counts = unsafe {
        if signed {
            into.slice_mut::<i8>(NPY_BYTE).map(|into| plain(py, values, params, into))
        } else {
            into.slice_mut::<u8>(NPY_UBYTE).map(|into| plain(py, values, params, into))
        }
    };
    let Some(counts) = counts.transpose()? else { return Ok(None) };
    if counts.nan > 0 {
        return Ok(None);
    }
    if out.is_none() {
        codes.call_method1("setflags", (false,))?;
    }
    let (scale, zero) = constants(py, step, zero_point)?;
    Ok(Some((codes, scale, zero, counts.clipped, narrow)))
}

/// The parts of a tensor that `quantize_plain` makes.
type Plain<'py> = (Bound<'py, PyAny>, Py<PyArray0<f32>>, Py<PyArray0<i32>>, usize, bool);

/// Python's own True or False.
fn flag(value: &Bound<'_, PyAny>) -> Option<bool> {
    Some(value.cast_exact::<PyBool>().ok()?.is_true())
}

/// The same, or None within: nothing was said.
#[allow(clippy::option_option, reason = "neither a flag nor None is the third case")]
fn optional_flag(value: &Bound<'_, PyAny>) -> Option<Option<bool>> {
    if value.is_none() { Some(None) } else { flag(value).map(Some) }
}

/// Python's own int, if it is a small one.
fn integer(value: &Bound<'_, PyAny>) -> Option<i32> {
    value.cast_exact::<PyInt>().ok()?.extract().ok()
}

/// Quantizes without the GIL, where that pays: letting it go and taking it again costs as much as a
/// thousand elements.
fn plain<C: Code>(
    py: Python<'_>,
    from: &[f32],
    params: Params<'_>,
    into: &mut [C],
) -> PyResult<Counts> {
    run(py, from.len(), || quant::quantize(from, params, into))
}

/// The scale with which the greatest finite magnitude has one of the two outermost of codes that are
/// `span` apart, as `qparams_from_range` computes it; none if a value is NaN.
fn symmetric_step(py: Python<'_>, values: &[f32], span: i32) -> PyResult<Option<f32>> {
    let ranges = run(py, values.len(), || quant::ranges(values, Layout::Tensor))?;
    let Some(range) = ranges.first() else { return Ok(None) };
    let step = range.absmax() as f32 / (span as f32 / 2.0);
    let usable = step >= f32::MIN_POSITIVE && step.is_finite();
    Ok((range.nan == 0).then_some(if usable { step } else { 1.0 }))
}

/// A scale that is a number, or a float32 array of no dimensions, and fit to divide by.
fn one_scale(scale: &Bound<'_, PyAny>) -> Option<f32> {
    let value = if let Some(array) = Raw::new(scale) {
        // SAFETY: the array is alive, and only read.
        let values = unsafe { array.slice::<f32>(NPY_FLOAT) };
        if !array.shape.is_empty() {
            return None;
        }
        *values?.first()?
    } else if let Some(value) = float32_scalar(scale) {
        value
    } else {
        // Python's own numbers, and NumPy's float64, which is one. Whatever else has a float in it
        // (texts, dates, complex numbers, truth) is for the long way to refuse.
        if scale.is_instance_of::<PyFloat>() || scale.is_exact_instance_of::<PyInt>() {
            scale.extract::<f64>().ok()? as f32
        } else {
            return None;
        }
    };
    (value.is_finite() && value > 0.0).then_some(value)
}

/// NumPy's own float32 scalar: read at once, not by way of Python's float.
fn float32_scalar(value: &Bound<'_, PyAny>) -> Option<f32> {
    let py = value.py();
    let mut found = 0.0_f32;
    // SAFETY: NumPy's type object lives as long as NumPy; a scalar of exactly this type holds a float32,
    // for which there is room.
    unsafe {
        let kind = get_type_object(py, NpyTypes::PyFloatArrType_Type);
        if value.get_type_ptr() != kind {
            return None;
        }
        PY_ARRAY_API.PyArray_ScalarAsCtype(py, value.as_ptr(), (&raw mut found).cast());
    }
    Some(found)
}

/// Read-only arrays of no dimensions of a scale and a zero point. Streams of tensors share theirs, so
/// the last pair is kept.
fn constants(py: Python<'_>, scale: f32, zero: i32) -> PyResult<Constants> {
    static LAST: Mutex<Option<(u32, i32, Constants)>> = Mutex::new(None);
    let last = || LAST.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
    if let Some((bits, code, (scales, zeros))) = &*last()
        && *bits == scale.to_bits()
        && *code == zero
    {
        return Ok((scales.clone_ref(py), zeros.clone_ref(py)));
    }
    let scales = constant(py, scale, scale.to_ne_bytes())?.unbind();
    let zeros = constant(py, zero, zero.to_ne_bytes())?.unbind();
    let kept = (scales.clone_ref(py), zeros.clone_ref(py));
    let before = last().replace((scale.to_bits(), zero, kept));
    drop(before);
    Ok((scales, zeros))
}

/// A scale and a zero point.
type Constants = (Py<PyArray0<f32>>, Py<PyArray0<i32>>);

/// An array of no dimensions, over bytes of Python's own: nobody can make it writeable.
fn constant<T: Element>(
    py: Python<'_>,
    value: T,
    bytes: [u8; 4],
) -> PyResult<Bound<'_, PyArray0<T>>> {
    let owner = PyBytes::new(py, &bytes);
    let first = owner.as_bytes().as_ptr().cast::<T>();
    if size_of::<T>() != bytes.len() || !first.is_aligned() {
        let array: Bound<'_, PyArray0<T>> = zeros(py, &[])?;
        let mut view = array.try_readwrite()?;
        if let Some(only) = view.get_mut([]) {
            *only = value;
        }
        view.make_nonwriteable();
        return Ok(array);
    }
    // SAFETY: the bytes are those of a T, aligned, and live and stay as they are while the array does,
    // which holds on to them and is made read-only at once.
    let array = unsafe {
        let view = ArrayView0::from_shape_ptr((), first);
        PyArray0::borrow_from_array(&view, owner.into_any())
    };
    array.try_readwrite()?.make_nonwriteable();
    Ok(array)
}

/// The plain case of `dequantize`: 8-bit codes of one scale to float32, into `out` or a new array.
/// None where anything is out of the ordinary, for the long way to take or refuse.
#[pyfunction]
fn dequantize_plain<'py>(
    py: Python<'py>,
    codes: &Bound<'py, PyAny>,
    scale: &Bound<'py, PyAny>,
    zero_point: &Bound<'py, PyAny>,
    out: Option<&Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let (Some(step), Some(from), Some(zero)) =
        (one_scale(scale), Raw::new(codes), Raw::new(zero_point))
    else {
        return Ok(None);
    };
    // SAFETY: the array is alive, and only read.
    let Some([zero]) = (unsafe { zero.slice::<i32>(NPY_INT) }) else { return Ok(None) };
    let real = match out {
        Some(out) => out.clone(),
        None => zeros::<f32, IxDyn>(py, from.shape)?.into_any(),
    };
    let Some(into) = Raw::new(&real) else { return Ok(None) };
    if into.shape != from.shape || !into.is_apart(4, &from, 1) {
        return Ok(None);
    }
    let (scales, zeros) = ([step], [*zero]);
    let params =
        Params { layout: Layout::Tensor, scale: &scales, zero_point: &zeros, min: 0, max: 0 };
    // SAFETY: the result shares no memory with the codes, and nothing else here refers to it.
    let Some(into) = (unsafe { into.slice_mut::<f32>(NPY_FLOAT) }) else { return Ok(None) };
    // SAFETY: the array is alive, and only read.
    let done = unsafe {
        if let Some(from) = from.slice::<i8>(NPY_BYTE) {
            real_values(py, from, params, into)
        } else if let Some(from) = from.slice::<u8>(NPY_UBYTE) {
            real_values(py, from, params, into)
        } else {
            return Ok(None);
        }
    };
    done?;
    Ok(Some(real))
}

/// Decodes without the GIL, where that pays.
fn real_values<C: Code>(
    py: Python<'_>,
    from: &[C],
    params: Params<'_>,
    into: &mut [f32],
) -> PyResult<()> {
    run(py, from.len(), || quant::dequantize(from, params, into))
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(dequantize_plain, module)?)?;
    module.add_function(wrap_pyfunction!(quantize_plain, module)?)
}
