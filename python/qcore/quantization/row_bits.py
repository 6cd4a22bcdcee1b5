"""Codes whose width differs from row to row, packed: each row padded to a byte."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore import _core

__all__ = ["check_row_bits", "pack_rows", "packed_nbytes", "unpack_rows"]


def check_row_bits(
    row_bits: NDArray[Any], codes: NDArray[Any], scheme: str, axis: int | None
) -> NDArray[np.uint8]:
    """Return checked widths of the rows of int8 codes (rows, n)."""
    widths = np.array(row_bits, np.uint8)
    if scheme != "affine" or axis != 0 or codes.ndim != 2 or codes.dtype != np.int8:
        raise ValueError("row_bits is for affine int8 codes of two dimensions, with axis=0")
    if widths.shape != codes.shape[:1]:
        raise ValueError(f"row_bits has shape {widths.shape}; it must be {codes.shape[:1]}")
    if widths.size and (widths.min() < 1 or widths.max() > 8):
        raise ValueError("row_bits has a width outside 1 to 8")
    wide = codes.astype(np.int16)
    half = 1 << (widths.astype(np.int16) - 1)
    if codes.size and ((wide < -half[:, None]) | (wide >= half[:, None])).any():
        raise ValueError("values has a code that the width of its row does not hold")
    return widths


def packed_nbytes(row_bits: NDArray[np.uint8], columns: int) -> int:
    """Return how many bytes the codes take."""
    return int(_starts(row_bits, columns)[-1])


def pack_rows(codes: NDArray[np.int8], row_bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a bit stream for each row, one after the other."""
    columns = codes.shape[1]
    starts = _starts(row_bits, columns)
    packed = np.empty(starts[-1], np.uint8)
    for bits, rows, places in _widths(row_bits, starts, columns):
        part = np.ascontiguousarray(codes[rows]).reshape(-1).view(np.uint8)
        packed[places] = _core.pack_bits(part, columns, bits).reshape(len(rows), -1)
    return packed


def unpack_rows(
    packed: NDArray[np.uint8], row_bits: NDArray[np.uint8], columns: int
) -> NDArray[np.int8]:
    """Return the codes, (rows, columns) int8."""
    if row_bits.size and not 1 <= row_bits.min() <= row_bits.max() <= 8:
        raise ValueError("row_bits has a width outside 1 to 8")
    starts = _starts(row_bits, columns)
    if packed.dtype != np.uint8 or packed.shape != (starts[-1],):
        raise ValueError(f"packed has {packed.size} bytes; these rows take {starts[-1]}")
    codes = np.empty((len(row_bits), columns), np.int8)
    for bits, rows, places in _widths(row_bits, starts, columns):
        part = np.ascontiguousarray(packed[places]).reshape(-1)
        found = _core.unpack_bits(part, len(rows) * columns, columns, bits, True)
        codes[rows] = found.view(np.int8).reshape(len(rows), columns)
    return codes


def _starts(row_bits: NDArray[np.uint8], columns: int) -> NDArray[np.int64]:
    lengths = -(-row_bits.astype(np.int64) * columns // 8)
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _widths(
    row_bits: NDArray[np.uint8], starts: NDArray[np.int64], columns: int
) -> list[tuple[int, NDArray[np.intp], NDArray[np.int64]]]:
    """Return each width, the rows that have it, and where their bytes lie."""
    found = []
    for bits in np.unique(row_bits) if columns else ():
        rows = np.flatnonzero(row_bits == bits)
        length = -(-int(bits) * columns // 8)
        found.append((int(bits), rows, starts[rows][:, None] + np.arange(length)))
    return found
