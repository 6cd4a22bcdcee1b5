"""Codebooks that k-means finds: weights that share values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore._validation import check_int, first_position, nan_error
from qcore.quantization.affine import new_codes
from qcore.quantization.options import Options
from qcore.quantization.tensor import QTensor

__all__ = ["decode", "quantize"]


def quantize(x: NDArray[Any], options: Options) -> QTensor:
    """Quantize with a codebook, one for the array or for each index of the axis.

    One-dimensional k-means: deterministic, and one level is exactly zero where the values contain a
    zero. Codes ascend with the levels.

    Han, Mao and Dally, "Deep Compression", ICLR 2016, section 3.
    """
    options.refuse(
        "k-means", "scale", "zero_point", "offset", "group_size", "symmetric", "narrow_range"
    )
    axis = options.axis
    count = 16 if options.levels is None else check_int(options.levels, "levels", 1, 256)
    values = np.asarray(x, np.float32)
    if np.isnan(values).any():
        if options.nan == "raise":
            raise nan_error(x, "x")
        values = np.where(np.isnan(values), np.float32(0.0), values)
    if np.isinf(values).any():
        at = first_position(np.isinf(values))
        raise ValueError(f"x{at} is infinite as float32; k-means needs finite values")
    codes = new_codes(options.out, np.dtype(np.uint8), x)
    # One row for each codebook.
    rows = values.reshape(1, -1) if axis is None else np.moveaxis(values, axis, 0)
    rows = np.ascontiguousarray(rows)
    book = np.empty((len(rows), count), np.float32)
    found = np.empty(rows.shape, np.uint8)
    for row, levels, into in zip(rows, book, found, strict=True):
        levels[:] = _core.kmeans(np.atleast_1d(row), count)
        _core.assign(np.atleast_1d(row), levels, into)
    codes[...] = found.reshape(x.shape) if axis is None else np.moveaxis(found, 0, axis)
    if axis is None:
        book = book[0]
    bits = max(1, (count - 1).bit_length())
    scale, zero = np.array(1.0, np.float32), np.array(0, np.int32)
    for part in (scale, zero, book) if options.out is codes else (scale, zero, book, codes):
        part.setflags(write=False)
    return QTensor._make(
        codes, scale, zero, axis, bits=bits, signed=False, scheme="kmeans", levels=book
    )


def decode(q: QTensor, out: NDArray[Any]) -> None:
    """Write the level of each code."""
    assert q.levels is not None
    if q.axis is None:
        out[...] = q.levels[q.values]
        return
    codes = np.moveaxis(q.values, q.axis, 0)
    flat = codes.reshape(len(codes), codes[:1].size).astype(np.intp)
    found = np.take_along_axis(q.levels, flat, axis=1)
    out[...] = np.moveaxis(found.reshape(codes.shape), 0, q.axis)
