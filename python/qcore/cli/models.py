"""What commands read: models, samples and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from qcore.cli.params import limits
from qcore.errors import FormatError
from qcore.files.formats import Loaded, open_tensors
from qcore.files.limits import Limits
from qcore.files.source import TensorSource
from qcore.loading import load, load_tensors
from qcore.recipes.recipe import Recipe
from qcore.saving.packed import PACKED

__all__ = [
    "Samples", "data_options", "like_network", "load_model", "load_samples", "open_model",
    "samples_for_graphs", "short_names",
]  # fmt: skip


class Samples(NamedTuple):
    """Data that a network is run on; None where none were given."""

    X: NDArray[Any] | None
    y: NDArray[Any] | None


def data_options(command: Any) -> Any:
    """Add ``--data`` and ``--labels``."""
    from qcore.cli.params import InputFile

    for option in (
        click.option("--labels", type=InputFile(), help="Their labels, as .npy."),
        click.option("--data", type=InputFile(), help="Samples, as .npy; or .npz with X and y."),
    ):
        command = option(command)
    return command


def load_samples(data: Path | None, labels: Path | None, *, any_names: bool = False) -> Samples:
    """Read samples and labels; arrays of `any_names` are for the inputs of a graph."""
    if data is None:
        if labels is not None:
            raise click.UsageError("--labels needs --data")
        return Samples(None, None)
    found = load_tensors(data)
    X, y = (
        (found.get("X"), found.get("y")) if len(found) != 1 else (next(iter(found.values())), None)
    )
    if X is None and any_names and found:
        X = next(iter(found.values()))
    if X is None:
        raise FormatError(f"'{data}' has no array X; it has {', '.join(found) or 'none'}")
    if labels is not None:
        arrays = list(load_tensors(labels).values())
        if len(arrays) != 1:
            raise FormatError(f"'{labels}' has {len(arrays)} arrays; labels are one")
        y = np.asarray(arrays[0])
    X = np.asarray(X)
    if y is not None and len(y) != len(X):
        raise ValueError(f"there are {len(X)} samples and {len(y)} labels")
    return Samples(X, None if y is None else np.asarray(y))


def samples_for_graphs(data: Path, samples: Samples) -> Any:
    """Return the samples of a graph: by the names of its inputs where a file has several arrays."""
    found = load_tensors(data)
    found.pop("y", None)
    return samples.X if len(found) < 2 else {name: np.asarray(found[name]) for name in found}


class _Unpacked(Loaded):
    """The tensors of an entropy-coded network, which its file has as one."""

    kind = "network"

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        super().__init__(load_tensors(path, **limits()))
        self.about = about


class _Weights(Loaded):
    """The weights of a TFLite model."""

    kind = "graph"

    def __init__(self, path: Path) -> None:
        super().__init__(load(path).named_weights())


def open_model(path: Path) -> TensorSource:
    """Open a model by its tensors: a checkpoint of any kind, an ONNX graph, a TFLite model."""
    if path.suffix == ".onnx":
        from qcore.frameworks.onnx.read.tensors import GraphTensors

        return GraphTensors(path)
    if path.suffix == ".tflite":
        return _Weights(path)
    source = open_tensors(path, Limits(**limits()))
    if getattr(source, "kind", "") == "network" and PACKED in source:
        return _Unpacked(path, getattr(source, "about", {}))
    return source


def load_model(path: Path) -> Any:
    """Load a network, or a dict of tensors."""
    if path.suffix == ".onnx":
        found = open_model(path)
        return load(path) if getattr(found, "kind", "") == "network" else dict(found)
    if path.is_dir():
        return load_tensors(path, **limits())  # as tensors, though an encoder may be built of them
    model = load(path, **limits())  # type: ignore[arg-type]
    is_model = isinstance(model, dict) or hasattr(model, "layers")
    return model if is_model else load_tensors(path, **limits())


def short_names(paths: Sequence[Path]) -> list[str]:
    """Return the names of files, or the whole paths where two have the same name.

    Examples
    --------
    >>> short_names([Path("a/net.npz"), Path("b/small.npz")])
    ['net.npz', 'small.npz']
    >>> short_names([Path("a/net.npz"), Path("b/net.npz")])
    ['a/net.npz', 'b/net.npz']
    """
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def like_network(model: Any, path: Path) -> Any:
    """Return a model as a network, made of its arrays as the recipe in another file says.

    A model that is a network already, and one for which the file has no recipe, come back as they
    are.
    """
    if not isinstance(model, dict):
        return model
    try:
        recipe = Recipe.load(path)
    except ValueError:
        return model
    return recipe.prepare(model)
