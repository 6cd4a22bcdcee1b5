"""Activation-aware scaling: inputs that are large get finer steps in the weights that read them.

A weight's columns are multiplied by s and its inputs divided by s, so the layer computes the same;
in a group of weights that share a step, those that meet large inputs are then rounded with a
smaller share of error. s = m**alpha, m the root mean square of each input; alpha is searched, by
the error of the layer's output.

It is for weights alone, in groups: where the inputs become integers too, they have to bear what the
weights are relieved of (see smoothquant for that case).

Lin, Tang, Tang, Yang, Chen, Wang, Xiao, Dang, Gan and Han, "AWQ: Activation-aware Weight
Quantization for On-Device LLM Compression and Acceleration", MLSys 2024, section 3.2 (m is the mean
magnitude there).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._arguments.validation import float_array
from qcore.arrays.params.input_stats import InputStats
from qcore.arrays.tensor.functions import quantize

__all__ = ["activation_aware_scale"]

#: Values of alpha that are tried, from 0, which scales nothing, to 1.
GRID = 21


def activation_aware_scale(
    weight: ArrayLike, stats: InputStats, *, powers_of_two: bool = False, **options: Any
) -> NDArray[np.float32]:
    """Return what to multiply the columns of a matrix by, and to divide its inputs by.

    Parameters
    ----------
    weight : array_like of float, (out, in)
        The weights.
    stats : InputStats
        Of the inputs.
    powers_of_two : bool, default False
        Round each scale to one, so that scaling loses not a bit.
    **options
        How the scaled weights will be quantized, as in `qcore.quantize`: ``bits``, ``group_size``
        or ``axis``, ``observer`` and so on.

    Returns
    -------
    ndarray of float32, (in,)
        All ones where no scaling helps.

    Raises
    ------
    ValueError
        If shapes do not fit.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> from qcore.estimators.equalization.awq import activation_aware_scale
    >>> rng = np.random.default_rng(0)
    >>> w = rng.standard_normal((8, 32)).astype(np.float32)
    >>> x = rng.standard_normal((99, 32)).astype(np.float32)
    >>> x[:, 3] *= 50
    >>> s = activation_aware_scale(w, qc.InputStats().update(x), bits=3, group_size=32)
    >>> int(s.argmax())
    3
    """
    matrix = float_array(weight, "weight").astype(np.float32)
    if matrix.ndim != 2 or matrix.shape[1] != len(stats.gram):
        wanted = f"(out, {len(stats.gram)})"
        raise ValueError(f"weight has shape {matrix.shape}; with these stats it must be {wanted}")
    second = stats.gram / stats.count
    size = np.sqrt(np.diag(second))
    # An input that is always 0 says nothing: it counts as the least of the others.
    size = np.where(size > 0, size, size[size > 0].min(initial=1.0))
    best, found = np.inf, np.ones(len(size), np.float32)
    for alpha in np.linspace(0.0, 1.0, GRID):
        scale = size**alpha
        scale /= np.sqrt(scale.max() * scale.min())
        if powers_of_two:
            scale = np.exp2(np.rint(np.log2(scale)))
        tried = scale.astype(np.float32)
        q = quantize(matrix * tried, **options)
        off = q.dequantize(dtype=np.float64) / tried - matrix
        lost = float(np.sum((off @ second) * off))
        if lost < best:
            best, found = lost, tried
    return found
