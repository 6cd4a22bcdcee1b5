"""The floor form of quantization: step and offset, ``Q(x) = floor((x - α) / β)``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore._arguments.validation import check_number, nan_error, positive_array
from qcore.arrays.params.qparams import check_bits, code_dtype, code_range
from qcore.arrays.tensor.options import Options
from qcore.arrays.tensor.scheme import Scheme
from qcore.arrays.tensor.tensor import QTensor, new_codes

__all__ = ["SCHEME", "decode", "quantize"]


def quantize(x: NDArray[Any], options: Options) -> QTensor:
    """Quantize with one step and one offset; what is not given comes from the range.

    Without an offset, code 0 is the least value's: the codes are unsigned, whatever `signed` says.
    """
    options.refuse(
        "the floor form", "zero_point", "axis", "group_size", "levels", "narrow_range",
        "scale_dtype", "importance",
    )  # fmt: skip
    if options.symmetric:
        raise ValueError("symmetric is True; the floor form is never symmetric")
    width = check_bits(options.bits)
    signed = options.signed and options.offset is not None
    lows, highs, nans, infinite = _core.ranges(x)
    if options.nan == "raise" and nans[0]:
        raise nan_error(x, "x")
    low, high = (float(lows[0]), float(highs[0])) if lows[0] <= highs[0] else (0.0, 0.0)
    start = low if options.offset is None else check_number(options.offset, "offset", -math.inf)
    if options.scale is not None:
        step = positive_array(options.scale, "scale")
        if step.size != 1:
            raise ValueError(f"scale has shape {step.shape}; the floor form has one step")
        step = step.reshape(())
    else:
        # Halves, so that no range overflows.
        step = np.array((high / 2 - start / 2) / 2 ** (width - 1), np.float32)
        if not (np.isfinite(step) and step >= np.finfo(np.float32).tiny):
            step = np.array(1.0, np.float32)
    if x.dtype != np.float64:
        start = float(np.float32(start))
    codes = new_codes(options.out, code_dtype(width, signed), x)
    least, most = code_range(width, signed, False)
    clipped, _ = _core.floor_quantize(x, float(step), start, least, most, codes)
    if options.scale is None and options.offset is None:
        # The greatest value closes the last cell; only infinities lie beyond.
        clipped = int(infinite[0])
    zero = np.array(0, np.int32)
    for part in (step, zero) if options.out is codes else (step, zero, codes):
        part.setflags(write=False)
    return QTensor._make(
        codes, step, zero, bits=width, signed=signed, scheme="floor", offset=start,
        reconstruct=options.reconstruct, clipped=clipped,
    )  # fmt: skip


def decode(q: QTensor, out: NDArray[Any]) -> None:
    """Write ``(code + shift) * scale + offset``; the shift is 0.5 for the centre of a cell."""
    assert q.offset is not None
    shift = 0.5 if q.reconstruct == "centre" else 0.0
    codes = np.ascontiguousarray(q.values).reshape(q.shape)
    _core.floor_dequantize(codes, float(q.scale), q.offset, shift, out)


#: ``rounding="floor"`` asks for it.
SCHEME = Scheme("floor", quantize, decode, has_scale=False, is_choice=False)
