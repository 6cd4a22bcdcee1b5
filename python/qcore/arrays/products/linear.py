"""A dense layer on compressed weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore import _core
from qcore._arguments.validation import check_one_of, check_out, float_array, positive_array
from qcore._runtime.interrupt import product
from qcore.arrays.products.activations import DENSE
from qcore.arrays.products.matrix import SparseMatrix
from qcore.arrays.products.weights import packed_weights, sparse_weights
from qcore.arrays.tensor.tensor import QTensor

__all__ = ["linear"]


def linear(
    x: ArrayLike,
    w: ArrayLike | QTensor | SparseMatrix,
    bias: ArrayLike | None = None,
    activation: str = "linear",
    *,
    activations: str | None = "dynamic",
    scale: ArrayLike | None = None,
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Compute a dense layer: ``activation(x @ w.T + bias)``.

    Parameters
    ----------
    x : array_like of float16, float32 or float64
        (..., in); computed as float32.
    w : QTensor, CsrMatrix, NmMatrix, BsrMatrix or array_like of float, (out, in)
        The weights, as torch has them. The layout of a QTensor or a sparse matrix for this CPU is
        made at the first call and kept with it, and so is a dense form of sparse weights at the
        first call with so few rows that it is the faster one; a plain array is never remembered.
    bias : array_like of float, optional
        (out,).
    activation : {"linear", "relu", "sigmoid", "softmax", "tanh"}
        What follows the sum; softmax is over the outputs.
    activations : {"dynamic", None}
        How quantized weights take `x`. "dynamic", the default and the fastest: each row becomes
        int8 with a scale of its own, ``absmax / 127.5``, which costs about as much accuracy as int8
        weights do; sums are exact integers. None: `x` stays float32 and weights become floats in
        the cache, a part at a time. Weights that no integer kernel reads (codebooks, scales along
        the inputs, 16 bits) and float weights always take `x` as it is.
    scale : float or array_like of float, optional
        The step of an int8 sparse matrix, or one for each output: (out,). It takes `x` as
        "dynamic".
    out : ndarray of float32, optional
        Filled and returned: (..., out), C-contiguous, sharing no memory with `x`.

    Returns
    -------
    ndarray of float32, (..., out)

    Raises
    ------
    TypeError
        If a dtype is not one of those above.
    ValueError
        If shapes do not fit, or `x` has NaN and is to become integers.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> w = qc.quantize(np.array([[0.5, -1.0], [1.0, 1.0]], np.float32), axis=0)
    >>> qc.linear(np.array([[1.0, 1.0]], np.float32), w, activation="relu", activations=None)
    array([[0., 2.]], dtype=float32)
    >>> s = qc.CsrMatrix.from_dense(np.array([[0.0, -1.0], [1.0, 0.0]], np.float32))
    >>> qc.linear(np.array([[1.0, 3.0]], np.float32), s, bias=[1.0, 1.0])
    array([[-2.,  2.]], dtype=float32)
    """
    # The kernels know more names than a layer of weights has.
    known = isinstance(activation, str) and activation in DENSE
    if known and scale is None and activations == "dynamic" and type(w) is QTensor:
        weights = w._cached("dynamic weights", lambda: packed_weights(w, "dynamic"))
        result: NDArray[np.float32] | None = weights.linear_plain(x, bias, activation, out)
        if result is not None:
            return result
    check_one_of(activations, "activations", ("dynamic", None))
    check_one_of(activation, "activation", DENSE)
    if isinstance(w, SparseMatrix):
        weights = _sparse(w, scale)
    elif scale is not None:
        raise ValueError("scale is given; only an int8 sparse matrix has none of its own")
    elif isinstance(w, QTensor):
        weights = packed_weights(w, activations)
    else:
        return _blas(x, w, bias, activation, out)
    samples = float_array(x, "x").astype(np.float32, copy=False)
    target, vector = _check(samples, w.shape, bias, out)
    weights.linear(samples, vector, activation, target)
    return target


def _sparse(w: SparseMatrix, scale: ArrayLike | None) -> _core.PackedWeights:
    """Return a sparse matrix as weights, kept with it for the next call."""
    kind = type(w).__name__
    if w.dtype == np.float32:
        if scale is not None:
            raise ValueError(f"scale is given; a float32 {kind} has none")
        return w._as_weights(b"", lambda: sparse_weights(w, None))
    if w.dtype != np.int8:
        raise TypeError(f"w has dtype {w.dtype}; a {kind} of weights is float32 or int8")
    if scale is None:
        raise ValueError(f"w is an int8 {kind}; it needs scale, one step or one for each output")
    steps = positive_array(scale, "scale")
    outputs = w.shape[0]
    if steps.shape not in ((), (1,), (outputs,)):
        raise ValueError(f"scale has shape {steps.shape}; it must be () or {(outputs,)}")
    every = np.ascontiguousarray(np.broadcast_to(steps, (outputs,)))
    return w._as_weights(every.tobytes(), lambda: sparse_weights(w, every))


def _check(
    x: NDArray[np.float32],
    shape: tuple[int, ...],
    bias: ArrayLike | None,
    out: NDArray[np.float32] | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Return the array for the result, and the bias, if all fits weights (out, in)."""
    outputs, inputs = shape
    if x.ndim == 0 or x.shape[-1] != inputs:
        raise ValueError(f"x has shape {x.shape} and w {shape}; x must be (..., {inputs})")
    vector = None
    if bias is not None:
        vector = float_array(bias, "bias").astype(np.float32, copy=False)
        if vector.shape != (outputs,):
            raise ValueError(f"bias has shape {vector.shape}; it must be {(outputs,)}")
    wanted = (*x.shape[:-1], outputs)
    if out is None:
        return np.empty(wanted, np.float32), vector
    check_out(out, np.float32, wanted, x)
    if not out.flags.carray:
        raise ValueError("out is not C-contiguous")
    if vector is not None and np.may_share_memory(out, vector):
        vector = vector.copy()  # it is added when the sums are already there
    return out, vector


def _blas(
    x: ArrayLike, w: Any, bias: ArrayLike | None, activation: str, out: NDArray[np.float32] | None
) -> NDArray[np.float32]:
    """Compute with float weights, which NumPy's BLAS multiplies."""
    samples = float_array(x, "x").astype(np.float32, copy=False)
    weight = float_array(w, "w").astype(np.float32, copy=False)
    if weight.ndim != 2:
        raise ValueError(f"w has shape {weight.shape}; it must be (out, in)")
    target, vector = _check(samples, weight.shape, bias, out)
    if np.may_share_memory(target, weight):
        raise ValueError("out shares memory with w")
    product(samples, weight.T, target)
    if target.size:
        _core.finish_rows(target, target.shape[-1], vector, activation)
    return target
