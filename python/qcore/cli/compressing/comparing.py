"""Two files, compared for the page of ``--report``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qcore._display.table import Report
from qcore.cli.models import (
    Samples,
    like_network,
    load_model,
    load_samples,
    open_model,
    samples_for_graphs,
    short_names,
)
from qcore.cli.params import bytes_of
from qcore.loading import load
from qcore.report.compare.comparison import Comparison, compare
from qcore.report.compare.running import answers_of, compare_answers, run_beside, time_beside
from qcore.report.compare.tensors import Outputs, compare_outputs, compare_tensors
from qcore.report.compare.variants import Variant, measure_variants, variant_rows

__all__ = ["Compared", "compare_files", "compare_models", "save_report"]


def compare_files(
    source: Path,
    output: Path,
    models: tuple[Any, Any],
    report: Report,
    command: str,
    *,
    recipe: str = "",
    X: Any = None,
    outputs: Outputs | None = None,
    variants: Sequence[Variant] = (),
    seconds: float | None = None,
) -> Comparison:
    """Compare two files for a page.

    Parameters
    ----------
    source, output : Path
        The model and what became of it.
    models : tuple of (Sequential or mapping)
        Both, with the tensors that the report names.
    report : Report
    command, recipe : str
    X : ndarray, optional
        Samples. Where given and both are networks, layers are tried one by one.
    outputs : Outputs, optional
    variants : sequence of Variant
    seconds : float, optional
        How long it took.
    """
    facts = {} if seconds is None else {"compressed in": f"{seconds:.1f} s"}
    return compare(
        *models, X, report=report, outputs=outputs, variants=variants,
        sizes=(bytes_of(source), bytes_of(output)),
        title=output.name, subtitle=f"made from {source.name}", command=command, recipe=recipe,
        facts=facts,
    )  # fmt: skip


@dataclass(frozen=True)
class Compared:
    """Two files, compared.

    Attributes
    ----------
    paths : (Path, Path)
    models : tuple of (Sequential or TensorSource)
        Both, the first in the form of the second.
    report : Report
    samples : Samples
    outputs : Outputs or None
    variants : list of Variant
        Where they are networks: both, and those beside them.
    note : str
        Why they were not run, where they might have been.
    """

    paths: tuple[Path, Path]
    models: tuple[Any, Any]
    report: Report
    samples: Samples
    outputs: Outputs | None
    variants: Sequence[Variant] = ()
    note: str = ""

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
            "note": self.note,
            "totals": self.report.totals,
        }

    def comparison(self, command: str) -> Comparison:
        """Return what a page shows."""
        recipe = getattr(open_model(self.paths[1]), "about", {}).get("recipe", "")
        return compare_files(
            *self.paths, self.models, self.report, command, recipe=recipe, X=self.samples.X,
            outputs=self.outputs, variants=self.variants,
        )  # fmt: skip


def compare_models(
    a: Path, b: Path, data: Path | None, labels: Path | None, also: Sequence[Path] = ()
) -> Compared:
    """Compare two files tensor by tensor and, where they are networks, by what they do.

    Those of `also` are only timed and, with labels, scored.
    """
    model: Any = open_model(a)
    after: Any = open_model(b)
    kinds = {getattr(opened, "kind", "") for opened in (model, after)}
    samples = load_samples(data, labels, any_names="graph" in kinds)
    outputs = None
    variants: list[Variant] = []
    note = ""
    if "graph" in kinds:
        outputs, variants, note = _compare_graphs((a, b, *also), data, samples)
    elif samples.X is not None or "network" in kinds:
        model = like_network(load_model(a), b)
        small: Any = load_model(b)
        if samples.X is not None:
            outputs = compare_outputs(model, small, samples.X, samples.y)
        if hasattr(model, "layers") and hasattr(small, "layers"):
            after = small
            networks = [model, small, *map(_load_network, also)]
            variants = _measured((a, b, *also), networks, samples)
    if also and not variants:
        raise ValueError(note or "--also is for networks")
    report = compare_tensors(model, after, progress="auto")
    return Compared((a, b), (model, after), report, samples, outputs, variants, note)


def _compare_graphs(
    paths: Sequence[Path], data: Path | None, samples: Samples
) -> tuple[Outputs | None, list[Variant], str]:
    """Run and time graphs, or say why not; what was asked for with --data must be done."""
    given = None if data is None else samples_for_graphs(data, samples)
    try:
        running = run_beside(dict(zip(short_names(paths), map(_as_graph, paths), strict=True)))
        answers = None if given is None else answers_of(running, given)
        outputs = None if answers is None else compare_answers(answers, running, samples.y)
        sizes = [bytes_of(path) for path in paths]
        return outputs, time_beside(answers, running, sizes, given, samples.y), ""
    except (ValueError, TypeError) as error:
        if data is not None:
            raise
        return None, [], str(error)


def _as_graph(path: Path) -> Any:
    """Return an ONNX file as it is, for either engine, and any other file's network loaded."""
    if path.suffix == ".onnx":
        return path
    model = load(path)
    if isinstance(model, dict):
        raise ValueError(f"'{path}' is no network")
    return model


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
