"""Bias correction: the mean of a quantized layer's output is the exact layer's.

Nagel, van Baalen, Blankevoort and Welling, "Data-Free Quantization Through Weight Equalization and
Bias Correction", ICCV 2019; here the means are those of samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.params.input_stats import InputStats
from qcore.arrays.tensor.tensor import QTensor

__all__ = ["corrected_bias"]


def corrected_bias(
    weight: NDArray[Any], new: QTensor | NDArray[Any], bias: NDArray[Any] | None, stats: InputStats
) -> NDArray[np.float32]:
    """Return the bias with which a changed layer's mean output is the exact layer's.

    Parameters
    ----------
    weight : ndarray of float, (out, in)
    new : QTensor or ndarray of float, (out, in)
        The weight, quantized or pruned.
    bias : ndarray of float, (out,), or None
    stats : InputStats
        Of the changed layer's input, with the exact inputs where they differ.

    Returns
    -------
    ndarray of float32, (out,)
    """
    off = weight.astype(np.float64) @ stats.exact_mean
    real = new.dequantize(dtype=np.float64) if isinstance(new, QTensor) else new.astype(np.float64)
    off -= real @ stats.mean
    return (off if bias is None else bias.astype(np.float64) + off).astype(np.float32)
