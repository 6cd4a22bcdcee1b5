"""Floats in fewer bytes, every bit kept: how such a tensor is stored, and read again.

The stored tensor is U8 and holds the coded planes of `qcore_kernels::planes`; its description has
the type and the shape, and the SHA-256 of the bytes that it stands for. Chunks are coded alone:
some bytes are read without the rest, once the hash of all has been seen to be right.
"""

from __future__ import annotations

import hashlib
import math
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore.errors import FormatError

__all__ = ["LEAST_BYTES", "WIDTHS", "CodedFloats", "coded_floats", "description_of"]

#: The types that are coded, as safetensors calls them, and the bytes of an element.
WIDTHS = {
    "BF16": 2, "F16": 2, "F32": 4, "F64": 8, "F8_E4M3": 1, "F8_E4M3FNUZ": 1, "F8_E5M2": 1,
    "F8_E5M2FNUZ": 1,
}  # fmt: skip
#: Smaller tensors are not coded: a description takes as many bytes as it saves.
LEAST_BYTES = 1024
_DIGITS = frozenset("0123456789abcdef")


def description_of(stored: str, shape: tuple[int, ...], sha256: str) -> dict[str, Any]:
    """Return the description of a coded tensor."""
    return {"lossless": stored, "shape": list(shape), "sha256": sha256}


def coded_floats(
    data: NDArray[np.uint8], stored: str, shape: tuple[int, ...]
) -> tuple[NDArray[np.uint8], dict[str, Any]] | None:
    """Return the coded bytes of a tensor and its description; None where that saves nothing."""
    if stored not in WIDTHS or data.size < LEAST_BYTES:
        return None
    coded = _core.planes_encode(data, WIDTHS[stored])
    if coded.size + 200 >= data.size:
        return None
    return coded, description_of(stored, shape, hashlib.sha256(data.data).hexdigest())


class CodedFloats:
    """A coded tensor of an open file.

    Parameters
    ----------
    file : _core.TensorFile
    name : str
    description : dict
        Checked for its keys and their types.

    Attributes
    ----------
    stored : str
        The type of what it stands for.
    shape : list of int
    nbytes : int

    Raises
    ------
    ValueError
        If the description makes no sense.
    """

    def __init__(self, file: _core.TensorFile, name: str, description: dict[str, Any]) -> None:
        self._file, self._name = file, name
        self.stored: str = description["lossless"]
        self.shape: list[int] = description.get("shape", [])
        self._hash: str = description.get("sha256", "")
        dtype, lengths, self._length = file.info(name)
        if self.stored not in WIDTHS:
            known = ", ".join(WIDTHS)
            raise ValueError(f"tensor {name!r} is coded {self.stored!r}; known are {known}")
        if len(self._hash) != 64 or not _DIGITS.issuperset(self._hash):
            raise ValueError(f"tensor {name!r} is coded and has no SHA-256")
        if dtype != "U8" or len(lengths) != 1:
            raise ValueError(f"tensor {name!r} is coded and stored as {dtype} {lengths}")
        self._width = WIDTHS[self.stored]
        self.nbytes = math.prod(self.shape) * self._width
        self._chunk = _core.planes_sizes(0, self._width)[0] * self._width
        if self._length < -(-self.nbytes // self._chunk) * (4 + 2 * self._width):
            raise ValueError(f"tensor {name!r} of {self.shape} is coded in {self._length} bytes")
        self._lock = threading.Lock()
        self._starts: list[int] | None = None

    def read(self) -> NDArray[np.uint8]:
        """Return the bytes of all elements.

        Raises
        ------
        FormatError
            If they are not those that were coded.
        """
        coded = np.empty(self._length, np.uint8)
        self._file.read_into(self._name, coded)
        out = np.empty(self.nbytes, np.uint8)
        self._decode(coded, out)
        self._check(hashlib.sha256(out.data))
        return out

    def read_range(self, offset: int, out: NDArray[np.uint8]) -> None:
        """Fill `out` with bytes of the elements from `offset` on; see `read`."""
        with self._lock:
            if self._starts is None:
                starts = self._find()
                self._verify(starts)
                self._starts = starts
        self._fill(self._starts, offset, out)

    def _find(self) -> list[int]:
        """Return where chunks start, and the last one ends."""
        starts, head = [0], np.empty(4, np.uint8)
        for at in range(0, self.nbytes, self._chunk):
            nbytes = min(self._chunk, self.nbytes - at)
            if starts[-1] + 4 > self._length:
                raise self._damage()
            self._file.read_range(self._name, starts[-1], head)
            length = 4 + int(head.view("<u4")[0])
            if length > _core.planes_sizes(nbytes, self._width)[1]:
                raise self._damage()
            starts.append(starts[-1] + length)
        if starts[-1] != self._length:
            raise self._damage()
        return starts

    def _verify(self, starts: list[int]) -> None:
        """See by the hash, chunk by chunk, that all is what was coded."""
        found = hashlib.sha256()
        tile = np.empty(min(self.nbytes, 16 * self._chunk), np.uint8)
        for at in range(0, self.nbytes, 16 * self._chunk):
            some = tile[: min(tile.size, self.nbytes - at)]
            self._fill(starts, at, some)
            found.update(some.data)
        self._check(found)

    def _fill(self, starts: list[int], offset: int, out: NDArray[np.uint8]) -> None:
        first, last = offset // self._chunk, -(-(offset + out.size) // self._chunk)
        if first >= last:
            return
        coded = np.empty(starts[last] - starts[first], np.uint8)
        self._file.read_range(self._name, starts[first], coded)
        start, stop = first * self._chunk, min(last * self._chunk, self.nbytes)
        if (start, stop) == (offset, offset + out.size) and out.flags.c_contiguous:
            self._decode(coded, out)
            return
        whole = np.empty(stop - start, np.uint8)
        self._decode(coded, whole)
        out[:] = whole[offset - start :][: out.size]

    def _decode(self, coded: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        try:
            _core.planes_decode(coded, self._width, out)
        except ValueError as error:
            raise self._damage() from error

    def _check(self, found: Any) -> None:
        if found.hexdigest() != self._hash:
            raise self._damage()

    def _damage(self) -> FormatError:
        return FormatError(
            f"tensor {self._name!r} is damaged: its bytes are not those of its SHA-256"
        )
