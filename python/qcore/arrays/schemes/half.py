"""float16 as a scheme: for what is to stay a float. Codes are the bit patterns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._arguments.validation import nan_error
from qcore.arrays.tensor.options import Options
from qcore.arrays.tensor.scheme import Scheme
from qcore.arrays.tensor.tensor import QTensor, new_codes
from qcore.errors import ArgumentError

__all__ = ["SCHEME", "decode", "quantize"]


def quantize(x: NDArray[Any], options: Options) -> QTensor:
    """Round to float16, half to even, as NumPy does."""
    options.refuse(
        "float16", "scale", "zero_point", "offset", "group_size", "levels", "symmetric",
        "narrow_range", "importance", "scale_dtype",
    )  # fmt: skip
    if options.bits not in (8, 16):
        raise ArgumentError("bits", f"bits is {options.bits}; float16 has 16, leave it out")
    nans = np.isnan(x)
    if nans.any():
        if options.nan == "raise":
            raise nan_error(x, "x")
        x = np.where(nans, 0, x)
    with np.errstate(over="ignore"):
        halves = np.clip(x, -65504, 65504).astype(np.float16)
    codes = new_codes(options.out, np.dtype(np.uint16), x)
    codes[...] = halves.view(np.uint16).reshape(x.shape)
    clipped = int(np.count_nonzero(np.abs(x) > 65520))
    scale, zero = np.array(1.0, np.float32), np.array(0, np.int32)
    for part in (scale, zero) if options.out is codes else (scale, zero, codes):
        part.setflags(write=False)
    return QTensor._make(
        codes, scale, zero, bits=16, signed=False, scheme="float16", clipped=clipped
    )


def decode(q: QTensor, out: NDArray[Any]) -> None:
    """Write the values of the bit patterns."""
    out[...] = np.ascontiguousarray(q.values).reshape(q.shape).view(np.float16)


SCHEME = Scheme("float16", quantize, decode, has_scale=False)
