"""Clip search: steps smaller than the greatest value needs are tried, row by row.

Where neither `symmetric` nor `narrow_range` is given, so is leaving the one code that a symmetric
range has too many above zero or below it (zero point -1 or 0); at 2 bits that doubles the levels of
one side.

Sung, Shin and Hwang, "Resiliency of Deep Neural Networks under Quantization", 2015 (steps by least
error); here the error is that of the layer's output.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Form", "forms", "fractions"]

#: Steps that are tried, as shares of the one that the greatest value needs. Chosen on held-out
#: images of networks trained without them.
FRACTIONS = (1.0, 0.92, 0.84, 0.76, 0.68, 0.6, 0.52, 0.44, 0.36)

#: Products of floats from which on fewer steps are tried.
COSTLY = 10**11


class Form(NamedTuple):
    """Which levels each row may use: codes less their zero point, (rows,) each."""

    low: NDArray[np.int32]
    high: NDArray[np.int32]
    zero: NDArray[np.int32]


def forms(widths: NDArray[np.uint8], narrow: bool, free: bool) -> list[Form]:
    """Return the forms to try: the one asked for, or all with zero near the middle."""
    half = 1 << (widths.astype(np.int32) - 1)
    zero = np.zeros_like(half)
    if not free:
        return [Form(narrow - half, half - 1, zero)]
    # int8 has no room for a code above 127: there both forms leave the least code out.
    wide = (widths == 8).astype(np.int32)
    return [Form(wide - half, half - 1, zero), Form(1 - half, half - wide, wide - 1)]


def fractions(searched: bool, products: int) -> tuple[float, ...]:
    """Return the shares to try, if any are searched: fewer where each costs much."""
    if not searched:
        return (1.0,)
    return FRACTIONS[:: 1 + 2 * (products * len(FRACTIONS) > COSTLY)]
