"""SmoothQuant: large inputs are divided by what the weights that read them are multiplied by.

It helps where the inputs become integers and a few of them are far larger than the rest.

Xiao, Lin, Seznec, Wu, Demouth and Han, "SmoothQuant: Accurate and Efficient Post-Training
Quantization for Large Language Models", ICML 2023.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.params.input_stats import InputStats

__all__ = ["smoothing_scale"]


def smoothing_scale(
    weight: NDArray[Any], stats: InputStats, *, alpha: float = 0.5
) -> NDArray[np.float64]:
    """Return what to divide the inputs of a matrix by, and to multiply its columns by.

    Parameters
    ----------
    weight : ndarray of float, (out, in)
    stats : InputStats
        Of the inputs.
    alpha : float, default 0.5
        How much of the difficulty the weights take, 0 to 1.

    Returns
    -------
    ndarray of float64, (in,)
        ``max |x|**alpha / max |w|**(1 - alpha)``; 1 where either is 0.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> stats = qc.InputStats().update(np.array([[1.0, -100.0]], np.float32))
    >>> smoothing_scale(np.ones((3, 2), np.float32), stats)
    array([ 1., 10.])
    """
    inputs = stats.absmax
    readers = np.abs(weight).max(axis=0, initial=0.0).astype(np.float64)
    usable = (inputs > 0) & (readers > 0)
    ratio = np.where(usable, inputs, 1) ** alpha / np.where(usable, readers, 1) ** (1 - alpha)
    return np.asarray(ratio, np.float64)
