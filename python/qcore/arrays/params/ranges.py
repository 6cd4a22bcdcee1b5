"""How ranges are chosen from values that are at hand: the names of the methods, and the call."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore.errors import ArgumentError

__all__ = ["OBSERVERS", "check_percentile", "observed_range"]

#: What ``observer=`` may be; see `qcore.Observer`.
OBSERVERS = ("minmax", "percentile", "mse", "entropy")

Ranges = tuple[NDArray[Any], NDArray[Any]]


def check_percentile(percentile: object) -> float:
    """Return the share of values to keep, in percent: above 0, at most 100."""
    if isinstance(percentile, (bool, str)) or not isinstance(percentile, (int, float, np.number)):
        raise TypeError(f"percentile is {percentile!r}; it must be a number")
    if not 0.0 < percentile <= 100.0:
        raise ArgumentError(
            "percentile", f"percentile is {percentile}; it must be above 0 and at most 100"
        )
    return float(percentile)


def observed_range(
    x: NDArray[Any],
    observer: str,
    percentile: float,
    codes: tuple[int, int, bool],
    layout: dict[str, tuple[int, int]],
    shape: tuple[int, ...],
) -> Ranges:
    """Return least and greatest values, of `shape`, that each scale is to cover.

    `codes` are the least code, the greatest, and whether they are symmetric.
    """
    least, most, symmetric = codes
    share = check_percentile(percentile)
    low, high = _core.observe(x, observer, share, least, most, symmetric, **layout)
    real = np.float64 if x.dtype == np.float64 else np.float32
    return low.astype(real).reshape(shape), high.astype(real).reshape(shape)
