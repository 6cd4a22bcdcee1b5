"""Half-quadratic quantization: steps and zero points from the weights alone, without data.

A group's step and zero point are to make Σ |w - ŵ|ᵖ least. Half of the problem sets aside what an
outlier is off by, e = argmin |e|ᵖ + β/2 (e - (w - ŵ))²; the other half, quadratic, fits the
quantizer to w - e. The two take turns while β grows.

Zero points here are integers, as everywhere in qcore, so that 0 stays exactly 0. There are few of
them: each is tried, and the quadratic half is that of the step, a division. For p = 2 nothing is
set aside, and the turns are least squares. That is the default: on the networks of
``benches/quantization`` and on heavy-tailed weights, p = 0.7 and 1, which keep outliers far off,
left more error in a layer's outputs at every width (row "hqq").

Badri and Shaji, "Half-Quadratic Quantization of Large Machine Learning Models", 2023.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._arguments.validation import check_finite
from qcore.arrays.params.layout import scale_shape
from qcore.arrays.params.qparams import check_bits, code_dtype, code_range, round_scales
from qcore.arrays.tensor.options import Options
from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import ArgumentError

__all__ = ["fit_groups", "quantize"]

Matrix = NDArray[np.float64]

#: The exponent of the error.
NORM = 2.0

#: Turns at most, shares of the step that holds all values from which they start, and the weight of
#: the quadratic half, in units of the step, with its growth: the last two are the paper's.
TURNS, STARTS, BETA, GROWTH = 20, (1.0, 0.8, 0.6), 10.0, 1.01

#: Elements of groups that are worked on at once: they stay in the cache.
BLOCK = 1 << 15


def quantize(x: NDArray[Any], options: Options) -> QTensor:
    """Return the tensor of an array whose groups have fitted steps and zero points.

    Groups are as the options have them: so many elements of the last axis, rows (``axis=0``), or
    the whole array. ``symmetric=True``, the default from 8 bits on, keeps the zero point still.
    """
    options.refuse("hqq", "scale", "zero_point", "offset", "levels", "importance", "out")
    if options.observer != "minmax":
        raise ArgumentError(
            "observer", f"observer is {options.observer!r}; hqq finds ranges itself, leave it out"
        )
    if options.axis not in (0, None):
        raise ArgumentError("axis", f"axis is {options.axis}; hqq needs axis=0, groups, or neither")
    width = check_bits(options.bits, 2)
    check_finite(x, "x")
    narrow = bool(options.narrow_range)
    low, high = code_range(width, options.signed, narrow)
    groups, real = _groups(x, options.axis, options.group_size)
    fixed = None
    # Levels of 8 bits with another zero point would not fit int8, which kernels read.
    if options.symmetric or (options.symmetric is None and width >= 8):
        fixed = 0 if options.signed else 1 << (width - 1)
    scale, zero = fit_groups(groups, low, high, zero_point=fixed)
    stored, kind = round_scales(scale.astype(np.float32), options.scale_dtype, options.group_size)
    wide = np.rint(groups / stored[:, None].astype(np.float64)) + zero[:, None]
    clipped = int(np.count_nonzero((wide < low - 0.5) | (wide > high + 0.5)))
    codes = wide.clip(low, high).astype(code_dtype(width, options.signed))
    codes = np.ascontiguousarray(codes.reshape(real)[..., : x.shape[-1] if x.ndim else 1])
    codes = codes.reshape(x.shape)
    shape = scale_shape(x.shape, options.axis, options.group_size)
    parts = codes, stored.reshape(shape), zero.reshape(shape)
    for part in parts:
        part.setflags(write=False)
    return QTensor._make(
        *parts, options.axis, options.group_size, width, bool(options.signed), narrow,
        clipped=clipped, scale_dtype=kind,
    )  # fmt: skip


def fit_groups(
    groups: Matrix, low: int, high: int, *, zero_point: int | None = None, norm: float = NORM
) -> tuple[Matrix, NDArray[np.int32]]:
    """Return step and zero point of each group of values.

    Parameters
    ----------
    groups : ndarray of float64, (groups, elements)
        Shorter groups are filled up with zeros.
    low, high : int
        The least and the greatest code.
    zero_point : int, optional
        The code of 0. Default: fitted too.
    norm : float, default 2
        The exponent of the error: 2, or above 0 and at most 1.

    Returns
    -------
    scale : ndarray of float64, (groups,)
        1 for groups that are all zero.
    zero_point : ndarray of int32, (groups,)
    """
    if norm != 2.0 and not 0 < norm <= 1:
        raise ArgumentError("norm", f"norm is {norm}; it must be 2, or above 0 and at most 1")
    scale = np.empty(len(groups))
    zero = np.empty(len(groups), np.int32)
    step = max(1, BLOCK // max(1, groups.shape[1]))
    for start in range(0, len(groups), step):
        part = slice(start, start + step)
        scale[part], zero[part] = _fit(groups[part], low, high, zero_point, norm)
    return scale, zero


def _fit(
    w: Matrix, low: int, high: int, zero_point: int | None, norm: float
) -> tuple[Matrix, NDArray[np.int32]]:
    least, most = w.min(axis=1, initial=0.0), w.max(axis=1, initial=0.0)
    empty = most - least < (high - low) * float(np.finfo(np.float32).tiny)
    most[empty] = 1.0
    best = np.full(len(w), np.inf)
    scale = np.ones(len(w))
    zero = np.full(len(w), max(low, 0) if zero_point is None else zero_point, np.int32)
    for one in _zero_points(least, most, low, high, zero_point):
        # The step with which every value has a code; a side without codes saturates.
        below, above = one - low, high - one
        whole = np.maximum(
            np.divide(-least, below, out=np.zeros_like(least), where=below > 0),
            np.divide(most, above, out=np.zeros_like(most), where=above > 0),
        )
        usable = whole > 0
        for share in STARTS:
            step = np.where(usable, whole * share, 1.0)
            step = _turns(w, step, low - one, high - one, norm)
            off = _off(w, step, low - one, high - one)[1]
            lost = np.where(usable, np.sum(np.abs(off) ** norm, axis=1) * step**norm, np.inf)
            better = (lost < best) & ~empty
            best[better], scale[better] = lost[better], step[better]
            zero[better] = one[better]
    return scale, zero


def _zero_points(
    least: Matrix, most: Matrix, low: int, high: int, zero_point: int | None
) -> Iterator[NDArray[np.int32]]:
    """Yield the zero points to try, one for each group: all of few codes, else those near."""
    if zero_point is not None:
        yield np.full(len(least), zero_point, np.int32)
        return
    if high - low < 8:
        for one in range(low, high + 1):
            yield np.full(len(least), one, np.int32)
        return
    near = np.rint(low - least / ((most - least) / (high - low)))
    for change in (0, -1, 1):
        yield np.clip(near + change, low, high).astype(np.int32)


def _turns(
    w: Matrix, step: Matrix, low: NDArray[np.int32], high: NDArray[np.int32], norm: float
) -> Matrix:
    """Let the two halves of the problem take turns, from a step on."""
    beta, before = BETA, None
    for _ in range(TURNS):
        levels, off = _off(w, step, low, high)
        if before is not None and norm == 2.0 and np.array_equal(levels, before):
            break
        before = levels
        kept = w / step[:, None]
        if norm != 2.0:
            kept -= _set_aside(off, norm, beta)
            beta *= GROWTH
        power = np.einsum("ij,ij->i", levels, levels)
        share = np.divide(
            np.einsum("ij,ij->i", levels, kept), power, out=np.ones_like(power), where=power > 0
        )
        step = np.where(share > 0, step * share, step)
    return step


def _off(
    w: Matrix, step: Matrix, low: NDArray[np.int32], high: NDArray[np.int32]
) -> tuple[Matrix, Matrix]:
    """Return the nearest levels, and what they are off by, both in steps."""
    exact = w / step[:, None]
    levels = np.clip(np.rint(exact), low[:, None], high[:, None])
    return levels, exact - levels


def _set_aside(off: Matrix, norm: float, beta: float) -> Matrix:
    """Return argmin over e of ``|e|**norm + beta / 2 * (e - off)**2``, nearly: the paper's form."""
    size = np.abs(off)
    less = np.maximum(size, 1e-9) ** (norm - 1.0) / beta
    found: Matrix = np.sign(off) * np.maximum(size - less, 0.0)
    return found


def _groups(
    x: NDArray[Any], axis: int | None, group_size: int | None
) -> tuple[Matrix, tuple[int, ...]]:
    """Return the groups of an array, and its shape with the last axis filled up with zeros."""
    values = x.astype(np.float64)
    if group_size is None:
        shape = x.shape or (1,)
        rows = shape[0] if axis == 0 else 1
        return values.reshape(rows, values.size // rows if rows else 0), shape
    spare = -x.shape[-1] % group_size
    values = np.pad(values, [(0, 0)] * (x.ndim - 1) + [(0, spare)])
    return values.reshape(-1, group_size), values.shape
