"""Checkpoints in several safetensors files: an index file, a folder, or a glob."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.products.matrix import SparseMatrix
from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import FormatError
from qcore.files.limits import USUAL, Limits
from qcore.files.paths import open_regular
from qcore.files.qcore_format.container import Container
from qcore.files.qcore_format.parts import Description
from qcore.files.source import StoredPart, TensorInfo, TensorSource

__all__ = ["INDEX_SUFFIX", "Shards", "shard_paths"]

INDEX_SUFFIX = ".safetensors.index.json"
# What hubs call a checkpoint of one file, and the files of one that are told apart by numbers.
_ONE = "model.safetensors"
_NUMBERED = re.compile(r"(.*?)[-_.]?[0-9]+(?:-of-[0-9]+)?\.safetensors")
# Names and shard names; a checkpoint of a hundred thousand tensors takes a tenth.
_MAX_INDEX_BYTES = 1 << 27


class Shards(TensorSource):
    """Several safetensors files as one checkpoint.

    Parameters
    ----------
    paths : sequence of Path
        The files; no two may have a tensor of one name.
    """

    def __init__(self, paths: Sequence[Path], limits: Limits = USUAL) -> None:
        self.paths = tuple(paths)
        self._homes: dict[str, Container] = {}
        for path in paths:
            shard = Container(path, limits)
            for name in shard:
                if name in self._homes:
                    other = self._homes[name].path
                    raise FormatError(f"'{path}' and '{other}' both have a tensor {name!r}")
                self._homes[name] = shard

    def __iter__(self) -> Iterator[str]:
        return iter(self._homes)

    def __len__(self) -> int:
        return len(self._homes)

    def __getitem__(self, name: str) -> NDArray[Any] | QTensor | SparseMatrix:
        return self._homes[name][name]

    def info(self, name: str) -> TensorInfo:
        """Return what is known of a tensor; see `TensorSource.info`."""
        return self._homes[name].info(name)

    def read_rows(
        self, name: str, start: int, stop: int, buffer: NDArray[np.uint8] | None = None
    ) -> NDArray[Any]:
        """Return some rows of a tensor; see `TensorSource.read_rows`."""
        return self._homes[name].read_rows(name, start, stop, buffer)

    def layout(self, name: str) -> tuple[str, int] | None:
        """Return what a tensor is stored as; see `TensorSource.layout`."""
        return self._homes[name].layout(name)

    def stored_parts(self, name: str) -> tuple[list[StoredPart], Description]:
        """Return the parts of a tensor; see `TensorSource.stored_parts`."""
        return self._homes[name].stored_parts(name)

    def copy_part(self, name: str, part: str, offset: int, out: NDArray[np.uint8]) -> None:
        """Copy some bytes of a part; see `TensorSource.copy_part`."""
        self._homes[name].copy_part(name, part, offset, out)


def shard_paths(path: Path) -> list[Path] | None:
    """Return the files that `path` stands for; None if it is a file by itself.

    Raises
    ------
    OSError
        If nothing is there.
    FormatError
        If an index is corrupt.
    """
    if path.name.endswith(INDEX_SUFFIX):
        return _indexed(path)
    if path.is_dir():
        indices = sorted(path.glob(f"*{INDEX_SUFFIX}"))
        if len(indices) > 1:
            names = ", ".join(index.name for index in indices)
            raise FormatError(f"'{path}' has several index files: {names}; name one")
        return _indexed(indices[0]) if indices else _together(path)
    if any(letter in path.name for letter in "*?[") and not path.exists():
        found = sorted(path.parent.glob(path.name))
        if not found:
            raise FileNotFoundError(2, "No file matches", str(path))
        return found
    return None


def _together(folder: Path) -> list[Path]:
    """Return the safetensors files of a folder without an index, if they are one checkpoint.

    One is what ``model.safetensors`` holds, or what files of one name and their numbers do; files
    that only lie in the same place are not mixed.
    """
    paths = sorted(folder.glob("*.safetensors"))
    stems = {match[1] if (match := _NUMBERED.match(path.name)) else None for path in paths}
    if paths and (None in stems or len(stems) > 1) and [p.name for p in paths] != [_ONE]:
        text = f"Is a folder whose files are not one checkpoint ({paths[0].name}, ...); name them"
        raise IsADirectoryError(errno.EISDIR, text, str(folder))
    return paths


def _indexed(path: Path) -> list[Path]:
    file, length = open_regular(path)
    with file:
        if length > _MAX_INDEX_BYTES:
            raise FormatError(
                f"'{path}' has {length} bytes; an index has {_MAX_INDEX_BYTES} at most"
            )
        raw = file.read(length)
    try:
        names = sorted(set(json.loads(raw)["weight_map"].values()))
        if any("\0" in name for name in names):
            raise ValueError("a name has a zero byte")
        outside = [name for name in names if PurePath(name).name != name or name in ("", "..")]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"'{path}' is no index of shards: it has no weight_map") from error
    if outside:
        raise FormatError(f"'{path}' names the shard {outside[0]!r}, which is not beside it")
    return [path.with_name(name) for name in names]
