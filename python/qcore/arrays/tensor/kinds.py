"""What a tensor is, in a few words."""

from __future__ import annotations

from typing import Any

import numpy as np

from qcore.arrays.tensor.tensor import QTensor

__all__ = ["kind_of"]


def kind_of(value: Any) -> str:
    """Return what a tensor is, in a few words.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> kind_of(qc.quantize(np.ones((2, 64)), bits=4, group_size=32))
    'int4 affine, groups of 32'
    """
    if isinstance(value, QTensor):
        return value.kind
    dtype = getattr(value, "dtype", None)
    return str(dtype) if isinstance(value, np.ndarray) else f"{type(value).__name__} {dtype}"
