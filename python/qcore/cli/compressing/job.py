"""The work that ``qcore compress`` is given, read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from qcore.cli.compressing.ranges import read_ranges
from qcore.cli.compressing.recipe_flags import given_flags, recipe_from_flags
from qcore.cli.models import Samples, load_samples, open_model, samples_for_graphs
from qcore.errors import ArgumentError, FormatError
from qcore.files.formats import format_of
from qcore.frameworks.pretrained.folder import is_pretrained_folder
from qcore.recipes import toml
from qcore.recipes.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Iterator


__all__ = ["Job"]

# Flags that ask for more than an ONNX graph lets be done to it in place.
_FOR_NETWORKS = (
    "sparsity", "pattern", "activations", "layout", "target_bytes", "target_ratio", "min_score",
    "epochs",
)  # fmt: skip
# What a graph is not asked for: a training, and what makes a network of arrays.
_NO_GRAPH = ("layout", "target_bytes", "target_ratio", "min_score", "epochs")


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
        is_graph = _is_graph(source, output, kind, data, flags)
        samples = _samples_of_graph(data, labels) if is_graph else load_samples(data, labels)
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


def _is_graph(
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


def _samples_of_graph(data: Path | None, labels: Path | None) -> Samples:
    """Read samples: an array for the one input, or one by the name of each."""
    samples = load_samples(data, labels, any_names=True)
    if data is None:
        return samples
    return Samples(samples_for_graphs(data, samples), samples.y)


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
