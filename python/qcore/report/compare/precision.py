"""What fewer or more bits would cost: each tensor at each width, and the best mixture of widths."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.tensor.functions import quantize
from qcore.estimators.mixed.allocation import LayerChoice, allocate_each

__all__ = ["WIDTHS", "Precision", "mixed_curve", "precision_of", "uniform_points"]

WIDTHS = (2, 3, 4, 5, 6, 8)
# Elements of a tensor that are tried: some rows from all over it.
_SAMPLE = 1 << 14
# Units in which the bits of all tensors are counted, at most.
_UNITS = 20_000


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


def mixed_curve(tensors: Sequence[Precision], points: int = 49) -> list[dict[str, Any]]:
    """Return the least noise for each number of bits, when every tensor has a width of its own.

    Each point is solved as the quantizer solves a mixture by layer, see
    `qcore.estimators.mixed.allocation`.

    Parameters
    ----------
    tensors
    points : int
        Numbers of bits, from the fewest to the most, that are solved for.
    """
    size = sum(t.size for t in tensors)
    if not size:
        return []
    signal = sum(t.signal for t in tensors)
    # Of large models bits are counted by the lot; the points are at what they really take.
    unit = max(1, WIDTHS[-1] * size // _UNITS)
    choices = [
        LayerChoice([bits * t.size // unit for bits in WIDTHS], np.array([t.noise]))
        for t in tensors
    ]
    targets = np.linspace(WIDTHS[0], WIDTHS[-1], points)
    solved = allocate_each(choices, [int(target * size) // unit for target in targets])
    found: dict[float, dict[str, Any]] = {}
    for places in solved:
        widths = [WIDTHS[int(rows[0])] for rows in places]
        noise = sum(t.noise[int(rows[0])] for t, rows in zip(tensors, places, strict=True))
        bits = sum(w * t.size for w, t in zip(widths, tensors, strict=True)) / size
        found[bits] = _point(bits, signal, noise, widths)
    return [found[bits] for bits in sorted(found)]


def _point(bits: float, signal: float, noise: float, widths: Iterable[int]) -> dict[str, Any]:
    counts: Mapping[int, int] = {}
    for width in widths:
        counts = {**counts, width: counts.get(width, 0) + 1}
    name = ", ".join(f"{counts[w]} × {w} bits" for w in sorted(counts))
    return {"bits": bits, "sqnr": _decibel(signal, noise), "name": name}


def _decibel(signal: float, noise: float) -> float:
    return 10 * math.log10(signal / noise) if noise > 0 < signal else 0.0
