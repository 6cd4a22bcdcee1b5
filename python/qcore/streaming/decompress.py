"""Decode a checkpoint of any quantized format into floats, in memory that does not grow with it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._progress import Progress
from qcore._validation import check_one_of
from qcore.arrays.products.matrix import SparseMatrix
from qcore.estimators.quantizer.quantizer import Quantizer
from qcore.files.formats import open_tensors
from qcore.files.source import StoredPart, TensorInfo, TensorSource
from qcore.streaming.compress import CompressedFile, compress_source

__all__ = ["DTYPES", "decompress"]

#: The types that weights are decoded to, with what safetensors calls them.
DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_PLAIN = {"BOOL", "U8", "I8", "U16", "I16", "F16", "U32", "I32", "F32", "U64", "I64", "F64", "BF16"}


def decompress(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    dtype: str = "float32",
    *,
    file_format: str | None = None,
    progress: Progress = "auto",
) -> CompressedFile:
    """Decode the quantized tensors of a checkpoint into floats, a tile at a time.

    The other half of ``compress(path, output=...)``: what any tool reads again. Codes, blocks of
    GGUF, sparse tensors, small floats and whatever else `load_tensors` reads become floats of
    `dtype`; tensors that are floats of 16 bits or more, or integers, are copied as they are.

    Parameters
    ----------
    path : str or path-like
        The checkpoint: whatever `load_tensors` reads.
    output : str or path-like
        The file to write; not `path` itself. As in `compress`.
    dtype : {"float32", "float16", "bfloat16"}, default "float32"
        Rounded to nearest, half to even.
    file_format : {"qcore", "gguf"}, optional
        Default: "gguf" where the name ends in ``.gguf``, else "qcore", plain safetensors.
    progress : bool, "auto" or callable
        As in `compress`.

    Returns
    -------
    CompressedFile
        ``path``, ``nbytes`` and ``report_``.

    Raises
    ------
    OverflowError
        If a value is beyond the range of `dtype`; names the tensor.
    FormatError, OSError, ValueError
        As `compress`.

    Examples
    --------
    >>> import numpy as np, qcore as qc, tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> q = qc.quantize(np.eye(4, dtype=np.float32), axis=0)
    >>> qc.save(folder / "small.safetensors", {"w": q})
    >>> done = qc.decompress(folder / "small.safetensors", folder / "w.safetensors", "float16")
    >>> qc.load(done.path)["w"].dtype
    dtype('float16')
    """
    check_one_of(dtype, "dtype", DTYPES)
    source = _Decoded(open_tensors(Path(path)), dtype)
    nothing = Quantizer(8, ignore=("*",))
    return compress_source(
        source, Path(path), Path(output), nothing, file_format=file_format, progress=progress
    )


class _Decoded(TensorSource):
    """A checkpoint whose quantized tensors are floats."""

    def __init__(self, source: TensorSource, dtype: str) -> None:
        self._source, self._dtype = source, dtype
        self.paths = source.paths
        self._whole = threading.local()

    def __iter__(self) -> Iterator[str]:
        return iter(self._source)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, name: str) -> NDArray[Any]:
        value = self._source[name]
        dense = value.to_dense() if isinstance(value, SparseMatrix) else np.asarray(value)
        return self._rounded(name, dense) if self._changes(name) else dense

    def info(self, name: str) -> TensorInfo:
        """Return what is known of a tensor; see `TensorSource.info`."""
        info = self._source.info(name)
        if not self._changes(name):
            return info
        dtype = np.dtype(np.float16 if self._dtype == "float16" else np.float32)
        return TensorInfo(info.shape, dtype, in_rows=False)

    def read_rows(
        self, name: str, start: int, stop: int, buffer: NDArray[np.uint8] | None = None
    ) -> NDArray[Any]:
        """Return some rows of a tensor; see `TensorSource.read_rows`."""
        return self._source.read_rows(name, start, stop, buffer)

    def stored_parts(self, name: str) -> tuple[list[StoredPart], dict[str, Any]] | None:
        """Return the parts of a tensor; see `TensorSource.stored_parts`."""
        if not self._changes(name):
            return self._source.stored_parts(name)
        info = self._source.info(name)
        width = 4 if self._dtype == "float32" else 2
        return [StoredPart("", DTYPES[self._dtype], info.shape, info.size * width)], {}

    def copy_part(self, name: str, part: str, offset: int, out: NDArray[np.uint8]) -> None:
        """Copy some bytes of a part; see `TensorSource.copy_part`."""
        if not self._changes(name):
            self._source.copy_part(name, part, offset, out)
            return
        info = self._source.info(name)
        row = info.size // max(1, info.shape[0] if info.shape else 1)
        row *= 4 if self._dtype == "float32" else 2
        first = offset // row
        rows = self._rows(name, first, -(-(offset + out.size) // row))
        raw = np.ascontiguousarray(rows).reshape(-1).view(np.uint8)
        out[:] = raw[offset - first * row :][: out.size]

    def _changes(self, name: str) -> bool:
        """Whether a tensor is more than a plain array."""
        found = self._source.stored_parts(name)
        return found is None or bool(found[1]) or found[0][0].stored not in _PLAIN

    def _rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        if self._source.info(name).in_rows:
            return self._rounded(name, self._source.read_rows(name, start, stop))
        # One that is decoded as a whole is kept for the next of its bytes.
        kept = getattr(self._whole, "kept", None)
        if kept is None or kept[0] != name:
            kept = self._whole.kept = (name, self[name])
        value = kept[1]
        return value.reshape(1)[start:stop] if value.ndim == 0 else value[start:stop]

    def _rounded(self, name: str, value: NDArray[Any]) -> NDArray[Any]:
        wide = np.asarray(value, np.float32)
        if self._dtype == "float32":
            return wide
        with np.errstate(over="ignore"):
            found: NDArray[Any] = (
                wide.astype(np.float16) if self._dtype == "float16" else _bfloat16(wide)
            )
        limits = np.isinf(found) if self._dtype == "float16" else (found & 0x7FFF) == 0x7F80
        if bool((limits & np.isfinite(wide)).any()):
            raise OverflowError(f"tensor {name!r} has values beyond {self._dtype}")
        return found


def _bfloat16(wide: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the upper halves of floats, rounded to nearest, half to even."""
    bits = np.ascontiguousarray(wide).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))
    kept: NDArray[np.uint32] = np.where(np.isnan(wide), bits | np.uint32(0x400000), rounded)
    halves: NDArray[np.uint16] = (kept >> np.uint32(16)).astype(np.uint16)
    return halves
