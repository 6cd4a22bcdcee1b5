"""What ``qcore compress`` has to say when it is done, or before it starts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qcore.cli.tables import (
    Column,
    bytes_text,
    print_json,
    print_table,
    ratio_text,
    share_text,
)

if TYPE_CHECKING:
    from qcore.cli.compressing import Outcome
    from qcore.cli.planning import Plan
    from qcore.report.tensors import Outputs
    from qcore.report.variants import Variant

__all__ = [
    "COLUMNS",
    "SPARE",
    "decibel_text",
    "outputs_text",
    "show_outcome",
    "show_plan",
    "show_speed",
    "show_variants",
    "worst_first",
]

_MOST_ROWS = 20


def decibel_text(value: float | None) -> str:
    """Return an SQNR; "exact" where nothing was lost."""
    if value is None:
        return ""
    return "exact" if value == math.inf else f"{value:.1f} dB"


def _error_text(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


COLUMNS: tuple[Column, ...] = (
    ("tensor", lambda row: row["tensor"]),
    ("shape", lambda row: row["shape"]),
    ("before", lambda row: row["before"]),
    ("after", lambda row: row["after"]),
    ("bytes before", lambda row: bytes_text(row["before bytes"])),
    ("bytes after", lambda row: bytes_text(row["bytes"])),
    ("smaller", lambda row: ratio_text(row["before bytes"], row["bytes"])),
    ("SQNR", lambda row: decibel_text(row.get("SQNR dB"))),
    ("max error", lambda row: _error_text(row.get("max error"))),
    ("zeros", lambda row: share_text(row.get("zeros"))),
)


#: Of these, what a narrow terminal can do without.
SPARE = ("max error", "before", "bytes before", "zeros", "shape")


def worst_first(rows: Any) -> list[Mapping[str, Any]]:
    """Return the rows that lost most first; those that cannot be compared before them."""
    return sorted(rows, key=lambda row: row.get("SQNR dB", -math.inf))


def show_outcome(outcome: Outcome, report: Path | None, *, as_json: bool) -> None:
    """Print what was written and what it cost."""
    if as_json:
        print_json(outcome.to_dict() | {"report": None if report is None else str(report)})
        return
    rows = worst_first(row for row in outcome.report.rows if row.get("SQNR dB") != math.inf)
    if rows:
        print_table(COLUMNS, rows[:_MOST_ROWS], left=4, spare=SPARE)
        if len(rows) > _MOST_ROWS:
            click.echo(f"… and {len(rows) - _MOST_ROWS} more, which lost less")
        click.echo()
    job = outcome.job
    click.echo(
        f"{job.output}: {bytes_text(outcome.before)} → {bytes_text(outcome.after)}, "
        f"{ratio_text(outcome.before, outcome.after)} smaller, in {outcome.seconds:.1f} s"
    )
    if outcome.outputs is not None:
        click.echo(outputs_text(outcome.outputs))
    show_speed(outcome.variants)
    if report is not None:
        click.echo(f"{report}: what it cost, to look at in a browser")


def _seconds_text(seconds: float) -> str:
    return f"about {seconds:.1f} s" if seconds >= 0.1 else "less than 0.1 s"


def outputs_text(outputs: Outputs) -> str:
    """Return what a network's answers lost, in a line."""
    parts = [f"outputs of {outputs.samples:,} samples: SQNR {decibel_text(outputs.sqnr_db)}"]
    if outputs.agreement is not None:
        parts.append(f"same label for {100 * outputs.agreement:.2f} %")
    if outputs.before is not None and outputs.after is not None:
        scale, unit = (100, " %") if outputs.score_name == "accuracy" else (1, "")
        before, after = scale * outputs.before, scale * outputs.after
        parts.append(f"{outputs.score_name} {before:.2f}{unit} → {after:.2f}{unit}")
    return ", ".join(parts)


def show_speed(variants: Sequence[Variant]) -> None:
    """Print what a prediction takes, before and after."""
    from qcore.report.headline import faster_text, micros_text
    from qcore.report.variants import speed_rows

    timed = [variant for variant in variants if variant.batch1_us is not None]
    if len(timed) < 2:
        return
    texts = [
        f"{row['batch']:,} sample{'' if row['batch'] == 1 else 's'} "
        f"{micros_text(row['before_us'])} → {micros_text(row['after_us'])}, "
        f"{faster_text(row['speedup'])}"
        for row in speed_rows(timed)
    ]
    click.echo(f"time of a prediction: {'; '.join(texts)}")


def show_variants(variants: Sequence[Variant]) -> None:
    """Print networks side by side, with a mark for those that no other beats."""
    from qcore.report.headline import micros_text
    from qcore.report.variants import variant_rows

    def mark(row: Mapping[str, Any]) -> str:
        places = (("pareto_bytes", "size"), ("pareto_time", "speed"))
        return " ".join(word for key, word in places if row[key])

    columns: tuple[Column, ...] = (
        ("network", lambda row: row["name"]),
        ("bytes", lambda row: f"{row['nbytes']:,}"),
        ("score", lambda row: "" if row["score"] is None else f"{row['score']:.4f}"),
        ("1 sample", lambda row: micros_text(row["batch1_us"])),
        ("1,024 samples", lambda row: micros_text(row["batch1024_us"])),
        ("unbeaten in", mark),
    )
    click.echo()
    print_table(columns, variant_rows(variants))


def show_plan(plan: Plan, *, as_json: bool) -> None:
    """Print what would be written."""
    if as_json:
        print_json(plan.to_dict())
        return
    columns = (*COLUMNS[:7],)
    print_table(columns, plan.rows[:_MOST_ROWS], left=4, spare=SPARE)
    if len(plan.rows) > _MOST_ROWS:
        click.echo(f"… and {len(plan.rows) - _MOST_ROWS} more")
    click.echo()
    about = "" if plan.exact else "about "
    click.echo(
        f"{plan.output or 'output'} would be {about}{bytes_text(plan.nbytes)} "
        f"({ratio_text(plan.before, plan.nbytes)} smaller than {bytes_text(plan.before)}); "
        f"{_seconds_text(plan.seconds)} and {bytes_text(plan.memory)} of memory. "
        "Nothing was written."
    )
