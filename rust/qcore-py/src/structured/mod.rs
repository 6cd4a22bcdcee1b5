//! Bindings of the structured matrices of the `sparse` room.

mod blocks;
mod n_of_m;

use std::sync::Arc;

use numpy::{Element, PyReadonlyArray2, PyReadwriteArray2};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use qcore_graph::operand::{BandsF32, Operand, SparseF32};
use qcore_kernels::sparse::{LaidOut, Structured, StructuredFloat, Value};

use crate::array::wrong_dtype;
use crate::run::{LONG, run};
use crate::sparse::view;

pub(crate) use blocks::PyBlocks;
pub(crate) use n_of_m::PyNofM;

/// A matrix of one kind, of each type of value.
enum Typed<F, I, U> {
    F32(F),
    I8(I),
    U8(U),
}

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
use with_matrix;

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
use integers;

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
use typed_of;

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

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyNofM>()?;
    module.add_class::<PyBlocks>()
}
