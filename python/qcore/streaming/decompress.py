"""Decode a checkpoint of any quantized format into floats, in memory that does not grow with it."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._arguments.validation import check_one_of, check_path
from qcore._display.progress import Progress
from qcore.estimators.quantizer.quantizer import Quantizer
from qcore.files.formats import open_tensors
from qcore.files.source import TensorSource
from qcore.streaming.compress import CompressedFile, compress_source
from qcore.streaming.converted import Converted
from qcore.streaming.lossless import restore

__all__ = ["DTYPES", "decompress"]

#: The types that weights are decoded to, with what safetensors calls them.
DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "stored": ""}
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
    dtype : {"float32", "float16", "bfloat16", "stored"}, default "float32"
        Rounded to nearest, half to even. "stored": decode only what ``lossless=True`` coded, to the
        bytes that it was.
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
    if dtype == "stored":
        check_one_of(file_format, "file_format", (None, "qcore"))
        return restore(path, output, progress=progress)
    path, output = check_path(path), check_path(output, "output")
    source = _Decoded(open_tensors(path), dtype)
    nothing = Quantizer(8, ignore=("*",))
    return compress_source(
        source, path, output, nothing, file_format=file_format, progress=progress
    )


class _Decoded(Converted):
    """A checkpoint whose quantized tensors are floats."""

    def __init__(self, source: TensorSource, dtype: str) -> None:
        super().__init__(source)
        self._dtype = dtype

    def converted(self, name: str) -> tuple[str, int] | None:
        """Return the floats' type where a tensor is no plain array; see `Converted.converted`."""
        found = self.source.stored_parts(name)
        if found is not None and not found[1] and found[0][0].stored in _PLAIN:
            return None
        width = 4 if self._dtype == "float32" else 2
        return DTYPES[self._dtype], self.source.info(name).size * width

    def convert(self, name: str, rows: NDArray[Any]) -> NDArray[np.uint8]:
        """Return rounded floats; see `Converted.convert`."""
        wide = np.ascontiguousarray(rows, np.float32)
        if self._dtype == "float32":
            return wide.reshape(-1).view(np.uint8)
        with np.errstate(over="ignore"):
            found = (
                wide.astype("<f2").view(np.uint16) if self._dtype == "float16" else _bfloat16(wide)
            )
        infinite = np.uint16(0x7C00 if self._dtype == "float16" else 0x7F80)
        if bool((((found & 0x7FFF) == infinite) & np.isfinite(wide)).any()):
            raise OverflowError(f"tensor {name!r} has values beyond {self._dtype}")
        return np.ascontiguousarray(found).reshape(-1).view(np.uint8)


def _bfloat16(wide: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the upper halves of floats, rounded to nearest, half to even."""
    bits = np.ascontiguousarray(wide).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))
    kept: NDArray[np.uint32] = np.where(np.isnan(wide), bits | np.uint32(0x400000), rounded)
    halves: NDArray[np.uint16] = (kept >> np.uint32(16)).astype(np.uint16)
    return halves
