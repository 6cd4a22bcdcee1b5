"""Graphs through ``qcore compress``: folders of encoders, ONNX, TFLite, and graphs that were saved.

With samples, or with activations that need none, the network is loaded, calibrated as
`qcore.compress` does it, and saved as a graph that `qcore.load` and ``qcore run`` take.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qcore._display.table import Report
from qcore.cli.models import Samples, load_samples, samples_for_graphs, short_names
from qcore.cli.params import bytes_of, limits
from qcore.estimators.graphs.corrections import graph_disagreement, output_totals
from qcore.frameworks.pretrained.folder import is_pretrained_folder
from qcore.graph.graph import BaseGraph
from qcore.loading import load
from qcore.report.compare.graphs import compare_graph_outputs, graph_variants
from qcore.report.compare.tensors import Outputs, compare_tensors
from qcore.report.compare.variants import Variant
from qcore.saving.checkpoint import save

if TYPE_CHECKING:
    from qcore.cli.compressing.job import Job

__all__ = ["Done", "compress_graph", "is_graph_job", "samples_of_graph"]

# What a graph is not asked for: a training, and what makes a network of arrays.
_NO_GRAPH = ("layout", "target_bytes", "target_ratio", "min_score", "epochs")


class Done:
    """What came of a graph: before, after, and what there is to say of both."""

    def __init__(self, job: Job, before: BaseGraph, after: BaseGraph, *, look: bool) -> None:
        X, y = job.samples
        self.models = before, after
        self.report: Report = compare_tensors(before.named_weights(), after.named_weights())
        self.outputs: Outputs | None = None
        self.variants: list[Variant] = []
        if X is None or not look:
            return
        assert job.output is not None
        sizes = bytes_of(job.source), bytes_of(job.output)
        both = dict(zip(short_names((job.source, job.output)), self.models, strict=True))
        self.outputs = compare_graph_outputs(before, after, X, y)
        lost = graph_disagreement(output_totals(before, after, X))
        if lost is not None:
            click.echo(f"Warning: compressed, {lost}", err=True)
        self.variants = graph_variants(both, sizes, X, y)


def is_graph_job(
    source: Path, output: Path | None, kind: str, data: Path | None, flags: Mapping[str, Any]
) -> bool:
    """Tell whether a model is to be run as a graph, and not taken for tensors.

    Parameters
    ----------
    source, output : Path
    kind : str
        What its file says that it is.
    data : Path or None
        Samples, which only a network takes.
    flags : mapping
        Those of a recipe; activations that become integers while they run ask for a network, too.
    """
    if data is None and flags["activations"] != "dynamic":
        return False
    if any(flags[name] is not None for name in _NO_GRAPH):
        return False
    if output is not None and output.suffix not in (".safetensors", ".onnx"):
        return False
    return kind == "graph" or source.suffix == ".tflite" or is_pretrained_folder(source)


def samples_of_graph(data: Path | None, labels: Path | None) -> Samples:
    """Read samples: an array for the one input, or one by the name of each."""
    samples = load_samples(data, labels, any_names=True)
    if data is None:
        return samples
    return Samples(samples_for_graphs(data, samples), samples.y)


def compress_graph(job: Job, *, look: bool) -> Done:
    """Load a graph, compress it, write it, and look at what it answers and how fast it is."""
    assert job.output is not None
    before = load(job.source, **limits())  # type: ignore[arg-type]
    if not isinstance(before, BaseGraph):
        kind = type(before).__name__
        raise click.UsageError(f"'{job.source}' is a {kind}; save it with qcore.save first")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        small = job.recipe.apply(before, job.samples.X, job.samples.y)
    for one in told:
        click.echo(f"Warning: {one.message}", err=True)
    save(job.output, small, recipe=job.recipe.to_toml())
    wide = small.report_.totals.get("left wide", ())
    if wide:
        click.echo(f"left as floats, which eight bits do not hold: {', '.join(wide)}", err=True)
    return Done(job, before, small, look=look)
