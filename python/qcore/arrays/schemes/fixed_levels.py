"""Number formats as codebooks: levels that everyone knows, times the scale of each group.

Codes ascend with the levels, so that the middle between two neighbours decides.

=============  ==================================================================================
power_of_two   0 and ±2^-k, as many as the bits hold: a product is a shift (Miyashita, Lee and
               Murmann, "Convolutional Neural Networks using Logarithmic Data Representation", 2016)
log            0 and ± a geometric row down to 1/256, of as many levels as the bits hold (same)
nf4            The quantiles of a normal distribution, with an exact 0 (Dettmers et al., "QLoRA",
               NeurIPS 2023, appendix E)
fp4            E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6, signed (OCP Microscaling Formats, 2023)
fp8_e4m3       Sign, 4 bits of exponent, 3 of mantissa, no infinities, up to 448 (OCP 8-bit Floating
               Point, 2023; ``float8_e4m3fn``)
fp8_e5m2       Sign, 5 bits of exponent, 2 of mantissa, up to 57344 (same; ``float8_e5m2``)
=============  ==================================================================================

A group's scale maps its greatest magnitude to the greatest level. A float rounds to the nearest
level; on a tie, to the code that is even in its format, as IEEE 754 asks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._arguments.validation import check_int, positive_array
from qcore.arrays.params.layout import scale_shape
from qcore.arrays.params.qparams import FLOAT32, round_scales
from qcore.arrays.schemes.codebook import absmax_scales, decode, finite_values, spread, tensor_of
from qcore.arrays.tensor.options import Options
from qcore.arrays.tensor.scheme import Scheme
from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import ArgumentError

__all__ = ["FORMATS", "levels_of", "quantize"]

#: NF4, as the reference implementation of QLoRA has it.
_NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
)  # fmt: skip


def _mirrored(positive: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the levels, their negatives and 0, ascending."""
    return np.concatenate([-positive[::-1], [0.0], positive]).astype(np.float32)


def _power_of_two(bits: int) -> NDArray[np.float32]:
    return _mirrored(np.exp2(-np.arange(2 ** (bits - 1) - 1, dtype=np.float64)[::-1]))


def _log(bits: int) -> NDArray[np.float32]:
    count = 2 ** (bits - 1) - 1
    return _mirrored(np.exp2(np.linspace(-8.0, 0.0, count)) if count > 1 else np.ones(1))


def _nf4(bits: int) -> NDArray[np.float32]:
    return np.array(_NF4, np.float32)


def _floats(exponent_bits: int, mantissa_bits: int, largest: float, bits: int) -> NDArray[Any]:
    """Return all finite values of a small float format, ascending; 0 once."""
    bias = 2 ** (exponent_bits - 1) - 1
    exponents, mantissas = np.divmod(np.arange(2 ** (bits - 1)), 2**mantissa_bits)
    fractions = mantissas / 2**mantissa_bits
    normal = (1.0 + fractions) * np.exp2(exponents.astype(np.float64) - bias)
    values = np.where(exponents > 0, normal, fractions * 2.0 ** (1 - bias))
    return _mirrored(values[(values > 0) & (values <= largest)])


#: How the levels of each format are made from the bits, and the bits it has, if they are fixed.
FIXED: dict[str, tuple[Callable[[int], NDArray[np.float32]], int | None]] = {
    "power_of_two": (_power_of_two, None),
    "log": (_log, None),
    "nf4": (_nf4, 4),
    "fp4": (partial(_floats, 2, 1, 6.0), 4),
    "fp8_e4m3": (partial(_floats, 4, 3, 448.0), 8),
    "fp8_e5m2": (partial(_floats, 5, 2, 57344.0), 8),
}


@cache
def levels_of(scheme: str, bits: int) -> NDArray[np.float32]:
    """Return the levels of a format, ascending; read-only."""
    levels = FIXED[scheme][0](bits)
    levels.setflags(write=False)
    return levels


def quantize(scheme: str, x: NDArray[Any], options: Options) -> QTensor:
    """Quantize to the levels of a format, times a scale that is given, or fits the values."""
    options.refuse(
        f"the {scheme} scheme", "zero_point", "offset", "levels", "symmetric", "narrow_range",
        "importance",
    )  # fmt: skip
    fixed = FIXED[scheme][1]
    if fixed is not None and options.bits not in (8, fixed):
        raise ArgumentError("bits", f"bits is {options.bits}; {scheme} has {fixed}, leave it out")
    bits = fixed or check_int(options.bits, "bits", 2, 8)
    levels = levels_of(scheme, bits)
    values = finite_values(x, options, f"the {scheme} scheme")
    if options.scale is None:
        top, _ = absmax_scales(values, options._replace(scale_dtype=FLOAT32))
        unit = np.where(values.size and top != 0, top / levels[-1], np.float32(1.0))
        unit = np.where(unit >= np.finfo(np.float32).tiny, unit, np.float32(1.0))
        scale, kind = round_scales(
            np.asarray(unit, np.float32), options.scale_dtype, options.group_size
        )
    else:
        shape = scale_shape(values.shape, options.axis, options.group_size)
        scale = positive_array(options.scale, "scale", shape)
        kind = FLOAT32
    if scheme.startswith("fp"):
        # On a tie the neighbour with the even code: moved a little towards it, off the middle.
        share = values / spread(scale, values.shape, options.axis, options.group_size)
        return _even_ties(share, levels, scale, kind, options, scheme, values)
    return tensor_of(values, levels, scale, kind, options, scheme)


def _even_ties(
    share: NDArray[np.float32],
    levels: NDArray[np.float32],
    scale: NDArray[np.float32],
    kind: np.dtype[Any],
    options: Options,
    scheme: str,
    values: NDArray[np.float32],
) -> QTensor:
    """Return the tensor with ties broken to even codes: levels count from 0 in the middle."""
    q = tensor_of(values, levels, scale, kind, options, scheme)
    codes = q.values.astype(np.intp)
    above = np.minimum(codes + 1, len(levels) - 1)
    middle = (levels[codes].astype(np.float64) + levels[above]) / 2
    # The format's own code counts magnitudes from 0, where the middle level is.
    odd = np.abs(codes - len(levels) // 2) % 2 == 1
    up = (share == middle) & odd & (above > codes)
    if not up.any():
        return q
    fixed = q.values if options.out is not None else q.values.copy()
    fixed[up] += 1
    if options.out is None:
        fixed.setflags(write=False)
    return QTensor._make(
        fixed, q.scale, q.zero_point, q.axis, q.group_size, q.bits, False, scheme=scheme,
        levels=levels, clipped=q.clipped, scale_dtype=kind,
    )  # fmt: skip


#: The schemes that these formats are.
FORMATS = tuple(
    Scheme(
        name,
        partial(quantize, name),
        decode,
        is_codebook=True,
        known_levels=partial(levels_of, name),
    )
    for name in FIXED
)
