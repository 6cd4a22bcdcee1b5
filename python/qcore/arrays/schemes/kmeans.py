"""Codebooks that k-means finds: weights that share values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore._arguments.validation import check_int
from qcore.arrays.params.qparams import FLOAT32
from qcore.arrays.schemes.codebook import (
    absmax_scales,
    decode,
    finite_values,
    nearest,
    spread,
    tensor_of,
)
from qcore.arrays.tensor.options import Options
from qcore.arrays.tensor.scheme import Scheme
from qcore.arrays.tensor.tensor import QTensor, new_codes

__all__ = ["SCHEME", "level_count", "quantize"]


def quantize(x: NDArray[Any], options: Options) -> QTensor:
    """Quantize with a codebook: one for the array, or one for each index of the axis.

    One-dimensional k-means: deterministic, and one level is exactly zero where the values contain a
    zero. Codes ascend with the levels. With groups, values are divided by their group's greatest
    magnitude, and one codebook serves all groups. An importance weighs each value's squared error.

    Han, Mao and Dally, "Deep Compression", ICLR 2016, section 3; with weights, Kim et al.,
    "SqueezeLLM", ICML 2024.
    """
    options.refuse("k-means", "scale", "zero_point", "offset", "symmetric", "narrow_range")
    count = level_count(options)
    values = finite_values(x, options, "k-means")
    weights = _weights(options.importance, values)
    if options.axis is not None:
        return _by_axis(values, weights, count, options)
    one, kind = np.array(1.0, np.float32), FLOAT32
    if options.group_size is None:
        scale = one
    else:
        scale, kind = absmax_scales(values, options)
        wide = spread(scale, values.shape, None, options.group_size)
        # The error of a value counts as much as its scale makes of it.
        weights = (wide.astype(np.float64) ** 2) * (1.0 if weights is None else weights)
        values = values / wide
    levels = _levels(values, weights, count)
    if options.group_size is not None:
        values = np.asarray(finite_values(x, options, "k-means"))
    return tensor_of(values, levels, scale, kind, options, "kmeans")


def level_count(options: Options) -> int:
    """Return how many levels were asked for: ``levels``, or else 2 to the bits given, or 16."""
    if options.levels is not None:
        return check_int(options.levels, "levels", 1, 256)
    return 16 if options.bits == 8 else 2 ** check_int(options.bits, "bits", 1, 8)


def _by_axis(
    values: NDArray[np.float32],
    weights: NDArray[np.float64] | None,
    count: int,
    options: Options,
) -> QTensor:
    axis = options.axis
    assert axis is not None
    codes = new_codes(options.out, np.dtype(np.uint8), values)
    rows = np.ascontiguousarray(np.moveaxis(values, axis, 0))
    shares = None if weights is None else np.ascontiguousarray(np.moveaxis(weights, axis, 0))
    book = np.empty((len(rows), count), np.float32)
    found = np.empty(rows.shape, np.uint8)
    for index, row in enumerate(rows):
        row = np.atleast_1d(row)
        book[index] = _levels(row, None if shares is None else shares[index], count)
        nearest(row, book[index], np.atleast_1d(found[index]))
        if found.ndim == 1:
            found[index] = int(np.argmin(np.abs(book[index] - row)))
    codes[...] = np.moveaxis(found, 0, axis)
    scale, zero = np.array(1.0, np.float32), np.array(0, np.int32)
    for part in (scale, zero, book) if options.out is codes else (scale, zero, book, codes):
        part.setflags(write=False)
    bits = max(1, (count - 1).bit_length())
    return QTensor._make(
        codes, scale, zero, axis, bits=bits, signed=False, scheme="kmeans", levels=book
    )


def _weights(
    importance: NDArray[Any] | None, values: NDArray[np.float32]
) -> NDArray[np.float64] | None:
    if importance is None:
        return None
    weights = np.asarray(importance, np.float64)
    try:
        weights = np.broadcast_to(weights, values.shape)
    except ValueError:
        raise ValueError(
            f"importance has shape {weights.shape}; it must broadcast to {values.shape}"
        ) from None
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError("importance has a value that is not finite, or below 0")
    return weights


def _levels(
    values: NDArray[np.float32], weights: NDArray[np.float64] | None, count: int
) -> NDArray[np.float32]:
    flat = np.ascontiguousarray(values).reshape(-1)
    if weights is None:
        return _core.kmeans(flat, count)
    shares = np.ascontiguousarray(np.broadcast_to(weights, values.shape)).reshape(-1)
    return _core.kmeans(flat, count, shares)


SCHEME = Scheme("kmeans", quantize, decode, is_codebook=True)
