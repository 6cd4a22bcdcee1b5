"""What every kind of checkpoint offers: its tensors by name, whole or some rows at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.products.matrix import SparseMatrix
from qcore.arrays.tensor.tensor import QTensor
from qcore.files.qcore_format.parts import Description

__all__ = ["StoredPart", "TensorInfo", "TensorSource"]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What is known of a tensor before it is read.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
        That it loads as; of a quantized tensor, that of its codes.
    in_rows : bool
        Whether some rows can be read without the rest.
    bits : int or None
        Of a quantized tensor, the width of its codes.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    in_rows: bool = True
    bits: int | None = None

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        size = 1
        for length in self.shape:
            size *= length
        return size

    @property
    def nbytes(self) -> int:
        """Bytes of the elements as they load."""
        return self.size * self.dtype.itemsize


class StoredPart(NamedTuple):
    """One part of a tensor as its file stores it: copied without being understood."""

    part: str  # of `qcore.files.qcore_format.parts.PARTS`
    stored: str  # the type, as safetensors calls it
    shape: tuple[int, ...]
    nbytes: int


class TensorSource(Mapping[str, NDArray[Any] | QTensor | SparseMatrix]):
    """An open checkpoint; tensors are read when they are asked for.

    Threads may use one source together.

    Attributes
    ----------
    paths : tuple of Path
        The files that are open as long as the source is.
    """

    paths: tuple[Path, ...] = ()

    @abstractmethod
    def info(self, name: str) -> TensorInfo:
        """Return what is known of a tensor without reading it."""

    @abstractmethod
    def read_rows(
        self, name: str, start: int, stop: int, buffer: NDArray[np.uint8] | None = None
    ) -> NDArray[Any]:
        """Return rows `start` to `stop` of a tensor whose ``info`` has ``in_rows``.

        The result may lie in `buffer`, where one is given and is long enough.
        """

    def stored_parts(self, name: str) -> tuple[list[StoredPart], Description] | None:
        """Return what to copy to keep a tensor byte for byte; None if it has to be decoded."""
        return None

    def layout(self, name: str) -> tuple[str, int] | None:
        """Return what a tensor is stored as, and its bytes, where that is not what it loads as."""
        return None

    def copy_part(self, name: str, part: str, offset: int, out: NDArray[np.uint8]) -> None:
        """Fill `out` with a stored part's bytes from `offset` on."""
        raise NotImplementedError
