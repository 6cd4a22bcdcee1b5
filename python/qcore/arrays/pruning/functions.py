"""Prune arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._arguments.validation import check_finite, float_array
from qcore._runtime.interrupt import by_rows
from qcore.arrays.params.input_stats import InputStats
from qcore.arrays.pruning.criteria import (
    Criterion,
    Evidence,
    find_criterion,
    refuse_nan,
)
from qcore.arrays.pruning.obs import prune_and_update
from qcore.arrays.pruning.patterns import Mask, Pattern, Unstructured, parse_pattern

__all__ = ["apply_mask", "prune", "prune_array"]


def prune(
    w: ArrayLike,
    *,
    sparsity: float | None = None,
    pattern: str = "unstructured",
    criterion: str = "magnitude",
    stats: InputStats | None = None,
    gradient: ArrayLike | None = None,
    random_state: int | np.random.Generator | None = None,
) -> NDArray[Any]:
    """Return an array with the least important weights set to 0.

    Parameters
    ----------
    w : array_like of float16, float32 or float64
        The weights, of any shape and layout; not changed. A layer's weight is (outputs, inputs).
    sparsity : float
        The share of zeros, 0 to 1: exactly ``round(sparsity * w.size)`` of them (or of blocks,
        rows or columns). Zeros that are there already count. An N:M pattern implies it, and takes
        no other.
    pattern : {"unstructured", "N:M", "RxC", "rows", "columns", "neurons"}
        Any weights; all but N of each M neighbours along the last axis, as in "2:4" (of a shorter
        last group, N stay as well); blocks of R rows and C columns, as in "4x1" (those at the edges
        may be smaller); whole rows, which are a layer's neurons; or whole columns.
    criterion : {"magnitude", "l1", "l2", "random", "taylor", "wanda", "sparsegpt"}
        What a weight is judged by: the least go, ties from the lower index on.

        - "magnitude", "l2": ``|w|``; blocks, rows and columns by their root mean square.
        - "l1": ``|w|``; blocks, rows and columns by their mean.
        - "random": by chance, a control for the others.
        - "taylor": ``|w * gradient|``, the first-order change of the loss.
        - "wanda": ``|w|`` times the root mean square of its input; each row loses the same share.
        - "sparsegpt": the least change of the layer's output. What stays moves, too, to make up for
          what goes; for the patterns "unstructured" and "N:M".
    stats : InputStats
        Of the layer's inputs; "wanda" and "sparsegpt" need it.
    gradient : array_like of float
        Of the loss, of the shape of `w`; "taylor" needs it.
    random_state : int, Generator or None
        Of "random".

    Returns
    -------
    ndarray
        New, C-contiguous, of the shape and dtype of `w`.

    Raises
    ------
    TypeError
        If `w` is not a float array.
    ValueError
        If `w` has NaN (names the first), an option is not allowed, or evidence is missing.

    References
    ----------
    Magnitude: Han et al., "Learning both Weights and Connections for Efficient Neural Networks",
    NeurIPS 2015. N:M: Mishra et al., "Accelerating Sparse Deep Neural Networks", 2021. Taylor:
    Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019. Wanda: Sun et
    al., "A Simple and Effective Pruning Approach for Large Language Models", ICLR 2024. SparseGPT:
    Frantar and Alistarh, ICML 2023.

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
    >>> qc.prune(w, sparsity=0.5, pattern="2x1")
    array([[ 0. ,  0. ,  0. ,  2. ],
           [ 0. ,  0. , -0.7,  0.1]], dtype=float32)
    """
    array = float_array(w, "w")
    rule = find_criterion(criterion)
    found, share = parse_pattern(pattern, sparsity)
    refuse_nan(array, "w")
    given = None if gradient is None else float_array(gradient, "gradient")
    evidence = Evidence(stats, given, np.random.default_rng(random_state))
    return prune_array(array, found, share, rule, evidence)[0]


def prune_array(
    w: NDArray[Any], pattern: Pattern, sparsity: float, criterion: Criterion, evidence: Evidence
) -> tuple[NDArray[Any], Mask]:
    """Prune one checked array; returns the weights and the mask that they have."""
    check_evidence(criterion, evidence)
    if criterion.updates:
        check_finite(w, "w")
        assert evidence.stats is not None
        weights, mask = prune_and_update(w, evidence.stats.gram, pattern, sparsity)
        return weights.astype(w.dtype), mask
    mask = keep_in_array(w, pattern, sparsity, criterion, evidence)
    return apply_mask(w, mask), mask


def keep_in_array(
    w: NDArray[Any], pattern: Pattern, sparsity: float, criterion: Criterion, evidence: Evidence
) -> Mask:
    """Return the mask of one array, ranked alone."""
    scores = criterion.score(w, evidence)
    if criterion.by_row and isinstance(pattern, Unstructured) and len(scores):
        return np.stack([pattern.keep([row], sparsity, 1)[0] for row in scores])
    return pattern.keep([scores], sparsity, criterion.power)[0]


def check_evidence(criterion: Criterion, evidence: Evidence) -> None:
    """Refuse a criterion whose evidence is missing."""
    if criterion.needs and getattr(evidence, criterion.needs) is None:
        raise ValueError(f"{criterion.needs} is None; criterion {criterion.name!r} needs it")


def apply_mask(w: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[Any]:
    """Return a copy of `w` that is 0 where `mask` is false; a 1-d mask is one of rows."""
    shape = mask.shape + (1,) * (w.ndim - mask.ndim)
    zero = w.dtype.type(0)
    return by_rows(lambda mask, w: np.where(mask, w, zero), mask.reshape(shape), w)
