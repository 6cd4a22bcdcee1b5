"""What a tensor is, in a few words."""

from __future__ import annotations

from typing import Any

import numpy as np

from qcore.arrays.tensor.scheme import SCHEMES
from qcore.arrays.tensor.tensor import QTensor

__all__ = ["codes_of", "kind_of"]


def codes_of(bits: object, scheme: str) -> str:
    """Return what codes are, in two words; formats whose name tells all go by it.

    Examples
    --------
    >>> codes_of(4, "affine"), codes_of(8, "mxfp4")
    ('int4 affine', 'mxfp4')
    """
    known = SCHEMES.get(scheme)
    return scheme if known is not None and known.scale_format else f"int{bits} {scheme}"


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
