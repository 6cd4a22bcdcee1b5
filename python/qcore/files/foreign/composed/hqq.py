"""HQQ's weights: codes of 1 to 8 bits whose parts lie above each other, and all that says so.

==================  =======  =====================================================================
tensor              type     what
==================  =======  =====================================================================
``fc.W_q``          U8, I32  the codes of groups, the first part of the rows in the highest bits
``fc.scale``,       float    of each group; a value is (code - zero) · scale
``fc.zero``
``fc.axis``         I32      1: a row is a group; 0: a column is one
``fc.packing``      U8       a text: "4bit_u8", "3bit_32" ...
``fc.shape``        I64      of the weight
==================  =======  =====================================================================

They load as float32, under the name ``fc.weight``; what else lies under the stem says how HQQ was
asked to quantize, and is left out.

References
----------
The hqq library, 0.2: ``core/bitpack.py``, ``core/quantize.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.files.foreign.composed.weight import ComposedWeight
from qcore.files.source import TensorSource

__all__ = ["find"]

_CODES = ".W_q"
_NEEDED = (_CODES, ".scale", ".zero", ".axis", ".packing", ".shape")
_REST = (
    ".nbits", ".group_size", ".unpack_view_dtype", ".view_as_float", ".quant_scale", ".quant_zero",
    ".compute_dtype", ".offload_meta", ".encoded_state_dict", ".stores_quant_config",
    ".channel_wise", ".optimize", ".round_zero",
)  # fmt: skip
#: How many bits a code has, and how many lie above each other.
_PACKINGS = {"8bit_u8": (8, 1), "4bit_u8": (4, 2), "3bit_32": (3, 10), "2bit_u8": (2, 4),
             "1bit_u8": (1, 8)}  # fmt: skip


def find(source: TensorSource, config: Mapping[str, Any]) -> dict[str, ComposedWeight]:
    """Return the weights of this layout by name; see `Find`."""
    found: dict[str, ComposedWeight] = {}
    for name in source:
        stem = name.removesuffix(_CODES)
        if stem != name and all(stem + part in source for part in _NEEDED):
            found[f"{stem}.weight"] = _Hqq(source, stem)
    return found


class _Hqq(ComposedWeight):
    in_rows = False

    def __init__(self, source: TensorSource, stem: str) -> None:
        self._source, self._stem = source, stem
        self.parts = tuple(stem + part for part in (*_NEEDED, *_REST) if stem + part in source)
        text = bytes(np.asarray(source[f"{stem}.packing"], np.uint8).reshape(-1)[:64])
        packing = text.decode("ascii", "replace")
        if packing not in _PACKINGS:
            raise ValueError(f"{stem!r} is packed {packing!r}; known are {', '.join(_PACKINGS)}")
        self._bits, self._count = _PACKINGS[packing]
        self.layout = f"HQQ, {self._bits} bits"
        self.shape = tuple(int(n) for n in np.asarray(source[f"{stem}.shape"]).reshape(-1))
        codes = source.info(stem + _CODES)
        wanted = np.int32 if self._bits == 3 else np.uint8
        if codes.dtype != wanted or codes.ndim != 2 or min(self.shape, default=0) < 1:
            raise ValueError(f"{stem!r} has codes {codes.dtype} {codes.shape} of {self.shape}")

    def whole(self) -> NDArray[np.float32]:
        """Return the weight; see `ComposedWeight.whole`."""
        packed = np.asarray(self._source[self._stem + _CODES])
        scale, zero = (
            np.asarray(self._source[self._stem + part], np.float32) for part in (".scale", ".zero")
        )
        mask = (1 << self._bits) - 1
        shifts = range(self._bits * (self._count - 1), -1, -self._bits)
        codes = np.concatenate([packed >> shift & mask for shift in shifts])
        size = math.prod(self.shape)
        rows = size // packed.shape[1] if packed.shape[1] else 0
        if rows * packed.shape[1] != size or not rows <= len(codes) < rows + self._count:
            raise ValueError(f"{packed.shape} of {self._count} codes each are none of {self.shape}")
        axis = int(np.asarray(self._source[f"{self._stem}.axis"]).reshape(()))
        groups = (rows, 1) if axis == 1 else (1, packed.shape[1])
        if axis not in (0, 1) or scale.size not in (1, max(groups)) or zero.size != scale.size:
            raise ValueError(f"scales {scale.shape} and zeros {zero.shape} are none of {groups}")
        fits = groups if scale.size > 1 else (1, 1)
        values = codes[:rows].astype(np.float32) - zero.reshape(fits)
        return np.asarray(values * scale.reshape(fits), np.float32).reshape(self.shape)

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return some rows; see `ComposedWeight.rows`."""
        return self.whole()[start:stop]
