"""What is more than chance, where networks are judged on the same samples."""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["CLOSE", "difference_error", "is_chance", "is_tie", "share_error"]

# A difference of so many standard errors is more than chance.
_SURE = 2.0
#: Accuracies that are further apart are no tie, however few samples there are: half a point.
CLOSE = 0.005


def share_error(share: float, count: int) -> float:
    """Return the standard error of a share of so many samples.

    Examples
    --------
    >>> share_error(0.5, 100)
    0.05
    """
    return sqrt(share * (1 - share) / count)


def difference_error(first: ArrayLike, second: ArrayLike) -> float:
    """Return the standard error of the difference of two means over the same samples.

    Parameters
    ----------
    first, second : array_like, (n,) or (runs, n)
        How right each was on each sample, 0 to 1. Of several runs over the same samples, what the
        runs differ by is an error of its own, which adds to that of the samples.

    Examples
    --------
    Samples on which both are right, or both wrong, tell nothing:

    >>> difference_error([1, 1, 1, 0], [1, 1, 1, 0])
    0.0
    >>> round(difference_error([1, 1, 1, 1], [1, 1, 1, 0]), 3)
    0.25
    """
    difference = np.atleast_2d(np.asarray(first, np.float64) - np.asarray(second, np.float64))
    runs, count = difference.shape
    variance = difference.mean(axis=0).var(ddof=1) / count if count > 1 else 0.0
    if runs > 1:
        variance += difference.mean(axis=1).var(ddof=1) / runs
    return sqrt(variance)


def is_chance(difference: float, error: float) -> bool:
    """Whether a difference is no more than chance: within twice its standard error."""
    return abs(difference) <= _SURE * error


def is_tie(difference: float, error: float) -> bool:
    """Whether two accuracies, from 0 to 1, are close, and differ by no more than chance."""
    return abs(difference) <= CLOSE and is_chance(difference, error)
