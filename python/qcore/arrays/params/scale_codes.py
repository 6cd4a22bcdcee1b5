"""Scales that are stored as floats of 8 bits themselves: powers of two, or E4M3 times one number.

A tensor holds what the codes stand for, in float32: ``float32(code value * tensor_scale)``, which
tells the codes again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore.arrays.params.small_floats import SMALL_FLOATS, code_values

__all__ = ["decode_scales", "encode_scales", "nearest_codes"]


def decode_scales(
    codes: NDArray[np.uint8], kind: str, tensor_scale: float | None
) -> NDArray[np.float32]:
    """Return the scales of codes of the format `kind`, times that of the tensor."""
    values: NDArray[np.float32] = code_values(kind)[codes]
    return values if tensor_scale is None else values * np.float32(tensor_scale)


def encode_scales(
    scale: NDArray[np.float32], kind: str, tensor_scale: float | None
) -> NDArray[np.uint8]:
    """Return the codes of scales that have some.

    Raises
    ------
    ValueError
        If one has none.
    """
    one = np.float32(1.0 if tensor_scale is None else tensor_scale)
    if kind == "F8_E8M0":
        codes = np.asarray(np.clip(np.frexp(scale)[1] + 126, 0, 254), np.uint8)
    else:
        codes = nearest_codes(scale, kind, one)
    bad = decode_scales(codes, kind, tensor_scale) != scale
    if bad.any():
        times = "" if tensor_scale is None else f" times {one}"
        raise ValueError(f"scale has {scale[bad].flat[0]}, which is no value of {kind}{times}")
    return codes


def nearest_codes(x: NDArray[np.float32], kind: str, unit: np.float32) -> NDArray[np.uint8]:
    """Return the codes nearest to ``x / unit``, ties to even; what is too large saturates."""
    of = SMALL_FLOATS[kind]
    codes = np.empty(x.shape, np.uint8)
    if x.size:
        flat, row = np.ascontiguousarray(x).reshape(-1), x.size
        step = np.array([unit], np.float32)
        known = (of.exponent, of.mantissa, of.top)
        _core.quantize_minifloat(flat, known, (row, row), step, codes.reshape(-1))
    return codes
