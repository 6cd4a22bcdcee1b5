//! Bindings of the `quant` room.

use std::sync::{Mutex, PoisonError};

use half::f16;
use numpy::ndarray::{ArrayView0, IxDyn};
use numpy::npyffi::{NpyTypes, PY_ARRAY_API, get_type_object};
use numpy::{Element, PyArray0, PyArray1, PyArrayMethods, PyReadonlyArrayDyn};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt};
use qcore_kernels::memory;
use qcore_kernels::quant::{self, Code, Counts, Layout, Params};

use crate::array::{
    NPY_BYTE, NPY_FLOAT, NPY_INT, NPY_UBYTE, Raw, slice, slice_mut, with_readonly, with_writable,
    writable, zeros,
};
use crate::error::to_py;
use crate::run::{LONG, run};

/// How elements share scales, as the Python side says it: `axis=(channels, inner)` or
/// `groups=(row, group)` or neither.
pub(crate) type Pair = Option<(usize, usize)>;

pub(crate) fn layout(axis: Pair, groups: Pair) -> Layout {
    match (axis, groups) {
        (Some((channels, inner)), _) => Layout::Axis { channels, inner },
        (None, Some((row, group))) => Layout::Groups { row, group },
        (None, None) => Layout::Tensor,
    }
}

/// Quantizes `x` into `out`; returns how many values saturated and how many were NaN.
#[pyfunction]
#[pyo3(signature = (x, scale, zero_point, low, high, out, axis=None, groups=None))]
fn quantize(
    py: Python<'_>,
    x: &Bound<'_, PyAny>,
    scale: PyReadonlyArrayDyn<'_, f32>,
    zero_point: PyReadonlyArrayDyn<'_, i32>,
    low: i32,
    high: i32,
    out: &Bound<'_, PyAny>,
    axis: Pair,
    groups: Pair,
) -> PyResult<(usize, usize)> {
    let scale = slice(&scale, "scale")?;
    let zero_point = slice(&zero_point, "zero_point")?;
    let params = Params { layout: layout(axis, groups), scale, zero_point, min: low, max: high };
    with_readonly!(x, "x", [f32, f64, f16], |x| {
        let x = slice(&x, "x")?;
        with_writable!(out, "out", [i8, u8, i16, u16], |out| {
            let out = slice_mut(&mut out, "out")?;
            let counts = run(py, LONG, || quant::quantize(x, params, out))?;
            Ok((counts.clipped, counts.nan))
        })
    })
}

/// `quantize` with stochastic rounding, of random numbers that `seed` and the index give.
#[pyfunction]
#[pyo3(signature = (x, scale, zero_point, low, high, seed, out, axis=None, groups=None))]
fn stochastic_quantize(
    py: Python<'_>,
    x: &Bound<'_, PyAny>,
    scale: PyReadonlyArrayDyn<'_, f32>,
    zero_point: PyReadonlyArrayDyn<'_, i32>,
    low: i32,
    high: i32,
    seed: u64,
    out: &Bound<'_, PyAny>,
    axis: Pair,
    groups: Pair,
) -> PyResult<(usize, usize)> {
    let scale = slice(&scale, "scale")?;
    let zero_point = slice(&zero_point, "zero_point")?;
    let params = Params { layout: layout(axis, groups), scale, zero_point, min: low, max: high };
    with_readonly!(x, "x", [f32, f64, f16], |x| {
        let x = slice(&x, "x")?;
        with_writable!(out, "out", [i8, u8, i16, u16], |out| {
            let out = slice_mut(&mut out, "out")?;
            let operation = || quant::stochastic_quantize(x, params, seed, out);
            let counts = run(py, LONG, operation)?;
            Ok((counts.clipped, counts.nan))
        })
    })
}

/// The plain case of `quantize` with as little as can be between the caller and the kernel: float32,
/// codes of at most 8 bits, one scale that is given. Returns codes, scale, zero point, how many values
/// saturated and whether the range is narrow; None where anything is out of the ordinary, for the long
/// way to take or refuse.
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
    let Some(step) = one_scale(scale) else { return Ok(None) };
    let Some(from) = Raw::new(x) else { return Ok(None) };
    let (Some(signed), Some(symmetric), Some(narrow)) =
        (flag(signed), optional_flag(symmetric), optional_flag(narrow_range))
    else {
        return Ok(None);
    };
    let Some(bits @ 2..=8) = integer(bits) else { return Ok(None) };
    let narrow = narrow == Some(true);
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

/// Symmetric codes of groups with a scale of each group's own: fills `out`, and returns the scales;
/// None where a group is out of the ordinary.
#[pyfunction]
fn quantize_groups<'py>(
    py: Python<'py>,
    x: PyReadonlyArrayDyn<'py, f32>,
    groups: (usize, usize),
    greatest: f32,
    half: bool,
    out: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyArray1<f32>>>> {
    let x = slice(&x, "x")?;
    let mut out = writable::<i8>(out, "out")?;
    let out = slice_mut(&mut out, "out")?;
    let how = quant::Grouped { row: groups.0, group: groups.1, greatest, half };
    let scales = run(py, LONG, || quant::quantize_groups(x, how, out))?;
    Ok(scales.map(|scales| PyArray1::from_vec(py, scales)))
}

/// Decodes `codes` into the float array `out`.
#[pyfunction]
#[pyo3(signature = (codes, scale, zero_point, out, axis=None, groups=None))]
fn dequantize(
    py: Python<'_>,
    codes: &Bound<'_, PyAny>,
    scale: PyReadonlyArrayDyn<'_, f32>,
    zero_point: PyReadonlyArrayDyn<'_, i32>,
    out: &Bound<'_, PyAny>,
    axis: Pair,
    groups: Pair,
) -> PyResult<()> {
    let scale = slice(&scale, "scale")?;
    let zero_point = slice(&zero_point, "zero_point")?;
    // The range plays no part in decoding.
    let params = Params { layout: layout(axis, groups), scale, zero_point, min: 0, max: 0 };
    with_readonly!(codes, "codes", [i8, u8, i16, u16], |codes| {
        let codes = slice(&codes, "codes")?;
        with_writable!(out, "out", [f32, f64, f16], |out| {
            let out = slice_mut(&mut out, "out")?;
            run(py, LONG, || quant::dequantize(codes, params, out))
        })
    })
}

/// Writes what `x` decodes to after quantization into `out`, and the straight-through mask, 1 where
/// a value did not saturate, into `inside`.
#[pyfunction]
#[pyo3(signature = (x, scale, zero_point, low, high, out, inside=None, axis=None, groups=None))]
fn fake_quantize(
    py: Python<'_>,
    x: PyReadonlyArrayDyn<'_, f32>,
    scale: PyReadonlyArrayDyn<'_, f32>,
    zero_point: PyReadonlyArrayDyn<'_, i32>,
    low: i32,
    high: i32,
    out: &Bound<'_, PyAny>,
    inside: Option<&Bound<'_, PyAny>>,
    axis: Pair,
    groups: Pair,
) -> PyResult<()> {
    let scale = slice(&scale, "scale")?;
    let zero_point = slice(&zero_point, "zero_point")?;
    let params = Params { layout: layout(axis, groups), scale, zero_point, min: low, max: high };
    let x = slice(&x, "x")?;
    let mut out = writable::<f32>(out, "out")?;
    let out = slice_mut(&mut out, "out")?;
    let mut inside = inside.map(|array| writable::<f32>(array, "inside")).transpose()?;
    let inside = inside.as_mut().map(|array| slice_mut(array, "inside")).transpose()?;
    run(py, LONG, || quant::fake_quantize(x, params, out, inside))
}

/// Writes what each row of the matrix `x` decodes to into `out`, quantized as a network with
/// dynamic activations quantizes it.
#[pyfunction]
fn fake_quantize_rows(
    py: Python<'_>,
    x: PyReadonlyArrayDyn<'_, f32>,
    row: usize,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let x = slice(&x, "x")?;
    let mut out = writable::<f32>(out, "out")?;
    let out = slice_mut(&mut out, "out")?;
    run(py, LONG, || quant::fake_quantize_rows(x, row, out))
}

/// Four arrays, an element for each scale: least and greatest finite value, counts of NaN and of
/// infinities.
#[pyfunction]
#[pyo3(signature = (x, axis=None, groups=None))]
#[allow(clippy::type_complexity, reason = "a tuple of four arrays")]
fn ranges<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    axis: Pair,
    groups: Pair,
) -> PyResult<(
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<u64>>,
    Bound<'py, PyArray1<u64>>,
)> {
    let layout = layout(axis, groups);
    let found = with_readonly!(x, "x", [f32, f64, f16], |x| {
        let x = slice(&x, "x")?;
        run(py, LONG, || quant::ranges(x, layout))
    })?;
    Ok((
        each(py, &found, |range| range.min)?,
        each(py, &found, |range| range.max)?,
        each(py, &found, |range| range.nan as u64)?,
        each(py, &found, |range| range.infinite as u64)?,
    ))
}

/// One element for each range.
fn each<'py, T: Element>(
    py: Python<'py>,
    ranges: &[quant::Range],
    of: impl Fn(&quant::Range) -> T,
) -> PyResult<Bound<'py, PyArray1<T>>> {
    let values = memory::collected(ranges.iter().map(of)).map_err(to_py)?;
    Ok(PyArray1::from_vec(py, values))
}

/// The floor form, `floor((x - offset) / scale)`; returns as `quantize` does.
#[pyfunction]
fn floor_quantize(
    py: Python<'_>,
    x: &Bound<'_, PyAny>,
    scale: f64,
    offset: f64,
    low: i32,
    high: i32,
    out: &Bound<'_, PyAny>,
) -> PyResult<(usize, usize)> {
    with_readonly!(x, "x", [f32, f64, f16], |x| {
        let x = slice(&x, "x")?;
        with_writable!(out, "out", [i8, u8, i16, u16], |out| {
            let out = slice_mut(&mut out, "out")?;
            let operation = || quant::floor_quantize(x, scale, offset, low, high, out);
            let counts = run(py, LONG, operation)?;
            Ok((counts.clipped, counts.nan))
        })
    })
}

/// Decodes the floor form, `(code + shift) * scale + offset`, into the float array `out`.
#[pyfunction]
fn floor_dequantize(
    py: Python<'_>,
    codes: &Bound<'_, PyAny>,
    scale: f64,
    offset: f64,
    shift: f64,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    with_readonly!(codes, "codes", [i8, u8, i16, u16], |codes| {
        let codes = slice(&codes, "codes")?;
        with_writable!(out, "out", [f32, f64, f16], |out| {
            let out = slice_mut(&mut out, "out")?;
            run(py, LONG, || quant::floor_dequantize(codes, scale, offset, shift, out))
        })
    })
}

/// The `k` levels of one-dimensional k-means over finite values, ascending.
#[pyfunction]
#[pyo3(signature = (values, k, weights=None))]
fn kmeans<'py>(
    py: Python<'py>,
    values: PyReadonlyArrayDyn<'py, f32>,
    k: usize,
    weights: Option<PyReadonlyArrayDyn<'py, f64>>,
) -> PyResult<Bound<'py, PyArray1<f32>>> {
    let values = slice(&values, "values")?;
    let weights = weights.as_ref().map(|array| slice(array, "weights")).transpose()?;
    let levels = run(py, LONG, || quant::kmeans(values, weights, k))?;
    Ok(PyArray1::from_vec(py, levels))
}

/// Writes the code of the level nearest to each value into the uint8 array `out`.
#[pyfunction]
fn assign(
    py: Python<'_>,
    values: PyReadonlyArrayDyn<'_, f32>,
    levels: PyReadonlyArrayDyn<'_, f32>,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (values, levels) = (slice(&values, "values")?, slice(&levels, "levels")?);
    let mut out = writable::<u8>(out, "out")?;
    let out = slice_mut(&mut out, "out")?;
    run(py, LONG, || quant::assign(values, levels, out))
}

/// Codes, as bytes, in rows of `row`, as a bit stream of `bits` bits each.
#[pyfunction]
fn pack_bits<'py>(
    py: Python<'py>,
    codes: PyReadonlyArrayDyn<'py, u8>,
    row: usize,
    bits: usize,
) -> PyResult<Bound<'py, PyArray1<u8>>> {
    let codes = slice(&codes, "codes")?;
    let packed = run(py, LONG, || quant::pack_bits(codes, row, bits))?;
    Ok(PyArray1::from_vec(py, packed))
}

/// The inverse of `pack_bits`: `count` codes as bytes, sign-extended if `signed`.
#[pyfunction]
fn unpack_bits<'py>(
    py: Python<'py>,
    packed: PyReadonlyArrayDyn<'py, u8>,
    count: usize,
    row: usize,
    bits: usize,
    signed: bool,
) -> PyResult<Bound<'py, PyArray1<u8>>> {
    let packed = slice(&packed, "packed")?;
    let codes = run(py, LONG, || quant::unpack_bits(packed, count, row, bits, signed))?;
    Ok(PyArray1::from_vec(py, codes))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(assign, module)?)?;
    module.add_function(wrap_pyfunction!(dequantize, module)?)?;
    module.add_function(wrap_pyfunction!(dequantize_plain, module)?)?;
    module.add_function(wrap_pyfunction!(fake_quantize, module)?)?;
    module.add_function(wrap_pyfunction!(fake_quantize_rows, module)?)?;
    module.add_function(wrap_pyfunction!(floor_dequantize, module)?)?;
    module.add_function(wrap_pyfunction!(floor_quantize, module)?)?;
    module.add_function(wrap_pyfunction!(kmeans, module)?)?;
    module.add_function(wrap_pyfunction!(pack_bits, module)?)?;
    module.add_function(wrap_pyfunction!(quantize, module)?)?;
    module.add_function(wrap_pyfunction!(quantize_groups, module)?)?;
    module.add_function(wrap_pyfunction!(quantize_plain, module)?)?;
    module.add_function(wrap_pyfunction!(ranges, module)?)?;
    module.add_function(wrap_pyfunction!(stochastic_quantize, module)?)?;
    module.add_function(wrap_pyfunction!(unpack_bits, module)?)
}
