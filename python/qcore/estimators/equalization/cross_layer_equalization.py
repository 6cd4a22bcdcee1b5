"""Cross-layer equalization: the weights of a unit and those that read it get equal ranges.

Nagel, van Baalen, Blankevoort and Welling, "Data-Free Quantization Through Weight Equalization and
Bias Correction", ICCV 2019, section 4.1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["cross_layer_scale"]


def cross_layer_scale(before: NDArray[Any], after: NDArray[Any]) -> NDArray[np.float64]:
    """Return what to divide each unit's output by, and to multiply the weights that read it by.

    Parameters
    ----------
    before : ndarray of float, (units, in)
        The weights whose outputs the units are.
    after : ndarray of float, (out, units)
        The weights that read them.

    Returns
    -------
    ndarray of float64, (units,)
        ``sqrt(max |before| / max |after|)``; 1 where either is 0.

    Examples
    --------
    >>> import numpy as np
    >>> cross_layer_scale(np.array([[4.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 1.0]]))
    array([2., 1.])
    """
    rows = np.abs(before).max(axis=1, initial=0.0).astype(np.float64)
    columns = np.abs(after).max(axis=0, initial=0.0).astype(np.float64)
    usable = (rows > 0) & (columns > 0)
    return np.sqrt(np.where(usable, rows, 1) / np.where(usable, columns, 1))
