"""Store the floats of a checkpoint in fewer bytes, every bit kept, a tile at a time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore._display.progress import EpochProgress, Progress
from qcore._display.table import Report
from qcore.errors import ArgumentError
from qcore.files.dtypes import stored_name
from qcore.files.foreign.gguf_blocks import TYPES as GGUF_TYPES
from qcore.files.formats import format_of, has_other_format, open_tensors
from qcore.files.limits import USUAL, Limits
from qcore.files.qcore_format.container import Container, part_bytes, separator_for, texts_of
from qcore.files.qcore_format.lossless import LEAST_BYTES, WIDTHS, description_of
from qcore.files.sharded.shard_output import is_index
from qcore.files.sharded.shards import Shards, shard_paths
from qcore.files.source import StoredPart, TensorSource
from qcore.streaming.compress import CompressedFile

__all__ = ["compress_lossless", "restore"]

# Elements of a tile: some chunks for every thread, and not much memory.
_TILE = 1 << 22
_NO_HASH = "0" * 64


def compress_lossless(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    progress: Progress = "auto",
    limits: Limits = USUAL,
) -> CompressedFile:
    """Write a checkpoint with its floats entropy-coded, a tile at a time.

    bfloat16, float16, float32, float64 and 8-bit floats of a kilobyte or more are coded; codes,
    integers and small tensors are copied. Weights of bfloat16 come to two thirds of their bytes,
    those of float32 to five sixths. What a file of another maker says besides its tensors is kept,
    and its layouts are read as before.

    Parameters
    ----------
    path : str or path-like
        The checkpoint: safetensors, one file or several, ``.npz``, ``.npy``, or GGUF of floats.
    output : str or path-like
        The file to write; not `path` itself. `qcore.load_tensors` reads it, and `decompress` makes
        the plain file of it.
    progress : bool, "auto" or callable
    limits : Limits

    Returns
    -------
    CompressedFile

    Raises
    ------
    OSError, FormatError
        As `compress_file`.
    ValueError
        If the file is to be GGUF or an index, or a tensor is of blocks of GGUF.
    """
    return _write(path, output, progress, limits, coded=True)


def restore(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    progress: Progress = "auto",
    limits: Limits = USUAL,
) -> CompressedFile:
    """Write the file that `compress_lossless` read; arguments as there."""
    return _write(path, output, progress, limits, coded=False)


def _write(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    progress: Progress,
    limits: Limits,
    *,
    coded: bool,
) -> CompressedFile:
    place, target = Path(path), Path(output)
    if target.exists() and place.exists() and target.samefile(place):
        raise ArgumentError("output", f"output is {str(target)!r}, the file to compress")
    if format_of(target) != "qcore" or is_index(target):
        found = f"output is {str(target)!r}"
        raise ArgumentError("output", f"{found}; coded floats lie in one safetensors file")
    job = _Job(_as_stored(place, limits), target, coded=coded)
    with EpochProgress(progress, job.total, target.name, unit="bytes") as shown:
        job.write(shown)
    return CompressedFile(target, target.stat().st_size, job.report())


def _as_stored(path: Path, limits: Limits) -> TensorSource:
    """Return a checkpoint whose tensors are those of the file, not what a layout makes of them."""
    paths = shard_paths(path)
    if paths:
        return Shards(paths, limits)
    if has_other_format(path) or path.is_dir():
        return open_tensors(path, limits)
    return Container(path, limits)


class _Job:
    """A file in the making.

    Attributes
    ----------
    total : int
        Bytes to read.
    """

    def __init__(self, source: TensorSource, target: Path, *, coded: bool) -> None:
        self._source, self._target = source, target
        self._arrays: dict[str, NDArray[Any]] = {}
        self._parts: list[tuple[str, StoredPart]] = []
        self._described: dict[str, dict[str, Any]] = {}
        for name in source:
            found = source.stored_parts(name)
            if found is None:
                value = np.asarray(source[name])
                kind = stored_name(value.dtype)
                if kind is None:
                    raise TypeError(f"tensor {name!r} is {value.dtype}; a file has no such type")
                self._arrays[name] = value
                found = [StoredPart("", kind, value.shape, value.nbytes)], {}
            if found[1]:
                self._described[name] = found[1]
            for part in found[0]:
                if part.stored in GGUF_TYPES and part.stored not in WIDTHS:
                    raise ArgumentError(
                        "lossless",
                        f"tensor {name!r} is of {part.stored} blocks; floats are coded: "
                        "qcore.decompress makes some of it",
                    )
                self._parts.append((name, part))
        self._separator = separator_for(source)
        #: The tensors that are coded, with their hashes and lengths when these are known.
        self._coded = {
            name: (_NO_HASH, _core.planes_sizes(part.nbytes, WIDTHS[part.stored])[1])
            for name, part in self._parts
            if coded
            and not part.part
            and name not in self._described
            and part.stored in WIDTHS
            and part.nbytes >= LEAST_BYTES
        }
        self.total = sum(part.nbytes for _, part in self._parts)

    def write(self, shown: EpochProgress) -> None:
        """Write the tensors in the order of the file, then the header in front of them."""
        header, starts = self._header()
        order = sorted(range(len(starts)), key=lambda index: starts[index])
        room, at, read = len(header), len(header), 0
        file = _core.AtomicFile(self._target)
        try:
            for name, part in (self._parts[index] for index in order):
                digest, length = hashlib.sha256(), 0
                for data in self._tiles(name, part):
                    read += data.size
                    coded = data
                    if name in self._coded:
                        digest.update(data.data)
                        coded = _core.planes_encode(data, WIDTHS[part.stored])
                    file.write_at(at + length, coded)
                    length += coded.size
                    shown.update(read, name)
                at += length
                if name in self._coded:
                    self._coded[name] = digest.hexdigest(), length
            header, _ = self._header()
            # Planned with the most that tensors take: filled with spaces, as its end always is.
            text = header[8:].ljust(room - 8)
            whole = (room - 8).to_bytes(8, "little") + text
            file.write_at(0, np.frombuffer(whole, np.uint8))
            file.commit()
        finally:
            file.discard()

    def report(self) -> Report:
        """Return what became of each tensor."""
        rows: list[dict[str, Any]] = [
            {
                "tensor": f"{name}{self._separator}{part.part}" if part.part else name,
                "shape": "x".join(map(str, part.shape)) or "scalar",
                "stored": part.stored,
                "float bytes": part.nbytes,
                "bytes": self._coded[name][1] if name in self._coded else part.nbytes,
            }
            for name, part in self._parts
        ]
        sums = {column: sum(row[column] for row in rows) for column in ("float bytes", "bytes")}
        return Report("lossless", rows, {"tensor": "all"} | sums)

    def _header(self) -> tuple[bytes, list[int]]:
        entries: list[tuple[str, str, tuple[int, ...]]] = []
        described = dict(self._described)
        for name, part in self._parts:
            stored = f"{name}{self._separator}{part.part}" if part.part else name
            if name in self._coded:
                digest, length = self._coded[name]
                described[name] = description_of(part.stored, part.shape, digest)
                entries.append((stored, "U8", (length,)))
            else:
                entries.append((stored, part.stored, part.shape))
        source, kind, about, texts = self._source, "checkpoint", {}, {}
        if isinstance(source, Container):
            kind, texts = source.kind, source.texts()
            about = {k: v for k, v in source.about.items() if k not in ("tensors", "sep", "format")}
            about.pop("kind", None)
        if isinstance(source, Container) and source.is_own:
            texts |= texts_of(kind, self._separator, described, about)
        elif described:
            about["others"] = True
            texts |= texts_of(kind, self._separator, described, about)
        header, starts = _core.plan_tensor_file(entries, texts)
        return bytes(header), list(starts)

    def _tiles(self, name: str, part: StoredPart) -> Iterator[NDArray[np.uint8]]:
        if name in self._arrays:
            data = part_bytes(self._arrays[name])
            step = _TILE * self._arrays[name].dtype.itemsize
            yield from (data[start : start + step] for start in range(0, data.size, step))
            return
        # Whole chunks: what is coded in tiles is what is coded at once.
        step = _TILE * WIDTHS.get(part.stored, 1)
        buffer = np.empty(min(step, part.nbytes), np.uint8)
        for start in range(0, part.nbytes, step):
            data = buffer[: min(step, part.nbytes - start)]
            self._source.copy_part(name, part.part, start, data)
            yield data
