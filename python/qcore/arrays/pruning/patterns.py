"""The shapes in which weights go: one class for each, which turns scores into a mask.

A score says how much a weight matters; a mask is true where a weight stays. A new pattern is a
class here and a line in `_NAMED` or `_NUMBERED`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore._arguments.validation import check_fraction
from qcore._runtime.interrupt import ELEMENTS, by_rows
from qcore.errors import ArgumentError

__all__ = ["Mask", "NofM", "Pattern", "keep_largest", "parse_pattern"]

Mask = NDArray[np.bool_]
Scores = NDArray[Any]

_LONGEST_GROUP = 64


class Pattern(Protocol):
    """A shape that weights go in."""

    @property
    def implied(self) -> float | None:
        """The sparsity that the pattern means by itself, if it does."""

    def keep(self, scores: Sequence[Scores], sparsity: float, power: int) -> list[Mask]:
        """Return the masks for tensors that are ranked together.

        Parameters
        ----------
        scores : sequence of ndarray
            How much each weight matters.
        sparsity : float
            The share of what goes: of weights, or of blocks, rows and columns.
        power : int
            What goes as one is judged by the mean of ``abs(score) ** power``.
        """


@dataclass(frozen=True)
class Unstructured:
    """Any weights."""

    implied: float | None = None

    def keep(self, scores: Sequence[Scores], sparsity: float, power: int) -> list[Mask]:
        """Return the masks; see `Pattern.keep`."""
        return keep_largest(scores, sparsity)


@dataclass(frozen=True)
class NofM:
    """N of each M neighbours along the last axis stay; of a shorter last group, N as well."""

    n: int
    m: int

    @property
    def implied(self) -> float | None:
        """The sparsity that the pattern means."""
        return 1.0 - self.n / self.m

    def keep(self, scores: Sequence[Scores], sparsity: float, power: int) -> list[Mask]:
        """Return the masks; see `Pattern.keep`. No tensor depends on another."""
        return [self._keep(score) for score in scores]

    def _keep(self, scores: Scores) -> Mask:
        if scores.ndim == 0:
            raise ValueError("w has no axes; an N:M pattern runs along the last axis")
        mask = np.empty(scores.shape, np.bool_)
        _core.keep_n_of_m(np.ascontiguousarray(scores), scores.shape[-1], self.n, self.m, mask)
        return mask


@dataclass(frozen=True)
class Blocks:
    """Whole blocks of `rows` x `columns`; those at the edges may be smaller.

    A length of 0 is that of the tensor: (1, 0) are its rows, (0, 1) its columns. Axes after the
    first count as one.
    """

    rows: int
    columns: int
    implied: float | None = None

    def keep(self, scores: Sequence[Scores], sparsity: float, power: int) -> list[Mask]:
        """Return the masks; see `Pattern.keep`."""
        matrices = [_matrix(score) for score in scores]
        units = [self._units(matrix, power) for matrix in matrices]
        kept = keep_largest(units, sparsity)
        return [
            self._spread(mask, matrix.shape).reshape(score.shape)
            for mask, matrix, score in zip(kept, matrices, scores, strict=True)
        ]

    def _block(self, shape: tuple[int, ...]) -> tuple[int, int]:
        return self.rows or max(shape[0], 1), self.columns or max(shape[1], 1)

    def _units(self, matrix: Scores, power: int) -> NDArray[np.float64]:
        """Return the mean of each block: root mean square for a power of 2."""
        # Scaled by the greatest value, powers neither overflow nor vanish.
        greatest = by_rows(lambda part: np.abs(part.astype(np.float64)).max(1, initial=0.0), matrix)
        scale = float(np.max(greatest, initial=0.0))
        scale = scale if 0.0 < scale < np.inf else 1.0
        sums = by_rows(lambda part: (np.abs(part.astype(np.float64)) / scale) ** power, matrix)
        counts = []
        for axis, length in enumerate(self._block(matrix.shape)):
            starts = np.arange(0, matrix.shape[axis], length)
            if starts.size:
                sums = _summed(sums, starts, axis)
            counts.append(np.diff(starts, append=matrix.shape[axis]))
        if not sums.size:
            return np.zeros((len(counts[0]), 0))
        heights, widths = counts
        return by_rows(
            lambda part, height: scale * (part / np.outer(height, widths)) ** (1.0 / power),
            sums,
            heights,
        )

    def _spread(self, kept: Mask, shape: tuple[int, ...]) -> Mask:
        mask = kept
        for axis, length in enumerate(self._block(shape)):
            places = np.arange(shape[axis]) // length
            if axis == 0:
                size = mask.shape[1] * len(places)
                mask = by_rows(lambda part, mask=mask: mask[part], places, size=size)
            else:
                mask = by_rows(lambda part, at=places: np.take(part, at, axis=1), mask)
        return np.ascontiguousarray(mask)


def _summed(values: NDArray[Any], starts: NDArray[np.intp], axis: int) -> NDArray[Any]:
    """Return the sums from each start to the next, along one of two axes."""
    if axis == 1:
        return by_rows(lambda part: np.add.reduceat(part, starts, axis=1), values)
    # Rows of the result, each from its start to the next.
    ends = np.append(starts[1:], len(values))

    def rows(starts: NDArray[np.intp], ends: NDArray[np.intp]) -> NDArray[Any]:
        first = starts[0]
        return np.add.reduceat(values[first : ends[-1]], starts - first, axis=0)

    step = max(1, ELEMENTS * len(starts) // max(values.size, 1))
    parts = [
        rows(starts[at : at + step], ends[at : at + step]) for at in range(0, len(starts), step)
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def keep_largest(arrays: Sequence[NDArray[Any]], sparsity: float) -> list[Mask]:
    """Return the masks that leave ``round(sparsity * size)`` zeros in the arrays together."""
    if len({array.dtype for array in arrays}) > 1:
        arrays = [array.astype(np.float64) for array in arrays]
    masks = [np.empty(array.shape, np.bool_) for array in arrays]
    count = round(sparsity * sum(array.size for array in arrays))
    _core.keep_largest([np.ascontiguousarray(array) for array in arrays], count, masks)
    return masks


def _matrix(scores: Scores) -> Scores:
    if scores.ndim < 2:
        raise ValueError(f"w has {scores.ndim} dimensions; blocks, rows and columns need 2")
    return scores.reshape(len(scores), -1) if scores.size else scores.reshape(len(scores), 0)


def _n_of_m(pattern: str, n: int, m: int) -> Pattern:
    if not 1 <= n < m <= _LONGEST_GROUP:
        raise ArgumentError(
            "pattern", f"pattern is {pattern!r}; N:M must have 1 <= N < M <= {_LONGEST_GROUP}"
        )
    return NofM(n, m)


def _blocks(pattern: str, rows: int, columns: int) -> Pattern:
    if not rows or not columns:
        raise ArgumentError(
            "pattern", f"pattern is {pattern!r}; a block has at least one row and one column"
        )
    return Blocks(rows, columns)


# Patterns by name, and those with numbers by what they look like.
_NAMED: dict[str, Pattern] = {
    "unstructured": Unstructured(),
    "rows": Blocks(1, 0),
    "neurons": Blocks(1, 0),
    "columns": Blocks(0, 1),
}
_NUMBERED: dict[str, Callable[[str, int, int], Pattern]] = {
    r"([0-9]{1,3}):([0-9]{1,3})": _n_of_m,
    r"([0-9]{1,5})x([0-9]{1,5})": _blocks,
}


def parse_pattern(pattern: object, sparsity: float | None) -> tuple[Pattern, float]:
    """Return the pattern of that name and the sparsity, if they fit together."""
    found = _find(pattern)
    if found is None:
        allowed = (
            "'unstructured', 'neurons', 'rows', 'columns', 'N:M' such as '2:4', or blocks such "
            "as '4x1'"
        )
        raise ArgumentError("pattern", f"pattern is {pattern!r}; it must be {allowed}")
    if found.implied is None:
        if sparsity is None:
            raise ValueError(f"sparsity is None; pattern {pattern!r} needs a number from 0 to 1")
        return found, check_fraction(sparsity, "sparsity")
    if sparsity is not None and abs(check_fraction(sparsity, "sparsity") - found.implied) > 1e-9:
        raise ArgumentError(
            "sparsity", f"sparsity is {sparsity}; pattern {pattern!r} means {found.implied:.6g}"
        )
    return found, found.implied


def _find(pattern: object) -> Pattern | None:
    if not isinstance(pattern, str):
        return None
    for form, make in _NUMBERED.items():
        match = re.fullmatch(form, pattern)
        if match:
            return make(pattern, int(match[1]), int(match[2]))
    return _NAMED.get(pattern)
