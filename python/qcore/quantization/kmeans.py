"""Codebooks that k-means finds: weights that share values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore._validation import check_int, check_out, first_position, nan_error
from qcore.quantization.tensor import QTensor

__all__ = ["quantize"]


def quantize(
    x: NDArray[Any], *, levels: int | None, axis: int | None, nan: str, out: NDArray[Any] | None
) -> QTensor:
    """Quantize with a codebook of `levels` values, one for the array or for each index of `axis`.

    One-dimensional k-means: deterministic, and one level is exactly zero where the values contain a
    zero. Codes ascend with the levels. `qcore.quantize` has checked `x` and documents the rest.

    Han, Mao and Dally, "Deep Compression", ICLR 2016, section 3.
    """
    count = 16 if levels is None else check_int(levels, "levels", 1, 256)
    values = np.asarray(x, np.float32)
    if np.isnan(values).any():
        if nan == "raise":
            raise nan_error(values, "x")
        values = np.where(np.isnan(values), np.float32(0.0), values)
    if np.isinf(values).any():
        at = first_position(np.isinf(values))
        raise ValueError(f"x{at} is infinite; k-means needs finite values")
    codes = np.empty(x.shape, np.uint8) if out is None else check_out(out, np.uint8, x.shape, x)
    if axis is None:
        flat = np.ascontiguousarray(values)
        book = _core.kmeans(flat, count)
        found = np.empty(flat.shape, np.uint8)
        _core.assign(flat, book, found)
        codes[...] = found
    else:
        rows = np.ascontiguousarray(np.moveaxis(values, axis, 0))
        book = np.empty((len(rows), count), np.float32)
        found = np.empty(rows.shape, np.uint8)
        for index, row in enumerate(rows):
            book[index] = _core.kmeans(row, count)
            _core.assign(row, book[index], found[index, ...])
        codes[...] = np.moveaxis(found, 0, axis)
    bits = max(1, (count - 1).bit_length())
    return QTensor._make(
        codes, np.array(1.0, np.float32), np.array(0, np.int32), axis=axis, bits=bits,
        signed=False, scheme="kmeans", levels=book,
    )  # fmt: skip
