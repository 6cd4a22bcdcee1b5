"""What quantization cost, tensor by tensor."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from qcore.quantization.tensor import QTensor

__all__ = ["tensor_row", "tensor_rows", "totals_of"]

Row = dict[str, Any]


def tensor_rows(
    before: Mapping[str, Any], after: Mapping[str, Any], added: Collection[str] = ()
) -> list[Row]:
    """Return a row for each tensor of a model; those that were `added` had no bytes before."""
    rows = [tensor_row(name, before.get(name, value), value) for name, value in after.items()]
    for row in rows:
        if row["tensor"] in added:
            row["float bytes"] = 0
    return rows


def tensor_row(name: str, before: Any, after: Any) -> Row:
    """Return what there is to say of one tensor.

    ``clipped`` is the share of the values that saturated; ``dead channels`` are outputs that were
    not all zero and now are.
    """
    row: Row = {"tensor": name, "shape": "x".join(map(str, before.shape))}
    row["float bytes"] = int(np.prod(before.shape)) * 4
    row["bytes"] = int(after.nbytes)
    if not isinstance(after, QTensor):
        return row
    mean = after.bits if after.row_bits is None else float(after.row_bits.mean())
    row |= {"scheme": after.scheme, "bits": mean}
    row["clipped"] = after.clipped / max(1, after.size)
    if not isinstance(before, QTensor):
        error = after.error(before)
        row |= {"SQNR dB": error.sqnr_db, "cosine": error.cosine, "max error": error.max_abs}
        if after.ndim >= 2:
            row["dead channels"] = _dead_channels(before, after)
    return row


def totals_of(rows: Iterable[Row]) -> Row:
    """Return the last row of a report."""
    rows = list(rows)
    return {
        "tensor": "all",
        "float bytes": sum(row["float bytes"] for row in rows),
        "bytes": sum(row["bytes"] for row in rows),
    }


def _dead_channels(before: Any, after: QTensor) -> int:
    others = tuple(range(1, after.ndim))
    gone = ~np.any(after.dequantize(), axis=others) & np.any(np.asarray(before), axis=others)
    return int(np.count_nonzero(gone))
