"""Two files, compared for the page of ``--report``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qcore.cli.models import open_model
from qcore.cli.params import bytes_of
from qcore.files.checkpoint import load
from qcore.report.comparison import Comparison, compare
from qcore.report.table import Report
from qcore.report.tensors import Outputs

__all__ = ["compare_files", "save_report"]


def compare_files(
    source: Path,
    output: Path,
    report: Report,
    command: str,
    *,
    recipe: Any = None,
    samples: Any = None,
    outputs: Outputs | None = None,
    seconds: float | None = None,
    before: Any = None,
) -> Comparison:
    """Compare two files for a page.

    Parameters
    ----------
    source, output : Path
        The model and what became of it.
    report : Report
    command : str
    recipe : Recipe, optional
        What made it; default: the one in `output`.
    samples : (X, y), optional
        Where given and both are networks, layers are tried one by one.
    outputs : Outputs, optional
    seconds : float, optional
        How long it took.
    before : Sequential or mapping, optional
        The model, where it is not `source` as it stands.
    """
    found = open_model(output)
    text = recipe.to_toml() if recipe is not None else getattr(found, "about", {}).get("recipe", "")
    old: Any = before if before is not None else open_model(source)
    if recipe is not None and recipe.network is not None:
        old = recipe.prepare(load(source))
    new: Any = found
    X = getattr(samples, "X", None)
    if X is not None:
        old, new = (old if hasattr(old, "layers") else load(source)), load(output)
    facts = {} if seconds is None else {"compressed in": f"{seconds:.1f} s"}
    return compare(
        old, new, X, report=report, outputs=outputs,
        sizes=(bytes_of(source), bytes_of(output)),
        title=output.name, subtitle=f"made from {source.name}", command=command, recipe=text,
        facts=facts,
    )  # fmt: skip


def save_report(comparison: Comparison, report: Path | None, figures: Path | None) -> None:
    """Write the page, and the figures as pictures; each where it is asked for."""
    if report is not None:
        comparison.save(report)
    if figures is not None:
        figures.mkdir(exist_ok=True)
        for figure in comparison.figures:
            figure.save(figures / f"{figure.name}.png")
