"""GGUF files, versions 2 and 3: llama.cpp's checkpoints, read a tensor at a time.

A header (magic, version, counts), the metadata, a description of each tensor, then the tensors,
each at a multiple of the alignment. Shapes are stored from the last axis to the first.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import FormatError
from qcore.files.dtypes import decode, loaded_dtype, stored_name
from qcore.files.foreign.gguf_blocks import (
    AS_CODES,
    BLOCK,
    TYPES,
    decode_blocks,
    encode_blocks,
    no_blocks,
)
from qcore.files.foreign.wide import widened
from qcore.files.paths import open_regular
from qcore.files.source import StoredPart, TensorInfo, TensorSource

__all__ = ["Gguf", "check_entry", "encode_gguf", "gguf_header", "write_gguf"]

_MAGIC = b"GGUF"
_VERSION = 3
_ALIGNMENT = 32
_MAX_DIMS = 4
# ggml's numbers of the types that are known here; the plain ones by safetensors' names.
_TYPES = {
    0: "F32", 1: "F16", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 30: "BF16",
} | {kind.number: name for name, kind in TYPES.items()}  # fmt: skip
# What llama.cpp makes of activations while it runs; no file has them.
_UNREAD = {9: "Q8_1", 15: "Q8_K"}
# What llama.cpp calls a file of mostly one type: ``general.file_type``.
_FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "BF16": 32}
_FILE_TYPE, _UINT32 = b"general.file_type", 4
_NUMBERS = {name: number for number, name in _TYPES.items()}
# Values of metadata, by number: struct's letter. 8 is a text, 9 an array.
_SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9
# The key of the recipe that made a file, a text of qcore's own.
_RECIPE = "qcore.recipe"


class _Place(NamedTuple):
    kind: str
    shape: tuple[int, ...]
    start: int
    nbytes: int


class Gguf(TensorSource):
    """An open GGUF file.

    Attributes
    ----------
    pairs : dict of bytes to bytes
        The metadata: each key with its type and value as they are stored, but for what qcore keeps
        there.
    alignment : int
        What tensors start at multiples of.
    about : dict
        ``recipe``, where the file has one.

    Raises
    ------
    OSError
        If the file cannot be read.
    FormatError
        If it is corrupt, of another version, or has tensors of types that are not read; says what
        helps.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        file, self._length = open_regular(path)
        with file:
            try:
                self._read_header(_Cursor(file, self._length))
            except FormatError:
                raise
            except (ValueError, struct.error, OverflowError) as error:
                raise FormatError(f"'{path}' is a corrupt GGUF file: {error}") from error
        self._file = _core.RegularFile(path)

    def _read_header(self, cursor: _Cursor) -> None:
        if cursor.take(4) != _MAGIC:
            raise ValueError("it does not start with GGUF")
        version, count, pairs = cursor.number("I"), cursor.number("Q"), cursor.number("Q")
        if version in (2 << 24, 3 << 24):
            raise FormatError(
                f"'{self.path}' is a big-endian GGUF file, which is not read; llama.cpp's "
                "gguf_convert_endian.py turns it into a little-endian one"
            )
        if version not in (2, 3):
            raise FormatError(
                f"'{self.path}' is a GGUF file of version {version}; versions 2 and 3 are read"
            )
        alignment = _ALIGNMENT
        self.about: dict[str, Any] = {}
        self.pairs: dict[bytes, bytes] = {}
        for _ in range(pairs):
            key = cursor.text()
            cursor.kept = bytearray()
            value = cursor.value(cursor.number("I"))
            if key in self.pairs:
                raise ValueError(f"its metadata have {key!r} twice")
            if key == _RECIPE.encode() and isinstance(value, bytes):
                self.about["recipe"] = value.decode()
            else:
                self.pairs[key] = bytes(cursor.kept)
            if key == b"general.alignment":
                alignment = value if isinstance(value, int) else 0
            cursor.kept = None
        self.alignment = alignment
        if alignment <= 0 or alignment % 8:
            raise ValueError(f"its alignment is {alignment}")
        found = [self._read_place(cursor) for _ in range(count)]
        data = -(-cursor.position // alignment) * alignment
        self._places: dict[str, _Place] = {}
        for name, place in found:
            start = data + place.start
            if start + place.nbytes > self._length:
                raise ValueError(f"it is truncated: tensor {name!r} ends at {start + place.nbytes}")
            if name in self._places:
                raise ValueError(f"it has two tensors {name!r}")
            self._places[name] = place._replace(start=start)

    def _read_place(self, cursor: _Cursor) -> tuple[str, _Place]:
        name = cursor.text().decode()
        ndim = cursor.number("I")
        if ndim > _MAX_DIMS:
            raise ValueError(f"tensor {name!r} has {ndim} axes; {_MAX_DIMS} are allowed")
        shape = tuple(cursor.number("Q") for _ in range(ndim))[::-1]
        number, start = cursor.number("I"), cursor.number("Q")
        if number in _UNREAD:
            raise FormatError(
                f"'{self.path}' has tensor {name!r} in blocks of {_UNREAD[number]}, which are not "
                f"read ({', '.join(_TYPES.values())} are): no file of llama.cpp has them"
            )
        if number not in _TYPES:
            known = ", ".join(_TYPES.values())
            raise ValueError(f"tensor {name!r} is of type {number}; known are {known}")
        return name, _Place(_TYPES[number], shape, start, _nbytes(name, _TYPES[number], shape))

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, name: str) -> NDArray[Any] | QTensor:
        place = self._places[name]
        data = np.empty(place.nbytes, np.uint8)
        self._file.read_at(place.start, data)
        return _decode(place.kind, data, place.shape)

    def info(self, name: str) -> TensorInfo:
        """Return what is known of a tensor; see `TensorSource.info`."""
        place = self._places[name]
        if place.kind in AS_CODES:
            bits = AS_CODES[place.kind]
            dtype = np.dtype(np.int8 if bits == 8 else np.uint8)
            return TensorInfo(place.shape, dtype, in_rows=False, bits=bits)
        return TensorInfo(place.shape, loaded_dtype(place.kind), in_rows=bool(place.shape))

    def read_rows(
        self, name: str, start: int, stop: int, buffer: NDArray[np.uint8] | None = None
    ) -> NDArray[Any]:
        """Return some rows of a tensor; see `TensorSource.read_rows`."""
        place = self._places[name]
        row = place.nbytes // place.shape[0]
        length = row * (stop - start)
        data = np.empty(length, np.uint8) if buffer is None else buffer[:length]
        self._file.read_at(place.start + start * row, data)
        rows = _decode(place.kind, data, (stop - start, *place.shape[1:]))
        assert isinstance(rows, np.ndarray)
        return rows

    def stored_parts(self, name: str) -> tuple[list[StoredPart], dict[str, Any]] | None:
        """Return the parts of a tensor; see `TensorSource.stored_parts`."""
        place = self._places[name]
        return [StoredPart("", place.kind, place.shape, place.nbytes)], {}

    def copy_part(self, name: str, part: str, offset: int, out: NDArray[np.uint8]) -> None:
        """Copy some bytes of a part; see `TensorSource.copy_part`."""
        self._file.read_at(self._places[name].start + offset, out)


class _Cursor:
    """Reads on from the start of a file; never past its end."""

    def __init__(self, file: IO[bytes], length: int) -> None:
        self._file = file
        self._length = length
        self.position = 0
        self.kept: bytearray | None = None

    def take(self, count: int) -> bytes:
        if count > self._length - self.position:
            raise ValueError(f"it is truncated at byte {self._length}")
        data = self._file.read(count)
        if len(data) != count:
            raise ValueError(f"it is truncated at byte {self.position + len(data)}")
        self.position += count
        if self.kept is not None:
            self.kept += data
        return data

    def number(self, letter: str) -> Any:
        return struct.unpack("<" + letter, self.take(struct.calcsize("<" + letter)))[0]

    def text(self) -> bytes:
        return self.take(self.number("Q"))

    def value(self, kind: int, depth: int = 0) -> Any:
        """Read a value of metadata; of arrays nothing is returned."""
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _TEXT:
            return self.text()
        if kind != _ARRAY or depth > 8:
            raise ValueError(f"its metadata have a value of type {kind}")
        inner, count = self.number("I"), self.number("Q")
        if inner in _SCALARS:
            self.take(count * struct.calcsize("<" + _SCALARS[inner]))
        else:
            for _ in range(count):
                self.value(inner, depth + 1)
        return None


def write_gguf(
    path: Path,
    tensors: Mapping[str, object],
    source: Gguf | None = None,
    *,
    recipe: str | None = None,
) -> None:
    """Write tensors as a GGUF file, atomically.

    It has the metadata of `source`, where that is given, and the text `recipe`.

    Raises
    ------
    TypeError, ValueError
        If GGUF cannot hold a tensor; names it.
    """
    tensors = {name: widened(name, value, _no_blocks(value)) for name, value in tensors.items()}
    encoded = {name: encode_gguf(name, value) for name, value in tensors.items()}
    entries = [
        (name, kind, tuple(np.shape(tensors[name])), data.nbytes)  # type: ignore[call-overload]
        for name, (kind, data) in encoded.items()
    ]
    header, places, length = gguf_header(entries, source, recipe=recipe)
    file = _core.AtomicFile(path)
    try:
        file.set_len(length)
        file.write_at(0, np.frombuffer(header, np.uint8))
        for (_, data), place in zip(encoded.values(), places, strict=True):
            file.write_at(place, data)
        file.commit()
    finally:
        file.discard()


def _no_blocks(value: object) -> str | None:
    """Return why the codes of a tensor that lies in groups have no blocks; None if they have."""
    grouped = isinstance(value, QTensor) and value.group_size == BLOCK
    return no_blocks(value.shape) if grouped else None  # type: ignore[attr-defined]


def encode_gguf(name: str, value: object, kind: str | None = None) -> tuple[str, NDArray[np.uint8]]:
    """Return the type and the bytes that GGUF has for a tensor; see `encode_blocks`."""
    if isinstance(value, QTensor):
        try:
            kind, blocks = encode_blocks(value, kind)
        except ValueError as error:
            raise ValueError(f"tensor {name!r}: {error}") from error
        return kind, blocks.reshape(-1)
    array = np.asarray(value)
    found = stored_name(array.dtype)
    if found not in _NUMBERS:
        raise TypeError(f"tensor {name!r} is {array.dtype}; GGUF has no such type")
    little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    return found, little.reshape(-1).view(np.uint8)


def gguf_header(
    entries: Sequence[tuple[str, str, tuple[int, ...], int]],
    source: Gguf | None = None,
    *,
    recipe: str | None = None,
) -> tuple[bytes, list[int], int]:
    """Return the header of a file with tensors of these names, types, shapes and bytes.

    Returns
    -------
    header : bytes
    places : list of int
        Where each tensor starts.
    length : int
        Of the file.
    """
    pairs = dict(_ORIGIN if source is None else source.pairs)
    alignment = _ALIGNMENT if source is None else source.alignment
    if _FILE_TYPE in pairs:
        weights: dict[str, int] = {}
        for _, kind, shape, nbytes in entries:
            if len(shape) > 1:
                weights[kind] = weights.get(kind, 0) + nbytes
        most = max(weights, key=lambda kind: weights[kind], default="F32")
        if most in _FILE_TYPES:
            pairs[_FILE_TYPE] = struct.pack("<II", _UINT32, _FILE_TYPES[most])
    if recipe is not None:
        pairs[_RECIPE.encode()] = _text(recipe)
    header = bytearray(_MAGIC + struct.pack("<IQQ", _VERSION, len(entries), len(pairs)))
    for key, value in pairs.items():
        header += struct.pack("<Q", len(key)) + key + value
    starts, offset = [], 0
    for name, kind, shape, nbytes in entries:
        check_entry(name, kind, shape)
        raw = name.encode()
        header += struct.pack("<Q", len(raw)) + raw + struct.pack("<I", len(shape))
        header += struct.pack(f"<{len(shape)}Q", *shape[::-1])
        header += struct.pack("<IQ", _NUMBERS[kind], offset)
        starts.append(offset)
        offset = -(-(offset + nbytes) // alignment) * alignment
    header += bytes(-len(header) % alignment)
    return bytes(header), [len(header) + start for start in starts], len(header) + offset


def check_entry(name: str, kind: str, shape: tuple[int, ...]) -> None:
    """Raise TypeError where GGUF has no tensor of this type and these axes."""
    if kind not in _NUMBERS or len(shape) > _MAX_DIMS:
        raise TypeError(f"tensor {name!r} is {kind} of {len(shape)} axes; GGUF has no such type")


def _text(value: str) -> bytes:
    """Return a text as metadata have it, with its type."""
    raw = value.encode()
    return struct.pack("<IQ", _TEXT, len(raw)) + raw


# The metadata of a file that was made from no other.
_ORIGIN = {b"general.architecture": _text("qcore")}


def _nbytes(name: str, kind: str, shape: tuple[int, ...]) -> int:
    size = math.prod(shape)
    if kind not in TYPES:
        return size * {"BF16": 2}.get(kind, loaded_dtype(kind).itemsize)
    block = TYPES[kind]
    if not shape or shape[-1] % block.elements:
        raise ValueError(
            f"tensor {name!r} is {kind} with rows of {shape[-1:]}, not of {block.elements}s"
        )
    return size // block.elements * block.nbytes


def _decode(kind: str, data: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[Any] | QTensor:
    if kind in TYPES:
        return decode_blocks(kind, data, shape)
    return decode(kind, data, list(shape))
