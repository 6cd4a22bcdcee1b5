"""What a page draws of one tensor: histograms before and after, and where its zeros lie."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Histogram", "dense_array", "histogram", "values_in_one_row", "zeros_map"]

_BINS = 48
# Enough for every bin of a histogram to stand still; a longer tensor is looked at in even steps.
_SAMPLE = 1 << 16
_MAP = 48
_MOST = float(np.finfo(np.float64).max)


class Histogram(NamedTuple):
    """How values are spread, before and after, over the same bins.

    Attributes
    ----------
    low, high : float
        The ends of the bins, which are equally wide.
    before, after : list of float
        The share of the values in each; empty where there are none.
    """

    low: float
    high: float
    before: list[float]
    after: list[float]


def histogram(before: Any, after: Any = None, *, bins: int = _BINS) -> Histogram:
    """Return the histograms of one tensor before and after.

    Parameters
    ----------
    before, after : array_like or None
        Of 65,536 values or fewer all are counted, of longer ones about as many, in even steps.
    bins : int, default 48

    Examples
    --------
    >>> import numpy as np
    >>> histogram(np.array([0.0, 0.0, 1.0, 2.0]), bins=2).before
    [0.5, 0.5]
    """
    samples = [_sample(value) for value in (before, after) if value is not None]
    filled = [sample for sample in samples if sample.size]
    low = min((float(sample.min()) for sample in filled), default=0.0)
    high = max((float(sample.max()) for sample in filled), default=0.0)
    if low == high:  # half of one to each side, or as much as the number can be told from
        side = max(0.5, float(np.spacing(abs(low))))
        low, high = max(low - side, -_MOST), min(high + side, _MOST)
    shares = [_shares(sample, low, high, bins) for sample in samples]
    shares += [[]] * (2 - len(shares))
    return Histogram(low, high, *shares)


def zeros_map(value: Any) -> NDArray[np.float64] | None:
    """Return the share of values that are not 0, in each block of a matrix.

    Parameters
    ----------
    value : array_like
        Axes behind the first are laid in one row.

    Returns
    -------
    ndarray, at most (48, 48), or None
        None if it has fewer than two axes, or hardly a zero.
    """
    array = dense_array(value)
    if array.ndim < 2 or not array.size:
        return None
    kept: NDArray[Any] = array.reshape(len(array), -1) != 0
    if kept.mean() > 0.98:
        return None
    for axis in (0, 1):
        length = kept.shape[axis]
        edges = np.unique(np.linspace(0, length, min(length, _MAP) + 1).astype(int))
        sums = np.add.reduceat(kept, edges[:-1], axis=axis, dtype=np.float64)
        widths = np.diff(edges)
        kept = sums / (widths[:, None] if axis == 0 else widths[None, :])
    return kept


def dense_array(value: Any) -> NDArray[Any]:
    """Return a tensor of any kind as an array."""
    return np.asarray(value.to_dense() if hasattr(value, "to_dense") else value)


def values_in_one_row(value: Any) -> NDArray[Any]:
    """Return the real values of a tensor; a complex one's parts."""
    array = dense_array(value).reshape(-1)
    return array.view(array.real.dtype) if array.dtype.kind == "c" else array


def _sample(value: Any) -> NDArray[np.float64]:
    flat = values_in_one_row(value)
    # An odd step does not follow the rows.
    step = max(1, math.ceil(flat.size / _SAMPLE)) | 1 if flat.size > _SAMPLE else 1
    sample = flat[::step].astype(np.float64)
    finite: NDArray[np.float64] = sample[np.isfinite(sample)]
    return finite


def _shares(sample: NDArray[np.float64], low: float, high: float, bins: int) -> list[float]:
    if not sample.size:
        return []
    # By halves: the width of all bins may be more than a float holds.
    places = ((sample / 2 - low / 2) * (bins / (high / 2 - low / 2))).astype(np.intp)
    counts = np.bincount(np.clip(places, 0, bins - 1), minlength=bins)
    shares: list[float] = (counts / sample.size).tolist()
    return shares
