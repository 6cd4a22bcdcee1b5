"""The sparse layouts of compressed-tensors: a bit for each element, and the values that there are.

=======================  =====  =========================  =========================================
tensor                   type   shape                      what
=======================  =====  =========================  =========================================
``fc.weight.compressed``        (values,), or of 2:4       in memory order
                                (rows, columns / 2)
``fc.weight.bitmask``    U8     (rows, ceil(columns / 8))  which elements are stored, the lowest bit
                                                           first
``fc.weight.shape``      I64    (2,)
``fc.weight.``           I64    (rows,) or (rows, 1)       "sparse-bitmask": where the values of a
``row_offsets``                                            row start
=======================  =====  =========================  =========================================

They load dense, as float32 where they are floats of 16 bits.

References
----------
compressed-tensors 0.9: ``SparseBitmaskTensor`` and ``Sparse24BitMaskTensor``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.files.foreign.composed.weight import ComposedWeight
from qcore.files.source import TensorSource

__all__ = ["find"]

_COMPRESSED = ".compressed"


def find(source: TensorSource, config: Mapping[str, Any]) -> dict[str, ComposedWeight]:
    """Return the weights of these layouts by name; see `Find`."""
    found: dict[str, ComposedWeight] = {}
    for name in source:
        stem = name.removesuffix(_COMPRESSED)
        parts = [name, f"{stem}.bitmask", f"{stem}.shape", f"{stem}.row_offsets"]
        if stem != name and all(part in source for part in parts[:3]):
            found[stem] = _Bitmask(source, [part for part in parts if part in source])
    return found


class _Bitmask(ComposedWeight):
    layout = "bitmask"
    in_rows = False

    def __init__(self, source: TensorSource, parts: list[str]) -> None:
        self._source, self.parts = source, tuple(parts)
        rows, columns = (int(length) for length in np.asarray(source[parts[2]]).reshape(-1))
        mask = source.info(parts[1]).shape
        if rows < 0 or columns < 0 or mask != (rows, -(-columns // 8)):
            raise ValueError(f"a mask of shape {mask} is none of {rows} x {columns}")
        self.shape = (rows, columns)

    def whole(self) -> NDArray[Any]:
        """Return the weight; see `ComposedWeight.whole`."""
        values = np.asarray(self._source[self.parts[0]]).reshape(-1)
        mask = np.asarray(self._source[self.parts[1]], np.uint8)
        kept = np.unpackbits(mask, axis=1, count=self.shape[1], bitorder="little").view(bool)
        if int(kept.sum()) != values.size:
            raise ValueError(f"{values.size} values are not the {int(kept.sum())} of the mask")
        wide = np.dtype(np.float32) if values.dtype == np.float16 else values.dtype
        out = np.zeros(self.shape, wide)
        out[kept] = values
        return out

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return some rows; see `ComposedWeight.rows`."""
        return np.asarray(self.whole()[start:stop], np.float32)
