"""Which figures there are of a comparison, with their words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qcore.report.compare.precision import WIDTHS, mixed_curve, uniform_points
from qcore.report.compare.variants import variant_rows
from qcore.report.page import figures
from qcore.report.page.figure import Figure
from qcore.report.page.trade_off import is_numbered, trade_off

if TYPE_CHECKING:
    from qcore.report.compare.comparison import Comparison

__all__ = ["figures_of", "tensor_figures"]


def figures_of(comparison: Comparison) -> list[Figure]:
    """Return the figures of a compression, those that there is something to show for."""
    rows = [row for row in comparison.report.rows if row["before bytes"] or row["bytes"]]
    lossy = [row for row in rows if math.isfinite(row.get("SQNR dB", math.inf))]
    found = [
        Figure("bytes", "What it saved: bytes by tensor",
               "Grey is what a tensor took before, blue what is left, scales and all.",
               figures.bytes_by_tensor(_largest(rows)))
    ]  # fmt: skip
    if lossy:
        found.append(
            Figure("sqnr", "What it cost: noise by tensor",
                   "Signal to quantization noise. 20 dB is an error of a tenth of the weights, "
                   "40 dB of a hundredth.",
                   figures.sqnr_by_tensor(lossy))
        )  # fmt: skip
    if comparison.layers:
        found.append(
            Figure("layers", "Sensitivity: one layer at a time",
                   "What the network's answers lose when this layer alone is compressed.",
                   figures.outputs_by_layer(comparison.layers))
        )  # fmt: skip
    if comparison.precision:
        found += _precision_figures(comparison)
    return found + _trade_offs(comparison)


def _trade_offs(comparison: Comparison) -> list[Figure]:
    """Return score against size, and against time, of the variants that have both."""
    outputs = comparison.outputs
    is_share = outputs is None or outputs.score_name == "accuracy"
    scale, score = (100.0, "accuracy, %") if is_share else (1.0, "R²")
    found = []
    for name, front, cost, axis, title, caption in (
        ("size", "pareto_bytes", "nbytes", "bytes", "Accuracy against size",
         "Bytes of the stored file. Blue: no smaller network is as good, but for chance."),
        ("speed", "pareto_time", "batch1_us", "microseconds", "Accuracy against time",
         "Microseconds for one sample, median. Blue: no faster one is as good, but for chance."),
    ):  # fmt: skip
        points = [
            {"title": row["name"], "accuracy": scale * row["score"], axis: row[cost],
             f"front_{axis}": row[front],
             "spread": None if row["error"] is None else scale * row["error"]}
            for row in variant_rows(comparison.variants)
            if row[front] is not None
        ]  # fmt: skip
        if len(points) > 1:
            errors = " Lines: the standard error." if points[0]["spread"] is not None else ""
            key = [point["title"] for point in points] if is_numbered(points, axis, score) else []
            drawn = trade_off(points, axis, axis, score)
            found.append(Figure(name, title, caption + errors, drawn, tuple(key)))
    return found


def _precision_figures(comparison: Comparison) -> list[Figure]:
    tensors = comparison.precision
    table = [
        {"tensor": tensor.name, "bits": bits, "sqnr": tensor.sqnr_db(place)}
        for tensor in tensors
        for place, bits in enumerate(WIDTHS)
    ]
    return [
        Figure("curve", "Mixed precision: noise against bits",
               "The line gives every tensor the width that costs least; grey points give all the "
               "same. Weights alone, one scale for each row, on a sample of the rows.",
               figures.precision_curve(mixed_curve(tensors), uniform_points(tensors),
                                       _this_file(comparison))),
        Figure("sensitivity", "Which tensors need bits",
               "SQNR in dB at each width, under one scale for each row.",
               figures.sensitivity(table)),
    ]  # fmt: skip


def _this_file(comparison: Comparison) -> dict[str, Any] | None:
    """Return the point of the quantized tensors as they are, all their bytes counted."""
    names = {tensor.name for tensor in comparison.precision}
    rows = [row for row in comparison.report.rows if row["tensor"] in names]
    size = sum(tensor.size for tensor in comparison.precision)
    signal = {tensor.name: tensor.signal for tensor in comparison.precision}
    noise = sum(signal[r["tensor"]] * 10 ** (-r["SQNR dB"] / 10) for r in rows)
    if not size or noise <= 0:
        return None
    bits = 8 * sum(row["bytes"] for row in rows) / size
    sqnr = 10 * math.log10(sum(signal.values()) / noise)
    return {"bits": bits, "sqnr": sqnr, "name": "this file, scales and all"}


def _largest(rows: Sequence[Mapping[str, Any]], most: int = 400) -> list[Mapping[str, Any]]:
    """Return the largest tensors, in the order of the file."""
    chosen = sorted(rows, key=lambda row: -row["before bytes"])[:most]
    names = {row["tensor"] for row in chosen}
    return [row for row in rows if row["tensor"] in names]


def tensor_figures(comparison: Comparison, name: str) -> list[Figure]:
    """Return the figures of one tensor: its histogram and, where it has zeros, their picture."""
    detail = comparison.details[name]
    found = [
        Figure(f"histogram-{name}", name, "How its values are spread, before and after.",
               figures.histogram(detail.histogram))
    ]  # fmt: skip
    if detail.zeros is not None:
        found.append(
            Figure(f"zeros-{name}", name, "Where its weights are: empty blocks are zeros.",
                   figures.zeros(detail.zeros.tolist()))
        )  # fmt: skip
    return found
