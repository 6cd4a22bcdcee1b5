"""Two files, compared for the page of ``--report``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qcore.cli.models import Samples, like_network, load_model, load_samples, open_model
from qcore.cli.params import bytes_of
from qcore.files.checkpoint import load
from qcore.report.comparison import Comparison, compare
from qcore.report.table import Report
from qcore.report.tensors import Outputs, compare_outputs, compare_tensors

__all__ = ["Compared", "compare_files", "compare_models", "save_report"]


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


@dataclass(frozen=True)
class Compared:
    """Two files, compared.

    Attributes
    ----------
    paths : (Path, Path)
    model : Sequential or TensorSource
        The first, in the form of the second.
    report : Report
    samples : Samples
    outputs : Outputs or None
    """

    paths: tuple[Path, Path]
    model: Any
    report: Report
    samples: Samples
    outputs: Outputs | None

    @property
    def sizes(self) -> tuple[int, int]:
        """Bytes of the files."""
        return bytes_of(self.paths[0]), bytes_of(self.paths[1])

    def to_dict(self) -> dict[str, Any]:
        """Return what there is to say for ``--json``."""
        return {
            "format": 1,
            "a": str(self.paths[0]),
            "b": str(self.paths[1]),
            "a_bytes": self.sizes[0],
            "b_bytes": self.sizes[1],
            "outputs": None if self.outputs is None else self.outputs._asdict(),
            "totals": self.report.totals,
        }

    def comparison(self, command: str) -> Comparison:
        """Return what a page shows."""
        return compare_files(
            *self.paths, self.report, command, samples=self.samples, outputs=self.outputs,
            before=self.model,
        )  # fmt: skip


def compare_models(a: Path, b: Path, data: Path | None, labels: Path | None) -> Compared:
    """Compare two files tensor by tensor and, on samples, by their answers."""
    samples = load_samples(data, labels)
    model: Any = open_model(a)
    after = open_model(b)
    becomes_network = (
        getattr(after, "kind", "") == "network" and getattr(model, "kind", "") != "network"
    )
    outputs = None
    if samples.X is not None or becomes_network:
        model = like_network(load_model(a), b)
    if samples.X is not None:
        outputs = compare_outputs(model, load_model(b), samples.X, samples.y)
    return Compared((a, b), model, compare_tensors(model, after, progress="auto"), samples, outputs)


def save_report(comparison: Comparison, report: Path | None, figures: Path | None) -> None:
    """Write the page, and the figures as pictures; each where it is asked for."""
    if report is not None:
        comparison.save(report)
    if figures is not None:
        figures.mkdir(exist_ok=True)
        for figure in comparison.figures:
            figure.save(figures / f"{figure.name}.png")
