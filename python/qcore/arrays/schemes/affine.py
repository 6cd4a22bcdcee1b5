"""Affine codes: ``code = saturate(rint(x / scale) + zero_point)``, as ONNX QuantizeLinear."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore import _core
from qcore._arguments.validation import integer_array, nan_error, positive_array
from qcore.arrays.params.layout import layout_of, scale_shape
from qcore.arrays.params.qparams import (
    FLOAT16,
    FLOAT32,
    check_bits,
    code_dtype,
    code_range,
    finite_range,
    qparams_from_range,
    resolve,
    round_scales,
    scale_for_zero_point,
)
from qcore.arrays.params.ranges import observed_range
from qcore.arrays.schemes import binary
from qcore.arrays.tensor.options import Options
from qcore.arrays.tensor.scheme import Scheme
from qcore.arrays.tensor.tensor import QTensor, new_codes
from qcore.errors import ArgumentError

__all__ = ["SCHEME", "decode", "quantize", "seed_from"]


def quantize(x: NDArray[Any], options: Options) -> QTensor:
    """Quantize with the scale and zero point that are given, or else with those of the range."""
    if check_bits(options.bits) == 1:
        return binary.quantize(x, options)
    options.refuse("the affine scheme", "levels", "importance")
    axis, group_size, signed = options.axis, options.group_size, options.signed
    given = options.scale is not None or options.zero_point is not None
    width, symmetric, narrow = resolve(
        options.bits, signed, options.symmetric, options.narrow_range,
        given=given, has_zero_point=options.zero_point is not None,
    )  # fmt: skip
    shape = scale_shape(x.shape, axis, group_size)
    low_code, high_code = code_range(width, signed, narrow)
    zeros = None
    if options.zero_point is not None:
        zeros = _check_zero_point(options.zero_point, shape, low_code, high_code)
    layout = layout_of(x.shape, axis, group_size)
    if group_size is not None and symmetric and signed and narrow and not given and width <= 8:
        q = _in_one_pass(x, options, width)
        if q is not None:
            return q
    kind: np.dtype[Any] = FLOAT32
    if options.scale is not None:
        scales = positive_array(options.scale, "scale", shape)
        if options.scale_dtype is not None:
            scales, kind = round_scales(scales, options.scale_dtype, group_size)
        if zeros is None:
            zeros = np.full(shape, 0 if signed or not symmetric else 2 ** (width - 1), np.int32)
    else:
        low, high = finite_range(x, axis, group_size, options.nan)
        if options.observer != "minmax":
            span = (low_code, high_code, symmetric)
            low, high = observed_range(x, options.observer, options.percentile, span, layout, shape)
        if zeros is None:
            found = qparams_from_range(
                low, high, bits=width, signed=signed, symmetric=symmetric, narrow_range=narrow,
                group_size=group_size, scale_dtype=options.scale_dtype,
            )  # fmt: skip
            scales, zeros, kind = found.scale, found.zero_point, found.scale_dtype
        else:
            scales = scale_for_zero_point(low, high, zeros, low_code, high_code)
            scales, kind = round_scales(scales, options.scale_dtype, group_size)
    codes = new_codes(options.out, code_dtype(width, signed), x)
    if options.rounding == "stochastic":
        seed = seed_from(options.random_state)
        clipped, nans = _core.stochastic_quantize(
            x, scales, zeros, low_code, high_code, seed, codes, **layout
        )
    else:
        clipped, nans = _core.quantize(x, scales, zeros, low_code, high_code, codes, **layout)
    if nans and options.nan == "raise":
        raise nan_error(x, "x")
    for part in (scales, zeros) if options.out is codes else (scales, zeros, codes):
        part.setflags(write=False)
    return QTensor._make(
        codes, scales, zeros, axis, group_size, width, signed, narrow, clipped=clipped,
        scale_dtype=kind,
    )  # fmt: skip


def _in_one_pass(x: NDArray[Any], options: Options, width: int) -> QTensor | None:
    """Quantize groups while their values are in the cache; None where that cannot be."""
    plain = options.observer == "minmax" and options.rounding == "half_even"
    if not plain or x.dtype != np.float32 or not x.size:
        return None
    half = options.scale_dtype in (None, FLOAT16)
    codes = new_codes(options.out, code_dtype(width, True), x)
    greatest = float(code_range(width, True, True)[1])
    layout = layout_of(x.shape, None, options.group_size)
    found = _core.quantize_groups(x, layout["groups"], greatest, half, codes)
    if found is None:
        return None
    scales = found.reshape(scale_shape(x.shape, None, options.group_size))
    zeros = np.zeros(scales.shape, np.int32)
    for part in (scales, zeros) if options.out is codes else (scales, zeros, codes):
        part.setflags(write=False)
    kind = FLOAT16 if half else FLOAT32
    return QTensor._make(
        codes, scales, zeros, None, options.group_size, width, True, True, scale_dtype=kind
    )


def seed_from(random_state: object) -> int:
    """Return the 64 bits that random rounding counts from."""
    if isinstance(random_state, np.random.Generator):
        rng = random_state
    elif random_state is None or isinstance(random_state, (int, np.integer)):
        rng = np.random.default_rng(random_state)
    else:
        raise TypeError(f"random_state is {random_state!r}; it must be an int, a Generator or None")
    return int(rng.integers(2**64, dtype=np.uint64))


def decode(q: QTensor, out: NDArray[Any]) -> None:
    """Write ``(code - zero_point) * scale``."""
    layout = layout_of(q.shape, q.axis, q.group_size)
    _core.dequantize(_plain(q.values), q.scale, q.zero_point, out, **layout)
    if q.float_rows is not None:
        assert q.row_bits is not None
        out[q.row_bits > 8] = q.float_rows


def _plain(codes: NDArray[Any]) -> NDArray[Any]:
    return codes if codes.flags.c_contiguous else np.ascontiguousarray(codes)


def _check_zero_point(
    zero_point: ArrayLike, shape: tuple[int, ...], low: int, high: int
) -> NDArray[np.int32]:
    zeros = integer_array(zero_point, "zero_point")
    if zeros.shape not in (shape, ()):
        raise ValueError(f"zero_point has shape {zeros.shape}; it must be {shape}")
    if zeros.size and (zeros.min() < low or zeros.max() > high):
        found = zeros[(zeros < low) | (zeros > high)].flat[0]
        raise ArgumentError(
            "zero_point", f"zero_point is {found}; it must be a code, {low} to {high}"
        )
    return np.array(np.broadcast_to(zeros, shape), np.int32, order="C")


SCHEME = Scheme("affine", quantize, decode)
