"""The parts of weights that compressed-tensors stores, and codes packed into words."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qcore import _core

__all__ = ["PACKED", "SCALE", "SHAPE", "WEIGHT", "WORD", "ZERO", "pack", "unpack"]

#: The part that has a packed weight's shape.
SHAPE = "_shape"
#: The part that has the zero points.
ZERO = "_zero_point"
#: The parts that have the codes and the scales, and how the names of weights end.
PACKED, SCALE, WEIGHT = "_packed", "_scale", ".weight"
#: Bits of a word that codes are packed into.
WORD = 32


def pack(codes: NDArray[np.uint8], bits: int) -> NDArray[np.int32]:
    """Pack the rows of a matrix into words."""
    rows, columns = codes.shape
    words = -(-columns * bits // WORD)
    packed = np.zeros((rows, 4 * words), np.uint8)
    if codes.size:
        row = -(-columns * bits // 8)
        flat = np.ascontiguousarray(codes).reshape(-1)
        stream = flat if bits == 8 else _core.pack_bits(flat, columns, bits)
        packed[:, :row] = stream.reshape(rows, row)
    return packed.view("<i4")


def unpack(words: NDArray[np.int32], columns: int, bits: int) -> NDArray[np.uint8]:
    """Return the codes that `pack` packed."""
    rows = len(words)
    row = -(-columns * bits // 8)
    stream = np.ascontiguousarray(words.astype("<i4", copy=False).view(np.uint8)[:, :row])
    if bits == 8 or not stream.size:
        return stream[:, :columns]
    flat = _core.unpack_bits(stream.reshape(-1), rows * columns, columns, bits, False)
    return flat.reshape(rows, columns)
