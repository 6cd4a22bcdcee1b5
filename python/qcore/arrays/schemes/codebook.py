"""Codes as indices of levels, which scales multiply: what every codebook scheme shares."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore._arguments.validation import first_position, nan_error
from qcore.arrays.params.layout import scale_shape
from qcore.arrays.params.qparams import finite_range, round_scales
from qcore.arrays.tensor.options import Options
from qcore.arrays.tensor.scheme import SCHEMES
from qcore.arrays.tensor.tensor import QTensor, new_codes

__all__ = ["absmax_scales", "decode", "finite_values", "nearest", "spread", "tensor_of"]


def finite_values(x: NDArray[Any], options: Options, form: str) -> NDArray[np.float32]:
    """Return the values as float32, NaN handled as the options say; refuses infinities."""
    with np.errstate(over="ignore"):
        values = np.asarray(x, np.float32)
    if np.isnan(values).any():
        if options.nan == "raise":
            raise nan_error(x, "x")
        values = np.where(np.isnan(values), np.float32(0.0), values)
    if np.isinf(values).any():
        at = first_position(np.isinf(values))
        raise ValueError(f"x{at} is infinite as float32; {form} needs finite values")
    return values


def absmax_scales(
    x: NDArray[np.float32], options: Options
) -> tuple[NDArray[np.float32], np.dtype[Any]]:
    """Return the greatest magnitude of each group, as its scale: 1 for a group of zeros."""
    low, high = finite_range(x, options.axis, options.group_size, "zero")
    scale = np.maximum(np.maximum(-low, high), 0).astype(np.float32)
    scale = np.where(scale >= np.finfo(np.float32).tiny, scale, np.float32(1.0))
    return round_scales(np.asarray(scale, np.float32), options.scale_dtype, options.group_size)


def spread(
    part: NDArray[Any], shape: tuple[int, ...], axis: int | None, group_size: int | None
) -> NDArray[Any]:
    """Return scales in a shape that broadcasts with the elements they belong to."""
    if group_size is not None:
        return np.repeat(part, group_size, axis=-1)[..., : shape[-1]]
    if axis is None:
        return part
    return part.reshape([-1 if i == axis else 1 for i in range(len(shape))])


def nearest(x: NDArray[np.float32], levels: NDArray[np.float32], out: NDArray[np.uint8]) -> None:
    """Write the code of the nearest of ascending levels, the lower one on a tie."""
    flat = np.ascontiguousarray(x).reshape(-1)
    _core.assign(flat, np.ascontiguousarray(levels), out.reshape(-1))


def tensor_of(
    x: NDArray[np.float32],
    levels: NDArray[np.float32],
    scale: NDArray[np.float32],
    kind: np.dtype[Any],
    options: Options,
    scheme: str,
) -> QTensor:
    """Return the tensor whose codes are the levels nearest to ``x / scale``."""
    shape = scale_shape(x.shape, options.axis, options.group_size)
    codes = new_codes(options.out, np.dtype(np.uint8), x)
    share = x / spread(scale, x.shape, options.axis, options.group_size)
    nearest(share, levels, codes)
    zero = np.zeros(shape, np.int32)
    clipped = 0 if SCHEMES[scheme].is_fitted else int(np.count_nonzero(_beyond(share, levels)))
    for part in (scale, zero, levels) if options.out is codes else (scale, zero, levels, codes):
        part.setflags(write=False)
    bits = max(1, (len(levels) - 1).bit_length())
    return QTensor._make(
        codes, scale, zero, options.axis, options.group_size, bits, False, scheme=scheme,
        levels=levels, clipped=clipped, scale_dtype=kind,
    )  # fmt: skip


def _beyond(share: NDArray[np.float32], levels: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return what lies further beyond the outermost levels than half their last step."""
    if len(levels) < 2:
        return np.zeros(share.shape, bool)
    low, high = levels[0] - (levels[1] - levels[0]) / 2, levels[-1] * 1.5 - levels[-2] / 2
    return np.asarray((share < low) | (share > high))


def decode(q: QTensor, out: NDArray[Any]) -> None:
    """Write ``levels[code] * scale``."""
    levels = q.levels
    assert levels is not None
    if levels.ndim == 1:
        real = levels[q.values]
        if q.scale.size != 1 or q.scale.flat[0] != 1:
            real = real * spread(q.scale, q.shape, q.axis, q.group_size)
        out[...] = real
        return
    assert q.axis is not None
    codes = np.moveaxis(q.values, q.axis, 0)
    flat = codes.reshape(len(codes), codes[:1].size).astype(np.intp)
    found = np.take_along_axis(levels, flat, axis=1)
    out[...] = np.moveaxis(found.reshape(codes.shape), 0, q.axis)
