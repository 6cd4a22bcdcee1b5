"""Quantize and dequantize arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from qcore import _core
from qcore._arguments.validation import (
    check_flag,
    check_instance,
    check_one_of,
    check_out,
    float_array,
    nan_error,
)
from qcore.arrays.layerwise import hqq
from qcore.arrays.layerwise.algorithms import check_algorithm
from qcore.arrays.layerwise.layerwise import fit_codes
from qcore.arrays.params.input_stats import InputStats
from qcore.arrays.params.layout import check_layout, layout_of, scale_shape
from qcore.arrays.params.qparams import QParams, check_scale_dtype, choose_qparams
from qcore.arrays.params.ranges import OBSERVERS, check_percentile
from qcore.arrays.schemes.table import CHOICES
from qcore.arrays.tensor.options import Options
from qcore.arrays.tensor.scheme import SCHEMES
from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import ArgumentError

__all__ = ["dequantize", "fake_quantize", "quantize"]

# At hand, because a small call takes no longer than a few look-ups.
_plain = _core.quantize_plain
_plain_tensor = QTensor._plain


def quantize(
    x: ArrayLike,
    bits: int = 8,
    *,
    signed: bool = True,
    symmetric: bool | None = None,
    narrow_range: bool | None = None,
    axis: int | None = None,
    group_size: int | None = None,
    scale: ArrayLike | None = None,
    zero_point: ArrayLike | None = None,
    offset: float | None = None,
    rounding: str = "half_even",
    reconstruct: str = "centre",
    scheme: str = "affine",
    levels: int | None = None,
    observer: str = "minmax",
    percentile: float = 99.99,
    scale_dtype: DTypeLike | None = None,
    algorithm: str | tuple[str, ...] = (),
    stats: InputStats | None = None,
    importance: ArrayLike | None = None,
    nan: str = "raise",
    random_state: object = None,
    out: NDArray[Any] | None = None,
) -> QTensor:
    """Quantize an array.

    The affine form is that of ONNX QuantizeLinear, to the bit:
    ``code = saturate(rint(x / scale) + zero_point)``, halves rounded to even. The floor form is
    ``code = saturate(floor((x - offset) / scale))``. One bit is a sign, times the mean magnitude.
    The other schemes have codebooks: a code is the index of a level, which the scale multiplies.

    Parameters
    ----------
    x : array_like of float16, float32 or float64
        The values, of any shape and layout. float64 is computed in float64, the rest in float32.
    bits : int, default 8
        Width of a code: 1 to 8, or 16. For k-means and quantiles it follows from `levels`; nf4, fp4
        and fp8 have their own.
    signed : bool, default True
        Two's complement, or codes from 0 on. The floor form without an offset counts from the least
        value, so there codes are unsigned.
    symmetric : bool, optional
        Whether the code of 0 is fixed (0; ``2**(bits - 1)`` for unsigned codes). Default: True,
        unless a zero point is given.
    narrow_range : bool, optional
        Leave out the least code. Default: for symmetric signed codes, unless `scale` or
        `zero_point` is given.
    axis : int, optional
        One scale (or codebook) for each index of this axis. Default: one for the array.
    group_size : int, optional
        One scale for each so many elements along the last axis; the last group may be shorter.
    scale, zero_point : array_like, optional
        The parameters, where they are known; else the range of the finite values gives them.
    offset : float, optional
        The real value at which code 0 of the floor form starts. It excludes `zero_point`.
    rounding : {"half_even", "floor", "stochastic"}
        "stochastic" rounds up with the probability of the fraction. "floor" asks for the floor
        form; without `scale` and `offset` these are
        ``(max - min) / 2**bits`` and ``min``.
    reconstruct : {"centre", "edge"}
        What a code of the floor form decodes to: the middle of its cell, or its lower edge.
    scheme : str
        What codes stand for: "affine"; levels that fit the values, "kmeans" and "quantile"; or a
        number format, "power_of_two", "log", "nf4", "fp4", "fp8_e4m3" and "fp8_e5m2"; "float16",
        which has no scale; or one whose groups and scales are part of it, "mxfp4", "mxfp6_e2m3",
        "mxfp6_e3m2", "mxfp8_e4m3", "mxfp8_e5m2" (groups of 32, scales of powers of two) and "nvfp4"
        (groups of 16).
    levels : int, default 16
        Size of a fitted codebook, 1 to 256; ``2**bits`` where `bits` is given and not 8.
    observer : {"minmax", "percentile", "mse", "entropy"}
        How the range is found; see `Observer`.
    percentile : float, default 99.99
        The share of the values, in percent, that the observer of this name keeps.
    scale_dtype : dtype, optional
        The type that scales are rounded to, before codes are computed: float32, or float16, the
        default for groups whose scale is not given. Scales that float16 cannot hold as normal
        numbers stay float32.
    algorithm : str or tuple of str
        What improves on rounding a matrix (out, in), in affine codes of one scale for each output
        or group: any of "clip_search", "gptq", "coordinate_descent", "adaround" and
        "bias_correction", see `qcore.arrays.layerwise.layerwise`; or "hqq", which fits steps and
        zero points to the values alone, of any shape, see `qcore.arrays.layerwise.hqq`.
    stats : InputStats, optional
        The inputs that the matrix will see; an `algorithm` other than "hqq" needs it.
    importance : array_like, optional
        How much the squared error of each value counts in k-means; broadcasts with `x`.
    random_state : int, Generator or None
        Of stochastic rounding: the same seed gives the same codes, whatever the threads.
    nan : {"raise", "zero"}
        Refuse NaN, or treat it as 0.
    out : ndarray, optional
        Filled with the codes, and the result's ``.values``: `x`'s shape, C-contiguous, of the code
        type, sharing no memory with an input.

    Returns
    -------
    QTensor
        Infinities saturate and are counted in ``.clipped``. A group of values whose scale would be
        0 or subnormal gets scale 1 and the code of 0.

    Raises
    ------
    TypeError
        If `x` is not a float array, or `out` is not of the code type.
    ValueError
        If `x` has NaN (names the first), a scale is not above 0, or options do not fit.

    References
    ----------
    ONNX operators, QuantizeLinear. For k-means: Han, Mao and Dally, "Deep Compression", ICLR 2016.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> w = np.array([[0.5, -1.0], [0.25, 0.125]], np.float32)
    >>> qc.quantize(w, axis=0).values
    array([[  64, -127],
           [ 127,   64]], dtype=int8)

    The floor form, with step and offset:

    >>> q = qc.quantize(np.float32(3.14159), scale=0.01, offset=0.1, rounding="floor", bits=16)
    >>> int(q.values)
    304
    """
    if (
        axis is None
        and group_size is None
        and offset is None
        and rounding == "half_even"
        and scheme == "affine"
        and levels is None
        and observer == "minmax"
        and nan == "raise"
        and reconstruct == "centre"
        and isinstance(algorithm, tuple)
        and not algorithm
        and stats is None
        and importance is None
        and scale_dtype is None
    ):
        plain = _plain(x, bits, signed, symmetric, narrow_range, scale, zero_point, out)
        if plain is not None:
            return _plain_tensor(bits, signed, plain)
    array = float_array(x, "x")
    check_one_of(scheme, "scheme", CHOICES)
    check_one_of(rounding, "rounding", ("half_even", "floor", "stochastic"))
    check_one_of(reconstruct, "reconstruct", ("centre", "edge"))
    check_one_of(observer, "observer", OBSERVERS)
    check_one_of(nan, "nan", ("raise", "zero"))
    if offset is not None and rounding != "floor":
        raise ArgumentError("offset", f"offset is {offset}; it needs rounding='floor'")
    if scheme != "affine" and rounding != "half_even":
        raise ArgumentError(
            "rounding", f"rounding is {rounding!r}; the {scheme} scheme has none, leave it out"
        )
    if observer != "minmax" and (scheme != "affine" or rounding == "floor"):
        form = scheme if rounding != "floor" else "floor"
        raise ArgumentError(
            "observer", f"observer is {observer!r}; the {form} scheme has none, leave it out"
        )
    if group_size is None:
        group_size = SCHEMES[scheme].group_size
    axis, group_size = check_layout(array.shape, axis, group_size)
    options = Options(
        bits, check_flag(signed, "signed"), symmetric, narrow_range, axis, group_size, scale,
        zero_point, offset,
        rounding, reconstruct, levels, observer, check_percentile(percentile),
        check_scale_dtype(scale_dtype), None if importance is None else np.asarray(importance),
        nan, random_state, out,
    )  # fmt: skip
    steps = check_algorithm(algorithm)
    if steps:
        if scheme != "affine" or rounding != "half_even":
            raise ArgumentError(
                "algorithm", f"algorithm is {algorithm!r}; it is for affine codes, half to even"
            )
        if "hqq" in steps:
            return hqq.quantize(array, options)
        return fit_codes(array, stats, steps, options)
    if stats is not None:
        raise ValueError("stats is given; without an algorithm it must be None")
    return SCHEMES["floor" if rounding == "floor" else scheme].quantize(array, options)


def dequantize(
    q: QTensor, *, dtype: DTypeLike | None = None, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Decode a quantized tensor: ``(code - zero_point) * scale`` for affine codes.

    Parameters
    ----------
    q : QTensor
        The tensor.
    dtype : dtype, default float32
        Type of the result; the arithmetic is float32's.
    out : ndarray, optional
        Filled and returned: of `q`'s shape and of `dtype`.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> qc.dequantize(qc.quantize(np.array([1.0, -2.0], np.float32)))
    array([ 1.007874, -2.      ], dtype=float32)
    """
    if not isinstance(q, QTensor):
        raise TypeError(f"q is {type(q).__name__}; it must be a QTensor")
    return q.dequantize(dtype=dtype, out=out)


def fake_quantize(
    x: ArrayLike,
    params: QParams | None = None,
    *,
    bits: int = 8,
    signed: bool = True,
    symmetric: bool | None = None,
    narrow_range: bool | None = None,
    axis: int | None = None,
    group_size: int | None = None,
    scale_dtype: DTypeLike | None = None,
    nan: str = "raise",
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Return what an array decodes to after quantization, without keeping the codes.

    Parameters
    ----------
    x : array_like of float16, float32 or float64
        The values; computed in float32.
    params : QParams, optional
        The parameters. Default: chosen from `x` with the remaining options, as by
        `choose_qparams`.
    nan : {"raise", "zero"}
        Refuse NaN, or treat it as 0.
    out : ndarray of float32, optional
        Filled and returned: of `x`'s shape, sharing no memory with it.

    Returns
    -------
    ndarray of float32

    Raises
    ------
    TypeError, ValueError
        As `choose_qparams` and `quantize`.

    References
    ----------
    Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", CVPR 2018, section 3.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> qc.fake_quantize(np.array([0.1, 1.0], np.float32), bits=4)
    array([0.14285715, 1.        ], dtype=float32)
    """
    array = float_array(x, "x")
    check_one_of(nan, "nan", ("raise", "zero"))
    if array.dtype != np.float32:
        array = array.astype(np.float32)
    nans = np.isnan(array)
    if nans.any():
        if nan == "raise":
            raise nan_error(array, "x")
        array = np.where(nans, np.float32(0.0), array)
    if params is None:
        params = choose_qparams(
            array, bits=bits, signed=signed, symmetric=symmetric, narrow_range=narrow_range,
            axis=axis, group_size=group_size, scale_dtype=scale_dtype,
        )  # fmt: skip
    else:
        check_instance(params, QParams, "params")
        shared = check_layout(array.shape, params.axis, params.group_size)
        wanted = scale_shape(array.shape, *shared)
        if params.scale.shape != wanted:
            found = f"params.scale has shape {params.scale.shape}"
            raise ValueError(f"{found}; for x of {array.shape} it must be {wanted}")
    if out is None:
        out = np.empty(array.shape, np.float32)
    else:
        check_out(out, np.float32, array.shape, array)
    result = out if out.flags.c_contiguous else np.empty(array.shape, np.float32)
    layout = layout_of(array.shape, params.axis, params.group_size)
    _core.fake_quantize(
        array, params.scale, params.zero_point, params.qmin, params.qmax, result, None, **layout
    )
    if result is not out:
        out[...] = result
    return out
