"""Graphs through ``qcore compress``: folders of encoders, ONNX, TFLite, and graphs that were saved.

With samples, or with activations that need none, the network is loaded, calibrated as
`qcore.compress` does it, and saved as a graph that `qcore.load` and ``qcore run`` take.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import click

from qcore._display.table import Report
from qcore.cli.models import short_names
from qcore.cli.params import bytes_of, limits
from qcore.estimators.graphs.corrections import graph_disagreement, output_totals
from qcore.graph.graph import BaseGraph
from qcore.loading import load
from qcore.report.compare.graphs import compare_graph_outputs, graph_variants
from qcore.report.compare.tensors import Outputs, compare_tensors
from qcore.report.compare.variants import Variant
from qcore.saving.checkpoint import save

if TYPE_CHECKING:
    from qcore.cli.compressing.job import Job

__all__ = ["Done", "compress_graph"]


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
