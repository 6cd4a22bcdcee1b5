"""The floor form of quantization: step and offset, ``Q(x) = floor((x - α) / β)``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore import _core
from qcore._validation import check_int, check_one_of, check_out, nan_error
from qcore.quantization.qparams import code_dtype, code_range, finite_range
from qcore.quantization.tensor import QTensor

__all__ = ["quantize"]


def quantize(
    x: NDArray[Any],
    *,
    bits: int,
    signed: bool | None,
    scale: ArrayLike | None,
    offset: float | None,
    reconstruct: str,
    nan: str,
    out: NDArray[Any] | None,
) -> QTensor:
    """Quantize in the floor form; `qcore.quantize` has checked `x` and documents the rest.

    Codes count cells from the offset up, so they are unsigned unless `signed` asks otherwise and an
    offset says where 0 is.
    """
    width = check_int(bits, "bits", 2, 16)
    check_one_of(reconstruct, "reconstruct", ("centre", "edge"))
    if signed and offset is None:
        raise ValueError("signed is True, but without an offset code 0 is the least value's")
    low, high = finite_range(x, None, None, nan)
    empty = not low <= high
    start = float(low) if offset is None else float(offset)
    if offset is None and empty:
        start = 0.0
    if scale is None:
        step = np.float32(0 if empty else (float(high) - start) / 2**width)
        if not step >= np.finfo(np.float32).tiny:
            step = np.float32(1.0)
    else:
        step = np.float32(np.asarray(scale, np.float64).reshape(()))
        if not (np.isfinite(step) and step > 0):
            raise ValueError(f"scale is {step}; it must be finite and above 0")
    if not np.isfinite(start):
        raise ValueError(f"offset is {start}; it must be finite")
    start = float(np.float32(start))
    dtype = code_dtype(width, bool(signed))
    codes = np.empty(x.shape, dtype) if out is None else check_out(out, dtype, x.shape, x)
    least, most = code_range(width, bool(signed), False)
    clipped, nans = _core.floor_quantize(x, float(step), start, least, most, codes)
    if nans and nan == "raise":
        raise nan_error(x, "x")
    if scale is None and offset is None and not empty:
        # The greatest value closes the last cell; that is not saturation.
        clipped -= int(np.count_nonzero(x == high))
    return QTensor._make(
        codes, np.array(step, np.float32), np.array(0, np.int32), bits=width,
        signed=bool(signed), scheme="floor", offset=start, reconstruct=reconstruct,
        clipped=max(clipped, 0),
    )  # fmt: skip
