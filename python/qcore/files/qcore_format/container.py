"""Tensors in a safetensors file, with what describes them: the one place that knows the layout.

``__metadata__["qcore"]`` is a JSON text::

    {"format": 1, "kind": "network" | "checkpoint" | "tensor" | "graph",
     "tensors": {name: description, ...}, "sep": ":", "layers": [...]}

``tensors`` has the tensors that are more than one part, ``sep`` what lies between a name and its
part (where it is not ``:``), ``layers`` a network; a graph, of format 2, has ``graph``. Files
without the text are plain checkpoints.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import qcore.arrays.schemes.table  # noqa: F401 - tensors decode by the table that it fills
from qcore import _core
from qcore.arrays.products.matrix import SparseMatrix
from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import FormatError
from qcore.files.dtypes import decode, loaded_dtype, stored_name
from qcore.files.limits import USUAL, Limits
from qcore.files.qcore_format.lossless import WIDTHS, CodedFloats, coded_floats
from qcore.files.qcore_format.parts import (
    PARTS,
    Description,
    check_description,
    decode_tensor,
    encode_tensor,
    field,
)
from qcore.files.source import StoredPart, TensorInfo, TensorSource

__all__ = [
    "FORMAT",
    "Container",
    "nbytes",
    "part_bytes",
    "part_dtype",
    "separator_for",
    "texts_of",
    "write",
]

# The newest format this version writes; it reads every one up to it.
FORMAT = 2
KINDS = ("checkpoint", "graph", "network", "tensor")
# Graphs came with format 2; what older versions can read is written as they read it.
_FORMAT_OF = {"graph": 2}
_KEY = "qcore"
_SEPARATOR = ":"
# What a description of the whole file may have besides, by type.
_TEXTS: dict[str, type] = {
    "classes": dict, "graph": dict, "layers": list, "names": list, "recipe": str,
}  # fmt: skip


class Container(TensorSource):
    """The tensors of an open file, each read when it is asked for.

    Parameters
    ----------
    path : Path
        A safetensors file; its header is read and checked.

    Attributes
    ----------
    kind : str
        "network", "checkpoint" or "tensor".
    about : dict
        The whole text that describes the file.

    Raises
    ------
    OSError
        If the file cannot be read.
    FormatError
        If it is corrupt, or of a newer format.
    """

    def __init__(self, path: Path, limits: Limits = USUAL) -> None:
        self.path = path
        self.paths = (path,)
        self.limits = limits
        self._file = _core.TensorFile(path, limits.max_tensors, limits.max_name_bytes)
        names = self._file.names()
        self._stored = set(names)
        with self.checked():
            self.about = _parse(path, self._file.texts().get(_KEY))
            self.kind: str = field(self.about, "kind", str, "checkpoint")
            if self.kind not in KINDS:
                raise ValueError(f"its kind is {self.kind!r}; known are {', '.join(KINDS)}")
            self._described = field(self.about, "tensors", dict, {})
            self._separator = field(self.about, "sep", str, _SEPARATOR)
            field(self.about, "others", bool)
            self._coded: dict[str, CodedFloats] = {}
            hidden: set[str] = set()
            for name, description in self._described.items():
                if name not in self._stored or type(description) is not dict:
                    raise ValueError(f"tensor {name!r} is described and has no values")
                check_description(description)
                if "lossless" in description:
                    self._coded[name] = CodedFloats(self._file, name, description)
                hidden.update(self._stored_name(name, part) for part in PARTS if part)
            for key, kind in _TEXTS.items():
                if self.about.get(key) is not None:  # a network may say that it has no labels
                    field(self.about, key, kind)
        self._names = dict.fromkeys(name for name in names if name not in hidden)
        decoded = sum(self._decoded_bytes(name) for name in self._described)
        limits.check_bytes(path, decoded, path.stat().st_size)

    @contextmanager
    def checked(self) -> Iterator[None]:
        """Turn what parts that do not fit raise into a `FormatError` of this file."""
        try:
            yield
        except FormatError:
            raise
        except (ValueError, TypeError, OverflowError) as error:
            raise FormatError(f"'{self.path}' is corrupt: {error}") from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, name: str) -> NDArray[Any] | QTensor | SparseMatrix:
        if name not in self._names:
            raise KeyError(name)
        with self.checked():
            return self._decode(name)

    def info(self, name: str) -> TensorInfo:
        """Return what is known of a tensor; see `TensorSource.info`."""
        if name not in self._names:
            raise KeyError(name)
        dtype, stored_shape, nbytes = self._stored_info(name)
        description = None if name in self._coded else self._described.get(name)
        shape = tuple(stored_shape)
        if description is None:
            # A row of a type below 8 bits may end inside a byte.
            rows = shape[0] if shape else 0
            in_rows = rows > 0 and nbytes % rows == 0
            return TensorInfo(shape, loaded_dtype(dtype), in_rows)
        with self.checked():
            shape = tuple(field(description, "shape", list, list(shape)))
            bits = field(description, "bits", int)
        return TensorInfo(shape, loaded_dtype(dtype), in_rows=False, bits=bits)

    def read_rows(
        self, name: str, start: int, stop: int, buffer: NDArray[np.uint8] | None = None
    ) -> NDArray[Any]:
        """Return some rows of a tensor; see `TensorSource.read_rows`."""
        dtype, shape, nbytes = self._stored_info(name)
        row = nbytes // shape[0]
        length = row * (stop - start)
        data = np.empty(length, np.uint8) if buffer is None else buffer[:length]
        self.copy_part(name, "", start * row, data)
        return decode(dtype, data, [stop - start, *shape[1:]])

    def layout(self, name: str) -> tuple[str, int] | None:
        """Return what a tensor is stored as; see `TensorSource.layout`."""
        if name not in self._coded:
            return None
        return f"{self._coded[name].stored.lower()}, coded", self._file.info(name)[2]

    def stored_parts(self, name: str) -> tuple[list[StoredPart], Description]:
        """Return the parts of a tensor; see `TensorSource.stored_parts`."""
        found = []
        for part in PARTS:
            stored = self._stored_name(name, part)
            if part and (name not in self._described or stored not in self._stored):
                continue
            dtype, shape, nbytes = self._stored_info(stored)
            found.append(StoredPart(part, dtype, tuple(shape), nbytes))
        return found, {} if name in self._coded else self._described.get(name, {})

    def copy_part(self, name: str, part: str, offset: int, out: NDArray[np.uint8]) -> None:
        """Copy some bytes of a part; see `TensorSource.copy_part`."""
        if name in self._coded:
            self._coded[name].read_range(offset, out)
        else:
            self._file.read_range(self._stored_name(name, part), offset, out)

    @property
    def is_own(self) -> bool:
        """Whether tensors are what they are described as, and in no layout of other makers."""
        return bool(self.about) and not self.about.get("others")

    def texts(self) -> dict[str, str]:
        """Return the texts of the header but the one that describes the file."""
        return {key: text for key, text in self._file.texts().items() if key != _KEY}

    def _stored_info(self, stored: str) -> tuple[str, list[int], int]:
        """Return type, shape and bytes of a stored tensor; of a coded one what it stands for."""
        coded = self._coded.get(stored)
        return (
            self._file.info(stored) if coded is None else (coded.stored, coded.shape, coded.nbytes)
        )

    def _decoded_bytes(self, name: str) -> int:
        """Return what a described tensor takes when it is loaded, at most."""
        description = self._described[name]
        if name in self._coded:
            size = self._coded[name].nbytes // WIDTHS[self._coded[name].stored]
            return int(size * loaded_dtype(self._coded[name].stored).itemsize)
        dtype, stored, _ = self._file.info(name)
        shape: list[int] = description.get("shape", stored)
        if description.get("csr"):
            return 8 * sum(shape[:1])  # where its rows start; its values are in the file
        return math.prod(shape) * loaded_dtype(dtype).itemsize

    def _decode(self, name: str) -> NDArray[Any] | QTensor | SparseMatrix:
        if name not in self._described or name in self._coded:
            return self._read(name)
        stored = {part: self._stored_name(name, part) for part in PARTS}
        parts = {part: self._read(key) for part, key in stored.items() if key in self._stored}
        try:
            return decode_tensor(self._described[name], parts)
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"tensor {name!r}: {error}") from error

    def _stored_name(self, name: str, part: str) -> str:
        return f"{name}{self._separator}{part}" if part else name

    def _read(self, stored: str) -> NDArray[Any]:
        if stored in self._coded:
            coded = self._coded[stored]
            return decode(coded.stored, coded.read(), coded.shape)
        dtype, shape, length = self._file.info(stored)
        data = np.empty(length, np.uint8)
        self._file.read_into(stored, data)
        return decode(dtype, data, shape)


def write(
    path: Path, kind: str, tensors: Mapping[str, object], *, lossless: bool = False, **about: Any
) -> None:
    """Write tensors and what is about them, atomically; floats coded where they are `lossless`."""
    _core.write_tensor_file(path, *_contents(kind, tensors, about, lossless=lossless))


def nbytes(kind: str, tensors: Mapping[str, object], **about: Any) -> int:
    """Return how long the file that `write` writes would be."""
    return _core.tensor_file_nbytes(*_contents(kind, tensors, about))


def _contents(
    kind: str, tensors: Mapping[str, object], about: dict[str, Any], *, lossless: bool = False
) -> tuple[list[tuple[str, str, tuple[int, ...], NDArray[np.uint8]]], dict[str, str]]:
    """Return the stored tensors, and the texts of the header."""
    separator = separator_for(tensors)
    entries = []
    described: dict[str, Description] = {}
    for name, value in tensors.items():
        parts, description = encode_tensor(name, value)
        if lossless and not description:
            whole = parts[""]
            found = coded_floats(part_bytes(whole), part_dtype(whole), whole.shape)
            if found is not None:
                parts, description = {"": found[0]}, found[1]
        if description:
            described[name] = description
        for part, array in parts.items():
            stored = f"{name}{separator}{part}" if part else name
            entries.append((stored, part_dtype(array), array.shape, part_bytes(array)))
    return entries, texts_of(kind, separator, described, about)


def separator_for(names: Iterable[str]) -> str:
    """Return what may lie between a name and its part: it is in none of the names."""
    separator = _SEPARATOR
    while any(separator in name for name in names):
        separator += _SEPARATOR
    return separator


def texts_of(
    kind: str, separator: str, described: dict[str, Description], about: dict[str, Any]
) -> dict[str, str]:
    """Return the texts of the header of a file with these descriptions."""
    text: dict[str, Any] = {"format": _FORMAT_OF.get(kind, 1), "kind": kind} | about
    if described:
        # Sorted: the bytes depend on what is described, not on who described it.
        text["tensors"] = {
            name: dict(sorted(like.items())) for name, like in sorted(described.items())
        }
        if separator != _SEPARATOR:
            text["sep"] = separator
    return {_KEY: json.dumps(text, separators=(",", ":"), ensure_ascii=False)}


def part_dtype(array: NDArray[Any]) -> str:
    """Return what safetensors calls the type of a part."""
    name = stored_name(array.dtype)
    assert name is not None, "encode_tensor checks it"
    return name


def part_bytes(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the bytes of a part as a file has them: little-endian, row-major."""
    little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    return little.reshape(-1).view(np.uint8)


def _parse(path: Path, text: str | None) -> dict[str, Any]:
    """Return the text of a file as a dict, checked for its format."""
    if text is None:
        return {}
    try:
        about = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its description is not JSON: {error}") from error
    if type(about) is not dict or type(about.get("format")) is not int or about["format"] < 1:
        raise ValueError("its description names no format")
    if about["format"] > FORMAT:
        raise FormatError(
            f"'{path}' is of format {about['format']}; this version reads formats up to {FORMAT}"
        )
    return about
