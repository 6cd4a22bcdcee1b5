"""Idx files: the format in which MNIST and its relatives are handed out."""

import errno
import gzip
import math
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from qcore.errors import FormatError, LimitError
from qcore.files.limits import Limits
from qcore.files.paths import open_regular

# The third byte of the magic number; the first two are zero, the fourth counts the dimensions.
_DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(np.uint8),
    0x09: np.dtype(np.int8),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
_CHUNK = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"


def read_idx(path: str | os.PathLike[str], *, max_bytes: int | None = None) -> NDArray[Any]:
    """Read one idx file, gzipped or not.

    Parameters
    ----------
    path : str or path-like
        The file. Compression is told by the first bytes, not by the name.
    max_bytes : int, optional
        The most that the array of a gzipped file may take. Default: 64 times the file's bytes, and
        256 MiB whatever these are.

    Returns
    -------
    ndarray
        The array in the file's shape and type (uint8, int8, int16, int32, float32 or float64), in
        the machine's byte order.

    Raises
    ------
    OSError
        If the file cannot be read.
    FormatError
        If it is not an idx file, is truncated, or has bytes behind its last value; LimitError, if
        it takes more than `max_bytes`.

    References
    ----------
    Y. LeCun, C. Cortes, C. Burges, "The MNIST database", section "The IDX file format".

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "labels.idx"
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     read_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    path, limits = Path(path), Limits(max_bytes)
    with open_regular(path)[0] as raw:
        compressed = raw.read(2) == _GZIP_MAGIC
        raw.seek(0)
        if not compressed:
            return _read_array(path, raw, None)
        try:
            with gzip.GzipFile(fileobj=raw) as unzipped:
                return _read_array(path, unzipped, limits.most_bytes(path.stat().st_size))
        except EOFError as error:
            raise FormatError(f"'{path}' is truncated: its gzip stream has no end") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise FormatError(f"'{path}' is a corrupt gzip file: {error}") from error


def read_mnist(
    folder: str | os.PathLike[str],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Read the four idx files of MNIST, or of a data set in its form, from a folder.

    Parameters
    ----------
    folder : str or path-like
        Holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte``
        and ``t10k-labels-idx1-ubyte``, each also with ``.gz`` or with a dot before ``idx``.

    Returns
    -------
    X_train : ndarray of uint8, shape (n, rows, columns)
    y_train : ndarray of uint8, shape (n,)
    X_test : ndarray of uint8, shape (m, rows, columns)
    y_test : ndarray of uint8, shape (m,)

    Raises
    ------
    FileNotFoundError
        If one of the files is missing.
    FormatError
        If a file is corrupt, or images and labels do not fit together.

    Examples
    --------
    >>> read_mnist("no/such/folder")
    Traceback (most recent call last):
    ...
    FileNotFoundError: [Errno 2] No train-images-idx3-ubyte[.gz] in this folder: 'no/such/folder'
    """
    return (*read_mnist_part(folder, "train"), *read_mnist_part(folder, "t10k"))


def read_mnist_part(
    folder: str | os.PathLike[str], part: str
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read the images and labels of one part of MNIST, and leave the other part unread.

    Parameters
    ----------
    folder : str or path-like
        As in `read_mnist`.
    part : {"train", "t10k"}
        The training or the test images.

    Returns
    -------
    X : ndarray of uint8, shape (n, rows, columns)
    y : ndarray of uint8, shape (n,)

    Raises
    ------
    FileNotFoundError
        If one of the files is missing.
    FormatError
        If a file is corrupt, or images and labels do not fit together.
    """
    folder = Path(folder)
    images_path, labels_path = (
        _find(folder, f"{part}-images", 3),
        _find(folder, f"{part}-labels", 1),
    )
    images, labels = _read_bytes(images_path, 3), _read_bytes(labels_path, 1)
    if len(images) != len(labels):
        raise FormatError(
            f"'{images_path}' has {len(images)} images, '{labels_path}' has {len(labels)} labels"
        )
    return images, labels


def _read_bytes(path: Path, ndim: int) -> NDArray[np.uint8]:
    array = read_idx(path)
    if array.ndim != ndim or array.dtype != np.uint8:
        raise FormatError(
            f"'{path}' holds {array.ndim}-D {array.dtype} values, {ndim}-D uint8 are expected"
        )
    return array.astype(np.uint8, copy=False)


def _find(folder: Path, stem: str, ndim: int) -> Path:
    names = [f"{stem}{mark}idx{ndim}-ubyte{end}" for mark in "-." for end in ("", ".gz")]
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(errno.ENOENT, f"No {names[0]}[.gz] in this folder", str(folder))


def _read_array(path: Path, file: BinaryIO | gzip.GzipFile, most: int | None) -> NDArray[Any]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES:
        raise FormatError(
            f"'{path}' is not an idx file: it begins with {magic.hex(' ') or 'nothing'}, "
            "expected 00 00, a type (08, 09, 0b to 0e) and the number of dimensions"
        )
    dtype, ndim = _DTYPES[magic[2]], magic[3]
    lengths = file.read(4 * ndim)
    if len(lengths) < 4 * ndim:
        raise FormatError(f"'{path}' is truncated: it ends inside its {ndim} dimensions")
    shape = tuple(np.frombuffer(lengths, dtype=">u4").tolist())
    expected = math.prod(shape) * dtype.itemsize
    # One byte more than there should be: reading past the end is what checks gzip's checksum.
    data = _read_bounded(file, expected + 1 if most is None else min(expected, most) + 1)
    if most is not None and len(data) > most:
        raise LimitError(f"'{path}' decodes to {expected} bytes, max_bytes is {most}")
    if len(data) != expected:
        fault, found = "is truncated", str(len(data))
        if len(data) > expected:
            fault, found = "is corrupt", "more"
        raise FormatError(
            f"'{path}' {fault}: {dtype.name} values of shape {shape} take {expected} bytes, "
            f"it has {found}"
        )
    try:
        array = np.frombuffer(data, dtype=dtype).reshape(shape)
    except ValueError as error:  # more dimensions than NumPy has
        raise FormatError(f"'{path}' has the shape {shape}: {error}") from error
    native: NDArray[Any] = array.astype(dtype.newbyteorder("="))
    return native


def _read_bounded(file: BinaryIO | gzip.GzipFile, limit: int) -> bytearray:
    """Read up to `limit` bytes; memory follows what is there, not what the header claims."""
    data = bytearray()
    while chunk := file.read(min(limit - len(data), _CHUNK)):
        data += chunk
    return data
