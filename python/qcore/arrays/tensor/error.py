"""What quantization lost, in numbers."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.tensor.sums import dot

__all__ = ["QuantizationError", "error_of"]


# Elements that are compared at a time.
_BLOCK = 1 << 20


class QuantizationError(NamedTuple):
    """What quantization lost: see `QTensor.error`.

    Attributes
    ----------
    sqnr_db : float
        Signal to quantization noise, in dB: ``10 log10(sum(x²) / sum((x - x̂)²))``.
    cosine : float
        Cosine of the angle between the values and what they decode to.
    max_abs : float
        The greatest absolute difference.
    """

    sqnr_db: float
    cosine: float
    max_abs: float


def error_of(exact: NDArray[Any], real: NDArray[np.float64]) -> QuantizationError:
    """Compare values with what they became, in float64, and a block at a time.

    The values may be of any type of float: what is as large as a layer of a language model is not
    widened as a whole.
    """
    one, other = exact.reshape(-1), real.reshape(-1)
    noise = signal = power = product = worst = 0.0
    for start in range(0, len(one), _BLOCK):
        x = one[start : start + _BLOCK].astype(np.float64)
        y = other[start : start + _BLOCK].astype(np.float64, copy=False)
        difference = x - y
        noise += dot(difference, difference)
        signal += dot(x, x)
        power += dot(y, y)
        product += dot(x, y)
        worst = max(worst, float(np.max(np.abs(difference))))
    sqnr = math.inf if noise == 0 else -math.inf
    if noise and signal:
        sqnr = 10 * math.log10(signal / noise)
    norm = math.sqrt(signal) * math.sqrt(power)
    cosine = product / norm if norm else float(noise == 0)
    return QuantizationError(sqnr, cosine, worst)
