"""NumPy's own files, read without pickle and without trusting a length."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore.errors import FormatError
from qcore.files.limits import USUAL, Limits
from qcore.files.paths import open_regular
from qcore.files.source import TensorInfo, TensorSource

__all__ = ["NpyFiles", "load_npy", "load_npz"]

# What a byte of deflate can become at most; zip files store their own, unchecked, sizes.
_MOST_INFLATED = 1032
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def load_npy(path: Path) -> NDArray[Any]:
    """Read one ``.npy`` file."""
    file, length = open_regular(path)
    with file:
        return _read_array(path, file, length)


def load_npz(path: Path, limits: Limits = USUAL) -> dict[str, NDArray[Any]]:
    """Read every array of an ``.npz`` file."""
    arrays = {}
    raw, length = open_regular(path)
    with raw:
        try:
            with zipfile.ZipFile(raw) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
                limits.check_bytes(path, unpacked, length)
                for entry in archive.infolist():
                    most = min(entry.compress_size, length) * _MOST_INFLATED + _MOST_INFLATED
                    if entry.file_size > most or not 0 <= entry.header_offset < length:
                        raise FormatError(f"'{path}' is corrupt: {entry.filename} cannot be there")
                    name = entry.filename.removesuffix(".npy")
                    with archive.open(entry) as file:
                        arrays[name] = _read_array(path, file, entry.file_size)
        except (FormatError, OSError, MemoryError):
            raise
        # A broken archive raises errors of zipfile, zlib, struct, and of what only newer ones read.
        except Exception as error:
            raise FormatError(f"'{path}' is a corrupt .npz file: {error}") from error
    return arrays


class NpyFiles(TensorSource):
    """Some ``.npy`` files, each a tensor named as its file, read when it is asked for."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = {path.stem: path for path in sorted(paths)}
        for name in self._paths:
            self._header(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return load_npy(self._paths[name])

    def info(self, name: str) -> TensorInfo:
        """Return what is known of a tensor; see `TensorSource.info`."""
        shape, fortran, dtype, _ = self._header(name)
        in_rows = bool(shape) and not fortran and dtype.isnative
        return TensorInfo(shape, dtype.newbyteorder("="), in_rows)

    def read_rows(
        self, name: str, start: int, stop: int, buffer: NDArray[np.uint8] | None = None
    ) -> NDArray[Any]:
        """Return some rows of a tensor; see `TensorSource.read_rows`."""
        shape, _, dtype, data_start = self._header(name)
        row = math.prod(shape[1:]) * dtype.itemsize
        length = row * (stop - start)
        data = np.empty(length, np.uint8) if buffer is None else buffer[:length]
        _core.RegularFile(self._paths[name]).read_at(data_start + start * row, data)
        return data.view(dtype).reshape(stop - start, *shape[1:])

    def _header(self, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
        path = self._paths[name]
        file, length = open_regular(path)
        with file:
            shape, fortran, dtype = _read_header(path, file, length)
            return shape, fortran, dtype, file.tell()


def _read_array(path: Path, file: IO[bytes], length: int) -> NDArray[Any]:
    """Read one array of a stream that is `length` bytes long."""
    _read_header(path, file, length)
    try:
        file.seek(0)
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:
        raise FormatError(f"'{path}' is a corrupt .npy file: {error}") from error
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _read_header(
    path: Path, file: IO[bytes], length: int
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read shape, order and type of a stream that is `length` bytes long, and check them."""
    try:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise FormatError(f"'{path}' is of .npy format {version}; 1.0 and 2.0 are known")
        shape, fortran, dtype = _HEADERS[version](file)
        if dtype.hasobject:
            raise FormatError(f"'{path}' holds pickled Python objects, which are never loaded")
        expected, found = math.prod(shape) * dtype.itemsize, length - file.tell()
        if expected != found:
            raise FormatError(
                f"'{path}' is {'truncated' if found < expected else 'corrupt'}: {dtype} values of "
                f"shape {shape} take {expected} bytes, it has {found}"
            )
    except (FormatError, OSError):
        raise
    # NumPy's parser lets through whatever its tokenizer and its literals raise.
    except Exception as error:
        raise FormatError(f"'{path}' is a corrupt .npy file: {error}") from error
    return shape, fortran, dtype
