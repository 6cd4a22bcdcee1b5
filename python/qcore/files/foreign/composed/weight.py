"""A weight that lies in several tensors, and a checkpoint in which there are some."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import FormatError
from qcore.files.source import StoredPart, TensorInfo, TensorSource

__all__ = ["ComposedWeight", "ComposedWeights", "Find", "read_part", "stored_type"]


class ComposedWeight(ABC):
    """A weight that lies in several tensors of a checkpoint.

    Attributes
    ----------
    parts : tuple of str
        The names of the tensors.
    shape : tuple of int
    bits : int or None
        Of codes, where it loads as a `QTensor`; None: it loads as float32.
    in_rows : bool
        Whether some rows can be read without the rest.
    layout : str
        What it is stored as, in a word or two.
    """

    parts: tuple[str, ...]
    shape: tuple[int, ...]
    bits: int | None = None
    in_rows = True
    layout: str

    @abstractmethod
    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return rows `start` to `stop` as floats."""

    def whole(self) -> NDArray[Any] | QTensor:
        """Return the weight."""
        return self.rows(0, self.shape[0])


#: Finds the weights of one layout: a checkpoint and its configuration in, weights by name out.
Find = Callable[[TensorSource, Mapping[str, Any]], dict[str, ComposedWeight]]


class ComposedWeights(TensorSource):
    """A checkpoint whose composed weights are read as what they are.

    Parameters
    ----------
    source : TensorSource
        With the tensors as they are stored.
    weights : mapping of str to ComposedWeight
        By the name of each; one that is a stored tensor's stands in its place.
    path : Path
        Of the checkpoint.
    """

    def __init__(
        self, source: TensorSource, weights: Mapping[str, ComposedWeight], path: Path
    ) -> None:
        self.path, self.paths = path, source.paths
        self._source, self._weights = source, weights
        first = {weight.parts[0]: name for name, weight in weights.items()}
        hidden = {part for weight in weights.values() for part in weight.parts}
        self._names: dict[str, None] = {}
        for stored in source:
            name = first.get(stored, stored)
            if stored in first or stored not in hidden:
                other = name != stored and name in source and name not in hidden
                if other or name in self._names:
                    raise FormatError(f"'{path}' has {name!r} twice: whole, and as {stored!r}")
                self._names[name] = None

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._weights:
            return self._source[name]
        with self._checked(name):
            return self._weights[name].whole()

    def info(self, name: str) -> TensorInfo:
        """Return what is known of a tensor; see `TensorSource.info`."""
        if name not in self._weights:
            return self._source.info(name)
        weight = self._weights[name]
        dtype = np.dtype(np.float32 if weight.bits is None else np.uint8)
        in_rows = weight.in_rows and weight.bits is None
        return TensorInfo(weight.shape, dtype, in_rows=in_rows, bits=weight.bits)

    def read_rows(
        self, name: str, start: int, stop: int, buffer: NDArray[np.uint8] | None = None
    ) -> NDArray[Any]:
        """Return some rows of a tensor; see `TensorSource.read_rows`."""
        if name not in self._weights:
            return self._source.read_rows(name, start, stop, buffer)
        with self._checked(name):
            return self._weights[name].rows(start, stop)

    def layout(self, name: str) -> tuple[str, int] | None:
        """Return what a tensor is stored as; see `TensorSource.layout`."""
        if name not in self._weights:
            return self._source.layout(name)
        weight = self._weights[name]
        found = [self._source.stored_parts(part) for part in weight.parts]
        return weight.layout, sum(p.nbytes for parts in found if parts for p in parts[0])

    def stored_parts(self, name: str) -> tuple[list[StoredPart], dict[str, Any]] | None:
        """Return the parts of a tensor; see `TensorSource.stored_parts`."""
        return None if name in self._weights else self._source.stored_parts(name)

    def copy_part(self, name: str, part: str, offset: int, out: NDArray[np.uint8]) -> None:
        """Copy some bytes of a part; see `TensorSource.copy_part`."""
        self._source.copy_part(name, part, offset, out)

    @contextmanager
    def _checked(self, name: str) -> Iterator[None]:
        try:
            yield
        except FormatError:
            raise
        except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            raise FormatError(f"'{self.path}' is corrupt: weight {name!r}: {error}") from error


def read_part(source: TensorSource, name: str, start: int, stop: int) -> NDArray[Any]:
    """Return some rows of a stored tensor."""
    if source.info(name).in_rows:
        return source.read_rows(name, start, stop)
    return np.asarray(source[name])[start:stop]


def stored_type(source: TensorSource, name: str) -> str:
    """Return what safetensors calls the type of a stored tensor; "" of one with a description."""
    found = source.stored_parts(name)
    return found[0][0].stored if found is not None and not found[1] else ""
