"""Reading the layouts of compressed-tensors; see `qcore.files.foreign.compressed_tensors`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.params.qparams import FLOAT16
from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import FormatError
from qcore.files.foreign.compressed_tensors import config_groups, read_config
from qcore.files.foreign.config import config_path
from qcore.files.foreign.packed_words import PACKED, SCALE, SHAPE, WEIGHT, WORD, ZERO, unpack
from qcore.files.source import StoredPart, TensorInfo, TensorSource

__all__ = ["CompressedTensors", "find_weights"]

# The width of codes where no configuration tells: the first that fits the shape.
_LIKELY_BITS = (4, 8, 2, 3, 5, 6, 7, 1)


def find_weights(names: Mapping[str, Any]) -> list[str]:
    """Return which weights of a checkpoint are quantized, judged by the names of its tensors."""
    found = []
    for name in names:
        if name.endswith(WEIGHT + SCALE):
            weight = name.removesuffix(SCALE)
            if weight in names or weight + PACKED in names:
                found.append(weight)
    return found


class CompressedTensors(TensorSource):
    """A checkpoint whose quantized weights are stored in these layouts.

    Parameters
    ----------
    source : TensorSource
        With the tensors as they are stored.
    path : Path
        Of the checkpoint; its configuration lies beside it, or in it.
    """

    def __init__(self, source: TensorSource, path: Path) -> None:
        self.path = path
        self._source = source
        self.paths = source.paths
        integers = {
            name
            for name in find_weights(source)
            if name + PACKED in source or source.info(name).dtype == np.int8
        }
        hidden = {name + part for name in integers for part in (PACKED, SCALE, ZERO, SHAPE)}
        names = (name.removesuffix(PACKED) for name in source)
        self._names = dict.fromkeys(
            name if name in integers else stored
            for name, stored in zip(names, source, strict=True)
            if name in integers or stored not in hidden
        )
        self._integers = integers
        config = config_path(path)
        self._groups = config_groups(read_config(config)) if config.exists() else []

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, name: str) -> Any:
        if name not in self._integers:
            return self._source[name]
        with self._checked(name):
            return self._decode(name)

    def info(self, name: str) -> TensorInfo:
        """Return what is known of a tensor; see `TensorSource.info`."""
        if name not in self._integers:
            return self._source.info(name)
        if name in self._source:
            shape, bits = self._source.info(name).shape, 8
        else:
            with self._checked(name):
                shape = self._shape(name)
                bits = self._bits(name, *shape)
        return TensorInfo(shape, np.dtype(np.int8), in_rows=False, bits=bits)

    def read_rows(
        self, name: str, start: int, stop: int, buffer: NDArray[np.uint8] | None = None
    ) -> NDArray[Any]:
        """Return some rows of a tensor; see `TensorSource.read_rows`."""
        return self._source.read_rows(name, start, stop, buffer)

    def layout(self, name: str) -> tuple[str, int] | None:
        """Return what a tensor is stored as; see `TensorSource.layout`."""
        return None if name in self._integers else self._source.layout(name)

    def stored_parts(self, name: str) -> tuple[list[StoredPart], dict[str, Any]] | None:
        """Return the parts of a tensor; see `TensorSource.stored_parts`."""
        return None if name in self._integers else self._source.stored_parts(name)

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
            raise FormatError(f"'{self.path}' is corrupt: tensor {name!r}: {error}") from error

    def _shape(self, name: str) -> tuple[int, int]:
        rows, columns = (int(length) for length in np.asarray(self._source[name + SHAPE]))
        return rows, columns

    def _decode(self, name: str) -> QTensor:
        scale = np.asarray(self._source[name + SCALE])
        stored_zero = np.asarray(self._source[name + ZERO]) if name + ZERO in self._source else None
        if name in self._source:
            bits, codes, zero = 8, np.asarray(self._source[name]), stored_zero
        else:
            rows, columns = self._shape(name)
            bits = self._bits(name, rows, columns)
            words = np.asarray(self._source[name + PACKED])
            middle = 1 << bits - 1
            codes = (unpack(words, columns, bits).astype(np.int16) - middle).astype(np.int8)
            zero = None
            if stored_zero is not None and stored_zero.dtype == np.int32:
                zero = unpack(np.ascontiguousarray(stored_zero.T), rows, bits).T - np.int32(middle)
            elif stored_zero is not None:
                zero = stored_zero
        layout: dict[str, Any] = {"axis": 0}
        if scale.size == 1 and len(codes) != 1:
            layout, scale = {}, scale.reshape(())
        elif scale.ndim == 2 and scale.shape[1] > 1:
            layout = {"group_size": codes.shape[1] // scale.shape[1]}
        else:
            scale = scale.reshape(-1)
        if zero is not None:
            zero = np.asarray(zero, np.int32).reshape(scale.shape)
        return QTensor.from_parts(
            codes, scale.astype(np.float32), zero, bits=bits, signed=True, **layout,
            scale_dtype=FLOAT16 if scale.dtype == FLOAT16 else None,
        )  # fmt: skip

    def _bits(self, name: str, rows: int, columns: int) -> int:
        words = self._source.info(name + PACKED)
        if words.dtype != np.int32 or words.ndim != 2 or words.shape[0] != rows:
            raise ValueError(f"its codes are {words.dtype} of shape {words.shape}")
        module = name.removesuffix(WEIGHT)
        given = [bits for targets, bits in self._groups if module in targets] or [
            bits for _, bits in self._groups
        ]
        for bits in (*given, *_LIKELY_BITS):
            if 1 <= bits <= 8 and words.shape[1] == -(-columns * bits // WORD):
                return bits
        raise ValueError(f"its rows of {columns} are {words.shape[1]} words of 32 bits")
