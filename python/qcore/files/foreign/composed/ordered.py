"""compressed-tensors' packed integers whose inputs are grouped in another order (actorder).

==========================  =====  ============================================================
tensor                      type   what
==========================  =====  ============================================================
``fc.weight_packed``        I32    codes + 2^(bits - 1), rows as little-endian bit streams
``fc.weight_scale``         float  (rows, groups)
``fc.weight_zero_point``    I8     (rows, groups); or I32: + 2^(bits - 1), packed along the rows
``fc.weight_shape``         I64    (rows, columns)
``fc.weight_g_idx``         I32    (columns,): the group of each
==========================  =====  ============================================================

They load as float32. Without ``weight_g_idx`` they are codes, see
`qcore.files.foreign.compressed_tensors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.files.foreign.composed.weight import ComposedWeight
from qcore.files.foreign.composed.words import unpack_words
from qcore.files.source import TensorSource

__all__ = ["find"]

_ORDER = "_g_idx"
_PARTS = ("_packed", "_scale", "_shape", _ORDER)


def find(source: TensorSource, config: Mapping[str, Any]) -> dict[str, ComposedWeight]:
    """Return the weights of this layout by name; see `Find`."""
    found: dict[str, ComposedWeight] = {}
    for name in source:
        stem = name.removesuffix(_ORDER)
        if stem == name or not all(stem + part in source for part in _PARTS):
            continue
        if source.info(f"{stem}_scale").dtype.kind == "f":
            found[stem] = _Ordered(source, stem)
    return found


class _Ordered(ComposedWeight):
    in_rows = False

    def __init__(self, source: TensorSource, name: str) -> None:
        self._source = source
        zero = f"{name}_zero_point"
        self.parts = tuple(name + part for part in _PARTS) + ((zero,) if zero in source else ())
        rows, columns = (int(length) for length in np.asarray(source[self.parts[2]]).reshape(-1))
        self.shape = (rows, columns)
        words = source.info(self.parts[0]).shape
        self._bits = words[-1] * 32 // max(columns, 1) if words else 0
        self.layout = f"int{self._bits}, inputs in another order"
        fits = len(words) == 2 and words == (rows, -(-columns * self._bits // 32))
        if not fits or not 1 <= self._bits <= 8:
            raise ValueError(f"{self.parts[0]!r} of shape {words} is none of {rows} x {columns}")

    def whole(self) -> NDArray[np.float32]:
        """Return the weight; see `ComposedWeight.whole`."""
        packed, scale, _, order = (np.asarray(self._source[part]) for part in self.parts[:4])
        rows, columns = self.shape
        middle = np.int32(1 << (self._bits - 1))
        codes = unpack_words(packed, self._bits)[:, :columns].astype(np.int32) - middle
        scale = scale.astype(np.float32)
        if scale.ndim != 2 or len(scale) != rows or order.shape != (columns,):
            raise ValueError(f"scales {scale.shape} and groups {order.shape} do not fit")
        if columns and (order.min() < 0 or order.max() >= scale.shape[1]):
            raise ValueError(f"groups are not below {scale.shape[1]}")
        if len(self.parts) > 4:
            zero = np.asarray(self._source[self.parts[4]])
            if zero.dtype == np.int32:
                turned = unpack_words(np.ascontiguousarray(zero.T), self._bits)
                zero = turned[:, :rows].T.astype(np.int32) - middle
            codes = codes - zero.astype(np.int32).reshape(scale.shape)[:, order]
        return np.asarray(codes.astype(np.float32) * scale[:, order], np.float32)

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return some rows; see `ComposedWeight.rows`."""
        return self.whole()[start:stop]
