"""The report of the experiment as a page to look at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import qcore as qc
from qcore.demo.data import CLASSES
from qcore.demo.report import Report, Row
from qcore.demo.table import html_table
from qcore.files.drafts import write_text
from qcore.report.compare.comparison import compare
from qcore.report.page import figures
from qcore.report.page.figure import Figure
from qcore.report.page.headline import Fact, faster_text
from qcore.report.page.page import render, tensor_rows

__all__ = ["demo_figures", "write_page"]

# How much accuracy, in points, a variant may lose to be named at the top.
_CLOSE = 0.5


def write_page(
    path: Path, report: Report, nets: Mapping[str, qc.nn.Sequential], command: str
) -> None:
    """Write the page of the experiment.

    Parameters
    ----------
    path : Path
    report : Report
    nets : mapping of str to Sequential
        The networks of the first seed, by the names of their rows.
    command : str
    """
    data, facts = report["data"], report["environment"]
    seeds = report["seeds"]
    part = "test" if data["split"] == "test" else "validation"
    runs = f"seed {seeds[0]}" if len(seeds) == 1 else f"means over {len(seeds)} seeds"
    page = render(
        f"One digit network, compressed {len(report['rows']) - 1} ways",
        f"{data['name']}, {report['network']}, {data['scored_images']:,} {part} images, {runs}",
        _headline(report),
        demo_figures(report),
        tensors=_tensors(report, nets),
        table=html_table(report),
        command=command,
        facts={
            "CPU": facts["cpu"], "instruction set": f"{facts['isa']}, {facts['threads']} threads",
            "plain NumPy on": facts["blas"], "qcore": facts["qcore"],
            "took": f"{report['seconds']['total']:.1f} s",
        },
    )  # fmt: skip
    write_text(path, page)


def demo_figures(report: Report) -> list[Figure]:
    """Return the figures of the experiment."""
    rows = report["rows"]
    variants = [_variant(row) for row in rows]
    labels = [str(digit) for digit in range(CLASSES)]
    return [
        Figure("size", "Accuracy against size",
               "Bytes of the stored file. Blue: no other network is both smaller and better.",
               figures.trade_off(variants, "bytes", "bytes")),
        Figure("speed", "Accuracy against time",
               "Microseconds for one sample, median. Blue: no other is both faster and better.",
               figures.trade_off(variants, "time", "microseconds")),
        Figure("confusion", "What is taken for what",
               "Counts of the scored images, the true digit to the left.",
               figures.confusion({row["title"]: row["confusion"] for row in rows}, labels)),
    ]  # fmt: skip


def _variant(row: Row) -> dict[str, Any]:
    return {
        "title": row["title"], "accuracy": row["accuracy_percent"]["mean"],
        "spread": row["accuracy_percent"]["sd"], "bytes": row["bytes"],
        "time": row["batch1_p50_us"], "front_bytes": row["pareto_bytes"],
        "front_time": row["pareto_time"],
    }  # fmt: skip


def _headline(report: Report) -> list[Fact]:
    rows = report["rows"]
    close = [row for row in rows if row["drop_points"] <= _CLOSE]
    small = max(close, key=lambda row: row["ratio"])
    fast = max(close, key=lambda row: row["speedup_batch1"])
    return [
        Fact("smallest within half a point", f"{small['ratio']:.1f}× smaller",
             f"{small['title']}: {small['bytes']:,} bytes, {_accuracy(small)}", "good",
             1 / small["ratio"]),
        Fact("fastest within half a point", faster_text(fast["speedup_batch1"]),
             f"{fast['title']}: {fast['batch1_p50_us']:.1f} µs a sample, {_accuracy(fast)}",
             "good"),
        Fact("the float network", _accuracy(rows[0]),
             f"{rows[0]['bytes']:,} bytes, {rows[0]['batch1_p50_us']:.1f} µs a sample"),
    ]  # fmt: skip


def _accuracy(row: Row) -> str:
    return f"{row['accuracy_percent']['mean']:.2f} %"


def _tensors(report: Report, nets: Mapping[str, qc.nn.Sequential]) -> list[dict[str, Any]]:
    """Return the tensors of the variants that were made of another row's network."""
    found = []
    for row in report["rows"]:
        if row["starts_from"] is None or not nets:
            continue
        before, after = nets[row["starts_from"]], nets[row["name"]]
        for shown in tensor_rows(compare(before, after)):
            if not shown["exact"]:
                found.append(shown | {"name": f"{row['title']}: {shown['name']}"})
    return found
