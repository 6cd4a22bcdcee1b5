"""The report as a table: in the terminal, and as Markdown for the documentation."""

from __future__ import annotations

import html
import sys
from collections.abc import Callable
from dataclasses import dataclass

from qcore.demo.data import FOLDS
from qcore.demo.report import Baseline, Report, Row, Spread
from qcore.demo.verdict import headline, is_tie, ordered, runs_text, why_not

__all__ = ["html_table", "markdown", "print_report"]

# Wide enough for every column where there is no terminal to ask.
_WIDTH = 132


@dataclass(frozen=True)
class _Column:
    """A column: what stands above it, and what it shows of a row and of the NumPy loop."""

    head: tuple[str, str]
    row: Callable[[Row], str]
    baseline: Callable[[Baseline], str] = lambda _: ""


_COLUMNS = (
    _Column(("", "network"), lambda r: r["title"], lambda _: "float32, plain NumPy"),
    _Column(
        ("accuracy", "%"), lambda r: _spread(r["accuracy_percent"]),
        lambda b: _spread(b["accuracy_percent"]),
    ),
    _Column(("drop", "points"), lambda r: _signed(r["drop_points"])),
    _Column(("training", "s"), lambda r: _training(r), lambda b: _short(b["train_seconds"])),
    _Column(("stored", "bytes"), lambda r: f"{r['bytes']:,}"),
    _Column(("", "ratio"), lambda r: _times(r["ratio"])),
    _Column(
        ("batch 1", "µs p50"), lambda r: _short(r["batch1_p50_us"]),
        lambda b: _short(b["batch1_p50_us"]),
    ),
    _Column(
        ("", "µs p99"), lambda r: _short(r["batch1_p99_us"]), lambda b: _short(b["batch1_p99_us"])
    ),
    _Column(
        ("", "speed"), lambda r: _times(r["speedup_batch1"]), lambda b: _times(b["speedup_batch1"])
    ),
    _Column(
        ("batch 1024", "µs"), lambda r: _short(r["batch1024_us"]),
        lambda b: _short(b["batch1024_us"]),
    ),
    _Column(
        ("", "speed"), lambda r: _times(r["speedup_batch1024"]),
        lambda b: _times(b["speedup_batch1024"]),
    ),
    _Column(("Pareto", "front"), lambda r: _marks(r)),
)  # fmt: skip


def print_report(report: Report) -> None:
    """Print the table, which kernels ran, and where the time went, to standard output."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    table = Table(title=_title(report), title_justify="left", box=None, pad_edge=False)
    for index, column in enumerate(_COLUMNS):
        table.add_column("\n".join(column.head), justify="right" if index else "left", no_wrap=True)
    for row in ordered(report):
        table.add_row(*[_cell(column, report, row) for column in _COLUMNS])
    table.add_row(*[column.baseline(report["numpy"]) for column in _COLUMNS], style="dim")
    console.print(headline(report), soft_wrap=True, markup=False)
    console.print()
    console.print(table)
    console.print()
    for line in _notes(report):
        console.print(line, soft_wrap=True, markup=False)


def markdown(report: Report) -> str:
    """Return the table as Markdown, with what it was measured on below it."""
    heads = [" ".join(part for part in column.head if part) for column in _COLUMNS]
    rows = [[_cell(column, report, row) for column in _COLUMNS] for row in ordered(report)]
    rows.append([column.baseline(report["numpy"]) for column in _COLUMNS])
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    below = " ".join([f"{_title(report)}.", _legend(report), *_reasons(report), _machine(report)])
    return f"{headline(report)}\n\n{table}\n\n{below}\n"


def html_table(report: Report) -> str:
    """Return the table as HTML, a section of a page."""
    heads = [" ".join(part for part in column.head if part) for column in _COLUMNS]
    rows = [[_cell(column, report, row) for column in _COLUMNS] for row in ordered(report)]
    rows.append([column.baseline(report["numpy"]) for column in _COLUMNS])

    def line(tag: str, cells: list[str]) -> str:
        # On a phone a row is a card, and each number has its column's name beside it.
        inner = (
            f'<{tag}{" class=number" if place else ""} data-head="{html.escape(head)}">'
            f"{html.escape(cell)}</{tag}>"
            for place, (head, cell) in enumerate(zip(heads, cells, strict=True))
        )
        return f"<tr>{''.join(inner)}</tr>"

    body = "".join(line("td", row) for row in rows)
    reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in _reasons(report))
    reasons = f"<h3>Why the others stand below</h3><ul>{reasons}</ul>" if reasons else ""
    return (
        '<section class="card wide-table"><h2>All of them</h2>'
        f"<p>{html.escape(_legend(report))}</p>"
        f'<div class="scroll"><table><thead>{line("th", heads)}</thead>'
        f"<tbody>{body}</tbody></table></div>{reasons}</section>"
    )


def _title(report: Report) -> str:
    return (
        f"{report['data']['name']}, {report['network']}, {report['epochs']} epochs, "
        f"{runs_text(report, FOLDS)}"
    )


def _notes(report: Report) -> list[str]:
    lines = [_legend(report), *_reasons(report), _machine(report), "", "kernels:"]
    width = max(len(row["title"]) for row in report["rows"])
    lines += [f"  {r['title']:<{width}}  {', '.join(r['kernels'])}" for r in report["rows"]]
    trained = [row for row in report["rows"] if row["starts_from"] is None]
    ratios = ", ".join(f"{row['title']} {row['train_ratio']:.2f}×" for row in trained)
    seconds = dict(report["seconds"])
    total = seconds.pop("total")
    seconds["other"] = max(0.0, total - sum(seconds.values()))
    spent = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items())
    return [
        *lines, "",
        f"training time beside the plain NumPy loop: {ratios}",
        f"time: {spent}; together {total:.1f} s",
    ]  # fmt: skip


def _cell(column: _Column, report: Report, row: Row) -> str:
    """Return what a column shows of a row; a drop that is no more than chance is marked so."""
    text = column.row(row)
    is_drop = column.head[0] == "drop" and row is not report["rows"][0]
    return f"≈ {text}" if is_drop and is_tie(row) else text


def _reasons(report: Report) -> list[str]:
    """Return a sentence for each row that does not pay."""
    found = ((row["title"], why_not(report, row)) for row in ordered(report)[1:])
    return [f"{title}: {reason}." for title, reason in found if reason is not None]


def _legend(report: Report) -> str:
    spreads = " ± is the standard deviation over the seeds." if len(report["seeds"]) > 1 else ""
    return (
        "Ratio and speed are the first row's bytes and time by those of the row; a + before the "
        "training time: on top of the network that was compressed. B and T: no row that is "
        "smaller (B), or faster at batch 1 (T), is as accurate but for chance. ≈: a drop "
        f"within twice its standard error, a tie.{spreads}"
    )


def _machine(report: Report) -> str:
    facts = report["environment"]
    return (
        f"Measured on {facts['cpu']}, {facts['isa']}, up to {facts['threads']} threads; plain "
        f"NumPy on {facts['blas']}."
    )


def _spread(value: Spread) -> str:
    sd = value["sd"]
    return f"{value['mean']:.2f}" + ("" if sd is None else f" ± {sd:.2f}")


def _training(row: Row) -> str:
    return ("+" if row["starts_from"] else "") + _short(row["train_seconds"])


def _marks(row: Row) -> str:
    return f"{'B' if row['pareto_bytes'] else '·'} {'T' if row['pareto_time'] else '·'}"


def _signed(points: float) -> str:
    return f"{points + 0.0:.2f}".replace("-0.00", "0.00")


def _times(ratio: float) -> str:
    return f"{ratio:.2f}×" if ratio < 10 else f"{ratio:.1f}×"


def _short(value: float) -> str:
    """Return a number with three figures."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"
