//! Bindings of the `quant` room.

mod layerwise;
mod observe;
mod plain;

use half::f16;
use numpy::{Element, PyArray1, PyReadonlyArrayDyn};
use pyo3::prelude::*;
use qcore_kernels::memory;
use qcore_kernels::quant::{self, Layout, Params};

use crate::array::{slice, slice_mut, with_readonly, with_writable, writable};
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

/// Codes of small floats, `(exponent, mantissa, top)`, with a scale for each group: fills `out`, and
/// returns how many values saturated.
#[pyfunction]
fn quantize_minifloat(
    py: Python<'_>,
    x: PyReadonlyArrayDyn<'_, f32>,
    format: (u32, u32, u8),
    groups: (usize, usize),
    scale: PyReadonlyArrayDyn<'_, f32>,
    out: &Bound<'_, PyAny>,
) -> PyResult<usize> {
    let (x, scale) = (slice(&x, "x")?, slice(&scale, "scale")?);
    let mut out = writable::<u8>(out, "out")?;
    let out = slice_mut(&mut out, "out")?;
    let (exponent, mantissa, top) = format;
    let format = quant::Minifloat { exponent, mantissa, top };
    run(py, LONG, || quant::quantize_minifloat(x, format, groups, scale, out))
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
    module.add_function(wrap_pyfunction!(fake_quantize, module)?)?;
    module.add_function(wrap_pyfunction!(fake_quantize_rows, module)?)?;
    module.add_function(wrap_pyfunction!(floor_dequantize, module)?)?;
    module.add_function(wrap_pyfunction!(floor_quantize, module)?)?;
    module.add_function(wrap_pyfunction!(kmeans, module)?)?;
    module.add_function(wrap_pyfunction!(pack_bits, module)?)?;
    module.add_function(wrap_pyfunction!(quantize, module)?)?;
    module.add_function(wrap_pyfunction!(quantize_groups, module)?)?;
    module.add_function(wrap_pyfunction!(quantize_minifloat, module)?)?;
    layerwise::register(module)?;
    observe::register(module)?;
    plain::register(module)?;
    module.add_function(wrap_pyfunction!(ranges, module)?)?;
    module.add_function(wrap_pyfunction!(stochastic_quantize, module)?)?;
    module.add_function(wrap_pyfunction!(unpack_bits, module)?)
}
