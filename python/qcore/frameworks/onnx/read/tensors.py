"""The constants of any ONNX graph, by name: what is in a model that need not be a dense network."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import FormatError
from qcore.files.source import StoredPart, TensorInfo, TensorSource
from qcore.frameworks.onnx.model.codes import decoded_blocks, dequantized
from qcore.frameworks.onnx.model.constants import (
    array_of,
    data_files,
    kind_of_tensor,
    nbytes_of,
    shape_of,
)
from qcore.frameworks.onnx.model.metadata import RECIPE, WEIGHT_NAME, read_text
from qcore.frameworks.onnx.model.scopes import Constant, Scope, scan
from qcore.frameworks.onnx.model.uses import find_weights
from qcore.frameworks.onnx.read.load import GraphReader, load_model

__all__ = ["GraphTensors"]

_BLOCKS = "MatMulNBits"
# Graphs of more bytes are not taken for networks: that would read them whole.
_MOST_CHAIN = 256 << 20
# What quantizers, ONNX Runtime's and ours, add to the name of a weight.
_ADDED = re.compile(r"(_packed(_\d+)?|_Q\d+(G\d+)?)$")


@dataclass(frozen=True)
class _Entry:
    """One tensor: the node that decodes it, if any, and the constants that it is made of."""

    node: Any
    parts: tuple[Any, ...]


class GraphTensors(TensorSource):
    """An ONNX graph's constants, read when they are asked for, those of inner graphs among them.

    Codes behind a DequantizeLinear are one tensor with the name of its output, or of that of a
    Cast behind it, which is the weight's name before `quantize_graph`; the weight of a MatMulNBits,
    (K, N), is decoded.

    Attributes
    ----------
    kind : {"network", "graph"}
        Whether `from_onnx` makes a network of it.
    about : dict
        ``recipe``, where the model has one.
    weights : set of str
        Which of the tensors operators read as weights, codes and floats alike.

    Raises
    ------
    ImportError
        If the onnx package is not there; says what to install.
    FormatError
        If the file is not ONNX.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        model = load_model(path)
        recipe = read_text(model, RECIPE)
        self.about: dict[str, Any] = {} if recipe is None else {"recipe": recipe}
        self.paths = tuple(data_files(model, path))
        self._entries: dict[str, _Entry] = {}
        scopes = scan(model.graph)
        used: set[int] = set()
        self._defined = Counter(
            name for scope in scopes for name in (*scope.constants, *scope.readers)
        )
        for scope in scopes:
            for node in scope.graph.node:
                self._take_codes(scope, node, used)
        for scope in scopes:
            for constant in scope.constants.values():
                if id(constant) not in used and _is_numbers(constant.tensor):
                    self._add(constant.key, _Entry(None, (constant.tensor,)))
        self.weights = set(find_weights(scopes)[0])
        self.weights |= {name for name, entry in self._entries.items() if entry.node is not None}
        self._nbytes = sum(
            nbytes_of(c.tensor)
            for s in scopes
            for c in s.constants.values()
            if _is_numbers(c.tensor)
        )

    @cached_property
    def kind(self) -> str:
        """Whether `from_onnx` makes a network of it: found out when asked, as that reads it."""
        if self._nbytes > _MOST_CHAIN:
            return "graph"
        try:
            GraphReader(load_model(self.path), self.path).network()
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            return "graph"  # no network, for whatever reason
        return "network"

    def _take_codes(self, scope: Scope, node: Any, used: set[int]) -> None:
        """Note the tensor that a node decodes, if all that it is made of is constant."""
        first = {"DequantizeLinear": 0, _BLOCKS: 1}.get(node.op_type)
        if first is None:
            return
        found: list[Constant | None] = [
            scope.constant(name) if name else None for name in node.input[first:]
        ]
        named = [name for name in node.input[first:] if name]
        if len([c for c in found if c is not None]) < len(named) or not found or found[0] is None:
            return
        if found[0].tensor.doc_string.startswith(WEIGHT_NAME):
            name = found[0].tensor.doc_string.removeprefix(WEIGHT_NAME)
        elif node.op_type == _BLOCKS:
            name = _ADDED.sub("", found[0].key)
        else:
            name = _output_name(scope, node)
        used.update(id(constant) for constant in found if constant is not None)
        entry = _Entry(node, tuple(None if c is None else c.tensor for c in found))
        if name in self._entries and node.op_type == _BLOCKS:
            return  # one weight of several products
        # As `scan` calls constants of inner graphs, where several graphs have one of that name.
        if scope.path and self._defined[name] > 1:
            name = f"{scope.path}/{name}"
        self._add(name, entry)

    def _add(self, name: str, entry: _Entry) -> None:
        unique, count = name, 2
        while unique in self._entries:
            unique, count = f"{name} ({count})", count + 1
        self._entries[unique] = entry

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, name: str) -> NDArray[Any] | QTensor:
        entry = self._entries[name]
        try:
            return self._decode(entry)
        except FormatError:
            raise
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise FormatError(f"'{self.path}': tensor {name!r}: {error}") from error

    def _decode(self, entry: _Entry) -> NDArray[Any] | QTensor:
        if entry.node is None:
            return self._array(entry.parts[0])
        if entry.node.op_type == _BLOCKS:
            return decoded_blocks(entry.node, list(entry.parts), self._array)
        codes, scale, zero = [*entry.parts, None, None][:3]
        return dequantized(entry.node, codes, scale, zero, self._array)

    def _array(self, tensor: Any) -> NDArray[Any]:
        return array_of(tensor, self.path)

    def info(self, name: str) -> TensorInfo:
        """Return what is known of a tensor; see `TensorSource.info`."""
        entry = self._entries[name]
        kind, shape = kind_of_tensor(entry.parts[0]), shape_of(entry.parts[0])
        if entry.node is None:
            return TensorInfo(shape, np.dtype(kind.loaded), in_rows=False)
        if entry.node.op_type == _BLOCKS:
            value = self[name]
            return TensorInfo(value.shape, np.dtype(np.float32), in_rows=False)
        coded = kind.name.startswith(("int", "uint")) and kind.bits <= 16
        dtype = np.dtype(kind.loaded) if coded else np.dtype(np.float32)
        return TensorInfo(shape, dtype, in_rows=False, bits=kind.bits if coded else None)

    def read_rows(
        self, name: str, start: int, stop: int, buffer: NDArray[np.uint8] | None = None
    ) -> NDArray[Any]:
        """Return some rows of a tensor; see `TensorSource.read_rows`."""
        return np.asarray(self[name])[start:stop]

    def stored_parts(self, name: str) -> tuple[list[StoredPart], dict[str, Any]] | None:
        """Return the bytes of a tensor that is decoded here; see `TensorSource.stored_parts`."""
        entry = self._entries[name]
        kind = kind_of_tensor(entry.parts[0])
        if entry.node is None:
            return None
        nbytes = sum(nbytes_of(tensor) for tensor in entry.parts if tensor is not None)
        blocks = entry.node.op_type == _BLOCKS
        stored = _BLOCKS if blocks else kind.name
        return [StoredPart("", stored, shape_of(entry.parts[0]), nbytes)], {}


def _is_numbers(tensor: Any) -> bool:
    try:
        kind_of_tensor(tensor)
    except ValueError:
        return False  # texts
    return True


def _output_name(scope: Scope, node: Any) -> str:
    """Return the name of what a node decodes; of a Cast, where that alone reads it."""
    name = str(node.output[0])
    readers = scope.readers.get(name, [])
    if len(readers) == 1 and readers[0].node is not None and readers[0].node.op_type == "Cast":
        cast = str(readers[0].node.output[0])
        if name.startswith(cast):
            return cast
    return name
