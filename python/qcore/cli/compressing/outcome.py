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
    count_text,
    print_json,
    print_table,
    ratio_text,
    share_text,
    smaller_text,
)

if TYPE_CHECKING:
    from qcore.cli.compressing.planning import Plan
    from qcore.cli.compressing.running import Outcome
    from qcore.cli.compressing.target_planning import TargetPlan
    from qcore.report.compare.tensors import Outputs
    from qcore.report.compare.variants import Variant

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
# What stands below the table: the tensors that were not made smaller, and why.
_MOST_REASONS = 5


#: Of these, what a narrow terminal can do without.
SPARE = ("max error", "before", "bytes before", "zeros", "shape")


def worst_first(rows: Any) -> list[Mapping[str, Any]]:
    """Return the rows that lost most first.

    Those that cannot be compared come before them, biases that make up for others' loss after them.
    """
    from qcore.report.compare.tensors import is_adjusted

    def rank(row: Mapping[str, Any]) -> tuple[bool, float]:
        lost = row.get("SQNR dB", -math.inf)
        return lost == math.inf or is_adjusted(row), lost

    return sorted(rows, key=rank)


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
    _show_kept(outcome.report.rows)
    job = outcome.job
    if job.recipe.network is not None:
        click.echo(f"taken as a network: {_network_text(outcome.models[0])}")
    click.echo(
        f"{job.output}: {bytes_text(outcome.before)} → {bytes_text(outcome.after)}, "
        f"{smaller_text(outcome.before, outcome.after)}, in {outcome.seconds:.1f} s"
    )
    if outcome.outputs is not None:
        click.echo(outputs_text(outcome.outputs))
    show_speed(outcome.variants)
    if len(outcome.variants) > 2:
        click.echo("\ntried on the way, and scored on samples that were held out:")
        show_variants(outcome.variants[2:])
    if report is not None:
        click.echo(f"{report}: what it cost, to look at in a browser")


def _show_kept(rows: Any) -> None:
    """Print which weights stayed as they are, those that weigh most first, and why."""
    kept = sorted((row for row in rows if "kept" in row), key=lambda row: -row["bytes"])
    for row in kept[:_MOST_REASONS]:
        click.echo(f"kept as it is: {row['tensor']} ({bytes_text(row['bytes'])}): {row['kept']}")
    if len(kept) > _MOST_REASONS:
        rest = sum(row["bytes"] for row in kept[_MOST_REASONS:])
        click.echo(f"… and {len(kept) - _MOST_REASONS} more, {bytes_text(rest)} in all")


def _seconds_text(seconds: float) -> str:
    """Return a duration in the unit that people would use."""
    if seconds < 0.1:
        return "less than 0.1 s"
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"about {seconds / length:.1f} {unit}"
    return f"about {seconds:.1f} s"


def _network_text(net: Any) -> str:
    """Return widths and activations: what was made of arrays that do not say it."""
    widths = [net.layers[0].in_features, *(layer.out_features for layer in net.layers)]
    hidden = net.layers[0].activation if len(net.layers) > 1 else ""
    last = net.layers[-1].activation
    return " → ".join(map(str, widths)) + "".join(
        f", {flag} {name}"
        for flag, name in (("--activation", hidden), ("--output-activation", last))
        if name
    )


def outputs_text(outputs: Outputs) -> str:
    """Return what a network's answers lost, in a line."""
    engine = "" if outputs.engine == "qcore" else f", run in {outputs.engine}"
    samples = count_text(outputs.samples, "samples")
    parts = [f"outputs of {samples}{engine}: SQNR {decibel_text(outputs.sqnr_db)}"]
    if outputs.agreement is not None:
        parts.append(f"same label for {100 * outputs.agreement:.2f} %")
    if outputs.before is not None and outputs.after is not None:
        scale, unit = (100, " %") if outputs.score_name == "accuracy" else (1, "")
        before, after = scale * outputs.before, scale * outputs.after
        parts.append(f"{outputs.score_name} {before:.2f}{unit} → {after:.2f}{unit}")
    return ", ".join(parts)


def show_speed(variants: Sequence[Variant]) -> None:
    """Print what a prediction takes, before and after."""
    from qcore.report.compare.variants import speed_rows
    from qcore.report.page.headline import faster_text, micros_text

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
    from qcore.report.compare.variants import variant_rows
    from qcore.report.page.headline import micros_text

    def mark(row: Mapping[str, Any]) -> str:
        places = (("pareto_bytes", "size"), ("pareto_time", "speed"))
        return " ".join(word for key, word in places if row[key])

    def time_of(row: Mapping[str, Any], key: str) -> str:
        return "" if row[key] is None else micros_text(row[key])

    columns: tuple[Column, ...] = (
        ("network", lambda row: row["name"]),
        ("bytes", lambda row: f"{row['nbytes']:,}"),
        ("score", lambda row: "" if row["score"] is None else f"{row['score']:.4f}"),
        ("1 sample", lambda row: time_of(row, "batch1_us")),
        ("1,024 samples", lambda row: time_of(row, "batch1024_us")),
        ("unbeaten in", mark),
    )
    print_table(columns, variant_rows(variants))


def show_plan(plan: Plan | TargetPlan, *, as_json: bool) -> None:
    """Print what would be written."""
    if as_json:
        print_json(plan.to_dict())
        return
    from qcore.cli.compressing.target_planning import TargetPlan

    if isinstance(plan, TargetPlan):
        _show_target(plan)
    else:
        _show_tensors(plan)


def _show_target(plan: TargetPlan) -> None:
    """Print what would be tried, and between which bounds it would come out."""
    found = plan.forecast
    columns: tuple[Column, ...] = (
        ("step", lambda row: str(row["step"])),
        ("zeros", lambda row: share_text(row["sparsity"])),
        ("about bytes", lambda row: f"{row['nbytes']:,}"),
        ("epochs", lambda row: str(row["epochs"])),
    )
    rows = [{"step": number} | step._asdict() for number, step in enumerate(found.steps, 1)]
    print_table(columns, rows)
    stop = (
        "the last that keeps the score is written" if found.for_score
        else "the first that meets the target is written"
    )  # fmt: skip
    click.echo(
        "\nEach step prunes on, lets weights share values in several ways, and trains each; "
        f"{stop}.\n{plan.output or 'output'} would have between {found.least:,} and "
        f"{found.most:,} bytes (now {plan.before:,}). It takes "
        f"{_seconds_text(found.seconds[0])} for the first step, "
        f"{_seconds_text(found.seconds[1])} for all, and {bytes_text(found.memory)} of memory. "
        "Nothing was written."
    )


def _show_tensors(plan: Plan) -> None:
    columns = (*COLUMNS[:7],)
    print_table(columns, plan.rows[:_MOST_ROWS], left=4, spare=SPARE)
    if len(plan.rows) > _MOST_ROWS:
        click.echo(f"… and {len(plan.rows) - _MOST_ROWS} more")
    click.echo()
    _show_kept(plan.rows)
    about = "" if plan.exact else "about "
    click.echo(
        f"{plan.output or 'output'} would be {about}{bytes_text(plan.nbytes)} "
        f"({smaller_text(plan.before, plan.nbytes)} than {bytes_text(plan.before)}); "
        f"{_seconds_text(plan.seconds)} and {bytes_text(plan.memory)} of memory. "
        "Nothing was written."
    )
