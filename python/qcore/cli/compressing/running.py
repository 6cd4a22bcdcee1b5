"""The work of ``qcore compress``, done: which way a model is compressed, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click

from qcore._display.table import Report
from qcore.cli.compressing.graphs import compress_graph
from qcore.cli.compressing.job import Job
from qcore.cli.compressing.streamed import stream
from qcore.cli.models import load_model, open_model, short_names
from qcore.cli.params import bytes_of
from qcore.files.drafts import write_bytes
from qcore.files.foreign.gguf import Gguf, write_gguf
from qcore.frameworks.onnx.model.interface import keep_interface
from qcore.frameworks.onnx.read.load import load_model as load_onnx
from qcore.frameworks.onnx.write.chain import to_onnx
from qcore.report.compare.tensors import Outputs, compare_outputs, compare_tensors
from qcore.report.compare.variants import Variant, measure_variants, variant_rows
from qcore.saving.checkpoint import save

if TYPE_CHECKING:
    from qcore.report.compare.comparison import Comparison

__all__ = ["Outcome", "run_job"]

# What the descriptions of sparse tensors have: places of weights, of groups, of blocks.
_SPARSE = {"at", "pattern", "block"}


@dataclass(frozen=True)
class Outcome:
    """What was written.

    Attributes
    ----------
    job : Job
    models : tuple of (Sequential or mapping)
        Before and after, with the tensors that the report names.
    report : Report
        A row for each tensor.
    before, after : int
        Bytes of the files.
    seconds : float
    outputs : Outputs or None
        What the network answers, where there were samples.
    variants : list of Variant
        Where it is a network: before and after and, of a training to a target, those on the way.
    """

    job: Job
    models: tuple[Any, Any]
    report: Report
    before: int
    after: int
    seconds: float
    outputs: Outputs | None
    variants: Sequence[Variant] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome for ``--json``."""
        return {
            "format": 1,
            "input": str(self.job.source),
            "output": str(self.job.output),
            "input_bytes": self.before,
            "output_bytes": self.after,
            "ratio": self.before / self.after,
            "seconds": self.seconds,
            "outputs": None if self.outputs is None else self.outputs._asdict(),
            "variants": variant_rows(self.variants),
            "recipe": self.job.recipe.to_toml(),
            **self.report.to_dict(),
        }

    def comparison(self, command: str) -> Comparison:
        """Return what the page shows."""
        from qcore.cli.compressing.comparing import compare_files

        assert self.job.output is not None
        return compare_files(
            self.job.source, self.job.output, self.models, self.report, command,
            recipe=self.job.recipe.to_toml(), outputs=self.outputs, variants=self.variants,
            X=None if self.outputs is None else self.job.samples.X, seconds=self.seconds,
        )  # fmt: skip


def run_job(job: Job, start: float, *, look: bool = True) -> Outcome:
    """Compress, write, and look at what was written: what it answers, and how fast it is."""
    assert job.output is not None
    outputs = None
    variants: list[Variant] = []
    text = job.recipe.to_toml()
    with job.blamed_on_recipe():
        if job.streams:
            report = stream(job, text)
            seconds = perf_counter() - start
            models: tuple[Any, Any] = open_model(job.source), open_model(job.output)
        elif job.is_graph:
            done = compress_graph(job, look=look)
            seconds = perf_counter() - start
            models, report, outputs = done.models, done.report, done.outputs
            variants = done.variants
        else:
            model = load_model(job.source)
            before = job.recipe.prepare(model)
            small = job.recipe.apply(
                before, job.samples.X, job.samples.y, reserve=job.recipe.nbytes
            )
            if job.output.suffix == job.source.suffix == ".onnx":
                made = to_onnx(small, recipe=text)
                keep_interface(made, load_onnx(job.source))
                write_bytes(job.output, made.SerializeToString())
            elif job.output.suffix == job.source.suffix == ".gguf":
                write_gguf(job.output, small, Gguf(job.source), recipe=text)
            else:
                save(job.output, small, file_format=job.file_format, recipe=text)
            seconds = perf_counter() - start
            is_network, in_onnx = hasattr(small, "layers"), job.output.suffix == ".onnx"
            written = small if in_onnx else open_model(job.output)
            after: Any = load_model(job.output) if is_network and not in_onnx else written
            models = before, after
            report = compare_tensors(before, written)
            _say_zeros(job)
            if is_network and look:
                outputs = _outputs(job, before, after)
                _warn(job, before, after)
                variants = _variants(job, before, after, outputs) + _on_the_way(job, small)
    sizes = bytes_of(job.source), bytes_of(job.output)
    return Outcome(job, models, report, *sizes, seconds, outputs, variants)


def _say_zeros(job: Job) -> None:
    """Say in one line where zeros were asked for and save nothing."""
    assert job.output is not None
    if job.recipe.prune is None:
        return
    if job.output.suffix in (".onnx", ".gguf"):
        kind = {".onnx": "ONNX", ".gguf": "GGUF"}[job.output.suffix]
        reason = f"{kind} has a place for every weight; a .safetensors file has not"
    elif job.file_format == "compressed-tensors":
        reason = "compressed-tensors has a place for every weight; qcore's own format has not"
    else:
        source = open_model(job.output)
        stored = (source.stored_parts(name) for name in source)
        if any(parts is not None and parts[1].keys() & _SPARSE for parts in stored):
            return
        reason = "so few of these weights are 0 that their places would take as much"
    if job.recipe.prune.get("pattern") == "neurons":
        reason += "; qcore.compact makes matrices smaller"
    click.echo(f"Note: the zeros save no bytes: {reason}", err=True)


def _outputs(job: Job, before: Any, after: Any) -> Outputs | None:
    """Compare answers; not on samples that the network was trained on to a target."""
    if job.samples.X is None or job.recipe.compress is not None:
        return None
    return compare_outputs(before, after, job.samples.X, job.samples.y)


def _warn(job: Job, before: Any, after: Any) -> None:
    """Say in one line where the network that was written answers otherwise than before."""
    from qcore.chain.agreement import disagreement

    if job.samples.X is None or job.recipe.compress is not None:
        return
    lost = disagreement(before, after, job.samples.X, job.samples.y)
    if lost is not None:
        click.echo(f"Warning: compressed, {lost}", err=True)


def _variants(job: Job, before: Any, after: Any, outputs: Outputs | None) -> list[Variant]:
    """Time both networks; their scores are known."""
    assert job.output is not None
    sizes = bytes_of(job.source), bytes_of(job.output)
    names = short_names((job.source, job.output))
    networks = dict(zip(names, (before, after), strict=True))
    scores = (None, None) if outputs is None else (outputs.before, outputs.after)
    timed = measure_variants(networks, sizes, job.samples.X)
    return [v._replace(score=score) for v, score in zip(timed, scores, strict=True)]


def _on_the_way(job: Job, small: Any) -> list[Variant]:
    """Return the networks that a training to a target scored, on samples that it held out."""
    if job.recipe.compress is None:
        return []
    return [
        Variant(
            f"{100 * row['sparsity']:.1f} % zeros, {row['levels']} values", row["bytes"],
            row["score"],
        )
        for row in small.report_.rows
    ]  # fmt: skip
