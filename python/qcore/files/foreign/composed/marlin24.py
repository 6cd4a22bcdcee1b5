"""compressed-tensors' legacy "marlin-24": 2:4 sparse codes in the order that a GPU kernel reads.

====================  =====  ======================================================================
tensor                type   what
====================  =====  ======================================================================
``fc.weight_packed``  I32    (columns / 32, rows · bits / 2): codes + 2^(bits - 1) of the two values
                             that are kept of four, inputs first, in tiles of 16 by 64
``fc.scale_packed``   float  (groups, rows), the scales of 64 rows in another order if there are
                             more than two groups
``fc.meta``           I16    which two: 4 bits for each four values, tiles of 64 rows reordered
====================  =====  ======================================================================

They load as float32, zeros and all; 4 and 8 bits, symmetric.

References
----------
compressed-tensors 0.9: ``marlin_24.py``, ``permutations_24.py``,
``semi_structured_conversions.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.files.foreign.composed.weight import ComposedWeight
from qcore.files.foreign.composed.words import unpack_words
from qcore.files.source import TensorSource

__all__ = ["find"]

_ENDINGS = (".weight_packed", ".scale_packed", ".meta")
_TILE = 16


def find(source: TensorSource, config: Mapping[str, Any]) -> dict[str, ComposedWeight]:
    """Return the weights of this layout by name; see `Find`."""
    found: dict[str, ComposedWeight] = {}
    for name in source:
        stem = name.removesuffix(_ENDINGS[1])
        if stem != name and all(stem + ending in source for ending in _ENDINGS):
            found[f"{stem}.weight"] = _Marlin(source, stem)
    return found


class _Marlin(ComposedWeight):
    in_rows = False

    def __init__(self, source: TensorSource, stem: str) -> None:
        self._source = source
        self.parts = tuple(stem + ending for ending in _ENDINGS)
        packed, scale, meta = (source.info(part) for part in self.parts)
        if not (len(packed.shape) == len(scale.shape) == len(meta.shape) == 2):
            raise ValueError(f"{self.parts[0]!r} and its parts are no matrices")
        rows, columns = scale.shape[1], packed.shape[0] * 2 * _TILE
        self.shape = (rows, columns)
        self._bits = packed.shape[1] * 2 // max(rows, 1)
        self.layout = f"marlin-24, {self._bits} bits"
        fits = rows > 0 and rows % 64 == 0 and packed.shape[1] == rows * self._bits // 2
        groups = scale.shape[0]
        fits = fits and self._bits in (4, 8) and groups > 0 and columns % groups == 0
        if not fits or meta.size != rows * columns // 16 or meta.dtype != np.int16:
            raise ValueError(f"{self.parts[0]!r} {packed.shape} does not fit {scale.shape} scales")

    def whole(self) -> NDArray[np.float32]:
        """Return the weight; see `ComposedWeight.whole`."""
        packed, scale, meta = (np.asarray(self._source[part]) for part in self.parts)
        rows, columns = self.shape
        words = unpack_words(packed, self._bits)
        flat = np.empty_like(words).reshape(-1, 1024)
        flat[:, _order(self._bits)] = words.reshape(-1, 1024)
        tiles = flat.reshape(columns // 2 // _TILE, rows // _TILE, _TILE, _TILE)
        kept = tiles.transpose(0, 2, 1, 3).reshape(columns // 2, rows).T
        codes = np.zeros((rows, columns // 4, 4), np.float32)
        flags = meta.reshape(-1).view(np.uint16)[_places(rows, columns // 16)]
        each = flags.reshape(rows, -1, 1) >> np.arange(0, 16, 2, dtype=np.uint16) & 3
        pairs = kept.reshape(rows, -1, 2).astype(np.float32) - np.float32(1 << (self._bits - 1))
        np.put_along_axis(codes, each.reshape(rows, -1, 2).astype(np.intp), pairs, axis=-1)
        steps = scale.astype(np.float32)
        if len(steps) > 2:
            turned = np.empty_like(steps).reshape(-1, 64)
            turned[:, _scale_order()] = steps.reshape(-1, 64)
            steps = turned.reshape(steps.shape)
        spread = np.repeat(steps.T, columns // len(steps), axis=1)
        return np.asarray(codes.reshape(rows, columns) * spread, np.float32)

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return some rows; see `ComposedWeight.rows`."""
        return self.whole()[start:stop]


@cache
def _order(bits: int) -> NDArray[np.intp]:
    """Return which element of a tile of 16 by 64 each stored one is."""
    found = []
    for lane in range(32):
        column, row = lane // 4, 2 * (lane % 4)
        first = [
            16 * r + column // 2 * 256 + 8 * (column % 2) + 4 * block
            for block in (0, 1)
            for r in (row, row + 1, row + 8, row + 9)
        ]
        found += [at + more for more in range(4) for at in first]
    turned = (0, 2, 4, 6, 1, 3, 5, 7) if bits == 4 else (0, 2, 1, 3)
    return np.array(found).reshape(-1, len(turned))[:, turned].reshape(-1)


@cache
def _scale_order() -> NDArray[np.intp]:
    return np.array([8 * row + at for row in range(8) for at in (0, 4, 1, 5, 2, 6, 3, 7)])


def _places(rows: int, columns: int) -> NDArray[np.intp]:
    """Return where the flags of each row and column lie, as CUTLASS orders them."""
    row, column = np.indices((rows, columns))
    moved = row // 64 * 64 + row % 2 * 2 + row % 8 // 4 + row % 32 % 4 // 2 * 32 + row % 64 // 8 * 4
    turn = ((moved % 2 == 0) & (column % 2 == 1)).astype(np.intp)
    turn -= (moved % 2 == 1) & (column % 2 == 0)
    moved, column = moved + turn, column - turn
    found: NDArray[np.intp] = column // 2 * rows * 2 + moved * 2 + column % 2
    return found
