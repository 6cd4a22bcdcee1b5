"""Floats of 8 bits or fewer: what each of their codes stands for."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["SMALL_FLOATS", "SmallFloat", "code_values", "powers"]


class SmallFloat(NamedTuple):
    """A float of 8 bits or fewer: a sign, `exponent` bits, then `mantissa` bits."""

    exponent: int
    mantissa: int
    bias: int
    special: str  # which codes are not finite: "ieee", "nan" (all ones), "nuz" (minus zero), "none"

    @property
    def bits(self) -> int:
        """Width of a code."""
        return 1 + self.exponent + self.mantissa

    @property
    def top(self) -> int:
        """The code of the greatest finite value."""
        values = self.values()
        return int(np.argmax(np.where(np.isfinite(values), values, -1)))

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


#: By what safetensors calls them.
SMALL_FLOATS = {
    "F4": SmallFloat(2, 1, 1, "none"),
    "F6_E2M3": SmallFloat(2, 3, 1, "none"),
    "F6_E3M2": SmallFloat(3, 2, 3, "none"),
    "F8_E4M3": SmallFloat(4, 3, 7, "nan"),
    "F8_E4M3FNUZ": SmallFloat(4, 3, 8, "nuz"),
    "F8_E5M2": SmallFloat(5, 2, 15, "ieee"),
    "F8_E5M2FNUZ": SmallFloat(5, 2, 16, "nuz"),
}


@cache
def code_values(name: str) -> NDArray[np.float32]:
    """Return what each code of a format stands for, by the code; read-only."""
    values = powers() if name == "F8_E8M0" else SMALL_FLOATS[name].values()
    values.setflags(write=False)
    return values


def powers() -> NDArray[np.float32]:
    """Return the values of F8_E8M0: powers of two, no sign, and one NaN."""
    values: NDArray[np.float32] = np.ldexp(np.float32(1), np.arange(256) % 255 - 127)
    values[255] = np.nan
    return values
