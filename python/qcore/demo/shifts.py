"""Images moved by a pixel: what makes a teacher that has more to say than the labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["with_shifts"]

_STEPS = ((0, 1), (0, -1), (1, 0), (-1, 0))


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
