"""Write a checkpoint as GGUF in the types of blocks that llama.cpp runs: Q4_K, IQ4_XS ..."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._arguments.names import matches, matches_any
from qcore._arguments.validation import check_one_of
from qcore._display.progress import Progress
from qcore.arrays.params.input_stats import InputStats
from qcore.errors import ArgumentError
from qcore.estimators.quantizer.quantizer import Quantizer
from qcore.files.foreign.gguf_blocks import TYPES, encode_rows
from qcore.files.formats import open_tensors
from qcore.files.source import TensorSource
from qcore.streaming.compress import CompressedFile, compress_source
from qcore.streaming.converted import Converted

__all__ = ["WRITTEN_TYPES", "encode_gguf_file"]

#: The types that are written, those of fewest bits first.
WRITTEN_TYPES = tuple(
    sorted(
        (name for name, kind in TYPES.items() if kind.written),
        key=lambda name: TYPES[name].nbytes / TYPES[name].elements,
    )
)
# What rows become that are no multiple of 256, as in llama.cpp: a little wider.
_NARROWER = {
    "Q2_K": "Q4_0", "Q3_K": "Q4_0", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0",
    "IQ4_XS": "IQ4_NL",
}  # fmt: skip


def encode_gguf_file(
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    types: str | Mapping[str, str],
    *,
    importance: Mapping[str, InputStats | ArrayLike] | None = None,
    ignore: tuple[str, ...] = ("*bias",),
    progress: Progress = "auto",
) -> CompressedFile:
    """Write a checkpoint as GGUF, its matrices in blocks of a type, a tile at a time.

    Parameters
    ----------
    path : str or path-like
        The checkpoint: whatever `load_tensors` reads.
    output : str or path-like
        The file to write; it ends in ``.gguf``. It has the metadata of `path`, if that is GGUF.
    types : str or mapping of str to str
        The type, of `WRITTEN_TYPES`, or types by pattern, of which the first that fits counts;
        tensors that none fits stay as they are. Rows that are no multiple of 256 get the next
        wider type with blocks of 32; those that are no multiple of 32 stay as they are.
    importance : mapping of str to InputStats or array_like, optional
        By tensor: what each input is multiplied with, squared, on the mean. The squared error of a
        weight counts as much: llama.cpp's importance matrix.
    ignore : tuple of str, default ("*bias",)
        Patterns of tensors that stay as they are.
    progress : bool, "auto" or callable

    Returns
    -------
    CompressedFile
        Its report says in the column ``kept`` which tensors are wider than asked for, and why.

    Raises
    ------
    ValueError
        If a type is not written, or a value is not finite; names the tensor.
    OverflowError
        If values are too large for the half floats that scales are.
    OSError, FormatError
        As `compress_file`.
    """
    target = Path(output)
    if target.suffix != ".gguf":
        raise ArgumentError("output", f"output is {str(output)!r}; types of GGUF need one in .gguf")
    by_pattern = {"*": types} if isinstance(types, str) else dict(types)
    for kind in by_pattern.values():
        check_one_of(kind, "gguf_type", WRITTEN_TYPES)
    source = _Encoded(open_tensors(Path(path)), by_pattern, dict(importance or {}), tuple(ignore))
    nothing = Quantizer(8, ignore=("*",))
    done = compress_source(source, Path(path), target, nothing, progress=progress)
    for row in done.report_.rows:
        reason = source.kept(row["tensor"])
        if reason is not None:
            row["kept"] = reason
    return done


class _Encoded(Converted):
    """A checkpoint whose matrices are blocks."""

    def __init__(
        self,
        source: TensorSource,
        types: Mapping[str, str],
        importance: Mapping[str, InputStats | ArrayLike],
        ignore: tuple[str, ...],
    ) -> None:
        super().__init__(source)
        self._types, self._ignore = types, ignore
        unknown = [name for name in importance if name not in source]
        if unknown:
            raise ArgumentError("importance", f"importance names {unknown[0]!r}, no tensor")
        self._importance = {name: _squares(name, of) for name, of in importance.items()}
        for name, counts in self._importance.items():
            columns = source.info(name).shape[-1:]
            if counts.shape != columns:
                raise ArgumentError(
                    "importance",
                    f"importance of {name!r} has shape {counts.shape}; it is {columns}",
                )

    def converted(self, name: str) -> tuple[str, int] | None:
        """Return the type of a matrix's blocks; see `Converted.converted`."""
        info, kind = self.source.info(name), self._wanted(name)
        if kind is not None and info.shape[-1] % TYPES[kind].elements:
            kind = _NARROWER.get(kind)
        if kind is None or info.shape[-1] % TYPES[kind].elements:
            return None
        return kind, info.size // TYPES[kind].elements * TYPES[kind].nbytes

    def kept(self, name: str) -> str | None:
        """Return why a tensor has a wider type than it was to have; None if it has not."""
        wanted, found = self._wanted(name), self.converted(name)
        if wanted is None or (found is not None and found[0] == wanted):
            return None
        columns, what = self.source.info(name).shape[-1], "a float" if found is None else found[0]
        return (
            f"its rows have {columns} values; blocks of {wanted} have {TYPES[wanted].elements}: "
            f"it is {what}"
        )

    def _wanted(self, name: str) -> str | None:
        """Return the type that was asked for."""
        info = self.source.info(name)
        floats = info.dtype.kind == "f" or info.bits is not None
        if info.ndim < 2 or not info.size or not floats or matches_any(name, self._ignore):
            return None
        return next((kind for pattern, kind in self._types.items() if matches(name, pattern)), None)

    def convert(self, name: str, rows: NDArray[Any]) -> NDArray[np.uint8]:
        """Return blocks; see `Converted.convert`."""
        found = self.converted(name)
        assert found is not None
        try:
            return encode_rows(rows, found[0], self._importance.get(name))
        except (ValueError, OverflowError) as error:
            raise type(error)(f"tensor {name!r}: {error}") from error


def _squares(name: str, of: InputStats | ArrayLike) -> NDArray[np.float32]:
    if isinstance(of, InputStats):
        return np.asarray(np.diagonal(of.gram) / max(of.count, 1), np.float32)
    counts = np.asarray(of, np.float32)
    if not bool(np.isfinite(counts).all()) or bool((counts < 0).any()):
        raise ArgumentError("importance", f"importance of {name!r} is not finite and positive")
    return counts
