//! The time of kernels alone, without Python around them: what a call adds is the rest.

use std::time::Instant;

use numpy::{PyArray1, PyArrayMethods, PyReadonlyArray1};
use pyo3::prelude::*;
use qcore_graph::chain::linear;
use qcore_graph::operand::Operand;
use qcore_kernels::KernelError;
use qcore_kernels::epilogue::Activation;
use qcore_kernels::gemm::{Int8, Right, ZeroPoint, matmul_integer};
use qcore_kernels::quant::{self, Layout, Params};

use crate::array::zeros;
use crate::run::{LONG, run};

/// Calls between two looks at the clock, which takes as long as a small call.
const CALLS: u32 = 64;

/// The best time of a call, in seconds, of so many rounds.
fn best(
    py: Python<'_>,
    rounds: usize,
    mut call: impl FnMut() -> Result<(), KernelError> + Send,
) -> PyResult<f64> {
    run(py, LONG, || {
        let mut best = f64::INFINITY;
        for _ in 0..rounds {
            let start = Instant::now();
            for _ in 0..CALLS {
                call()?;
            }
            best = best.min(start.elapsed().as_secs_f64() / f64::from(CALLS));
        }
        Ok(best)
    })
}

/// Seconds of `a @ b`.
pub(crate) fn matmul(py: Python<'_>, a: Int8<'_>, b: Right<'_>, rounds: usize) -> PyResult<f64> {
    let out: Bound<'_, PyArray1<i32>> = zeros(py, &[a.rows().saturating_mul(b.n())])?;
    let mut out = out.try_readwrite()?;
    let out = out.as_slice_mut()?;
    best(py, rounds, || matmul_integer(a, b, ZeroPoint::One(0), ZeroPoint::One(0), out))
}

/// Seconds of a layer on rows `x`.
pub(crate) fn layer(
    py: Python<'_>,
    x: &[f32],
    weights: &dyn Operand,
    rounds: usize,
) -> PyResult<f64> {
    let rows = x.len() / weights.inputs().max(1);
    let out: Bound<'_, PyArray1<f32>> = zeros(py, &[rows.saturating_mul(weights.outputs())])?;
    let mut out = out.try_readwrite()?;
    let out = out.as_slice_mut()?;
    best(py, rounds, || linear(x, weights, &[], Activation::Linear, out))
}

/// Seconds of int8 codes of one scale.
#[pyfunction]
fn quantize_alone(
    py: Python<'_>,
    x: PyReadonlyArray1<'_, f32>,
    scale: f32,
    rounds: usize,
) -> PyResult<f64> {
    let x = x.as_slice()?;
    let out: Bound<'_, PyArray1<i8>> = zeros(py, &[x.len()])?;
    let mut out = out.try_readwrite()?;
    let out = out.as_slice_mut()?;
    let (scale, zero_point) = ([scale], [0]);
    let params = Params {
        layout: Layout::Tensor,
        scale: &scale,
        zero_point: &zero_point,
        min: i8::MIN.into(),
        max: i8::MAX.into(),
    };
    best(py, rounds, || quant::quantize(x, params, out).map(|_| ()))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(quantize_alone, module)?)
}
