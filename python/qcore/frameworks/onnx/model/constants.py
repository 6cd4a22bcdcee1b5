"""Constants of an ONNX model: their types, their bytes, in the file or beside it.

Data beside the file are read where they are safe to be read: at a relative place without "..",
in the model's own folder. A symbolic link there may point elsewhere in that folder or, as the
caches of model hubs have it, from ``snapshots/REVISION`` into the ``blobs`` of the same cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore.arrays.params.small_floats import code_values
from qcore.errors import FormatError

__all__ = [
    "FLOATS", "Kind", "array_of", "data_files", "is_external", "kind_of_tensor", "nbytes_of",
    "pieces_of", "shape_of",
]  # fmt: skip

_STEP = 1 << 24


class Kind(NamedTuple):
    """A type of elements, as ONNX numbers it."""

    name: str
    bits: int
    loaded: Any  # the NumPy type that `array_of` gives; integers below 8 bits come as 8


_KINDS = {
    1: Kind("float32", 32, np.float32), 2: Kind("uint8", 8, np.uint8),
    3: Kind("int8", 8, np.int8), 4: Kind("uint16", 16, np.uint16),
    5: Kind("int16", 16, np.int16), 6: Kind("int32", 32, np.int32),
    7: Kind("int64", 64, np.int64), 9: Kind("bool", 8, np.bool_),
    10: Kind("float16", 16, np.float16), 11: Kind("float64", 64, np.float64),
    12: Kind("uint32", 32, np.uint32), 13: Kind("uint64", 64, np.uint64),
    14: Kind("complex64", 64, np.complex64), 15: Kind("complex128", 128, np.complex128),
    16: Kind("bfloat16", 16, np.float32), 17: Kind("float8e4m3fn", 8, np.float32),
    18: Kind("float8e4m3fnuz", 8, np.float32), 19: Kind("float8e5m2", 8, np.float32),
    20: Kind("float8e5m2fnuz", 8, np.float32), 21: Kind("uint4", 4, np.uint8),
    22: Kind("int4", 4, np.int8), 23: Kind("float4e2m1", 4, np.float32),
    24: Kind("float8e8m0", 8, np.float32), 25: Kind("uint2", 2, np.uint8),
    26: Kind("int2", 2, np.int8), 27: Kind("float6e2m3", 6, np.float32),
    28: Kind("float6e3m2", 6, np.float32),
}  # fmt: skip
#: The numbers of the floats that weights are of: float32, float16, float64, bfloat16.
FLOATS = (1, 10, 11, 16)
# Those whose codes are decoded here, as safetensors calls them: whatever the onnx package knows.
_SMALL = {
    17: "F8_E4M3", 18: "F8_E4M3FNUZ", 19: "F8_E5M2", 20: "F8_E5M2FNUZ", 23: "F4", 24: "F8_E8M0",
    27: "F6_E2M3", 28: "F6_E3M2",
}  # fmt: skip
# The repeated field of a TensorProto where it has no raw bytes, by the type's number.
_TEXT = 8


def kind_of_tensor(tensor: Any) -> Kind:
    """Return the type of a constant; ValueError where it is no number's."""
    kind = _KINDS.get(tensor.data_type)
    if kind is None:
        raise ValueError(f"constant {tensor.name!r} is of type {tensor.data_type}, not of numbers")
    return kind


def shape_of(tensor: Any) -> tuple[int, ...]:
    """Return the shape of a constant; FormatError where a length is negative."""
    shape = tuple(int(length) for length in tensor.dims)
    if any(length < 0 for length in shape):
        raise FormatError(f"constant {tensor.name!r} has shape {shape}")
    return shape


def nbytes_of(tensor: Any) -> int:
    """Return what a constant's elements weigh as they are stored: below 8 bits one stream."""
    size = 1
    for length in shape_of(tensor):
        size *= length
    return -(-size * kind_of_tensor(tensor).bits // 8)


def is_external(tensor: Any) -> bool:
    """Whether a constant's bytes lie in a file of their own."""
    return bool(tensor.data_location == 1)


def pieces_of(tensor: Any, model: Path) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield the bytes of a constant, which has raw ones or external ones, piece by piece.

    Raises
    ------
    FormatError
        If they are not where they should be, or are not as many as the shape says.
    """
    nbytes = nbytes_of(tensor)
    if not is_external(tensor):
        raw = np.frombuffer(tensor.raw_data, np.uint8)
        if raw.size != nbytes:
            raise FormatError(
                f"'{model}': constant {tensor.name!r} of shape {shape_of(tensor)} has {raw.size} "
                f"bytes; it takes {nbytes}"
            )
        yield 0, raw
        return
    path, offset = _place(tensor, model)
    file = _core.RegularFile(path)
    if offset + nbytes > file.nbytes:
        raise FormatError(
            f"'{path}' is truncated: constant {tensor.name!r} ends at {offset + nbytes}, the file "
            f"at {file.nbytes}"
        )
    for start in range(0, nbytes, _STEP):
        piece = np.empty(min(_STEP, nbytes - start), np.uint8)
        file.read_at(offset + start, piece)
        yield start, piece


def array_of(tensor: Any, model: Path | None = None) -> NDArray[Any]:
    """Return a constant as an array of its kind's ``loaded`` type.

    Parameters
    ----------
    tensor : TensorProto
    model : path, optional
        The model's file, beside which external data lie; None where they were loaded.
    """
    kind, shape = kind_of_tensor(tensor), shape_of(tensor)
    if is_external(tensor) and model is not None:
        data = np.empty(nbytes_of(tensor), np.uint8)
        for start, piece in pieces_of(tensor, model):
            data[start : start + piece.size] = piece
        copy = type(tensor)()
        copy.data_type, copy.name = tensor.data_type, tensor.name
        copy.dims.extend(tensor.dims)
        if np.dtype(kind.loaded).itemsize * 8 == kind.bits:
            little = data.view(np.dtype(kind.loaded).newbyteorder("<"))
            return np.asarray(little.astype(kind.loaded, copy=False).reshape(shape))
        copy.raw_data = data.tobytes()
        tensor = copy
    elif not is_external(tensor) and tensor.raw_data:
        next(pieces_of(tensor, model or Path(tensor.name)))  # checks its length
    if tensor.data_type in _SMALL and tensor.raw_data:
        data, size = np.frombuffer(tensor.raw_data, np.uint8), math.prod(shape)
        codes = data if kind.bits == 8 else _core.unpack_bits(data, size, size, kind.bits, False)
        return np.asarray(code_values(_SMALL[tensor.data_type])[codes].reshape(shape))
    from onnx import numpy_helper

    try:
        array = np.asarray(numpy_helper.to_array(tensor))
        return array.astype(kind.loaded, copy=False).reshape(shape)
    except (ValueError, TypeError) as error:
        raise FormatError(f"constant {tensor.name!r} of shape {shape}: {error}") from error


def data_files(model: Any, path: Path) -> list[Path]:
    """Return the files beside a model in which constants of it lie, each once."""
    from qcore.frameworks.onnx.model.scopes import tensors_in

    found: dict[Path, None] = {}
    for tensor in tensors_in(model.graph):
        if is_external(tensor):
            found[_place(tensor, path)[0]] = None
    return list(found)


def _place(tensor: Any, model: Path) -> tuple[Path, int]:
    """Return the file with a constant's bytes, and where they start in it."""
    about = {entry.key: entry.value for entry in tensor.external_data}
    name = about.get("location", "")
    pure = PurePath(name)
    if not name or "\0" in name or pure.is_absolute() or ".." in pure.parts:
        raise FormatError(f"'{model}' has data at {name!r}, which is not beside it")
    path = model.parent / name
    if not _is_inside(path, model.parent):
        raise FormatError(
            f"'{model}' has data at {name!r}, a link out of its folder; links may point into the "
            "folder, or from a hub's cache/snapshots into its blobs"
        )
    try:
        offset, length = int(about.get("offset", 0)), int(about.get("length", nbytes_of(tensor)))
    except ValueError as error:
        raise FormatError(f"'{model}': constant {tensor.name!r}: {error}") from error
    if offset < 0 or length != nbytes_of(tensor):
        raise FormatError(
            f"'{model}': constant {tensor.name!r} of shape {shape_of(tensor)} has {length} bytes "
            f"at {offset}; it takes {nbytes_of(tensor)}"
        )
    return path, offset


def _is_inside(path: Path, folder: Path) -> bool:
    """Whether what a path leads to may be read as a part of the model in a folder."""
    real = path.resolve()
    if real.is_relative_to(folder.resolve()):
        return True
    # cache/snapshots/REVISION/... and cache/blobs/HASH
    whole = folder.absolute()
    for ancestor in (whole, *whole.parents):
        if ancestor.parent.name == "snapshots":
            return real.parent == (ancestor.parent.parent / "blobs").resolve()
    return False
