"""Where the constants of a model go that is written: into its file, or beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore._runtime.extras import require
from qcore.files.drafts import write_bytes
from qcore.frameworks.onnx.model.constants import is_external, kind_of_tensor, nbytes_of, pieces_of
from qcore.frameworks.onnx.model.scopes import tensors_in_nodes

__all__ = ["DryStore", "Store"]

# Constants that runtimes look at while they plan, shapes and axes, stay in the graph.
_INLINE_BELOW = 1024
_PAGE = 4096  # constants beside the graph start at one, so that runtimes can map them
_EXTERNAL = 1  # TensorProto's data_location


class _Places:
    """Lays constants out behind each other in the file beside the model."""

    def __init__(self, target: Path, *, external: bool) -> None:
        self.target = target
        self.external = external
        self.end = 0
        self._new = require("onnx", "writing ONNX").TensorProto

    @property
    def data_path(self) -> Path:
        """The file beside the model."""
        return self.target.with_name(self.target.name + ".data")

    def _made(self, name: str, kind: int, shape: Sequence[int]) -> Any:
        return self._new(name=name, data_type=kind, dims=shape)

    def _placed(self, tensor: Any, nbytes: int) -> int:
        """Let a constant lie in the file beside the model; returns where."""
        offset = -(-self.end // _PAGE) * _PAGE
        self.end = offset + nbytes
        with contextlib.suppress(ValueError):
            tensor.ClearField("raw_data")
        del tensor.external_data[:]
        tensor.data_location = _EXTERNAL
        about = {"location": self.data_path.name, "offset": offset, "length": nbytes}
        for key, value in about.items():
            entry = tensor.external_data.add()
            entry.key, entry.value = key, str(value)
        return offset


class Store(_Places):
    """Writes a model and its constants; both take their places when they are committed.

    Parameters
    ----------
    target : Path
    source : Path
        The model that constants are kept from.
    external : bool
        Whether constants go to a file of their own.
    """

    def __init__(self, target: Path, source: Path, *, external: bool) -> None:
        super().__init__(target, external=external)
        self.source = source
        self._data = _core.AtomicFile(self.data_path) if external else None
        self._own: set[str] = set()

    def tensor(self, name: str, kind: int, shape: Sequence[int], array: NDArray[Any] | None) -> Any:
        """Return a constant of this array; of types below 8 bits, of its values' low bits."""
        assert array is not None, "only a dry run has no values"
        tensor = self._made(name, kind, shape)
        raw = _raw(array, kind_of_tensor(tensor).bits)
        if self._data is None or raw.size < _INLINE_BELOW:
            tensor.raw_data = raw.tobytes()
        else:
            self._data.write_at(self._placed(tensor, raw.size), raw)
        self._own.add(name)
        return tensor

    def keep(self, graph: Any) -> None:
        """Take along what a graph has of the source's data."""
        if self._data is None:
            return
        for tensor in graph.initializer:
            if is_external(tensor) or tensor.raw_data:
                self._keep(tensor)
        for tensor in tensors_in_nodes(graph):
            if is_external(tensor):
                self._keep(tensor)

    def _keep(self, tensor: Any) -> None:
        if tensor.name in self._own:
            return
        assert self._data is not None
        was = self._new()
        was.CopyFrom(tensor)
        if nbytes_of(tensor) < _INLINE_BELOW:
            raw = b"".join(piece.tobytes() for _, piece in pieces_of(was, self.source))
            del tensor.external_data[:]
            tensor.data_location = 0
            tensor.raw_data = raw
            return
        offset = self._placed(tensor, nbytes_of(tensor))
        for start, piece in pieces_of(was, self.source):
            self._data.write_at(offset + start, piece)

    def commit(self, model: Any) -> None:
        """Complete both files."""
        if self._data is not None:
            self._data.commit()
        write_bytes(self.target, model.SerializeToString())

    def discard(self) -> None:
        """Leave nothing behind, where the model was not completed."""
        if self._data is not None:
            self._data.discard()


class DryStore(_Places):
    """Counts what `Store` would write."""

    def __init__(self, target: Path, *, external: bool) -> None:
        super().__init__(target, external=external)
        self._inline = 0
        self._own: set[str] = set()

    def tensor(self, name: str, kind: int, shape: Sequence[int], array: NDArray[Any] | None) -> Any:
        """Return a constant without values."""
        tensor = self._made(name, kind, shape)
        nbytes = nbytes_of(tensor)
        if self.external and nbytes >= _INLINE_BELOW:
            self._placed(tensor, nbytes)
        else:
            self._inline += nbytes
        self._own.add(name)
        return tensor

    def keep(self, graph: Any) -> None:
        """Count what stays as it is and moves beside the graph."""
        if not self.external:
            return
        for tensor in graph.initializer:
            if is_external(tensor) or tensor.raw_data:
                self._keep(tensor)
        for tensor in tensors_in_nodes(graph):
            if is_external(tensor):
                self._keep(tensor)

    def _keep(self, tensor: Any) -> None:
        nbytes = nbytes_of(tensor)
        if tensor.name in self._own:
            return
        if nbytes >= _INLINE_BELOW:
            self._placed(tensor, nbytes)
        elif is_external(tensor):
            self._inline += nbytes

    def nbytes(self, model: Any) -> int:
        """Return the bytes of both files."""
        return int(model.ByteSize()) + self._inline + self.end


def _raw(array: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Return the bytes of a constant, of codes below 8 bits one stream, the first one low."""
    if bits < 8:
        flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return _core.pack_bits(flat, flat.size, bits) if flat.size else flat
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8)
