"""Codes that another project's file has no place for: kept as floats, and said."""

from __future__ import annotations

import warnings

import numpy as np

from qcore.arrays.tensor.tensor import QTensor

__all__ = ["widened"]


def widened(name: str, value: object, reason: str | None) -> object:
    """Return a tensor as it is; where there is a reason against its codes, the floats they are.

    Warns
    -----
    UserWarning
        Names the tensor and the reason.
    """
    if reason is None or not isinstance(value, QTensor):
        return value
    warnings.warn(f"tensor {name!r} is stored as float32: {reason}", UserWarning, stacklevel=4)
    return np.asarray(value, np.float32)
