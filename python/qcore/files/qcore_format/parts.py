"""A tensor as the parts that a file holds: one stored tensor for each, and a description.

A dense array of a stored type is one part and needs no description. A part other than the values
is stored under the tensor's name, a separator and one of `PARTS`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore._arguments.arrays import as_array
from qcore.arrays.params.layout import check_layout, scale_shape
from qcore.arrays.params.qparams import FLOAT16, FLOAT32, code_dtype
from qcore.arrays.params.scale_codes import decode_scales, encode_scales
from qcore.arrays.products.blocks import BsrMatrix
from qcore.arrays.products.matrix import SparseMatrix
from qcore.arrays.products.n_of_m import NmMatrix
from qcore.arrays.products.sparse import CsrMatrix
from qcore.arrays.tensor.row_bits import unpack_rows
from qcore.arrays.tensor.scheme import SCHEMES, scheme_names
from qcore.arrays.tensor.tensor import QTensor
from qcore.files.dtypes import stored_name
from qcore.files.qcore_format.csr import decode_csr, encode_csr
from qcore.files.qcore_format.sparse_layout import decode_positions, encode_positions
from qcore.files.qcore_format.structured import decode_structured, encode_structured

__all__ = [
    "PARTS",
    "Description",
    "Parts",
    "check_description",
    "decode_tensor",
    "dense_parts",
    "describe",
    "encode_tensor",
    "field",
    "may_be_sparse",
    "stored_codes",
]

Description: TypeAlias = dict[str, Any]
Parts: TypeAlias = dict[str, NDArray[Any]]

# "" is the part under the tensor's own name: its values, of a sparse tensor only the stored ones.
PARTS = ("", "at", "bits", "indptr", "levels", "scale", "zero")
# Codes below 8 bits are one little-endian bit stream a row; the only order there is.
_BIT_ORDER = "little"
_BYTE: np.dtype[Any] = np.dtype(np.uint8)
_KEYS: dict[str, type] = {
    "at": str, "axis": int, "bits": int, "clipped": int, "csr": bool, "group": int, "narrow": bool,
    "lossless": str, "offset": float, "order": str, "pattern": str, "reconstruct": str,
    "scheme": str, "sha256": str, "shape": list, "signed": bool, "tensor_scale": float,
}  # fmt: skip
# What positions and a description add to a header besides the name, the shape and the numbers.
_SPARSE_HEADER = 160


def encode_tensor(name: str, value: object) -> tuple[Parts, Description]:
    """Split a tensor into parts.

    Parameters
    ----------
    name : str
        For messages, and for what it weighs.
    value : array_like, QTensor or SparseMatrix

    Returns
    -------
    parts : dict of str to ndarray
        Keys are of `PARTS`.
    description : dict
        Empty for a dense array.
    """
    if isinstance(value, QTensor):
        return _encode_quantized(name, value)
    if isinstance(value, CsrMatrix):
        return encode_csr(value)
    if isinstance(value, (NmMatrix, BsrMatrix)):
        return encode_structured(value)
    is_array = hasattr(value, "__array__") or hasattr(value, "__dlpack__")
    array = as_array(value) if is_array else None
    if array is None or stored_name(array.dtype) is None:
        found = type(value).__name__ if array is None else f"an array of {array.dtype}"
        raise TypeError(
            f"tensor {name!r} is {found}; a file holds arrays of bool, integers of 8 to 64 bits, "
            "float16, float32, float64 or complex64, QTensors and sparse matrices"
        )
    if array.dtype.kind != "f":
        return {"": array}, {}
    flat = np.ascontiguousarray(array).reshape(-1)
    # By their bits: a minus zero is a value to keep.
    stored = flat.view(f"u{flat.itemsize}") != 0
    sparse = _encode_sparse(name, array.shape, flat, stored, 8 * flat.itemsize)
    return ({"": array}, {}) if sparse is None else sparse


def decode_tensor(description: Description, parts: Parts) -> NDArray[Any] | QTensor | SparseMatrix:
    """Put a described tensor together.

    Raises
    ------
    ValueError, TypeError
        If the parts do not fit the description, or it is not one of this format.
    """
    check_description(description)
    if field(description, "csr", bool, False):
        return decode_csr(field(description, "at", str), _shape(description), parts)
    if "pattern" in description:
        pattern = field(description, "pattern", str)
        return decode_structured(pattern, _shape(description), parts)
    if "bits" in description:
        return _decode_quantized(description, parts)
    return _decode_sparse(description, parts, lambda _: np.zeros((), parts[""].dtype))


def check_description(description: Description) -> None:
    """Refuse a description of a tensor with keys, or types of values, that are not of the format.

    Done as a file is opened: who reads it may trust it.

    Raises
    ------
    ValueError
    """
    unknown = sorted(description.keys() - _KEYS.keys())
    if unknown:
        raise ValueError(f"its description has the unknown key {unknown[0]!r}")
    for key in description:
        field(description, key, _KEYS[key])
    if "shape" in description:
        _shape(description)


def field(description: Description, key: str, kind: type, default: Any = None) -> Any:
    """Return a member of a description, checked for its type; `default` where it is missing."""
    value = description.get(key, default)
    # bool is an int to Python, never here; an int is a float.
    fits = type(value) is kind or (kind is float and type(value) is int)
    if key in description and not fits:
        raise ValueError(f"{key!r} is {value!r} in its description; {kind.__name__} is expected")
    return value


def describe(q: QTensor) -> Description:
    """Return the description of a quantized tensor whose codes are stored densely."""
    description: Description = {"bits": q.bits}
    options = {
        "axis": (q.axis, None),
        "clipped": (q.clipped, 0),
        "group": (q.group_size, None),
        "narrow": (q.narrow_range, False),
        "offset": (q.offset, None),
        "reconstruct": (q.reconstruct, "centre"),
        "scheme": (q.scheme, "affine"),
        "signed": (q.signed, True),
        "tensor_scale": (q.tensor_scale, None),
    }
    description |= {key: value for key, (value, usual) in options.items() if value != usual}
    if q.bits < 8 or q.row_bits is not None:
        description |= {"order": _BIT_ORDER, "shape": list(q.shape)}
    return description


def dense_parts(q: QTensor) -> Parts:
    """Return the parts of a quantized tensor whose codes are stored densely."""
    parts = {"": q.values if q.bits >= 8 and q.row_bits is None else q.packed}
    if q.row_bits is not None:
        parts["bits"] = q.row_bits
    if q.levels is not None and SCHEMES[q.scheme].is_fitted:
        parts["levels"] = q.levels
    kind = SCHEMES[q.scheme].scale_format
    if kind is not None:
        parts["scale"] = encode_scales(q.scale, kind, q.tensor_scale)
    elif not SCHEMES[q.scheme].is_codebook or q.scale.size != 1 or q.scale.flat[0] != 1:
        parts["scale"] = q.scale.astype(q.scale_dtype)
    if q.zero_point.any():
        parts["zero"] = q.zero_point.astype(q.values.dtype)
    return parts


def may_be_sparse(size: int, stored: int, bits: int) -> bool:
    """Whether a tensor of so many elements, of which so many are stored, can be smaller sparse."""
    room = (size - stored) * bits // 8 - _SPARSE_HEADER
    # No layout takes less than half a byte a value, or less than a byte for 255 elements.
    return room >= max(stored // 2, size // 255)


def stored_codes(q: QTensor) -> NDArray[np.bool_] | None:
    """Return which codes are not those of 0; None where 0 has none, or widths differ."""
    if q.row_bits is not None:
        return None
    zeros = _zero_codes(q.scheme, q.axis, q.group_size, q.zero_point, q.levels, q.shape)
    return None if zeros is None else q.values != zeros


def _encode_quantized(name: str, q: QTensor) -> tuple[Parts, Description]:
    parts, description = dense_parts(q), describe(q)
    stored = stored_codes(q)
    if stored is not None:
        codes = np.ascontiguousarray(q.values).reshape(-1)
        bits = q.bits if q.bits < 8 else 8 * codes.itemsize
        sparse = _encode_sparse(name, q.shape, codes, stored.reshape(-1), bits)
        if sparse is not None:
            return parts | sparse[0], description | sparse[1]
    return parts, description


def _decode_quantized(description: Description, parts: Parts) -> QTensor:
    bits = field(description, "bits", int)
    scheme = field(description, "scheme", str, "affine")
    signed = field(description, "signed", bool, True)
    axis = field(description, "axis", int)
    group_size = field(description, "group", int)
    offset = field(description, "offset", float)
    if scheme not in SCHEMES:
        raise ValueError(
            f"its scheme {scheme!r} is not known; known are {', '.join(scheme_names())}"
        )
    if not 1 <= bits <= 16:
        raise ValueError(f"its codes have {bits} bits; 1 to 16 are known")
    codes = parts[""]
    shape = _shape(description) if "shape" in description else codes.shape
    axis, group_size = check_layout(shape, axis, group_size)
    if scheme == "floor" and offset is None:
        raise ValueError("its scheme is floor and it has no offset")
    if not SCHEMES[scheme].is_codebook and "scale" not in parts:
        raise ValueError("it has no scale")
    scale_format = SCHEMES[scheme].scale_format
    kinds: dict[str, list[np.dtype[Any]]] = {
        "levels": [FLOAT32], "scale": [FLOAT32, FLOAT16] if scale_format is None else [_BYTE],
        "zero": [code_dtype(bits, signed)],
    }  # fmt: skip
    for part, allowed in kinds.items():
        if part in parts and parts[part].dtype not in allowed:
            raise ValueError(f"its {part} is {parts[part].dtype}; {allowed[0]} is expected")
    tensor_scale, scale = field(description, "tensor_scale", float), parts.get("scale", 1.0)
    if scale_format is not None:
        if "scale" not in parts:
            raise ValueError("it has no scale")
        scale = decode_scales(parts["scale"], scale_format, tensor_scale)
    levels = parts.get("levels")
    known = SCHEMES[scheme].known_levels
    if known is not None:
        levels = known(bits)
    row_bits, float_rows = parts.get("bits"), None
    if description.get("order") != (_BIT_ORDER if bits < 8 or row_bits is not None else None):
        order = description.get("order")
        raise ValueError(f"the order {order!r} of its {bits}-bit codes is not known")
    if "at" in description:
        zeros = partial(_zero_codes, scheme, axis, group_size, parts.get("zero"), levels)
        codes = _decode_sparse(description, parts, zeros, bits, signed)
    elif row_bits is not None:
        if row_bits.dtype != np.uint8 or row_bits.shape != shape[:1] or len(shape) != 2:
            raise ValueError("its widths do not fit its shape")
        codes, float_rows = unpack_rows(codes, row_bits, shape[1])
    elif bits < 8:
        row = shape[-1] if shape else 1
        codes = _unpack(codes, math.prod(shape), row, bits, signed).reshape(shape)
    return QTensor.from_parts(
        codes,
        scale,
        parts.get("zero"),
        axis=axis,
        group_size=group_size,
        bits=bits,
        signed=signed,
        narrow_range=field(description, "narrow", bool, False),
        scheme=scheme,
        offset=None if offset is None else float(offset),
        levels=levels,
        reconstruct=field(description, "reconstruct", str, "centre"),
        clipped=field(description, "clipped", int, 0),
        row_bits=row_bits,
        float_rows=float_rows,
        tensor_scale=tensor_scale,
    )


def _encode_sparse(
    name: str,
    shape: tuple[int, ...],
    flat: NDArray[Any],
    stored: NDArray[np.bool_],
    bits: int,
) -> tuple[Parts, Description] | None:
    """Encode the stored elements and their positions; None where dense is smaller."""
    count = int(np.count_nonzero(stored))
    if not may_be_sparse(flat.size, count, bits):
        return None
    header = _SPARSE_HEADER + 2 * len(json.dumps(name)) + 21 * len(shape)
    room = (flat.size - count) * bits // 8 - header
    layout, positions = encode_positions(stored)
    if positions.size >= room:
        return None
    values = flat[stored]
    if bits < 8:
        values = values.view(np.uint8)
        values = _core.pack_bits(values, count, bits) if count else values
    return {"": values, "at": positions}, {"at": layout, "shape": list(shape)}


def _decode_sparse(
    description: Description,
    parts: Parts,
    zeros_of: Callable[[tuple[int, ...]], NDArray[Any] | None],
    bits: int = 8,
    signed: bool = False,
) -> NDArray[Any]:
    shape = _shape(description)
    layout = field(description, "at", str)
    if layout is None or "at" not in parts:
        raise ValueError("it has no positions")
    # From here on the shape is no larger than the positions cover: it may be allocated.
    positions = decode_positions(layout, parts["at"], math.prod(shape))
    zeros = zeros_of(shape)
    if zeros is None:
        raise ValueError("it is sparse and has no code for 0")
    values = parts[""]
    if bits < 8:
        values = _unpack(values, positions.size, positions.size, bits, signed)
    if values.shape != positions.shape:
        raise ValueError(f"it has values of shape {values.shape} and {positions.size} positions")
    dense = np.empty(shape, values.dtype)
    dense[...] = zeros
    dense.reshape(-1)[positions] = values
    return dense


def _unpack(
    packed: NDArray[Any], count: int, row: int, bits: int, signed: bool
) -> NDArray[np.uint8 | np.int8]:
    dtype = np.int8 if signed else np.uint8
    expected = (count // row if row else 0) * (-(-row * bits // 8))
    if packed.dtype != np.uint8 or packed.shape != (expected,):
        raise ValueError(
            f"its codes are {packed.shape} {packed.dtype}; {count} of {bits} bits in rows of {row} "
            f"take ({expected},) uint8"
        )
    if not count:
        return np.empty(0, dtype)
    return _core.unpack_bits(packed, count, row, bits, signed).view(dtype)


def _zero_codes(
    scheme: str,
    axis: int | None,
    group_size: int | None,
    zero_point: NDArray[Any] | None,
    levels: NDArray[Any] | None,
    shape: tuple[int, ...],
) -> NDArray[Any] | None:
    """Return the code of each element's 0, in a shape that broadcasts; None if there is none."""
    if scheme == "affine":
        if zero_point is None or not zero_point.any():
            return np.zeros((), np.int32)
        if zero_point.shape != scale_shape(shape, axis, group_size):
            raise ValueError(f"its zero points have the shape {zero_point.shape}")
        if group_size is not None:
            return zero_point[..., np.arange(shape[-1]) // group_size]
        codes = zero_point
    elif SCHEMES[scheme].is_codebook and levels is not None and levels.size:
        exact = levels == 0
        if not exact.any(axis=-1).all():
            return None
        codes = np.asarray(exact.argmax(axis=-1))
    else:
        return None
    if axis is None or codes.ndim == 0:
        return codes
    return codes.reshape([-1 if i == axis else 1 for i in range(len(shape))])


def _shape(description: Description) -> tuple[int, ...]:
    shape = field(description, "shape", list)
    if shape is None or not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"its description gives the shape {shape!r}")
    return tuple(shape)
