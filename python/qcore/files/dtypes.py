"""Which NumPy type a stored type is, and the stored floats that NumPy has no type for."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore import _core

_STORED = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "F16": "<f2", "U32": "<u4",
    "I32": "<i4", "F32": "<f4", "U64": "<u8", "I64": "<i8", "F64": "<f8", "C64": "<c8",
}  # fmt: skip
_DTYPES: dict[str, np.dtype[Any]] = {name: np.dtype(code) for name, code in _STORED.items()}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class _SmallFloat(NamedTuple):
    """A float of 8 bits or fewer: a sign, `exponent` bits, then `mantissa` bits."""

    exponent: int
    mantissa: int
    bias: int
    special: str  # which codes are not finite: "ieee", "nan" (all ones), "nuz" (minus zero), "none"

    @property
    def bits(self) -> int:
        return 1 + self.exponent + self.mantissa

    def values(self) -> NDArray[np.float32]:
        """Return what each code stands for; exact, float32 has more of everything."""
        codes = np.arange(2**self.bits)
        mantissa = codes % 2**self.mantissa
        exponent = (codes >> self.mantissa) % 2**self.exponent
        normal = exponent > 0
        power = np.maximum(exponent, 1) - self.bias - self.mantissa
        values: NDArray[np.float32]
        values = np.ldexp((mantissa + normal * 2**self.mantissa).astype(np.float32), power)
        top = exponent == 2**self.exponent - 1
        if self.special == "ieee":
            values[top] = np.where(mantissa[top] == 0, np.inf, np.nan)
        elif self.special == "nan":
            values[top & (mantissa == 2**self.mantissa - 1)] = np.nan
        negative = codes >= len(codes) // 2
        values[negative] *= -1
        if self.special == "nuz":
            values[len(codes) // 2] = np.nan
        return values


_SMALL_FLOATS = {
    "F4": _SmallFloat(2, 1, 1, "none"),
    "F6_E2M3": _SmallFloat(2, 3, 1, "none"),
    "F6_E3M2": _SmallFloat(3, 2, 3, "none"),
    "F8_E4M3": _SmallFloat(4, 3, 7, "nan"),
    "F8_E4M3FNUZ": _SmallFloat(4, 3, 8, "nuz"),
    "F8_E5M2": _SmallFloat(5, 2, 15, "ieee"),
    "F8_E5M2FNUZ": _SmallFloat(5, 2, 16, "nuz"),
}


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
        array = _exponents()[data]
    elif name in _SMALL_FLOATS:
        kind = _SMALL_FLOATS[name]
        count = data.size * 8 // kind.bits
        codes = data if kind.bits == 8 else _core.unpack_bits(data, count, count, kind.bits, False)
        array = kind.values()[codes]
    else:
        raise ValueError(f"the type {name} is not known")
    return array.reshape(shape)


def _exponents() -> NDArray[np.float32]:
    """Return the values of F8_E8M0: powers of two, no sign, and one NaN."""
    values: NDArray[np.float32] = np.ldexp(np.float32(1), np.arange(256) % 255 - 127)
    values[255] = np.nan
    return values
