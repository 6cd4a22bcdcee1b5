"""Prune arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._validation import float_array
from qcore.pruning.masks import (
    check_options,
    keep_groups,
    keep_largest,
    keep_neurons,
    refuse_nan,
)

__all__ = ["apply_mask", "prune"]


def prune(
    w: ArrayLike,
    *,
    sparsity: float | None = None,
    pattern: str = "unstructured",
    criterion: str = "magnitude",
) -> NDArray[Any]:
    """Return an array with the least important weights set to 0.

    Parameters
    ----------
    w : array_like of float16, float32 or float64
        The weights, of any shape and layout; not changed. A layer's weight is (outputs, inputs).
    sparsity : float
        The share of zeros, 0 to 1: exactly ``round(sparsity * w.size)`` of them (or of rows, for
        "neurons"). Zeros that are there already count. An N:M pattern implies it, and takes no
        other.
    pattern : {"unstructured", "N:M", "neurons"}
        Any weights; all but N of each M neighbours along the last axis, as in "2:4" (of a shorter
        last group, N stay as well); or whole rows, by their Euclidean norm.
    criterion : {"magnitude"}
        What a weight is judged by: the least ``|w|`` go. Ties go from the lower index on.

    Returns
    -------
    ndarray
        New, C-contiguous, of the shape and dtype of `w`.

    Raises
    ------
    TypeError
        If `w` is not a float array.
    ValueError
        If `w` has NaN (names the first), or `sparsity`, `pattern` or `criterion` is not allowed.

    References
    ----------
    Han et al., "Learning both Weights and Connections for Efficient Neural Networks", NeurIPS
    2015. For N:M: Mishra et al., "Accelerating Sparse Deep Neural Networks", 2021.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> w = np.array([[0.5, -0.1, 0.0, 2.0], [0.3, 0.2, -0.7, 0.1]], np.float32)
    >>> qc.prune(w, sparsity=0.5)
    array([[ 0.5,  0. ,  0. ,  2. ],
           [ 0.3,  0. , -0.7,  0. ]], dtype=float32)
    >>> qc.prune(w, pattern="1:4")
    array([[ 0. ,  0. ,  0. ,  2. ],
           [ 0. ,  0. , -0.7,  0. ]], dtype=float32)
    """
    array = float_array(w, "w")
    share, groups = check_options(sparsity, pattern, criterion)
    refuse_nan(array, "w")
    if groups is not None:
        return apply_mask(array, keep_groups(array, *groups))
    if pattern == "neurons":
        return apply_mask(array, keep_neurons(array, share))
    return apply_mask(array, keep_largest([array], share)[0])


def apply_mask(w: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[Any]:
    """Return a copy of `w` that is 0 where `mask` is false; a 1-d mask is one of rows."""
    shape = mask.shape + (1,) * (w.ndim - mask.ndim)
    return np.where(mask.reshape(shape), w, w.dtype.type(0))
