"""Digits that were never written: shifted, turned, stretched and elastically distorted images.

Simard, Steinkraus and Platt, "Best Practices for Convolutional Neural Networks Applied to Visual
Document Analysis", ICDAR 2003 (elastic distortion).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Distortions", "with_shifts"]

Floats = NDArray[np.float32]

# By how many rows and columns with_shifts moves an image.
_STEPS = ((0, 1), (0, -1), (1, 0), (-1, 0))


@dataclass
class Distortions:
    """A function that distorts a batch of square images, for ``fit(augment=...)``.

    A distortion is where each pixel takes its value from, between four pixels of the image. Groups
    of images share one, from a stock that is made once: what comes out depends on the arguments
    alone.

    Parameters
    ----------
    shift : float, default 1.5
        The most that an image moves, in pixels.
    rotation : float, default 10
        The most that it turns, in degrees.
    stretch : float, default 0.1
        The most that it grows or shrinks, along each axis, and that it leans.
    elastic : float, default 1.2
        The typical distance, in pixels, by which the distortion moves a pixel.
    smoothness : float, default 4
        The distance, in pixels, within which pixels move alike.
    share : float, default 0.9
        The share of the images that are distorted.
    group : int, default 8
        How many images of a batch share a distortion.
    stock : int, default 2000
        How many distortions there are.
    random_state : int, default 0
        Of the stock.

    Examples
    --------
    >>> import numpy as np
    >>> images = np.zeros((16, 784), np.float32)
    >>> images[:, 300] = 1
    >>> moved = Distortions()(images, np.random.default_rng(0))
    >>> moved.shape, bool((moved != images).any())
    ((16, 784), True)
    """

    shift: float = 1.5
    rotation: float = 10.0
    stretch: float = 0.1
    elastic: float = 1.2
    smoothness: float = 4.0
    share: float = 0.9
    group: int = 8
    stock: int = 2000
    random_state: int = 0
    _stocks: dict[int, list[tuple[NDArray[np.int32], Floats]]] = field(
        default_factory=dict, init=False, repr=False
    )

    def __call__(self, X: Floats, rng: np.random.Generator) -> Floats:
        """Return the images, (n, side²), distorted; `X` may be changed."""
        side = int(np.sqrt(X.shape[1]) + 0.5)
        if side * side != X.shape[1]:
            raise ValueError(f"X has {X.shape[1]} columns; they must be the pixels of a square")
        stock = self._stocks.get(side)
        if stock is None:
            own = np.random.default_rng(self.random_state)
            stock = [self._distortion(side, own) for _ in range(self.stock)]
            self._stocks[side] = stock
        groups = range(0, len(X), self.group)
        chosen = rng.integers(0, len(stock), len(groups))
        plain = rng.random(len(groups)) >= self.share
        out = np.empty_like(X)
        for start, which, stays in zip(groups, chosen, plain, strict=True):
            rows = slice(start, start + self.group)
            if stays:
                out[rows] = X[rows]
                continue
            places, weights = stock[which]
            padded = np.concatenate([X[rows], np.zeros((len(X[rows]), 1), np.float32)], axis=1)
            out[rows] = np.einsum("npk,pk->np", padded[:, places], weights)
        return out

    def _distortion(self, side: int, rng: np.random.Generator) -> tuple[NDArray[np.int32], Floats]:
        """Return the four pixels that each pixel lies between, and their weights.

        The pixel behind the last one is the empty space around the image.
        """
        source = self._sources(side, rng)
        corner = np.floor(source).astype(np.intp)
        part = source - corner
        places: list[NDArray[np.intp]] = []
        weights: list[NDArray[Any]] = []
        for down in (0, 1):
            for right in (0, 1):
                row, column = corner[0] + down, corner[1] + right
                inside = (row >= 0) & (row < side) & (column >= 0) & (column < side)
                places.append(np.where(inside, row * side + column, side * side))
                weight: Any = np.abs(1 - down - part[0]) * np.abs(1 - right - part[1])
                weights.append(weight)
        flat = np.stack(places, axis=-1).reshape(side * side, 4).astype(np.int32)
        return flat, np.stack(weights, axis=-1).reshape(side * side, 4).astype(np.float32)

    def _sources(self, side: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return the place that each pixel takes its value from, (2, side, side)."""
        middle = (side - 1) / 2
        grid = np.mgrid[:side, :side] - middle
        angle = np.deg2rad(self.rotation) * rng.uniform(-1, 1)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = turn @ (np.eye(2) + self.stretch * rng.uniform(-1, 1, (2, 2)))
        shift = self.shift * rng.uniform(-1, 1, (2, 1, 1))
        moved: NDArray[np.float64] = np.tensordot(matrix, grid, 1) + middle + shift
        if self.elastic:
            moved += self._elastic_field(side, rng)
        return moved

    def _elastic_field(self, side: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return smooth random displacements whose standard deviation is `elastic`."""
        distance = np.arange(side)[:, None] - np.arange(side)
        smoother = np.exp(-0.5 * (distance / self.smoothness) ** 2)
        smoother /= np.linalg.norm(smoother, axis=1, keepdims=True)
        noise = rng.standard_normal((2, side, side))
        field: NDArray[np.float64] = self.elastic * (smoother @ noise @ smoother.T)
        return field


def with_shifts(X: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return the images, and each moved by one pixel to the four sides: (5 n, pixels).

    Parameters
    ----------
    X : ndarray of float32, (n, pixels)
        Images as rows; what moves in at an edge is 0.
    shape : tuple of int
        Rows and columns of an image.

    Examples
    --------
    >>> import numpy as np
    >>> with_shifts(np.array([[1, 2, 3, 4]], np.float32), (2, 2)).astype(int).tolist()
    [[1, 2, 3, 4], [0, 1, 0, 3], [2, 0, 4, 0], [0, 0, 1, 2], [3, 4, 0, 0]]
    """
    images = X.reshape(len(X), *shape)
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    height, width = shape
    moved = [
        framed[:, 1 - down : 1 - down + height, 1 - right : 1 - right + width]
        for down, right in ((0, 0), *_STEPS)
    ]
    return np.concatenate(moved).reshape(5 * len(X), -1)
