"""One bit: a sign, times a scale.

The scale of a group is the mean magnitude of its values, which is where the squared error of signs
is least. Signed codes are two's complement, -1 for a minus and 0 for a plus; unsigned codes are 0
and 1. There is no code for zero: only a group that is all zero, whose scale is 0, keeps its zeros.

Rastegari, Ordonez, Redmon and Farhadi, "XNOR-Net: ImageNet Classification Using Binary
Convolutional Neural Networks", ECCV 2016, section 3.1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore._arguments.validation import nan_error, positive_array
from qcore.arrays.params.layout import layout_of, scale_shape
from qcore.arrays.params.qparams import code_dtype, round_scales
from qcore.arrays.tensor.options import Options
from qcore.arrays.tensor.scheme import Scheme
from qcore.arrays.tensor.tensor import QTensor, new_codes
from qcore.errors import ArgumentError

__all__ = ["SCHEME", "decode", "quantize", "signs"]


def quantize(x: NDArray[Any], options: Options) -> QTensor:
    """Quantize to signs, with the scales that are given, or else the mean magnitudes."""
    options.refuse("1 bit", "zero_point", "offset", "levels", "importance")
    if options.narrow_range or options.symmetric is False:
        raise ValueError("1 bit has two codes, symmetric: leave narrow_range and symmetric out")
    if options.rounding == "stochastic":
        raise ValueError("rounding is 'stochastic'; 1 bit has none, leave it out")
    if options.observer != "minmax":
        raise ArgumentError(
            "observer", f"observer is {options.observer!r}; 1 bit takes the mean magnitude"
        )
    if np.isnan(x).any() and options.nan == "raise":
        raise nan_error(x, "x")
    axis, group_size = options.axis, options.group_size
    shape = scale_shape(x.shape, axis, group_size)
    if options.scale is None:
        means = _mean_magnitudes(x, axis, group_size, shape)
    else:
        means = positive_array(options.scale, "scale", shape, may_be_zero=True)
    scales, kind = round_scales(means, options.scale_dtype, group_size)
    codes = new_codes(options.out, code_dtype(1, options.signed), x)
    if options.signed:
        np.negative(x < 0, out=codes, dtype=np.int8, casting="unsafe")
    else:
        np.greater_equal(x, 0, out=codes, casting="unsafe")
    zeros = np.zeros(shape, np.int32)
    for part in (scales, zeros) if options.out is codes else (scales, zeros, codes):
        part.setflags(write=False)
    return QTensor._make(
        codes, scales, zeros, axis, group_size, 1, options.signed, scheme="binary",
        clipped=int(np.count_nonzero(np.isinf(x))), scale_dtype=kind,
    )  # fmt: skip


def signs(q: QTensor) -> NDArray[np.int8]:
    """Return the signs of a tensor of 1 bit: -1 and 1, int8."""
    doubled = 2 * q.values.astype(np.int8)
    return np.ascontiguousarray(doubled + np.int8(1 if q.signed else -1))


def decode(q: QTensor, out: NDArray[Any]) -> None:
    """Write ``sign * scale``."""
    layout = layout_of(q.shape, q.axis, q.group_size)
    _core.dequantize(signs(q), q.scale, q.zero_point, out, **layout)


def _mean_magnitudes(
    x: NDArray[Any], axis: int | None, group_size: int | None, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Return the mean magnitude of each group's finite values; 0 of none."""
    size = np.abs(x, dtype=np.float64)
    finite = np.isfinite(size)
    size[~finite] = 0.0
    if not x.size:
        return np.zeros(shape, np.float32)
    if group_size is not None:
        starts = np.arange(0, x.shape[-1], group_size)
        sums = np.add.reduceat(size, starts, axis=-1)
        counts = np.add.reduceat(finite, starts, axis=-1, dtype=np.int64)
    else:
        others = None if axis is None else tuple(i for i in range(x.ndim) if i != axis)
        sums = size.sum(axis=others)
        counts = finite.sum(axis=others)
    means = np.asarray(sums / np.maximum(counts, 1), np.float32)
    means = np.where(means >= np.finfo(np.float32).tiny, means, np.float32(0.0))
    return np.asarray(np.minimum(means, np.finfo(np.float32).max))


#: ``bits=1`` asks for it.
SCHEME = Scheme("binary", quantize, decode, is_choice=False)
