"""The codes of quantized tensors as integers whose 0 is 0."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._arguments.validation import check_instance
from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import ArgumentError

__all__ = ["plain_codes"]


def plain_codes(q: QTensor) -> NDArray[Any]:
    """Return affine codes (rows, columns) less their zero points, as int8 or, beyond it, uint8."""
    check_instance(q, QTensor, "q")
    if q.ndim != 2:
        raise ValueError(f"q has shape {q.shape}; it must have 2 dimensions")
    if q.scheme != "affine" or q.bits > 8 or q.group_size is not None:
        raise ArgumentError(
            "q", f"q is {q!r}; only affine codes of up to 8 bits without groups are integers"
        )
    zeros = q.zero_point
    if zeros.ndim:
        zeros = zeros[:, None] if q.axis == 0 else zeros[None, :]
    codes = q.values.astype(np.int16) - zeros
    low, high = int(codes.min(initial=0)), int(codes.max(initial=0))
    if low >= -128 and high <= 127:
        return codes.astype(np.int8)
    if low >= 0 and high <= 255:
        return codes.astype(np.uint8)
    raise ValueError(f"the codes of q less its zero points are {low} to {high}; int8 holds no such")
