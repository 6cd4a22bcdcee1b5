"""Names beside points, so that none lies on another: what Vega-Lite leaves to the caller."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

__all__ = ["Label", "is_crowded", "place_labels"]

_CHARACTER, _LINE, _POINT = 6.4, 13.0, 6.0
_GAP = 9.0


class Label(NamedTuple):
    """Where a name stands, in pixels from its point.

    Attributes
    ----------
    align : {"left", "right"}
        Which end of the name is at the place.
    dx, dy : float
    """

    align: str
    dx: float
    dy: float


class _Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: _Box) -> float:
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return max(0.0, width) * max(0.0, height)


def place_labels(
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    width: float,
    height: float,
    bars: Sequence[tuple[float, ...]] = (),
) -> list[Label]:
    """Place a name beside each point, the first ones first.

    Parameters
    ----------
    points : sequence of (x, y)
        In pixels from the left and from the top.
    names : sequence of str
    width, height : float
        Of the plot; names stay in it.
    bars : sequence of (top, bottom), optional
        Of the lines through the points that show their errors; names avoid them.

    Returns
    -------
    list of Label

    Examples
    --------
    >>> [label.dy for label in place_labels([(10, 50), (12, 50)], ["one", "two"], 200, 100)]
    [0.0, -13.0]
    """
    taken = [_Box(x - _POINT, y - _POINT, x + _POINT, y + _POINT) for x, y in points]
    lines = [
        _Box(x - 1, top, x + 1, bottom)
        for (x, _), (top, bottom) in zip(points, bars, strict=False)
        if bottom > top
    ]
    found = []
    for own, ((x, y), name) in enumerate(zip(points, names, strict=True)):
        others = taken[:own] + taken[own + 1 :]
        best = min(
            _candidates(),
            key=lambda label: _cost(_box(x, y, label, name), label, others, lines, width, height),
        )
        found.append(best)
        taken.append(_box(x, y, best, name))
    return found


def _candidates() -> Iterator[Label]:
    for distance in (0, 1, 2, 3, 4):
        for sign in (-1, 1) if distance else (1,):
            for align, dx in (("left", _GAP), ("right", -_GAP)):
                yield Label(align, dx, sign * distance * _LINE + 0.0)


def _box(x: float, y: float, label: Label, name: str) -> _Box:
    length = _CHARACTER * len(name)
    left = x + label.dx - (length if label.align == "right" else 0.0)
    middle = y + label.dy
    return _Box(left, middle - _LINE / 2, left + length, middle + _LINE / 2)


def is_crowded(
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    labels: Sequence[Label],
    width: float,
) -> bool:
    """Whether a name lies on another, leaves the plot, or stands far from its point."""
    boxes = [
        _box(x, y, label, name) for (x, y), name, label in zip(points, names, labels, strict=True)
    ]
    return any(
        abs(label.dy) > _LINE
        or box.left < 0
        or box.right > width
        or any(box.overlap(other) for other in boxes[:place])
        for place, (box, label) in enumerate(zip(boxes, labels, strict=True))
    )


def _cost(
    box: _Box, label: Label, others: list[_Box], lines: list[_Box], width: float, height: float
) -> float:
    outside = max(0, -box.left) + max(0, box.right - width) + max(0, -box.top)
    outside += max(0, box.bottom - height)
    covered = sum(box.overlap(other) for other in others)
    struck = sum(box.overlap(line) > 0 for line in lines)
    away = abs(label.dy) + (0.5 if label.align == "right" else 0)
    return 100 * covered + 1000 * outside + 15 * struck + away
