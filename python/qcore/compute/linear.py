"""A dense layer on compressed weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore import _core
from qcore._validation import check_one_of, check_out, float_array
from qcore.compute.weights import packed_weights
from qcore.quantization.tensor import QTensor

__all__ = ["linear"]


def linear(
    x: ArrayLike,
    w: ArrayLike | QTensor,
    bias: ArrayLike | None = None,
    activation: str = "linear",
    *,
    activations: str | None = "dynamic",
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Compute a dense layer: ``activation(x @ w.T + bias)``.

    Parameters
    ----------
    x : array_like of float16, float32 or float64
        (..., in); computed as float32.
    w : QTensor or array_like of float, (out, in)
        The weights, as torch has them. The layout of a QTensor for this CPU is made at the first
        call and kept with it; a plain array is never remembered.
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
    """
    check_one_of(activations, "activations", ("dynamic", None))
    if not isinstance(w, QTensor):
        return _blas(x, w, bias, activation, out)
    weights = packed_weights(w, activations)
    samples = float_array(x, "x").astype(np.float32, copy=False)
    target, vector = _check(samples, w.shape, bias, out)
    weights.linear(samples, vector, activation, target)
    return target


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
    np.matmul(samples, weight.T, out=target)
    if target.size:
        _core.finish_rows(target, target.shape[-1], vector, activation)
    return target
