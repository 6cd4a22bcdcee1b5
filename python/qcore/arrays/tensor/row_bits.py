"""Rows whose width differs, packed: codes of 1 to 8 bits, or floats, each row padded to a byte."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore import _core
from qcore._arguments.validation import real_array

__all__ = ["FLOAT_WIDTHS", "check_row_bits", "pack_rows", "packed_nbytes", "unpack_rows"]

#: The types of rows that stay floats, by their width, little-endian.
FLOAT_WIDTHS: dict[int, np.dtype[Any]] = {16: np.dtype("<f2"), 32: np.dtype("<f4")}

Floats = NDArray[np.float32]


def check_row_bits(
    row_bits: NDArray[Any],
    codes: NDArray[Any],
    scheme: str,
    axis: int | None,
    float_rows: ArrayLike | None,
) -> tuple[NDArray[np.uint8], Floats | None]:
    """Return checked widths of the rows of int8 codes (rows, n), and the rows that are floats."""
    if scheme != "affine" or axis != 0 or codes.ndim != 2 or codes.dtype != np.int8:
        raise ValueError("row_bits is for affine int8 codes of two dimensions, with axis=0")
    if row_bits.shape != codes.shape[:1]:
        raise ValueError(f"row_bits has shape {row_bits.shape}; it must be {codes.shape[:1]}")
    _check_widths(row_bits)
    widths = row_bits.astype(np.uint8)
    floats = widths > 8
    wide = codes.astype(np.int16)
    half = np.where(floats, 0, 1 << (np.minimum(widths, 8).astype(np.int16) - 1))
    above = np.where(floats, 1, half)  # a row of floats has codes of 0
    if codes.size and ((wide < -half[:, None]) | (wide >= above[:, None])).any():
        raise ValueError("values has a code that the width of its row does not hold")
    return widths, _check_floats(float_rows, widths[floats], codes.shape[1])


def packed_nbytes(row_bits: NDArray[np.uint8], columns: int) -> int:
    """Return how many bytes the rows take."""
    return int(_starts(row_bits, columns)[-1])


def pack_rows(
    codes: NDArray[np.int8], row_bits: NDArray[np.uint8], float_rows: Floats | None
) -> NDArray[np.uint8]:
    """Return a bit stream for each row, one after the other."""
    columns = codes.shape[1]
    starts = _starts(row_bits, columns)
    packed = np.empty(starts[-1], np.uint8)
    order = np.cumsum(row_bits > 8) - 1
    for bits, rows, places in _widths(row_bits, starts, columns):
        if bits in FLOAT_WIDTHS:
            assert float_rows is not None
            part = np.ascontiguousarray(float_rows[order[rows]], FLOAT_WIDTHS[bits])
            packed[places] = part.view(np.uint8).reshape(len(rows), -1)
        else:
            flat = np.ascontiguousarray(codes[rows]).reshape(-1).view(np.uint8)
            packed[places] = _core.pack_bits(flat, columns, bits).reshape(len(rows), -1)
    return packed


def unpack_rows(
    packed: NDArray[np.uint8], row_bits: NDArray[np.uint8], columns: int
) -> tuple[NDArray[np.int8], Floats | None]:
    """Return the codes, (rows, columns) int8, and the rows that are floats."""
    _check_widths(row_bits)
    starts = _starts(row_bits, columns)
    if packed.dtype != np.uint8 or packed.shape != (starts[-1],):
        raise ValueError(f"packed has {packed.size} bytes; these rows take {starts[-1]}")
    codes = np.zeros((len(row_bits), columns), np.int8)
    floats = row_bits > 8
    real = np.empty((np.count_nonzero(floats), columns), np.float32)
    order = np.cumsum(floats) - 1
    for bits, rows, places in _widths(row_bits, starts, columns):
        part = np.ascontiguousarray(packed[places])
        if bits in FLOAT_WIDTHS:
            real[order[rows]] = part.view(FLOAT_WIDTHS[bits])
        else:
            found = _core.unpack_bits(
                part.reshape(-1), part.shape[0] * columns, columns, bits, True
            )
            codes[rows] = found.view(np.int8).reshape(len(rows), columns)
    return codes, real if len(real) else None


def _check_widths(widths: NDArray[Any]) -> None:
    allowed = ((widths >= 1) & (widths <= 8)) | np.isin(widths, list(FLOAT_WIDTHS))
    if not allowed.all():
        raise ValueError("row_bits has a width that is not 1 to 8, 16 or 32")


def _check_floats(
    float_rows: ArrayLike | None, widths: NDArray[np.uint8], columns: int
) -> Floats | None:
    """Return the rows that are floats, (float rows, columns), as their widths hold them."""
    if not len(widths):
        if float_rows is not None and np.asarray(float_rows).size:
            raise ValueError("float_rows is given; no row has a width of 16 or 32")
        return None
    if float_rows is None:
        raise ValueError("float_rows is missing; rows of a width of 16 or 32 are floats")
    rows = np.array(real_array(float_rows, "float_rows"), np.float32, order="C")
    if rows.shape != (len(widths), columns):
        raise ValueError(f"float_rows has shape {rows.shape}; it must be {(len(widths), columns)}")
    if not np.isfinite(rows).all():
        raise ValueError("float_rows has a value that is not finite")
    halves = rows[widths == 16]
    if (halves.astype(np.float16).astype(np.float32) != halves).any():
        raise ValueError("float_rows has a value that float16 does not hold exactly")
    return rows


def _starts(row_bits: NDArray[np.uint8], columns: int) -> NDArray[np.int64]:
    lengths = -(-row_bits.astype(np.int64) * columns // 8)
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _widths(
    row_bits: NDArray[np.uint8], starts: NDArray[np.int64], columns: int
) -> Iterator[tuple[int, NDArray[np.intp], NDArray[np.int64]]]:
    """Yield each width, the rows that have it, and where their bytes lie."""
    for bits in np.unique(row_bits) if columns else ():
        rows = np.flatnonzero(row_bits == bits)
        length = -(-int(bits) * columns // 8)
        yield int(bits), rows, starts[rows][:, None] + np.arange(length)
