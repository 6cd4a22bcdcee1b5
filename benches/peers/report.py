"""The comparison as Markdown and as a plot."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from benches.peers.rows import Row

TITLES = {
    "packed": "int8 products, B packed before: GOPS",
    "not packed": "int8 products, through Python, nothing packed before: GOPS",
    "exact peers": "beside the best exact peer (ONNX Runtime's u8 by u8, torch, NumKong): GOPS",
    "GEMV, packed": "one row, B packed before: GOPS",
    "GEMV, not packed": "one row, nothing packed before, beside torch and NumPy float32: GOPS",
    "GEMV, share of reading": "one row beside a loop that only reads as many bytes: GOPS",
    "s8 x s8": "beside ONNX Runtime's s8 by s8",
    "share of the peak": "share of the rate of the dot instruction alone",
    "quantize": "quantize float32 to int8, `out=` given: GB/s, 5 bytes an element",
    "dequantize": "dequantize int8 to float32, `out=` given: GB/s, 5 bytes an element",
    "int4 GEMV from memory": "1 x 4096 x 4096 on 4-bit weights from memory: GOPS",
    "two threads": "two threads beside one: GOPS",
    "network": "LeNet-300-100 on MNIST's test images: µs a call",
    "network, exact": "the same beside ONNX Runtime's exact sums, u8 by u8: µs a call",
    "small calls": "what a small call adds to its kernel, timed in Rust: µs",
}


def markdown(rows: Iterable[Row], facts: str) -> str:
    """Return the tables, and what they were measured on."""
    parts = [facts]
    for section, group in groupby(rows, key=lambda row: row.section):
        cases = list(group)
        names = list(dict.fromkeys(name for row in cases for name in row.times))
        parts += ["", f"### {TITLES[section]}", ""]
        parts.append(f"| case | {' | '.join(names)} | ratio | asked | |")
        parts.append("|---" * (len(names) + 4) + "|")
        for row in cases:
            cells = [_cell(row, row.times.get(name)) for name in names]
            asked = "" if row.asked is None else f"{row.asked:.2f}"
            verdict = "" if row.asked is None else "met" if row.met else "**missed**"
            line = [row.case, *cells, f"{row.ratio:.2f}", asked, verdict]
            parts.append(f"| {' | '.join(line)} |")
        notes = dict.fromkeys(row.note for row in cases if row.note)
        parts += [f"\nAccuracy: {note}." for note in notes]
    return "\n".join(parts) + "\n"


def _cell(row: Row, seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if row.work:
        rate = row.work / seconds / 1e9
        return f"{rate:.0f}" if rate >= 20 else f"{rate:.1f}"
    micros = seconds * 1e6
    if micros >= 100:
        return f"{micros:,.0f}"
    return f"{micros:.1f}" if micros >= 2 else f"{micros:.2f}"


def plot(rows: Iterable[Row], path: Path) -> None:
    """Draw every ratio as a share of what was asked for."""
    from matplotlib.figure import Figure

    judged = [row for row in rows if row.asked is not None]
    labels = [f"{row.section}: {row.case}" for row in judged]
    shares = [row.ratio / row.asked for row in judged if row.asked]
    figure = Figure(figsize=(8, 0.22 * len(judged) + 1), layout="constrained")
    axes = figure.subplots()
    colours = ["#2a7f4f" if row.met else "#b5452c" for row in judged]
    axes.barh(labels, shares, color=colours)
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("ratio to the best peer, as a share of what was asked for")
    axes.invert_yaxis()
    axes.tick_params(axis="y", labelsize=7)
    figure.savefig(path)
