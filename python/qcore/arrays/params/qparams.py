"""The parameters of affine quantization, and the rules that choose them: the one place for both.

``real = (code - zero_point) * scale``. Ranges to scales, after ONNX DynamicQuantizeLinear and the
symmetric forms that int8 kernels want:

=====================  ==========================================
asymmetric             ``(max(x, 0) - min(x, 0)) / (2**bits - 1)``
symmetric, narrow      ``absmax / (2**(bits - 1) - 1)``
symmetric, full        ``absmax / ((2**bits - 1) / 2)``
=====================  ==========================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from qcore import _core
from qcore._arguments.validation import (
    check_flag,
    check_int,
    check_one_of,
    first_position,
    float_array,
    integer_array,
    nan_error,
    positive_array,
)
from qcore.arrays.params.layout import check_layout, layout_of, scale_shape
from qcore.arrays.params.ranges import OBSERVERS, observed_range
from qcore.errors import ArgumentError

__all__ = ["QParams", "choose_qparams", "code_dtype", "code_range"]


#: The least float32 that is not subnormal.
_TINY = np.finfo(np.float32).tiny

FLOAT16, FLOAT32 = np.dtype(np.float16), np.dtype(np.float32)


def code_dtype(bits: int, signed: bool) -> np.dtype[Any]:
    """Return the integer type that holds codes of that many bits, unpacked."""
    if bits <= 8:
        return np.dtype(np.int8 if signed else np.uint8)
    return np.dtype(np.int16 if signed else np.uint16)


def code_range(bits: int, signed: bool, narrow_range: bool) -> tuple[int, int]:
    """Return the least and the greatest code.

    ``narrow_range`` leaves out the least one, so that signed codes are as many above 0 as below.
    """
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return (low + 1 if narrow_range else low), high


@dataclass(frozen=True, slots=True, eq=False)
class QParams:
    """The parameters of affine quantization: ``real = (code - zero_point) * scale``.

    Attributes
    ----------
    scale : ndarray of float32
        Steps, above 0: 0-d for a tensor, 1-d for an axis, ``shape[:-1] + (groups,)`` for groups.
    zero_point : ndarray of int32
        The codes of 0, in the shape of `scale`.
    bits : int
        Width of a code.
    signed, symmetric, narrow_range : bool
        Which codes there are: two's complement or from 0 on, with 0 in the middle, without the
        least.
    axis, group_size : int or None
        What shares a scale: one index of `axis`, or `group_size` elements of the last axis.
    scale_dtype : dtype
        The type that holds each scale exactly, and in which it is stored: float32 or float16.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> params = qc.choose_qparams(np.array([-1.0, 3.0], np.float32), signed=False, symmetric=False)
    >>> float(params.scale), int(params.zero_point), params.qmin, params.qmax
    (0.01568627543747425, 64, 0, 255)
    """

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int32]
    bits: int = 8
    signed: bool = True
    symmetric: bool = True
    narrow_range: bool = False
    axis: int | None = None
    group_size: int | None = None
    scale_dtype: np.dtype[Any] = FLOAT32

    def __post_init__(self) -> None:
        bits = check_bits(self.bits)
        for name in ("signed", "symmetric", "narrow_range"):
            object.__setattr__(self, name, check_flag(getattr(self, name), name))
        shared = self.axis, self.group_size
        if None not in shared:
            raise ValueError("axis and group_size are both given; groups run along the last axis")
        for name, value, least in zip(("axis", "group_size"), shared, (0, 1), strict=True):
            if value is not None:
                object.__setattr__(self, name, check_int(value, name, least))
        scale = positive_array(self.scale, "scale")
        zeros = check_zero_points(self.zero_point, scale.shape, bits, self.signed)
        for name, part in (("scale", scale), ("zero_point", zeros)):
            part.setflags(write=False)
            object.__setattr__(self, name, part)
        object.__setattr__(self, "bits", bits)
        object.__setattr__(self, "scale_dtype", check_scale_dtype(self.scale_dtype) or FLOAT32)

    @property
    def qmin(self) -> int:
        """The least code."""
        return code_range(self.bits, self.signed, self.narrow_range)[0]

    @property
    def qmax(self) -> int:
        """The greatest code."""
        return code_range(self.bits, self.signed, self.narrow_range)[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The integer type that holds the codes, unpacked."""
        return code_dtype(self.bits, self.signed)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, QParams):
            return NotImplemented
        return (
            np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
            and all(getattr(self, name) == getattr(other, name) for name in _SIMPLE)
        )

    def __hash__(self) -> int:
        return hash((self.scale.tobytes(), self.zero_point.tobytes(), self.bits, self.signed))


_SIMPLE = ("bits", "signed", "symmetric", "narrow_range", "axis", "group_size")


def check_bits(bits: object, least: int = 1) -> int:
    """Return a width that codes can have: `least` to 8, or 16."""
    width = check_int(bits, "bits", least, 16)
    if 8 < width < 16:
        raise ArgumentError("bits", f"bits is {width}; it must be {least} to 8, or 16")
    return width


def check_zero_points(
    zero_point: ArrayLike, shape: tuple[int, ...], bits: int, signed: bool
) -> NDArray[np.int32]:
    """Return codes of 0 as a new int32 array, if they are codes and in the shape of the scales."""
    zeros = integer_array(zero_point, "zero_point")
    if zeros.shape != shape:
        raise ValueError(f"zero_point has shape {zeros.shape}; it must be {shape}")
    low, high = code_range(bits, signed, False)
    bad = (zeros < low) | (zeros > high)
    if bad.any():
        at = first_position(bad) if zeros.ndim else ""
        raise ValueError(f"zero_point{at} is {zeros[bad].flat[0]}; it must be {low} to {high}")
    return np.array(zeros, np.int32, order="C")


def check_scale_dtype(scale_dtype: DTypeLike | None) -> np.dtype[Any] | None:
    """Return the type for scales, if one was asked for."""
    if scale_dtype is None:
        return None
    try:
        kind: np.dtype[Any] = np.dtype(scale_dtype).newbyteorder("=")
    except TypeError as error:
        raise TypeError(f"scale_dtype is {scale_dtype!r}, which is no type") from error
    if kind not in (FLOAT16, FLOAT32):
        raise ArgumentError("scale_dtype", f"scale_dtype is {kind}; it must be float16 or float32")
    return kind


def round_scales(
    scale: NDArray[np.float32], kind: np.dtype[Any] | None, group_size: int | None
) -> tuple[NDArray[np.float32], np.dtype[Any]]:
    """Return scales as their type holds them, and that type.

    Groups have float16 scales unless another type is asked for; where a scale would be subnormal
    or infinite in float16, all stay float32.
    """
    if kind is None:
        kind = FLOAT32 if group_size is None else FLOAT16
    if kind == FLOAT16:
        limits = np.finfo(np.float16)
        if ((scale >= limits.tiny) & (scale <= limits.max)).all():
            return scale.astype(np.float16).astype(np.float32), FLOAT16
    return scale, FLOAT32


def resolve(
    bits: object,
    signed: bool,
    symmetric: bool | None,
    narrow_range: bool | None,
    *,
    given: bool = False,
    has_zero_point: bool = False,
) -> tuple[int, bool, bool]:
    """Return bits, symmetric and narrow_range with their defaults filled in.

    A scale or zero point that the caller gives goes with the full range, as in ONNX; a symmetric
    signed range that is found goes with the narrow one.
    """
    width, signed = check_bits(bits, 2), check_flag(signed, "signed")
    symmetric = not has_zero_point if symmetric is None else check_flag(symmetric, "symmetric")
    if narrow_range is None:
        narrow_range = symmetric and signed and not given
    return width, symmetric, check_flag(narrow_range, "narrow_range")


def qparams_from_range(
    low: ArrayLike,
    high: ArrayLike,
    *,
    bits: int = 8,
    signed: bool = True,
    symmetric: bool = True,
    narrow_range: bool = False,
    axis: int | None = None,
    group_size: int | None = None,
    scale_dtype: np.dtype[Any] | None = None,
) -> QParams:
    """Return the parameters for values from `low` to `high`, of any shape.

    A range whose scale would be 0, subnormal or not finite gets scale 1: its values are all (next
    to) zero. `low` above `high` is an empty range. float32 arithmetic for float32 ranges, float64
    for the rest, as ONNX DynamicQuantizeLinear.
    """
    low, high = np.asarray(low), np.asarray(high)
    least = np.minimum(low, 0.0)
    most = np.maximum(high, 0.0)
    real = np.float32 if least.dtype == most.dtype == np.float32 else np.float64
    qmin, qmax = code_range(bits, signed, narrow_range)
    with np.errstate(over="ignore"):
        if symmetric:
            scale = (np.maximum(-least, most) / real((qmax - qmin) / 2)).astype(np.float32)
        else:
            span = most - least
            scale = (span / real(qmax - qmin)).astype(np.float32)
            if not np.isfinite(span).all():  # the sum of two huge numbers
                wide = most / (qmax - qmin) - least / (qmax - qmin)
                scale = np.where(np.isfinite(span), scale, wide).astype(np.float32)
    usable = (scale >= _TINY) & np.isfinite(scale)
    if not usable.all():
        scale = np.where(usable, scale, np.float32(1.0)).astype(np.float32)
    scale, kind = round_scales(np.asarray(scale), scale_dtype, group_size)
    if symmetric:
        zero = np.full(scale.shape, 0 if signed else 2 ** (bits - 1), np.int32)
    else:
        exact = real(qmin) - least / scale.astype(real)
        zero = np.clip(np.rint(exact), qmin, qmax).astype(np.int32)
        zero = np.where(usable, zero, np.int32(max(qmin, 0))).astype(np.int32)
    scale, zero = np.asarray(scale), np.asarray(zero)
    return QParams(scale, zero, bits, signed, symmetric, narrow_range, axis, group_size, kind)


def choose_qparams(
    x: ArrayLike,
    *,
    bits: int = 8,
    signed: bool = True,
    symmetric: bool | None = None,
    narrow_range: bool | None = None,
    axis: int | None = None,
    group_size: int | None = None,
    observer: str = "minmax",
    percentile: float = 99.99,
    scale_dtype: DTypeLike | None = None,
    nan: str = "raise",
) -> QParams:
    """Choose scale and zero point from the range of the finite values of an array.

    Parameters
    ----------
    x : array_like of float16, float32 or float64
        The values, of any shape.
    bits : int, default 8
        Width of a code: 2 to 8, or 16.
    signed : bool, default True
        Two's complement, or codes from 0 on.
    symmetric : bool, default True
        Whether the code of 0 is fixed: 0, or ``2**(bits - 1)`` for unsigned codes. If not, the
        range is the smallest that holds the values and 0.
    narrow_range : bool, optional
        Leave out the least code. Default: for symmetric signed codes.
    axis : int, optional
        One scale for each index of this axis. Default: one for the array.
    group_size : int, optional
        One scale for each so many elements along the last axis; the last group may be shorter.
    observer : {"minmax", "percentile", "mse", "entropy"}
        How the range is found; see `Observer`.
    percentile : float, default 99.99
        The share of the values, in percent, that the observer of this name keeps.
    scale_dtype : dtype, optional
        The type that scales are rounded to: float32, or float16, the default for groups. Scales
        that float16 cannot hold as normal numbers stay float32.
    nan : {"raise", "zero"}
        What to do with NaN: refuse the array, or leave them out.

    Returns
    -------
    QParams

    Raises
    ------
    TypeError
        If `x` is not a float array.
    ValueError
        If an option is not one of the above, or `x` has NaN.

    References
    ----------
    ONNX operators, DynamicQuantizeLinear (asymmetric). Jacob et al., "Quantization and Training of
    Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> w = np.array([[1.0, -2.0], [0.5, 0.25]], np.float32)
    >>> qc.choose_qparams(w, axis=0).scale
    array([0.01574803, 0.00393701], dtype=float32)
    """
    check_one_of(observer, "observer", OBSERVERS)
    check_one_of(nan, "nan", ("raise", "zero"))
    array = float_array(x, "x")
    width, symmetric, narrow = resolve(bits, signed, symmetric, narrow_range)
    axis, group_size = check_layout(array.shape, axis, group_size)
    kind = check_scale_dtype(scale_dtype)
    low, high = finite_range(array, axis, group_size, nan)
    if observer != "minmax":
        codes = (*code_range(width, bool(signed), narrow), symmetric)
        layout = layout_of(array.shape, axis, group_size)
        low, high = observed_range(array, observer, percentile, codes, layout, low.shape)
    return qparams_from_range(
        low,
        high,
        bits=width,
        signed=bool(signed),
        symmetric=symmetric,
        narrow_range=narrow,
        axis=axis,
        group_size=group_size,
        scale_dtype=kind,
    )


def finite_range(
    x: NDArray[Any], axis: int | None, group_size: int | None, nan: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and the greatest finite value that each scale has to cover."""
    shape = scale_shape(x.shape, axis, group_size)
    low, high, nans, _ = _core.ranges(x, **layout_of(x.shape, axis, group_size))
    if nan == "raise" and nans.any():
        raise nan_error(x, "x")
    real = np.float64 if x.dtype == np.float64 else np.float32
    return low.astype(real).reshape(shape), high.astype(real).reshape(shape)


def scale_for_zero_point(
    low: NDArray[Any], high: NDArray[Any], zero_point: NDArray[np.int32], qmin: int, qmax: int
) -> NDArray[np.float32]:
    """Return the least scales with which values from `low` to `high` have codes."""
    with np.errstate(divide="ignore", invalid="ignore"):
        below = np.minimum(low.astype(np.float64), 0.0) / (qmin - zero_point)
        above = np.maximum(high.astype(np.float64), 0.0) / (qmax - zero_point)
    # A zero point at the end of the codes leaves no code for that side: all of it saturates.
    sides = (np.where(np.isfinite(side), side, 0.0) for side in (below, above))
    scale = np.maximum(*sides).astype(np.float32)
    usable = (scale >= _TINY) & np.isfinite(scale)
    return np.asarray(np.where(usable, scale, np.float32(1.0)), np.float32)
