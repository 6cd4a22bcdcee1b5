"""A matrix some of whose rows stay floats: codes for the others, and both parts apart again."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.layerwise.layerwise import fit_codes
from qcore.arrays.params.input_stats import InputStats
from qcore.arrays.params.qparams import FLOAT32
from qcore.arrays.tensor.options import Options
from qcore.arrays.tensor.tensor import QTensor

__all__ = ["coded_rows", "fit_rows", "without_float_rows"]


def fit_rows(
    value: NDArray[Any],
    stats: InputStats,
    steps: tuple[str, ...],
    options: Options,
    widths: NDArray[np.uint8],
) -> QTensor:
    """Return a matrix (out, in) with a width for each row: of codes, or 16 or 32 for floats."""
    coded = widths <= 8
    if coded.all():
        return fit_codes(value, stats, steps, options, widths)
    codes = np.zeros(value.shape, np.int8)
    scale, zero = np.ones(len(value), np.float32), np.zeros(len(value), np.int32)
    bits, clipped, kind = 8, 0, FLOAT32
    if coded.any():
        q = fit_codes(value[coded], stats, steps, options, widths[coded])
        codes[coded], scale[coded], zero[coded] = q.values, q.scale, q.zero_point
        bits, clipped, kind = q.bits, q.clipped, q.scale_dtype
    real = np.array(value[~coded], np.float32, order="C")
    halves = widths[~coded] == 16
    most = np.finfo(np.float16).max
    real[halves] = np.clip(real[halves], -most, most).astype(np.float16)
    widths = np.array(widths)
    for part in (codes, scale, zero, widths, real):
        part.setflags(write=False)
    return QTensor._make(
        codes, scale, zero, axis=0, bits=bits, clipped=clipped, scale_dtype=kind, row_bits=widths,
        float_rows=real,
    )  # fmt: skip


def coded_rows(q: QTensor) -> QTensor:
    """Return the tensor of the rows that are codes."""
    assert q.row_bits is not None
    coded = q.row_bits <= 8
    codes = np.ascontiguousarray(q.values[coded])
    scale, zero = np.ascontiguousarray(q.scale[coded]), np.ascontiguousarray(q.zero_point[coded])
    widths = np.ascontiguousarray(q.row_bits[coded])
    for part in (codes, scale, zero, widths):
        part.setflags(write=False)
    return QTensor._make(
        codes, scale, zero, axis=0, bits=q.bits, narrow_range=q.narrow_range,
        scale_dtype=q.scale_dtype, row_bits=widths,
    )  # fmt: skip


def without_float_rows(q: QTensor) -> QTensor:
    """Return the tensor with zeros where rows are floats."""
    return QTensor._make(
        q.values, q.scale, q.zero_point, axis=0, bits=q.bits, narrow_range=q.narrow_range,
        scale_dtype=q.scale_dtype,
    )  # fmt: skip
