"""What quantization lost, in numbers."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["QuantizationError", "error_of"]


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


def error_of(exact: NDArray[np.float64], real: NDArray[np.float64]) -> QuantizationError:
    """Compare values with what they became, in float64."""
    noise = float(np.sum((exact - real) ** 2))
    signal = float(np.sum(exact**2))
    sqnr = math.inf if noise == 0 else -math.inf
    if noise and signal:
        sqnr = 10 * math.log10(signal / noise)
    norm = math.sqrt(signal) * math.sqrt(float(np.sum(real**2)))
    cosine = float(np.sum(exact * real)) / norm if norm else float(noise == 0)
    worst = float(np.max(np.abs(exact - real), initial=0.0))
    return QuantizationError(sqnr, cosine, worst)
