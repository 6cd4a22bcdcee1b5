"""The report of the experiment as a page to look at."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import qcore as qc
from qcore.demo.data import CLASSES, FOLDS
from qcore.demo.report import Report, Row
from qcore.demo.table import html_table
from qcore.demo.verdict import best_row, headline, is_tie, ordered, runs_text, why_not
from qcore.files.drafts import write_text
from qcore.report.compare.comparison import compare
from qcore.report.page import figures
from qcore.report.page.figure import Figure
from qcore.report.page.headline import Fact, faster_text
from qcore.report.page.page import render, tensor_rows
from qcore.report.page.trade_off import drops, is_numbered, trade_off

__all__ = ["demo_figures", "write_page"]


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
    page = render(
        f"One digit network, compressed {len(report['rows']) - 1} ways",
        f"{data['name']}, {report['network']}, {runs_text(report, FOLDS)}",
        _headline(report),
        demo_figures(report),
        lead=headline(report),
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
    rows = ordered(report)
    variants = [_variant(row) for row in rows]
    labels = [str(digit) for digit in range(CLASSES)]
    return [
        _trade_off("size", "Accuracy against size", "Bytes of the stored file. Blue: no "
                   "smaller network is as accurate, but for chance.", variants, "bytes", "bytes"),
        _trade_off("speed", "Accuracy against time", "Microseconds for one sample, median. "
                   "Blue: no faster network is as accurate, but for chance.",
                   variants, "time", "microseconds"),
        Figure("drop", "What it costs",
               "Points of accuracy below float32, with twice their standard error. Grey: no more "
               "than chance.",
               drops([{"title": row["title"], "drop": row["drop_points"],
                       "error": row["drop_error_points"], "tie": is_tie(row)}
                      for row in rows[1:]], "points lost: less is better")),
        Figure("confusion", "What is taken for what",
               "Counts of the scored images, the true digit to the left.",
               figures.confusion({row["title"]: row["confusion"] for row in rows}, labels)),
    ]  # fmt: skip


def _trade_off(
    name: str, title: str, caption: str, variants: list[dict[str, Any]], cost: str, axis: str
) -> Figure:
    key = [row["title"] for row in variants] if is_numbered(variants, cost) else []
    caption += " Lines: the standard deviation." if variants[0]["spread"] else ""
    return Figure(name, title, caption, trade_off(variants, cost, axis), tuple(key))


def _variant(row: Row) -> dict[str, Any]:
    return {
        "title": row["title"], "accuracy": row["accuracy_percent"]["mean"],
        "spread": row["accuracy_percent"]["sd"], "bytes": row["bytes"],
        "time": row["batch1_p50_us"], "front_bytes": row["pareto_bytes"],
        "front_time": row["pareto_time"],
    }  # fmt: skip


def _headline(report: Report) -> list[Fact]:
    rows = report["rows"]
    first, best = rows[0], best_row(report)
    facts = []
    if best is not None:
        pays = [row for row in rows[1:] if why_not(report, row) is None]
        fast = max(pays, key=lambda row: row["speedup_batch1"])
        facts = [
            Fact("smallest that pays", f"{best['ratio']:.1f}× smaller",
                 f"{best['title']}: {best['bytes']:,} bytes, {_accuracy(best)}", "good",
                 1 / best["ratio"]),
            Fact("fastest that pays", faster_text(fast["speedup_batch1"]),
                 f"{fast['title']}: {fast['batch1_p50_us']:.1f} µs a sample, {_accuracy(fast)}",
                 "good"),
        ]  # fmt: skip
    return [
        *facts,
        Fact("the float network", _accuracy(first),
             f"{first['bytes']:,} bytes, {first['batch1_p50_us']:.1f} µs a sample"),
    ]  # fmt: skip


def _accuracy(row: Row) -> str:
    return f"{row['accuracy_percent']['mean']:.2f}\N{NO-BREAK SPACE}%"


def _tensors(report: Report, nets: Mapping[str, qc.nn.Sequential]) -> list[dict[str, Any]]:
    """Return the tensors of the variants that were made of another row's network.

    A student has layers of its own, which are nothing that became of its teacher's.
    """
    found = []
    for row in report["rows"]:
        if row["starts_from"] is None or not nets:
            continue
        before, after = nets[row["starts_from"]], nets[row["name"]]
        if any(one.shape != other.shape for one, other in zip(
            before.named_weights().values(), after.named_weights().values(), strict=False
        )):  # fmt: skip
            continue
        for shown in tensor_rows(compare(before, after)):
            if not shown["exact"]:
                found.append(shown | {"name": f"{row['title']}: {shown['name']}"})
    return found
