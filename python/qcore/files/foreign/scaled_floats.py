"""Weights of 8 bits whose scales lie in tensors beside them: decoded, scales and all.

==========================  =====================================================================
tensor                      is
==========================  =====================================================================
``fc.weight``               F8_E4M3 or F8_E5M2; or I8, where it has blocks of rows and columns
``fc.weight_scale``,        what it is multiplied by: one number, one a row ``(rows, 1)``, one for
``fc.weight_scale_inv``,    each group of a row ``(rows, groups)``, or one for each block of 128 x
``fc.scale_weight``         128 (or as ``weight_block_size`` or ``block_structure`` in config.json
                            says)
==========================  =====================================================================
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.errors import FormatError
from qcore.files.foreign.config import known_config
from qcore.files.source import StoredPart, TensorInfo, TensorSource

__all__ = ["ScaledFloats", "find_scales"]

_FLOAT8 = "F8_E"
_BLOCK = 128


def find_scales(source: TensorSource, path: Path) -> dict[str, str]:
    """Return the scales of the 8-bit floats of a checkpoint, by the name of the weight.

    Raises
    ------
    FormatError
        If a weight has scales that are not understood.
    """
    found: dict[str, str] = {}
    for name in source:
        parts = source.stored_parts(name)
        stored = parts[0][0].stored if parts is not None and not parts[1] else ""
        if stored == "I8" and _has_blocks(source, name):
            found[name] = f"{name}_scale"
        if not stored.startswith(_FLOAT8) or source.info(name).size < 2:
            continue
        stem = name.removesuffix("weight")
        usual = (f"{name}_scale", f"{name}_scale_inv", f"{stem}scale_weight", f"{stem}scale_inv")
        scale = next((other for other in usual if other in source), None)
        if scale is not None:
            found[name] = scale
            continue
        odd = f"{stem}scale" if name.endswith("weight") and f"{stem}scale" in source else None
        if odd is not None:
            raise FormatError(
                f"'{path}' has 8-bit floats {name!r} and beside them {odd!r}; scales are known by "
                f"the names {', '.join(usual)}: multiply them in, and save the weight as a float"
            )
    return found


def _has_blocks(source: TensorSource, name: str) -> bool:
    """Whether integers have a scale for each block of rows: what no codes of ours do."""
    if f"{name}_scale" not in source:
        return False
    shape, scales = source.info(name).shape, source.info(f"{name}_scale").shape
    return len(shape) == len(scales) == 2 and scales[0] not in (1, shape[0])


class ScaledFloats(TensorSource):
    """A checkpoint whose 8-bit floats load as what they stand for, in float32.

    Parameters
    ----------
    source : TensorSource
    scales : dict of str to str
        As `find_scales` gives them.
    path : Path
        Of the checkpoint.
    """

    def __init__(self, source: TensorSource, scales: dict[str, str], path: Path) -> None:
        self._source, self._scales, self.path = source, scales, path
        self.paths = source.paths
        hidden = set(scales.values())
        self._names = [name for name in source if name not in hidden]
        self._block = _block_size(path)
        for name in scales:
            self._factors(name, 0, 1)  # says at once what does not fit

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._scales:
            return self._source[name]
        value = np.asarray(self._source[name])
        return value * self._factors(name, 0, len(value))

    def info(self, name: str) -> TensorInfo:
        """Return what is known of a tensor; see `TensorSource.info`."""
        info = self._source.info(name)
        if name not in self._scales:
            return info
        return TensorInfo(info.shape, np.dtype(np.float32), info.in_rows)

    def read_rows(
        self, name: str, start: int, stop: int, buffer: NDArray[np.uint8] | None = None
    ) -> NDArray[Any]:
        """Return some rows of a tensor; see `TensorSource.read_rows`."""
        rows = self._source.read_rows(name, start, stop, buffer)
        return rows if name not in self._scales else rows * self._factors(name, start, stop)

    def layout(self, name: str) -> tuple[str, int] | None:
        """Return what a tensor is stored as; see `TensorSource.layout`."""
        if name not in self._scales:
            return self._source.layout(name)
        found = [self._source.stored_parts(part) for part in (name, self._scales[name])]
        parts = [part for each in found if each for part in each[0]]
        return f"{parts[0].stored.lower()} with scales", sum(part.nbytes for part in parts)

    def stored_parts(self, name: str) -> tuple[list[StoredPart], dict[str, Any]] | None:
        """Return the parts of a tensor; see `TensorSource.stored_parts`."""
        return None if name in self._scales else self._source.stored_parts(name)

    def copy_part(self, name: str, part: str, offset: int, out: NDArray[np.uint8]) -> None:
        """Copy some bytes of a part; see `TensorSource.copy_part`."""
        self._source.copy_part(name, part, offset, out)

    def _factors(self, name: str, start: int, stop: int) -> NDArray[np.float32]:
        """Return what some rows of a weight are multiplied by, in a shape that fits them."""
        shape = self._source.info(name).shape
        scale = np.asarray(self._source[self._scales[name]], np.float32)
        if scale.size == 1:
            return scale.reshape(())
        if scale.ndim == 1 and len(shape) > 1 and len(scale) == shape[0]:
            scale = scale.reshape(-1, *[1] * (len(shape) - 1))
        fits = scale.ndim == len(shape)
        of_rows = fits and scale.shape[0] == shape[0]
        for axis, (length, count) in enumerate(zip(shape, scale.shape, strict=False)):
            block = self._block[axis - len(shape)] if axis >= len(shape) - 2 else 1
            if count in (1, length):
                continue
            if of_rows and axis == len(shape) - 1 and count:
                block = -(-length // count)  # groups of a row
            if not fits or -(-length // block) != count:
                fits = False
                break
            scale = np.take(scale, np.arange(length) // block, axis=axis)
        if not fits:
            raise FormatError(
                f"'{self.path}': weight {name!r} of shape {shape} has scales of shape "
                f"{scale.shape} in {self._scales[name]!r}; one, one a row, or one a block of "
                f"{self._block[0]} x {self._block[1]} is known"
            )
        return scale if scale.shape[0] == 1 else scale[start:stop]


def _block_size(path: Path) -> tuple[int, int]:
    """Return the blocks that the configuration beside a checkpoint names; else 128 x 128."""
    try:
        about = known_config(path)["quantization_config"]
        groups = about.get("config_groups") or {}
        sizes = [group["weights"].get("block_structure") for group in groups.values()]
        block = about.get("weight_block_size") or next(filter(None, sizes))
        rows, columns = (int(side) for side in block)
    except (ValueError, TypeError, KeyError, AttributeError, StopIteration):
        return _BLOCK, _BLOCK
    return (rows, columns) if rows > 0 and columns > 0 else (_BLOCK, _BLOCK)
