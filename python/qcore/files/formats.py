"""Which kinds of checkpoint there are, and how each is opened: a line for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._arguments.validation import check_one_of
from qcore.arrays.products.matrix import SparseMatrix
from qcore.arrays.tensor.tensor import QTensor
from qcore.files.foreign import arrays
from qcore.files.foreign.composed.table import composed
from qcore.files.foreign.compressed_tensors_source import CompressedTensors, find_weights
from qcore.files.foreign.gguf import Gguf
from qcore.files.foreign.layouts import check_layout
from qcore.files.foreign.others import check_known
from qcore.files.foreign.scaled_floats import ScaledFloats, find_scales
from qcore.files.limits import USUAL, Limits
from qcore.files.qcore_format.container import Container
from qcore.files.sharded.shards import Shards, shard_paths
from qcore.files.source import TensorInfo, TensorSource

__all__ = ["WRITTEN", "format_of", "has_other_format", "open_tensors"]

#: The formats in which tensors are written.
WRITTEN = ("qcore", "compressed-tensors", "gguf")


class Loaded(TensorSource):
    """Tensors of a kind of file that is only read as a whole."""

    def __init__(self, tensors: Mapping[str, NDArray[Any] | QTensor | SparseMatrix]) -> None:
        self._tensors = tensors

    def __getitem__(self, name: str) -> NDArray[Any] | QTensor | SparseMatrix:
        return self._tensors[name]

    def __iter__(self) -> Any:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def info(self, name: str) -> TensorInfo:
        """Return what is known of a tensor; see `TensorSource.info`."""
        array = self._tensors[name]
        if isinstance(array, np.ndarray):
            return TensorInfo(array.shape, array.dtype, in_rows=array.ndim > 0)
        if isinstance(array, QTensor):
            return TensorInfo(array.shape, array.values.dtype, in_rows=False, bits=array.bits)
        return TensorInfo(array.shape, array.dtype, in_rows=False)

    def read_rows(
        self, name: str, start: int, stop: int, buffer: NDArray[np.uint8] | None = None
    ) -> NDArray[Any]:
        """Return some rows of a tensor; see `TensorSource.read_rows`."""
        array = self._tensors[name]
        assert isinstance(array, np.ndarray), "codes are not read in rows"
        return array[start:stop]


def open_tensors(path: Path, limits: Limits = USUAL) -> TensorSource:
    """Open a checkpoint of any kind.

    Parameters
    ----------
    path : Path
    limits : Limits
        What it may ask for; see there.

    Raises
    ------
    OSError
        If it cannot be read.
    FormatError
        If it is corrupt, or of a kind that is not known.
    """
    paths = shard_paths(path)
    if paths is not None:
        return _many(path, paths, limits)
    return _BY_SUFFIX.get(path.suffix, _open_safetensors)(path, limits)


def format_of(path: Path, given: str | None = None) -> str:
    """Return the format in which a file is written.

    Raises
    ------
    ValueError
        If `given` is none, or is another than the file's name says.
    """
    named = "gguf" if path.suffix == ".gguf" else None
    if named is None and has_other_format(path):
        raise ValueError(
            f"the file is {path.name!r}; {path.suffix} files are read, not written: name one that "
            "ends in .safetensors or .gguf"
        )
    if given is None:
        return named or "qcore"
    check_one_of(given, "file_format", WRITTEN)
    if (named or given) != given or (given == "gguf" and named is None):
        raise ValueError(
            f"file_format is {given!r} and the file is {path.name!r}; only GGUF files end in .gguf"
        )
    return given


def has_other_format(path: Path) -> bool:
    """Return whether a file's name says that it is of a kind of its own, not safetensors."""
    return path.suffix in _BY_SUFFIX


def _many(path: Path, paths: list[Path], limits: Limits) -> TensorSource:
    """Open a folder, or the files that a glob names."""
    if not paths and any(path.glob("*.npy")):
        return arrays.NpyFiles(path.glob("*.npy"))
    if not paths:
        raise IsADirectoryError(21, "Is a folder without .safetensors or .npy files", str(path))
    return _understood(Shards(paths, limits), path)


def _open_safetensors(path: Path, limits: Limits) -> TensorSource:
    check_known(path)
    file = Container(path, limits)
    return file if file.is_own else _understood(file, path)


def _understood(source: TensorSource, path: Path) -> TensorSource:
    """Return a checkpoint of others as what it stands for."""
    source = composed(source, path)
    check_layout(source, path)
    scales = find_scales(source, path)
    if scales:
        source = ScaledFloats(source, scales, path)
    return CompressedTensors(source, path) if find_weights(source) else source


def _open_gguf(path: Path, limits: Limits) -> TensorSource:
    return Gguf(path)


def _open_npy(path: Path, limits: Limits) -> TensorSource:
    return arrays.NpyFiles([path])


def _open_npz(path: Path, limits: Limits) -> TensorSource:
    return Loaded(arrays.load_npz(path, limits))


# Files of any other name are safetensors.
_BY_SUFFIX: dict[str, Callable[[Path, Limits], TensorSource]] = {
    ".gguf": _open_gguf,
    ".npy": _open_npy,
    ".npz": _open_npz,
}
