"""The work of ``qcore compress``: which way a model is compressed, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click

from qcore._display.table import Report
from qcore.cli.compressing.graphs import compress_graph, is_graph_job, samples_of_graph
from qcore.cli.compressing.ranges import read_ranges
from qcore.cli.compressing.recipe_flags import given_flags, recipe_from_flags
from qcore.cli.compressing.streamed import stream
from qcore.cli.models import Samples, load_model, load_samples, open_model, short_names
from qcore.cli.params import bytes_of
from qcore.errors import ArgumentError, FormatError
from qcore.files.drafts import write_bytes
from qcore.files.foreign.gguf import Gguf, write_gguf
from qcore.files.formats import format_of
from qcore.frameworks.onnx.model.interface import keep_interface
from qcore.frameworks.onnx.read.load import load_model as load_onnx
from qcore.frameworks.onnx.write.chain import to_onnx
from qcore.recipes import toml
from qcore.recipes.recipe import Recipe
from qcore.report.compare.tensors import Outputs, compare_outputs, compare_tensors
from qcore.report.compare.variants import Variant, measure_variants, variant_rows
from qcore.saving.checkpoint import save

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcore.cli.compressing.planning import Plan
    from qcore.cli.compressing.target_planning import TargetPlan
    from qcore.report.compare.comparison import Comparison

__all__ = ["Job", "Outcome", "plan_job", "run_job"]

# What the descriptions of sparse tensors have: places of weights, of groups, of blocks.
_SPARSE = {"at", "pattern", "block"}
# Flags that ask for more than an ONNX graph lets be done to it in place.
_FOR_NETWORKS = (
    "sparsity", "pattern", "activations", "layout", "target_bytes", "target_ratio", "min_score",
    "epochs",
)  # fmt: skip


@dataclass(frozen=True)
class Job:
    """What was asked for, read and checked.

    Attributes
    ----------
    source : Path
    output : Path or None
        None for a dry run without one.
    recipe : Recipe
    recipe_path : Path or None
        Where the recipe came from, if not from flags.
    samples : Samples
    streams : bool
        Whether the file is compressed tensor by tensor, without being loaded.
    in_place : bool
        Whether the weights of an ONNX graph are, all else staying as it is.
    flags : sequence of str
        Those that were given, as they are typed.
    file_format, dask : str or None
        As in `compress_file`.
    is_graph : bool
        Whether the model is a graph that runs.
    """

    source: Path
    output: Path | None
    recipe: Recipe
    recipe_path: Path | None
    samples: Samples
    streams: bool
    in_place: bool = False
    flags: Sequence[str] = ()
    file_format: str | None = None
    dask: str | None = None
    is_graph: bool = False

    @classmethod
    def prepare(
        cls,
        source: Path,
        output: Path | None,
        flags: Mapping[str, Any],
        recipe_path: Path | None,
        data: Path | None,
        labels: Path | None,
        ranges: Path | None,
        *,
        file_format: str | None = None,
        dask: str | None = None,
    ) -> Job:
        """Read the recipe, the samples and the model's header."""
        found = {} if ranges is None else read_ranges(ranges)
        if recipe_path is not None:
            given = given_flags(flags) + (["--ranges"] if ranges else [])
            if given:
                raise click.UsageError(f"{given[0]} and --recipe exclude each other")
        tensors = open_model(source)
        kind = getattr(tensors, "kind", "")
        suffix = "" if output is None else output.suffix
        is_graph = is_graph_job(source, output, kind, data, flags)
        samples = samples_of_graph(data, labels) if is_graph else load_samples(data, labels)
        in_place = _is_in_place(source, suffix, samples, flags, recipe_path)
        if kind == "graph" and not (in_place or is_graph):
            other = ", or quantize its weights only, into another .onnx file"
            raise click.UsageError(
                f"'{source}' is no dense network: give samples with --data, or --activations "
                f"dynamic{other if source.suffix == '.onnx' else ''}"
            )
        is_network = is_graph or (kind == "network" and not in_place)
        if recipe_path is not None:
            recipe = _read_recipe(recipe_path)
        else:
            recipe = recipe_from_flags(
                flags,
                is_network=is_network or flags["layout"] is not None,
                has_samples=samples.X is not None,
                ranges=found,
                gguf=tensors if suffix == ".gguf" else None,
            )
        if recipe.compress is not None and samples.y is None:
            raise click.UsageError("a target needs --data and --labels, to train the network on")
        runs = is_network or recipe.network is not None
        if samples.X is not None and not runs:
            raise click.UsageError(
                f"--data: '{source}' is no network; --layout says how its arrays make one"
            )
        if suffix == ".onnx" and not runs and not in_place:
            raise click.UsageError(
                f"-o: an ONNX file holds a network, and '{source}' is none; --layout says how its "
                "arrays make one"
            )
        if suffix == ".gguf" and runs:
            raise click.UsageError("-o: GGUF holds arrays, no networks; name a .safetensors file")
        if suffix not in ("", ".safetensors") and recipe.compress is not None:
            raise click.UsageError("-o: a target is met by a .safetensors file only")
        whole = runs or recipe.prune is not None or recipe.quantize is None
        if dask is not None and (whole or in_place):
            raise click.UsageError("--dask is for tensors that are quantized one by one")
        if runs and file_format not in (None, "qcore"):
            raise click.UsageError(f"--file-format: {file_format} holds arrays, no networks")
        if output is not None:
            try:
                format_of(output, file_format)
            except ValueError as error:
                raise click.UsageError(f"--file-format: {error}") from error
        streams = not whole
        return cls(
            source, output, recipe, recipe_path, samples, streams, in_place,
            given_flags(flags), file_format, dask, is_graph,
        )  # fmt: skip

    @contextmanager
    def blamed_on_recipe(self) -> Iterator[None]:
        """Add the line of the recipe file to what is wrong with a parameter."""
        try:
            yield
        except (ValueError, TypeError) as error:
            self._blame_on_flag(error)
            if self.recipe_path is None or self.recipe_path.suffix != ".toml":
                raise
            words = str(error).replace("[", " ").split()
            text = self.recipe_path.read_text("utf-8")
            for table in ("quantize", "prune", "network", "compress"):
                line = toml.line_of(text, table, words[0] if words else None)
                if line:
                    where = f"'{self.recipe_path}', line {line}"
                    raise click.UsageError(
                        f"Invalid value for '--recipe': {where}: {error}"
                    ) from error
            raise

    def _blame_on_flag(self, error: Exception) -> None:
        """Raise a usage error if what is wrong is the value of a flag."""
        if not isinstance(error, ArgumentError):
            return
        flag = f"--{error.argument.replace('_', '-')}"
        if flag in self.flags:
            raise click.UsageError(f"Invalid value for '{flag}': {error}") from error


def _is_in_place(
    source: Path, suffix: str, samples: Samples, flags: Mapping[str, Any], recipe: Path | None
) -> bool:
    """Tell whether only the weights of an ONNX graph are to be quantized."""
    if source.suffix != ".onnx" or suffix not in ("", ".onnx") or samples.X is not None:
        return False
    if recipe is not None:
        found = _read_recipe(recipe)
        return found.quantize is not None and found.prune is None and not found.needs_samples
    return not any(flags[name] not in (None, ()) for name in _FOR_NETWORKS)


def _read_recipe(path: Path) -> Recipe:
    try:
        return Recipe.load(path)
    except FormatError as error:
        raise click.UsageError(f"Invalid value for '--recipe': {error}") from error


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


def plan_job(job: Job) -> Plan | TargetPlan:
    """Say what `run_job` would do."""
    from qcore.cli.compressing.planning import plan
    from qcore.cli.compressing.target_planning import plan_target

    with job.blamed_on_recipe():
        return plan(job) if job.recipe.compress is None else plan_target(job)
