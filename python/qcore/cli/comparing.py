"""Two files, compared for the page of ``--report``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qcore.cli.models import (
    Samples,
    like_network,
    load_model,
    load_samples,
    open_model,
    short_names,
)
from qcore.cli.params import bytes_of
from qcore.files.checkpoint import load
from qcore.report.comparison import Comparison, compare
from qcore.report.table import Report
from qcore.report.tensors import Outputs, compare_outputs, compare_tensors
from qcore.report.variants import Variant, measure_variants, variant_rows

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
    variants: Sequence[Variant] = (),
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
    variants : sequence of Variant
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
        old, new, X, report=report, outputs=outputs, variants=variants,
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
    variants : list of Variant
        Where they are networks: both, and those beside them.
    """

    paths: tuple[Path, Path]
    model: Any
    report: Report
    samples: Samples
    outputs: Outputs | None
    variants: Sequence[Variant] = ()

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
            "variants": variant_rows(self.variants),
            "totals": self.report.totals,
        }

    def comparison(self, command: str) -> Comparison:
        """Return what a page shows."""
        return compare_files(
            *self.paths, self.report, command, samples=self.samples, outputs=self.outputs,
            before=self.model, variants=self.variants,
        )  # fmt: skip


def compare_models(
    a: Path, b: Path, data: Path | None, labels: Path | None, also: Sequence[Path] = ()
) -> Compared:
    """Compare two files tensor by tensor and, where they are networks, by what they do.

    Those of `also` are only timed and, with labels, scored.
    """
    samples = load_samples(data, labels)
    model: Any = open_model(a)
    after = open_model(b)
    becomes_network = getattr(after, "kind", "") == "network"
    outputs = None
    variants: list[Variant] = []
    if samples.X is not None or becomes_network:
        model = like_network(load_model(a), b)
        small = load_model(b)
        if samples.X is not None:
            outputs = compare_outputs(model, small, samples.X, samples.y)
        if hasattr(model, "layers") and hasattr(small, "layers"):
            networks = [model, small, *map(_load_network, also)]
            variants = _measured((a, b, *also), networks, samples)
    if also and not variants:
        raise ValueError("--also is for networks")
    report = compare_tensors(model, after, progress="auto")
    return Compared((a, b), model, report, samples, outputs, variants)


def _load_network(path: Path) -> Any:
    net = load_model(path)
    if not hasattr(net, "layers"):
        raise ValueError(f"--also: '{path}' is no network")
    return net


def _measured(paths: Sequence[Path], networks: Sequence[Any], samples: Samples) -> list[Variant]:
    named = dict(zip(short_names(paths), networks, strict=True))
    return measure_variants(named, [bytes_of(path) for path in paths], *samples)


def save_report(comparison: Comparison, report: Path | None, figures: Path | None) -> None:
    """Write the page, and the figures as pictures; each where it is asked for."""
    if report is not None:
        comparison.save(report)
    if figures is not None:
        figures.mkdir(exist_ok=True)
        for figure in comparison.figures:
            figure.save(figures / f"{figure.name}.png")
