"""What fewer or more bits would cost: each tensor at each width, and the best mixture of widths."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore.quantization.functions import quantize

__all__ = ["WIDTHS", "Precision", "mixed_curve", "precision_of", "uniform_points"]

WIDTHS = (2, 3, 4, 5, 6, 8)
# Elements of a tensor that are tried: some rows from all over it.
_SAMPLE = 1 << 14


class Precision(NamedTuple):
    """A tensor at every width of `WIDTHS`, one scale for each row.

    Attributes
    ----------
    name : str
    size : int
        Elements.
    signal : float
        Sum of the squares of all elements.
    noise : tuple of float
        Sum of the squared errors of all elements, for each width; from a sample of the rows.
    """

    name: str
    size: int
    signal: float
    noise: tuple[float, ...]

    def sqnr_db(self, place: int) -> float:
        """Return the SQNR at a place in `WIDTHS`."""
        return _decibel(self.signal, self.noise[place])


def precision_of(name: str, value: NDArray[Any]) -> Precision:
    """Try a tensor at every width.

    Examples
    --------
    >>> import numpy as np
    >>> found = precision_of("w", np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8))
    >>> [round(found.sqnr_db(place)) for place in range(len(WIDTHS))]
    [14, 19, 27, 33, 45, 54]
    """
    rows = value.reshape(len(value), -1)
    step = max(1, math.ceil(rows.size / _SAMPLE))
    sample = np.ascontiguousarray(rows[:: min(step, len(rows))], np.float32)
    signal = float(np.sum(sample.astype(np.float64) ** 2))
    factor = rows.size / max(sample.size, 1)
    noise = []
    for bits in WIDTHS:
        decoded = quantize(sample, bits=bits, axis=0, nan="zero").dequantize()
        noise.append(factor * float(np.sum((sample - decoded).astype(np.float64) ** 2)))
    return Precision(name, rows.size, factor * signal, tuple(noise))


def uniform_points(tensors: Sequence[Precision]) -> list[dict[str, Any]]:
    """Return the SQNR of all tensors together, where all have the same width."""
    signal = sum(t.signal for t in tensors)
    return [
        {"bits": bits, "name": f"all {bits}",
         "sqnr": _decibel(signal, sum(t.noise[place] for t in tensors))}
        for place, bits in enumerate(WIDTHS)
    ]  # fmt: skip


def mixed_curve(tensors: Sequence[Precision], most: int = 60) -> list[dict[str, Any]]:
    """Return the least noise for each number of bits, when every tensor has a width of its own.

    From the fewest bits on, the step that takes away most noise for its bits comes next; steps are
    those of each tensor's lower convex hull, so every point is an optimum for its number of bits
    (Shoham and Gersho, "Efficient bit allocation for an arbitrary set of quantizers", IEEE ASSP
    1988).

    Parameters
    ----------
    tensors
    most : int
        Points, about, that are returned.
    """
    steps = sorted(_steps(tensors), reverse=True)
    size = sum(t.size for t in tensors)
    signal = sum(t.signal for t in tensors)
    noise = sum(t.noise[0] for t in tensors)
    bits = float(WIDTHS[0] * size)
    widths = {t.name: WIDTHS[0] for t in tensors}
    points = [_point(bits / size, signal, noise, widths.values())] if size else []
    every = max(1, len(steps) // most)
    for number, (_, less, more, name, width) in enumerate(steps, 1):
        noise, bits, widths[name] = noise - less, bits + more, width
        if number % every == 0 or number == len(steps):
            points.append(_point(bits / size, signal, noise, widths.values()))
    return points


def _steps(
    tensors: Iterable[Precision],
) -> Iterable[tuple[float, float, int, str, int]]:
    for tensor in tensors:
        for left, right in pairwise(_lower_hull(tensor.noise)):
            less = tensor.noise[left] - tensor.noise[right]
            more = (WIDTHS[right] - WIDTHS[left]) * tensor.size
            yield less / max(more, 1), less, more, tensor.name, WIDTHS[right]


def _lower_hull(noise: Sequence[float]) -> list[int]:
    hull: list[int] = []
    for place in range(len(WIDTHS)):
        while len(hull) > 1 and _slope(noise, hull[-2], hull[-1]) >= _slope(noise, hull[-1], place):
            hull.pop()
        hull.append(place)
    return hull


def _slope(noise: Sequence[float], left: int, right: int) -> float:
    return (noise[right] - noise[left]) / (WIDTHS[right] - WIDTHS[left])


def _point(bits: float, signal: float, noise: float, widths: Iterable[int]) -> dict[str, Any]:
    counts: Mapping[int, int] = {}
    for width in widths:
        counts = {**counts, width: counts.get(width, 0) + 1}
    name = ", ".join(f"{counts[w]} × {w} bits" for w in sorted(counts))
    return {"bits": bits, "sqnr": _decibel(signal, noise), "name": name}


def _decibel(signal: float, noise: float) -> float:
    return 10 * math.log10(signal / noise) if noise > 0 < signal else 0.0
