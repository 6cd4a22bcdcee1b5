"""What pruning left, tensor by tensor."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from qcore._display.table import Report
from qcore.arrays.tensor.tensor import QTensor

__all__ = ["pruning_report"]


def pruning_report(
    weights: Mapping[str, Any], pruned: Collection[str], scores: Mapping[str, float]
) -> Report:
    """Return the size, density, bytes and score of each tensor; those in `pruned` were."""
    rows = [_row(name, value, name in pruned) for name, value in weights.items()]
    for row in rows:
        if row["tensor"] in scores:
            row["score"] = scores[row["tensor"]]
    totals: dict[str, Any] = {"tensor": "all"}
    for column in ("bytes", "sparse bytes", "size", "nnz"):
        totals[column] = sum(row.get(column, 0) for row in rows)
    totals["density"] = totals["nnz"] / totals["size"] if totals["size"] else 1.0
    if "all" in scores:
        totals["score"] = scores["all"]
    return Report("pruned", rows, totals)


def _row(name: str, value: Any, pruned: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"tensor": name, "shape": "x".join(map(str, value.shape))}
    row["bytes"] = row["sparse bytes"] = int(value.nbytes)
    if not pruned:
        return row
    dense = value.dequantize() if isinstance(value, QTensor) else value
    size, nnz = int(dense.size), int(np.count_nonzero(dense))
    row |= {"size": size, "nnz": nnz, "density": nnz / size if size else 1.0}
    # As a file holds it: the kept values, and a bit for each position.
    bits = value.bits if isinstance(value, QTensor) else 8 * value.dtype.itemsize
    row["sparse bytes"] = min(row["bytes"], -(-nnz * bits // 8) + -(-size // 8))
    return row
