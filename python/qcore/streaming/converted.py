"""A checkpoint of which some tensors are stored in another way: converted as they are copied."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.products.matrix import SparseMatrix
from qcore.files.source import StoredPart, TensorInfo, TensorSource

__all__ = ["Converted"]


class Converted(TensorSource):
    """A view of a checkpoint, to be copied by `compress_source`.

    Parameters
    ----------
    source : TensorSource
    """

    def __init__(self, source: TensorSource) -> None:
        self.source = source
        self.paths = source.paths
        self._own = threading.local()

    @abstractmethod
    def converted(self, name: str) -> tuple[str, int] | None:
        """Return the type that a tensor is stored in, and its bytes; None: it stays as it is."""

    @abstractmethod
    def convert(self, name: str, rows: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the bytes of some rows."""

    def __iter__(self) -> Iterator[str]:
        return iter(self.source)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, name: str) -> NDArray[Any]:
        value = self.source[name]
        return value.to_dense() if isinstance(value, SparseMatrix) else np.asarray(value)

    def info(self, name: str) -> TensorInfo:
        """Return what is known of a tensor; see `TensorSource.info`."""
        info = self.source.info(name)
        if self.converted(name) is None:
            return info
        return TensorInfo(info.shape, np.dtype(np.float32), in_rows=False)

    def read_rows(
        self, name: str, start: int, stop: int, buffer: NDArray[np.uint8] | None = None
    ) -> NDArray[Any]:
        """Return some rows of a tensor; see `TensorSource.read_rows`."""
        return self.source.read_rows(name, start, stop, buffer)

    def stored_parts(self, name: str) -> tuple[list[StoredPart], dict[str, Any]] | None:
        """Return the parts of a tensor; see `TensorSource.stored_parts`."""
        found = self.converted(name)
        if found is None:
            return self.source.stored_parts(name)
        return [StoredPart("", found[0], self.source.info(name).shape, found[1])], {}

    def copy_part(self, name: str, part: str, offset: int, out: NDArray[np.uint8]) -> None:
        """Copy some bytes of a part; see `TensorSource.copy_part`."""
        found = self.converted(name)
        if found is None:
            self.source.copy_part(name, part, offset, out)
            return
        shape = self.source.info(name).shape
        row = found[1] // (shape[0] if shape else 1)
        first = offset // row
        rows = self._rows(name, first, -(-(offset + out.size) // row))
        raw = self.convert(name, rows).reshape(-1).view(np.uint8)
        out[:] = raw[offset - first * row :][: out.size]

    def _rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        if self.source.info(name).in_rows:
            return self.source.read_rows(name, start, stop)
        # One that is decoded as a whole is kept for the next of its bytes.
        kept = getattr(self._own, "kept", None)
        if kept is None or kept[0] != name:
            kept = self._own.kept = (name, self[name])
        value: NDArray[Any] = kept[1]
        return value.reshape(1)[start:stop] if value.ndim == 0 else value[start:stop]
