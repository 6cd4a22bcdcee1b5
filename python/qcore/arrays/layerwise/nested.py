"""8-bit codes that contain those of 4 bits: the upper half of each code is the 4-bit code.

First the 4-bit codes are fitted, as for a 4-bit network, but without a bias of their own; then what
their error leaves is fitted with the lower half of the codes, in steps of a sixteenth. So the 4-bit
version is as good as a network of 4 bits, and the 8-bit version makes up for its errors.

As Nair et al., "Matryoshka Quantization", ICML 2025, which trains for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.layerwise.coordinate_descent import ROUNDS
from qcore.arrays.layerwise.layerwise import Problem, fit_codes
from qcore.arrays.params.input_stats import InputStats
from qcore.arrays.tensor.options import Options
from qcore.arrays.tensor.tensor import QTensor

__all__ = ["nested_codes", "upper_half"]

#: Steps of the 8-bit codes in one of the 4-bit codes.
STEPS = 16


def nested_codes(
    value: NDArray[Any], stats: InputStats, upper_stats: InputStats, steps: tuple[str, ...]
) -> QTensor:
    """Return the 8-bit tensor of a matrix (out, in) whose `upper_half` is its 4-bit tensor.

    `upper_stats` are of the inputs that the layer gets when the network runs at 4 bits.
    """
    upper = fit_codes(value, upper_stats, steps, Options(4, axis=0, narrow_range=True))
    problem = Problem(np.asarray(value, np.float64), stats, None, centred=False)
    scale = (upper.scale / np.float32(STEPS)).astype(np.float64)[:, None]
    problem.target = problem.target - upper.dequantize(dtype=np.float64)
    lower = np.clip(np.rint(problem.target / scale), -8, 7).astype(np.int32)
    low, high = (np.full(scale.shape, end, np.int32) for end in (-8, 7))
    problem.descend(scale, low, high, lower, ROUNDS, refit=False)
    codes = (STEPS * upper.values.astype(np.int32) + lower).astype(np.int8)
    step = np.ascontiguousarray(scale[:, 0], np.float32)
    for part in (codes, step):
        part.setflags(write=False)
    return QTensor._make(codes, step, upper.zero_point, axis=0, bits=8, clipped=upper.clipped)


def upper_half(q: QTensor) -> QTensor:
    """Return the 4-bit tensor in the upper half of 8-bit codes: ``(code + 8) >> 4``.

    The scale is 16 times as large. Codes that were not made for it are rounded so too, which is
    the nearest 4-bit code of the same range.
    """
    plain = q.scheme == "affine" and q.signed and not q.zero_point.any()
    if not plain or q.bits != 8 or q.row_bits is not None:
        raise ValueError(f"{q!r} has no upper half; signed 8-bit codes with zero point 0 have")
    codes = np.minimum((q.values.astype(np.int16) + STEPS // 2) >> 4, 7).astype(np.int8)
    scale = (q.scale * np.float32(STEPS)).astype(np.float32)
    for part in (codes, scale):
        part.setflags(write=False)
    return QTensor._make(codes, scale, q.zero_point, q.axis, q.group_size, 4)
