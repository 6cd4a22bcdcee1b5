"""Which NumPy type a stored type is, and the stored floats that NumPy has no type for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore.arrays.params.small_floats import SMALL_FLOATS, code_values

_STORED = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "F16": "<f2", "U32": "<u4",
    "I32": "<i4", "F32": "<f4", "U64": "<u8", "I64": "<i8", "F64": "<f8", "C64": "<c8",
}  # fmt: skip
_DTYPES: dict[str, np.dtype[Any]] = {name: np.dtype(code) for name, code in _STORED.items()}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


def stored_name(dtype: np.dtype[Any]) -> str | None:
    """Return what safetensors calls a NumPy type, of any byte order; None if it has no name."""
    return _NAMES.get(dtype.newbyteorder("<")) if dtype.kind in "biufc" else None


def loaded_dtype(name: str) -> np.dtype[Any]:
    """Return the type that `decode` gives for the stored type `name`."""
    dtype: np.dtype[Any] = _DTYPES.get(name, np.dtype(np.float32)).newbyteorder("=")
    return dtype


def decode(name: str, data: NDArray[np.uint8], shape: list[int]) -> NDArray[Any]:
    """Return bytes of the stored type `name` as an array; small floats become float32, exactly."""
    if name in _DTYPES:
        stored = data.view(_DTYPES[name]) if data.size else np.empty(0, _DTYPES[name])
        array = stored.astype(stored.dtype.newbyteorder("="), copy=False)
    elif name == "BF16":
        array = (data.view("<u2").astype(np.uint32) << 16).view(np.float32)
    elif name == "F8_E8M0":
        array = code_values(name)[data]
    elif name in SMALL_FLOATS:
        kind = SMALL_FLOATS[name]
        count = data.size * 8 // kind.bits
        codes = data if kind.bits == 8 else _core.unpack_bits(data, count, count, kind.bits, False)
        array = code_values(name)[codes]
    else:
        raise ValueError(f"the type {name} is not known")
    return array.reshape(shape)
