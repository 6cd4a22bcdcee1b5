"""Whether the parts of a quantized tensor fit together: the one place that decides."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from qcore._arguments.arrays import as_array
from qcore._arguments.validation import (
    check_flag,
    check_number,
    check_one_of,
    integer_array,
    positive_array,
    real_array,
)
from qcore.arrays.params.layout import check_layout, scale_shape
from qcore.arrays.params.qparams import (
    FLOAT16,
    FLOAT32,
    check_bits,
    check_scale_dtype,
    check_zero_points,
    code_dtype,
    code_range,
)
from qcore.arrays.params.scale_codes import encode_scales
from qcore.arrays.tensor.row_bits import check_row_bits
from qcore.arrays.tensor.scheme import SCHEMES, scheme_names

__all__ = ["check_parts"]


def check_parts(
    values: ArrayLike,
    scale: ArrayLike,
    zero_point: ArrayLike | None,
    *,
    axis: int | None,
    group_size: int | None,
    bits: int,
    signed: bool | None,
    narrow_range: bool,
    scheme: str,
    offset: float | None,
    levels: ArrayLike | None,
    reconstruct: str,
    scale_dtype: DTypeLike | None,
    row_bits: ArrayLike | None = None,
    float_rows: ArrayLike | None = None,
    tensor_scale: float | None = None,
) -> dict[str, Any]:
    """Return checked copies of the parts of a tensor, as `QTensor._make` takes them."""
    bits = check_bits(bits)
    if bits == 1 and scheme == "affine":
        scheme = "binary"
    check_one_of(scheme, "scheme", scheme_names())
    traits = SCHEMES[scheme]
    check_one_of(reconstruct, "reconstruct", ("centre", "edge"))
    narrow_range = check_flag(narrow_range, "narrow_range")
    if scheme == "binary" and bits != 1:
        raise ValueError(f"scheme is 'binary' with {bits} bits; signs have 1 bit")
    codes = _check_codes(values, bits, signed, narrow_range)
    axis, group_size = check_layout(codes.shape, axis, group_size)
    if offset is not None:
        offset = check_number(offset, "offset", -math.inf)
    elif scheme == "floor":
        raise ValueError("offset is None; the floor form needs one")
    book = None
    if traits.is_codebook:
        if codes.dtype != np.uint8:
            raise TypeError(f"values has dtype {codes.dtype}; indices of levels are uint8")
        known = traits.known_levels if traits.scale_format is not None else None
        book = _check_levels(levels, codes, axis) if known is None else known(bits)
    if scheme == "float16" and codes.dtype != np.uint16:
        raise TypeError(f"values has dtype {codes.dtype}; bit patterns of float16 are uint16")
    plain = not traits.has_scale or (book is not None and book.ndim == 2)
    shape = () if plain else scale_shape(codes.shape, axis, group_size)
    kind = check_scale_dtype(scale_dtype)
    if kind is None:
        kind = FLOAT16 if np.asarray(scale).dtype == FLOAT16 else FLOAT32
    scales = positive_array(scale, "scale", shape, may_be_zero=scheme == "binary")
    if traits.group_size not in (None, group_size):
        raise ValueError(f"group_size is {group_size}; {scheme} has {traits.group_size}")
    if tensor_scale is not None:
        tensor_scale = float(positive_array(tensor_scale, "tensor_scale", ()))
    if (tensor_scale is None) != (traits.scale_format in (None, "F8_E8M0")):
        raise ValueError(f"tensor_scale is {tensor_scale}; of the schemes, nvfp4 has one")
    if traits.scale_format is not None:
        encode_scales(scales, traits.scale_format, tensor_scale)  # says what is no scale
    if kind == FLOAT16 and (scales.astype(np.float16).astype(np.float32) != scales).any():
        raise ValueError("scale has a value that float16 does not hold exactly")
    zeros = np.zeros(shape, np.int32)
    if zero_point is not None:
        zeros = check_zero_points(zero_point, shape, bits, codes.dtype.kind == "i")
    widths = real = None
    if row_bits is not None:
        widths, real = check_row_bits(
            integer_array(row_bits, "row_bits"), codes, scheme, axis, float_rows
        )
    elif float_rows is not None:
        raise ValueError("float_rows is given; it needs row_bits")
    for part in (codes, scales, zeros, book, widths, real):
        if part is not None:
            part.setflags(write=False)
    return {
        "values": codes, "scale": scales, "zero_point": zeros, "axis": axis,
        "group_size": group_size, "bits": bits, "signed": codes.dtype.kind == "i",
        "narrow_range": narrow_range, "scheme": scheme, "offset": offset, "levels": book,
        "reconstruct": reconstruct, "scale_dtype": kind, "row_bits": widths,
        "float_rows": real, "tensor_scale": tensor_scale,
    }  # fmt: skip


def _check_codes(
    values: ArrayLike, bits: int, signed: bool | None, narrow_range: bool
) -> NDArray[Any]:
    codes = np.array(as_array(values), order="C")
    signed = codes.dtype.kind == "i" if signed is None else check_flag(signed, "signed")
    if codes.dtype != code_dtype(bits, signed):
        wanted = code_dtype(bits, signed)
        raise TypeError(f"values has dtype {codes.dtype}; {bits}-bit codes are {wanted}")
    low, high = code_range(bits, signed, narrow_range)
    if codes.size and (codes.min() < low or codes.max() > high):
        found = f"{codes.min()} to {codes.max()}"
        raise ValueError(f"values has codes from {found}; they must be {low} to {high}")
    return codes


def _check_levels(
    levels: ArrayLike | None, codes: NDArray[Any], axis: int | None
) -> NDArray[np.float32]:
    """Return levels: one row for the tensor, or one for each index of the axis."""
    book = None if levels is None else np.array(real_array(levels, "levels"), np.float32, order="C")
    if book is None or not (book.ndim == 1 or (book.ndim == 2 and axis is not None)):
        raise ValueError("levels must be (levels,), or (channels, levels) with an axis")
    if not np.isfinite(book).all():
        raise ValueError("levels has a value that is not finite")
    if codes.size and int(codes.max()) >= book.shape[-1]:
        raise ValueError(f"values has code {codes.max()}; there are {book.shape[-1]} levels")
    if axis is not None and book.ndim == 2 and book.shape[0] != codes.shape[axis]:
        raise ValueError(f"levels has {book.shape[0]} rows; axis has {codes.shape[axis]}")
    return book
