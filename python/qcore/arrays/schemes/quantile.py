"""Levels that hold as many values each: the medians of equal parts of the sorted values.

As `kmeans`, a codebook; it keeps entropy where k-means keeps squared error. Where the values
contain a zero, the level nearest to zero is put there.

Dettmers, Lewis, Shleifer and Zettlemoyer, "8-bit Optimizers via Block-wise Quantization",
ICLR 2022, section 1.1 (quantile quantization).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.schemes.codebook import absmax_scales, decode, finite_values, spread, tensor_of
from qcore.arrays.schemes.kmeans import level_count
from qcore.arrays.tensor.options import Options
from qcore.arrays.tensor.scheme import Scheme
from qcore.arrays.tensor.tensor import QTensor

__all__ = ["SCHEME", "quantize"]


def quantize(x: NDArray[Any], options: Options) -> QTensor:
    """Quantize with levels at the quantiles of the values, divided by their scale."""
    options.refuse(
        "the quantile scheme", "scale", "zero_point", "offset", "symmetric", "narrow_range",
        "importance",
    )  # fmt: skip
    values = finite_values(x, options, "the quantile scheme")
    count = level_count(options)
    scale, kind = absmax_scales(values, options)
    shares = np.sort((values / spread(scale, x.shape, options.axis, options.group_size)).ravel())
    levels = np.zeros(count, np.float32)
    if shares.size:
        places = (np.arange(count) + 0.5) / count * shares.size
        levels = shares[np.minimum(places.astype(np.intp), shares.size - 1)].copy()
        zero = np.searchsorted(shares, 0.0)
        if zero < shares.size and shares[zero] == 0:
            levels[np.argmin(np.abs(levels))] = 0.0
            levels.sort()  # among equal levels the first was the nearest
    return tensor_of(values, levels, scale, kind, options, "quantile")


SCHEME = Scheme("quantile", quantize, decode, is_codebook=True)
