//! Weights laid out for the kernels, and one layer of them.

use std::sync::Arc;

use numpy::ndarray::Ix2;
use numpy::{PyReadonlyArray2, PyReadonlyArrayDyn};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use qcore_graph::chain::linear;
use qcore_graph::operand::{Dense, DenseI4, DenseI8, Operand, by_rows};
use qcore_kernels::epilogue::{self, Activation};
use qcore_kernels::gemm::{CodeSteps, Codebook, FloatWeights, PackedI4, PackedI8};
use qcore_kernels::isa;
use qcore_kernels::memory;

use crate::alone;
use crate::array::{NPY_FLOAT, Raw, empty, readonly, slice, slice_mut, writable};
use crate::error::to_py;
use crate::network::{activation_named, matrix};
use crate::run::{LONG, run};
use crate::sparse::PyCsr;
use crate::structured::{PyBlocks, PyNofM};

type Floats<'py> = PyReadonlyArrayDyn<'py, f32>;
type Integers<'py> = PyReadonlyArrayDyn<'py, i32>;

/// Weights (out, in) in the form that a kernel of this CPU reads.
#[pyclass(name = "PackedWeights", module = "qcore._core", frozen)]
pub(crate) struct PyPackedWeights {
    weights: Arc<dyn Operand>,
}

impl PyPackedWeights {
    pub(crate) fn shared(&self) -> Arc<dyn Operand> {
        Arc::clone(&self.weights)
    }

    fn new(weights: impl Operand + 'static) -> Self {
        Self { weights: Arc::new(weights) }
    }

    /// Sparse weights for `rows` rows and more.
    fn by_rows(weights: Box<dyn Operand>, rows: usize) -> Self {
        Self { weights: Arc::from(by_rows(weights, rows)) }
    }
}

/// One scale for each output, if there are scales.
fn output_scale(scale: Option<Floats<'_>>, outputs: usize) -> PyResult<Option<Vec<f32>>> {
    let scale = match &scale {
        Some(scale) => Some(memory::copied(slice(scale, "scale")?).map_err(to_py)?),
        None => None,
    };
    if scale.as_ref().is_some_and(|scale| scale.len() != outputs) {
        return Err(PyValueError::new_err("scale has no element for each output"));
    }
    Ok(scale)
}

#[pymethods]
impl PyPackedWeights {
    /// Int8 codes whose 0 is 0, one scale for each output: multiplied as integers.
    #[staticmethod]
    fn integer(
        py: Python<'_>,
        codes: PyReadonlyArray2<'_, i8>,
        scale: Floats<'_>,
    ) -> PyResult<Self> {
        let codes = matrix(&codes)?;
        let scale = memory::copied(slice(&scale, "scale")?).map_err(to_py)?;
        if scale.len() != codes.rows() {
            return Err(PyValueError::new_err("scale has no element for each output"));
        }
        let active = isa::active().map_err(to_py)?;
        let codes = run(py, LONG, || PackedI8::new(active, codes.transposed()))?;
        Ok(Self::new(DenseI8 { codes, scale }))
    }

    /// Codes of at most 4 bits whose 0 is 0, `scale` (out, groups) for groups of `group` inputs:
    /// multiplied as integers, group by group.
    #[staticmethod]
    fn int4(
        py: Python<'_>,
        codes: PyReadonlyArray2<'_, i8>,
        scale: Floats<'_>,
        group: usize,
    ) -> PyResult<Self> {
        let scale = slice(&scale, "scale")?;
        let codes = matrix(&codes)?;
        let weights = run(py, LONG, || PackedI4::new(codes, group, scale))?;
        Ok(Self::new(DenseI4(weights)))
    }

    /// A float32 CSR matrix, or an int8 one with one scale for each output, multiplied as integers;
    /// for fewer than `rows` rows made dense, by the first product that has as few.
    #[staticmethod]
    fn csr(csr: &PyCsr, scale: Option<Floats<'_>>, rows: usize) -> PyResult<Self> {
        let scale = output_scale(scale, csr.rows())?;
        Ok(Self::by_rows(csr.weights(scale)?, rows))
    }

    /// An N:M matrix; see `csr`.
    #[staticmethod]
    fn n_of_m(
        py: Python<'_>,
        matrix: &PyNofM,
        scale: Option<Floats<'_>>,
        rows: usize,
    ) -> PyResult<Self> {
        let scale = output_scale(scale, matrix.rows())?;
        Ok(Self::by_rows(matrix.weights(py, scale)?, rows))
    }

    /// A matrix of blocks; see `csr`.
    #[staticmethod]
    fn blocks(
        py: Python<'_>,
        matrix: &PyBlocks,
        scale: Option<Floats<'_>>,
        rows: usize,
    ) -> PyResult<Self> {
        let scale = output_scale(scale, matrix.rows())?;
        Ok(Self::by_rows(matrix.weights(py, scale)?, rows))
    }

    /// Float32 weights.
    #[staticmethod]
    fn float(py: Python<'_>, weight: PyReadonlyArray2<'_, f32>) -> PyResult<Self> {
        let weight = matrix(&weight)?;
        Ok(Self::new(Dense(run(py, LONG, || FloatWeights::from_f32(weight))?)))
    }

    /// Int8 or uint8 codes that become floats in the cache. `scale` and `zero_point` (of the same
    /// length, or empty) are (out, groups) for groups of `group` inputs; if `group` is None they are
    /// (in,).
    #[staticmethod]
    fn codes(
        py: Python<'_>,
        codes: &Bound<'_, PyAny>,
        scale: Floats<'_>,
        zero_point: Integers<'_>,
        group: Option<usize>,
    ) -> PyResult<Self> {
        let scale = slice(&scale, "scale")?;
        let zero = slice(&zero_point, "zero_point")?;
        let steps = match group {
            Some(group) => CodeSteps::Outputs { group, scale, zero },
            None => CodeSteps::Inputs { scale, zero },
        };
        let weights = if let Ok(codes) = codes.extract::<PyReadonlyArray2<'_, i8>>() {
            let codes = matrix(&codes)?;
            run(py, LONG, || FloatWeights::from_i8(codes, steps))?
        } else {
            let codes = codes.extract::<PyReadonlyArray2<'_, u8>>()?;
            let codes = matrix(&codes)?;
            run(py, LONG, || FloatWeights::from_u8(codes, steps))?
        };
        Ok(Self::new(Dense(weights)))
    }

    /// Uint8 indices into books of `count` levels: one book, or one for each index of `axis`.
    #[staticmethod]
    fn codebook(
        py: Python<'_>,
        codes: PyReadonlyArray2<'_, u8>,
        levels: Floats<'_>,
        count: usize,
        axis: Option<usize>,
    ) -> PyResult<Self> {
        let kind = match axis {
            None => Codebook::One,
            Some(0) => Codebook::Outputs,
            Some(_) => Codebook::Inputs,
        };
        let levels = slice(&levels, "levels")?;
        let codes = matrix(&codes)?;
        let weights = run(py, LONG, || FloatWeights::from_codebook(codes, levels, count, kind))?;
        Ok(Self::new(Dense(weights)))
    }

    /// Uint8 indices into one book of levels, which `scale` (out, groups) multiplies for groups of
    /// `group` inputs.
    #[staticmethod]
    fn scaled_codebook(
        py: Python<'_>,
        codes: PyReadonlyArray2<'_, u8>,
        levels: Floats<'_>,
        scale: Floats<'_>,
        group: usize,
    ) -> PyResult<Self> {
        let levels = slice(&levels, "levels")?;
        let scale = slice(&scale, "scale")?;
        let codes = matrix(&codes)?;
        let weights =
            run(py, LONG, || FloatWeights::from_scaled_codebook(codes, levels, group, scale))?;
        Ok(Self::new(Dense(weights)))
    }

    /// `activation(x · weightsᵀ + bias)` of float32 rows into `out`; integers take rows as int8, each
    /// with a scale of its own.
    fn linear(
        &self,
        py: Python<'_>,
        x: &Bound<'_, PyAny>,
        bias: Option<Bound<'_, PyAny>>,
        activation: &str,
        out: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let activation = activation_named(activation)?;
        let x = readonly::<f32>(x, "x")?;
        let x = slice(&x, "x")?;
        let bias = bias.as_ref().map(|bias| readonly::<f32>(bias, "bias")).transpose()?;
        let bias = match &bias {
            Some(bias) => slice(bias, "bias")?,
            None => &[],
        };
        let mut out = writable::<f32>(out, "out")?;
        let out = slice_mut(&mut out, "out")?;
        run(py, LONG, || linear(x, &*self.weights, bias, activation, out))
    }

    /// The best time of the kernels of `linear` alone, in seconds, of so many rounds.
    fn alone(&self, py: Python<'_>, x: Floats<'_>, rounds: usize) -> PyResult<f64> {
        alone::layer(py, slice(&x, "x")?, &*self.weights, rounds)
    }

    /// The plain case of `linear` with as little as can be between the caller and the kernel: float32
    /// arrays without gaps, no bias or one of float32, into `target` or a new array. None where anything
    /// is out of the ordinary, for the long way to take or refuse.
    fn linear_plain<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        bias: Option<&Bound<'py, PyAny>>,
        activation: &Bound<'py, PyAny>,
        target: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let named = activation.extract().ok().and_then(|name: &str| Activation::from_name(name));
        let Some(activation) = named else { return Ok(None) };
        let Some(x) = Raw::new(x) else { return Ok(None) };
        let bias = match bias.map(Raw::new) {
            Some(None) => return Ok(None),
            Some(bias) => bias,
            None => None,
        };
        let (outputs, inputs) = self.shape();
        let Some((&last, rows)) = x.shape.split_last() else { return Ok(None) };
        if last != inputs || x.kind != NPY_FLOAT {
            return Ok(None);
        }
        let target = match target {
            Some(target) => target.clone(),
            None => match rows {
                // SAFETY: every element is written below before anyone can read it, or the array is
                // dropped.
                &[rows] => unsafe { empty::<f32, Ix2>(py, &[rows, outputs])?.into_any() },
                _ => return Ok(None),
            },
        };
        let Some(out) = Raw::new(&target) else { return Ok(None) };
        let Some((&width, out_rows)) = out.shape.split_last() else { return Ok(None) };
        let size = size_of::<f32>();
        let fits = width == outputs && rows == out_rows;
        let apart = out.is_apart(size, &x, size)
            && bias.is_none_or(|b| b.shape == [outputs] && out.is_apart(size, &b, size));
        if !fits || !apart {
            return Ok(None);
        }
        // SAFETY: NPY_FLOAT is the number of f32, and `out` is apart from what is read.
        let (x, out, bias) = unsafe {
            let bias = match bias {
                Some(bias) => bias.slice::<f32>(NPY_FLOAT),
                None => Some(&[][..]),
            };
            (x.slice::<f32>(NPY_FLOAT), out.slice_mut::<f32>(NPY_FLOAT), bias)
        };
        let (Some(x), Some(out), Some(bias)) = (x, out, bias) else { return Ok(None) };
        let work = x.len().saturating_mul(outputs) / 16;
        run(py, work, || linear(x, &*self.weights, bias, activation, out))?;
        Ok(Some(target))
    }

    /// (out, in).
    #[getter]
    fn shape(&self) -> (usize, usize) {
        (self.weights.outputs(), self.weights.inputs())
    }

    /// Whether they are multiplied as integers.
    #[getter]
    fn is_integer(&self) -> bool {
        self.weights.is_integer()
    }

    /// The kind of kernel that reads them.
    #[getter]
    fn kernel(&self) -> &'static str {
        self.weights.kind()
    }

    /// Bytes in memory, as laid out.
    #[getter]
    fn nbytes(&self) -> usize {
        self.weights.nbytes()
    }
}

/// `x = activation(x + bias)` in place, softmax included; `x` is (rows, cols).
#[pyfunction]
fn finish_rows(
    py: Python<'_>,
    x: &Bound<'_, PyAny>,
    cols: usize,
    bias: Option<Floats<'_>>,
    activation: &str,
) -> PyResult<()> {
    let activation = activation_named(activation)?;
    let mut x = writable::<f32>(x, "x")?;
    let x = slice_mut(&mut x, "x")?;
    let bias = bias.as_ref().map(|bias| slice(bias, "bias")).transpose()?.unwrap_or(&[]);
    run(py, LONG, || epilogue::finish_rows(x, cols, bias, activation))
}

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyPackedWeights>()?;
    module.add_function(wrap_pyfunction!(finish_rows, module)?)
}
