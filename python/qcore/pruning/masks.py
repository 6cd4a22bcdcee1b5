"""Which weights of arrays stay: a mask, true where a weight is kept, for every pattern."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore._validation import check_fraction, check_one_of, first_position

__all__ = ["CRITERIA", "check_options", "keep_groups", "keep_largest", "keep_neurons"]

Mask = NDArray[np.bool_]

#: What a weight is judged by. A new criterion is a function that scores, and a name here.
CRITERIA = ("magnitude",)

_LONGEST_GROUP = 64


def check_options(
    sparsity: float | None, pattern: str, criterion: str
) -> tuple[float, tuple[int, int] | None]:
    """Return the sparsity, and N and M of an N:M pattern, if the options fit together."""
    check_one_of(criterion, "criterion", CRITERIA)
    groups = _groups(pattern)
    if groups is None:
        if sparsity is None:
            raise ValueError(f"sparsity is None; pattern {pattern!r} needs a number from 0 to 1")
        return check_fraction(sparsity, "sparsity"), None
    implied = 1.0 - groups[0] / groups[1]
    if sparsity is not None and abs(check_fraction(sparsity, "sparsity") - implied) > 1e-9:
        raise ValueError(f"sparsity is {sparsity}; pattern {pattern!r} means {implied:.6g}")
    return implied, groups


def _groups(pattern: object) -> tuple[int, int] | None:
    if pattern in ("unstructured", "neurons"):
        return None
    match = (
        re.fullmatch(r"([0-9]{1,3}):([0-9]{1,3})", pattern) if isinstance(pattern, str) else None
    )
    if match is None:
        allowed = "'unstructured', 'neurons' or 'N:M', such as '2:4'"
        raise ValueError(f"pattern is {pattern!r}; it must be one of {allowed}")
    n, m = int(match[1]), int(match[2])
    if not 1 <= n < m <= _LONGEST_GROUP:
        raise ValueError(f"pattern is {pattern!r}; N:M must have 1 <= N < M <= {_LONGEST_GROUP}")
    return n, m


def refuse_nan(w: NDArray[Any], name: str) -> None:
    """Refuse an array with NaN, which has no rank, naming the first."""
    nan = np.isnan(w)
    if nan.any():
        raise ValueError(f"{name}{first_position(nan)} is NaN; a NaN has no rank to prune by")


def keep_largest(arrays: Sequence[NDArray[Any]], sparsity: float) -> list[Mask]:
    """Return the masks that leave ``round(sparsity * size)`` zeros in the arrays together."""
    if len({array.dtype for array in arrays}) > 1:
        arrays = [array.astype(np.float64) for array in arrays]
    masks = [np.empty(array.shape, np.bool_) for array in arrays]
    count = round(sparsity * sum(array.size for array in arrays))
    _core.keep_largest(list(arrays), count, masks)
    return masks


def keep_groups(w: NDArray[Any], n: int, m: int) -> Mask:
    """Return the mask that keeps `n` of each `m` neighbours along the last axis."""
    if w.ndim == 0:
        raise ValueError("w has no axes; an N:M pattern runs along the last axis")
    mask = np.empty(w.shape, np.bool_)
    _core.keep_n_of_m(w, w.shape[-1], n, m, mask)
    return mask


def keep_neurons(w: NDArray[Any], sparsity: float) -> Mask:
    """Return one truth value for each row: whether the neuron stays, by its norm."""
    if w.ndim < 2:
        raise ValueError(f"w has {w.ndim} dimensions; pattern 'neurons' needs rows to prune")
    flat = w.reshape(len(w), -1).astype(np.float64)
    # Scaled by the greatest value, squares neither overflow nor vanish.
    scale = np.max(np.abs(flat), initial=0.0)
    scale = scale if 0.0 < scale < np.inf else 1.0
    norms: NDArray[np.float64] = np.sqrt(np.sum(np.square(flat / scale), axis=1))
    return keep_largest([norms], sparsity)[0]
