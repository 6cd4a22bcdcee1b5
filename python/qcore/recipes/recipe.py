"""The recipe: which estimators with which parameters make a small model of a trained one."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from qcore._arguments.validation import check_instance, check_path
from qcore._display.table import Report
from qcore.errors import FormatError
from qcore.estimators.pruner.pruner import Pruner
from qcore.estimators.quantizer.quantizer import Quantizer
from qcore.files.paths import open_regular
from qcore.nn.sequential import Sequential
from qcore.recipes import toml
from qcore.recipes.deep import compress_to_target
from qcore.recipes.networks import network_of
from qcore.recipes.types import fault_of
from qcore.saving.network import decode_input
from qcore.shrinking import merged_report, prune_and_quantize

__all__ = ["Recipe"]

_FORMAT = 1
_MOST_BYTES = 1 << 22
_HEAD = "# A recipe of qcore: qcore compress MODEL -o OUTPUT --recipe FILE\n"
# What a table may have: the parameters of what does it. A schedule is for training only.
_MAKERS: dict[str, Any] = {
    "network": network_of,
    "prune": Pruner,
    "quantize": Quantizer,
    "compress": compress_to_target,
}
_NOT_IN_FILES = {"self", "arrays", "net", "X", "y", "reserve", "schedule", "progress"}
_NONE = "none"


@dataclass(frozen=True)
class Recipe:
    """What is done to a model: the same recipe and model give the same bytes.

    Attributes
    ----------
    network : dict, optional
        How a file's arrays make a network: ``layout``, ``activation``, ``output``. Without it,
        arrays stay arrays.
    prune : dict, optional
        Parameters of `Pruner`.
    quantize : dict, optional
        Parameters of `Quantizer`.
    compress : dict, optional
        A target of `qcore.compress`, and options of its training; instead of the two above.
    ranges : dict of str to dict
        The integer input of each layer, as ``qcore calibrate`` found it.
    needs_samples : bool
        Whether it was made with samples, without which it would do something else.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> recipe = qc.Recipe.from_toml("quantize.bits = 4")
    >>> small = recipe.apply({"w": np.eye(8, dtype=np.float32)})
    >>> small["w"].bits
    4
    """

    network: Mapping[str, Any] | None = None
    prune: Mapping[str, Any] | None = None
    quantize: Mapping[str, Any] | None = None
    compress: Mapping[str, Any] | None = None
    ranges: Mapping[str, Any] = field(default_factory=dict)
    needs_samples: bool = False

    # as a text ---------------------------------------------------------------------------------
    @classmethod
    def load(cls, path: str | PathLike[str]) -> Recipe:
        """Read a recipe from a TOML file, or from a file that qcore made by one.

        Raises
        ------
        OSError
            If the file cannot be read.
        FormatError
            If it is no recipe; names the file and the line.
        """
        path = check_path(path)
        if path.suffix == ".toml":
            file, length = open_regular(path)
            with file:
                if length > _MOST_BYTES:
                    raise FormatError(f"'{path}' has {length} bytes; a recipe is a short text")
                data = file.read()
            try:
                text = data.decode("utf-8")
            except UnicodeDecodeError as error:
                line = data[: error.start].count(b"\n") + 1
                raise FormatError(f"'{path}', line {line}: it is not UTF-8") from error
        else:
            text = _about(path).get("recipe", "")
            if not isinstance(text, str) or not text:
                raise FormatError(f"'{path}' has no recipe in it")
        try:
            return cls.from_toml(text)
        except FormatError as error:
            raise FormatError(f"'{path}', {error}") from error

    @classmethod
    def from_toml(cls, text: str) -> Recipe:
        """Read a recipe from a text.

        Raises
        ------
        FormatError
            If it is none; names the line.
        """
        check_instance(text, str, "text")
        try:
            tables = toml.loads(text)
        except ValueError as error:
            raise FormatError(str(error)) from error
        version = tables.pop("format", _FORMAT)
        if type(version) is not int or version != _FORMAT:
            _refuse(text, "", "format", f"format is {version!r}; this version reads {_FORMAT}")
        ranges = tables.pop("ranges", {})
        needs_samples = tables.pop("needs_samples", False)
        if type(needs_samples) is not bool:
            _refuse(text, "", "needs_samples", f"needs_samples is {needs_samples!r}; true or false")
        for name, table in tables.items():
            if name not in _MAKERS:
                known = ", ".join([*_MAKERS, "ranges"])
                _refuse(text, name, None, f"there is no table {name!r}; known are {known}", name)
            if not isinstance(table, dict):
                _refuse(text, "", name, f"{name} is {table!r}; it must be a table")
            for key in table:
                if key not in _defaults(name):
                    known = ", ".join(_defaults(name))
                    _refuse(text, name, key, f"{name} has no {key!r}; it has {known}")
                fault = fault_of(key, _read(key, table[key]))
                if fault is not None:
                    _refuse(text, name, key, fault)
        if not isinstance(ranges, dict) or not all(isinstance(v, dict) for v in ranges.values()):
            _refuse(text, "ranges", None, "ranges must have a table for each layer")
        read = {
            name: {key: _read(key, value) for key, value in table.items()}
            for name, table in tables.items()
        }
        return cls(**read, ranges=ranges, needs_samples=needs_samples)

    def to_toml(self) -> str:
        """Return the recipe as a text, every parameter in it: later defaults do not change it."""
        tables: dict[str, Any] = {"format": _FORMAT}
        if self.needs_samples:
            tables["needs_samples"] = True
        for name in _MAKERS:
            table = getattr(self, name)
            if table is not None:
                tables[name] = _written(_defaults(name) | dict(table), _defaults(name))
        if self.ranges:
            tables["ranges"] = self.ranges
        return _HEAD + toml.dumps(tables) + "\n"

    @property
    def nbytes(self) -> int:
        """Bytes that the recipe takes in a file, at most."""
        # A text in a text of the header, which is padded.
        inner = json.dumps({"recipe": self.to_toml()}, ensure_ascii=False)
        return len(json.dumps(inner, ensure_ascii=False).encode("utf-8")) + 8

    # at work -----------------------------------------------------------------------------------
    def apply(
        self,
        model: Any,
        X: ArrayLike | None = None,
        y: ArrayLike | None = None,
        *,
        reserve: int = 0,
    ) -> Any:
        """Make a small model.

        Parameters
        ----------
        model : Sequential or dict of str to array
            The model; it is not changed.
        X, y : array_like, optional
            Samples and labels, where the recipe needs them.
        reserve : int, default 0
            Bytes of a file of a given size that are for something else; see `nbytes`.

        Returns
        -------
        Sequential or dict
            With ``report_``, what was done to each tensor.

        Raises
        ------
        ValueError, TypeError
            If recipe and model do not fit.
        """
        if self.needs_samples and X is None:
            raise ValueError("the recipe was made with samples and needs some: X is missing")
        small = self.prepare(model)
        if self.compress is not None:
            if self.prune is not None or self.quantize is not None:
                raise ValueError("compress finds out itself what to prune and to quantize")
            return compress_to_target(small, X, y, **self.compress, reserve=reserve)
        if self.prune is None and self.quantize is None:
            raise ValueError("the recipe has neither prune nor quantize: there is nothing to do")
        pruner = None if self.prune is None else Pruner(**self.prune)
        if self.quantize is None or not self.ranges:
            quantizer = None if self.quantize is None else Quantizer(**self.quantize)
            return prune_and_quantize(small, X, y, pruner, quantizer)
        reports: list[Report] = []
        if pruner is not None:
            small = pruner.fit_transform(small, X, y)
            reports.append(pruner.report_)
        ranged = self._in_ranges(small, X)
        small = ranged.transform(small)
        small.report_ = merged_report([*reports, ranged.report_])
        return small

    def prepare(self, model: Any) -> Any:
        """Return the model that the rest of the recipe works on: a network, where it makes one."""
        if self.network is None or not isinstance(model, Mapping):
            return model
        return network_of(model, **self.network)

    def _in_ranges(self, model: Any, X: ArrayLike | None) -> Quantizer:
        """Return a fitted quantizer whose activations have the ranges of the recipe."""
        params = dict(self.quantize or {})
        if not isinstance(model, Sequential):
            raise ValueError("ranges are those of a network's layers; the model is no network")
        quantizer = Quantizer(**(params | {"activations": "dynamic"})).fit(model, X)
        layers = list(quantizer.input_qparams_)
        for name in {*layers, *self.ranges}:
            if name not in layers:
                raise ValueError(f"ranges has {name!r}; the quantized layers are {layers}")
            if name not in self.ranges:
                raise ValueError(f"ranges has no {name!r}; it has {list(self.ranges)}")
            quantizer.input_qparams_[name] = decode_input(self.ranges[name])
        return quantizer


def _about(path: Path) -> Mapping[str, Any]:
    """Return what a file says of itself."""
    if path.suffix == ".onnx":
        from qcore.frameworks.onnx.read.tensors import GraphTensors

        return GraphTensors(path).about
    from qcore.files.formats import open_tensors

    return getattr(open_tensors(path), "about", {})


def _defaults(table: str) -> dict[str, Any]:
    """Return what a table may have, with the values that count where it does not."""
    parameters = inspect.signature(_MAKERS[table]).parameters.items()
    return {
        name: None if parameter.default is parameter.empty else parameter.default
        for name, parameter in parameters
        if name not in _NOT_IN_FILES
    }


def _read(key: str, value: Any) -> Any:
    """Return a parameter's value from the one in the file, where tuples are lists."""
    if value == _NONE:
        return None
    if isinstance(value, dict):
        return {pattern: _read(key, item) for pattern, item in value.items()}
    return tuple(value) if isinstance(value, list) else value


def _written(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands in the file: TOML has no None, so it is "none" where it says something."""
    return {
        key: _NONE if value is None else value
        for key, value in values.items()
        if value is not None or defaults[key] is not None
    }


def _refuse(text: str, section: str, key: str | None, message: str, heading: str = "") -> None:
    line = toml.line_of(text, section, key) or toml.line_of(text, "", heading)
    raise FormatError(f"line {line}: {message}" if line else message)
