//! Bindings of what chooses ranges: histograms and the methods over them.

use std::sync::{MutexGuard, PoisonError};

use half::f16;
use numpy::{PyArray1, PyReadonlyArrayDyn};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use qcore_kernels::quant::{self, Codes, Method};
use qcore_kernels::{interrupt, memory};

use crate::array::{slice, with_readonly};
use crate::error::to_py;
use crate::quant::{Pair, layout};
use crate::run::{LONG, run};

/// Counts of values by the leading bits of their floats.
#[pyclass(module = "qcore._core", frozen)]
struct Histogram {
    seen: std::sync::Mutex<quant::Histogram>,
}

impl Histogram {
    /// The counts, for a short while: whoever holds them asks Python for nothing meanwhile.
    fn locked(&self) -> MutexGuard<'_, quant::Histogram> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Ends = (f64, f64);

#[pymethods]
impl Histogram {
    #[new]
    fn new() -> PyResult<Self> {
        Ok(Self { seen: quant::Histogram::new().map_err(to_py)?.into() })
    }

    /// A histogram from what `bins` of another gave.
    #[staticmethod]
    fn from_bins(
        bins: PyReadonlyArrayDyn<'_, u32>,
        counts: PyReadonlyArrayDyn<'_, u64>,
        ends: Ends,
        odd: (u64, u64),
    ) -> PyResult<Self> {
        let (bins, counts) = (slice(&bins, "bins")?, slice(&counts, "counts")?);
        let mut seen = quant::Histogram::from_bins(bins, counts, ends.0, ends.1).map_err(to_py)?;
        (seen.nan, seen.infinite) = odd;
        Ok(Self { seen: seen.into() })
    }

    /// Counts the values of an array.
    fn update(&self, py: Python<'_>, x: &Bound<'_, PyAny>) -> PyResult<()> {
        with_readonly!(x, "x", [f32, f64, f16], |x| {
            let x = slice(&x, "x")?;
            run(py, LONG, || {
                if x.len() <= quant::Histogram::UNDIVIDED {
                    return interrupt::whole(|| self.locked().update(x));
                }
                let counted = quant::Histogram::of(x)?;
                self.locked().merge(&counted);
                Ok(())
            })
        })
    }

    /// Adds what another has counted.
    fn merge(&self, py: Python<'_>, other: &Self) -> PyResult<()> {
        run(py, LONG, || {
            // One lock at a time: two threads may merge each other.
            let theirs = other.locked().copied()?;
            self.locked().merge(&theirs);
            Ok(())
        })
    }

    /// Bins that have values, their counts, the least and greatest value, NaN and infinities.
    #[allow(clippy::type_complexity, reason = "a tuple of what there is to a histogram")]
    fn bins<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyArray1<u32>>, Bound<'py, PyArray1<u64>>, Ends, (u64, u64))> {
        let (bins, counts, ends, odd) = run(py, LONG, || {
            let seen = self.locked();
            let bins = memory::collected(seen.bins().map(|(bin, _)| bin))?;
            let counts = memory::collected(seen.bins().map(|(_, count)| count))?;
            Ok((bins, counts, (seen.min, seen.max), (seen.nan, seen.infinite)))
        })?;
        Ok((PyArray1::from_vec(py, bins), PyArray1::from_vec(py, counts), ends, odd))
    }

    /// The range that a method chooses.
    fn range(
        &self,
        py: Python<'_>,
        method: &str,
        percent: f64,
        min: i32,
        max: i32,
        symmetric: bool,
    ) -> PyResult<Ends> {
        let method = method_of(method, percent)?;
        let codes = Codes { min, max, symmetric };
        run(py, LONG, || {
            let seen = self.locked().spectrum()?;
            quant::choose_range(&seen, method, codes)
        })
    }
}

fn method_of(name: &str, percent: f64) -> PyResult<Method> {
    match name {
        "minmax" => Ok(Method::MinMax),
        "percentile" => Ok(Method::Percentile(percent)),
        "mse" => Ok(Method::Mse),
        "entropy" => Ok(Method::Entropy),
        _ => Err(PyValueError::new_err(format!("observer is {name:?}"))),
    }
}

/// The range that a method chooses for each scale's elements: least and greatest values.
#[pyfunction]
#[pyo3(signature = (x, method, percent, min, max, symmetric, axis=None, groups=None))]
#[allow(clippy::type_complexity, reason = "a tuple of two arrays")]
fn observe<'py>(
    py: Python<'py>,
    x: &Bound<'py, PyAny>,
    method: &str,
    percent: f64,
    min: i32,
    max: i32,
    symmetric: bool,
    axis: Pair,
    groups: Pair,
) -> PyResult<(Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<f64>>)> {
    let method = method_of(method, percent)?;
    let codes = Codes { min, max, symmetric };
    let found = with_readonly!(x, "x", [f32, f64, f16], |x| {
        let x = slice(&x, "x")?;
        run(py, LONG, || quant::observe(x, layout(axis, groups), method, codes))
    })?;
    let low = memory::collected(found.iter().map(|range| range.0)).map_err(to_py)?;
    let high = memory::collected(found.iter().map(|range| range.1)).map_err(to_py)?;
    Ok((PyArray1::from_vec(py, low), PyArray1::from_vec(py, high)))
}

pub(super) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Histogram>()?;
    module.add_function(wrap_pyfunction!(observe, module)?)
}
