"""Quantize and dequantize arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from qcore import _core
from qcore._validation import check_one_of, check_out, float_array, nan_error
from qcore.quantization import floor, kmeans
from qcore.quantization.qparams import (
    QParams,
    check_layout,
    code_dtype,
    code_range,
    finite_range,
    layout_of,
    qparams_from_range,
    resolve,
    scale_shape,
)
from qcore.quantization.tensor import QTensor

__all__ = ["SCHEMES", "dequantize", "fake_quantize", "quantize"]

#: What codes can stand for. A new scheme is one file and one line here.
SCHEMES = ("affine", "kmeans")


def quantize(
    x: ArrayLike,
    *,
    bits: int = 8,
    signed: bool | None = None,
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
    nan: str = "raise",
    out: NDArray[Any] | None = None,
) -> QTensor:
    """Quantize an array.

    The affine form is that of ONNX QuantizeLinear, to the bit:
    ``code = saturate(rint(x / scale) + zero_point)``, halves rounded to even. The floor form is
    ``code = saturate(floor((x - offset) / scale))``. With ``scheme="kmeans"`` a code is an index
    into a codebook that k-means finds.

    Parameters
    ----------
    x : array_like of float16, float32 or float64
        The values, of any shape and layout. float64 is computed in float64, the rest in float32.
    bits : int, default 8
        Width of a code: 2 to 8, or 16. For k-means it follows from `levels`.
    signed : bool, optional
        Two's complement, or codes from 0 on. Default: True; False in the floor form.
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
        The real value at which code 0 starts; asks for the floor form. It excludes `zero_point`.
    rounding : {"half_even", "floor"}
        "floor" asks for the floor form; without `scale` and `offset` these are
        ``(max - min) / 2**bits`` and ``min``.
    reconstruct : {"centre", "edge"}
        What a code of the floor form decodes to: the middle of its cell, or its lower edge.
    scheme : {"affine", "kmeans"}
        What codes stand for.
    levels : int, default 16
        Size of the codebook, 1 to 256.
    observer : {"minmax"}
        How the range is found.
    nan : {"raise", "zero"}
        Refuse NaN, or give it the code of 0.
    out : ndarray, optional
        Filled with the codes, and the result's ``.values``: `x`'s shape, C-contiguous, of the code
        type, sharing no memory with an input. It becomes read-only.

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
    array = float_array(x, "x")
    check_one_of(scheme, "scheme", SCHEMES)
    check_one_of(rounding, "rounding", ("half_even", "floor"))
    check_one_of(observer, "observer", ("minmax",))
    check_one_of(nan, "nan", ("raise", "zero"))
    axis, group_size = check_layout(array.shape, axis, group_size)
    if scheme == "kmeans":
        _refuse(scheme, scale=scale, zero_point=zero_point, offset=offset, group_size=group_size)
        return kmeans.quantize(array, levels=levels, axis=axis, nan=nan, out=out)
    if levels is not None:
        raise ValueError(f"levels is {levels}; only scheme='kmeans' has levels")
    if rounding == "floor" or offset is not None:
        _refuse("floor", zero_point=zero_point, axis=axis, group_size=group_size)
        return floor.quantize(
            array, bits=bits, signed=signed, scale=scale, offset=offset,
            reconstruct=reconstruct, nan=nan, out=out,
        )  # fmt: skip
    signed = True if signed is None else bool(signed)
    given = scale is not None or zero_point is not None
    width, symmetric, narrow = resolve(
        bits, signed, symmetric, narrow_range, given=given, has_zero_point=zero_point is not None
    )
    if scale is None:
        low, high = finite_range(array, axis, group_size, nan)
        found = qparams_from_range(
            low, high, bits=width, signed=signed, symmetric=symmetric, narrow_range=narrow
        )
        scales, zeros = found.scale, found.zero_point
    else:
        shape = scale_shape(array.shape, axis, group_size)
        scales = _check_scale(scale, shape)
        zeros = np.full(shape, 0 if signed or not symmetric else 2 ** (width - 1), np.int32)
    if zero_point is not None:
        zeros = _check_zero_point(zero_point, scales.shape, width, signed)
    dtype = code_dtype(width, signed)
    codes = _codes(out, dtype, array)
    low_code, high_code = code_range(width, signed, narrow)
    clipped, nans = _core.quantize(
        array, scales, zeros, low_code, high_code, codes,
        **layout_of(array.shape, axis, group_size),
    )  # fmt: skip
    if nans and nan == "raise":
        raise nan_error(array, "x")
    return QTensor._make(
        codes, scales, zeros, axis=axis, group_size=group_size, bits=width, signed=signed,
        narrow_range=narrow, clipped=clipped,
    )  # fmt: skip


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
) -> NDArray[np.float32]:
    """Return what an array decodes to after quantization, without keeping the codes.

    Parameters
    ----------
    x : array_like of float16, float32 or float64
        The values; computed in float32. NaN stays NaN.
    params : QParams, optional
        The parameters. Default: chosen from `x` with the remaining options, as by
        `choose_qparams`.

    Returns
    -------
    ndarray of float32

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
    array = np.ascontiguousarray(float_array(x, "x"), np.float32)
    if params is None:
        width, symmetric, narrow = resolve(bits, signed, symmetric, narrow_range)
        axis, group_size = check_layout(array.shape, axis, group_size)
        low, high = finite_range(array, axis, group_size, "zero")
        params = qparams_from_range(
            low, high, bits=width, signed=signed, symmetric=symmetric, narrow_range=narrow,
            axis=axis, group_size=group_size,
        )  # fmt: skip
    result = np.empty_like(array)
    layout = layout_of(array.shape, params.axis, params.group_size)
    _core.fake_quantize(
        array, params.scale, params.zero_point, params.qmin, params.qmax, result, None, **layout
    )
    return result


def _refuse(form: str, **options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise ValueError(f"{name} is given, but the {form} form has none")


def _check_scale(scale: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float32]:
    scales = np.array(scale, np.float32, order="C")
    if scales.shape != shape:
        raise ValueError(f"scale has shape {scales.shape}; it must be {shape}")
    bad = ~(np.isfinite(scales) & (scales > 0))
    if bad.any():
        raise ValueError(
            f"scale has the value {scales[bad].flat[0]}; it must be finite and above 0"
        )
    return scales


def _check_zero_point(
    zero_point: ArrayLike, shape: tuple[int, ...], bits: int, signed: bool
) -> NDArray[np.int32]:
    zeros = np.asarray(zero_point)
    if zeros.dtype.kind not in "iu":
        raise TypeError(f"zero_point has dtype {zeros.dtype}; it must be an integer")
    if zeros.shape not in (shape, ()):
        raise ValueError(f"zero_point has shape {zeros.shape}; it must be {shape}")
    low, high = code_range(bits, signed, False)
    if zeros.size and (zeros.min() < low or zeros.max() > high):
        raise ValueError(f"zero_point has a value outside {low} to {high}")
    return np.array(np.broadcast_to(zeros, shape), np.int32, order="C")


def _codes(out: NDArray[Any] | None, dtype: np.dtype[Any], x: NDArray[Any]) -> NDArray[Any]:
    if out is None:
        return np.empty(x.shape, dtype)
    check_out(out, dtype, x.shape, x)
    if not out.flags.c_contiguous:
        raise ValueError("out is not C-contiguous")
    return out
