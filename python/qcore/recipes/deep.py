"""Compression with training, to a size or a score, as a recipe asks for it."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from qcore.compression import compress
from qcore.nn.sequential import Sequential

__all__ = ["compress_to_target", "size_target"]


def compress_to_target(
    net: Any,
    X: ArrayLike | None,
    y: ArrayLike | None,
    *,
    target_bytes: int | None = None,
    target_ratio: float | None = None,
    min_score: float | None = None,
    epochs: int = 30,
    learning_rate: float = 1e-3,
    random_state: int = 0,
    reserve: int = 0,
) -> Sequential:
    """Compress a network by `qcore.compress` with a target; see there.

    `reserve` bytes of the file are for something else, the recipe itself.

    Raises
    ------
    ValueError
        If there is no network, or no target, samples or labels.
    """
    if (target_bytes, target_ratio, min_score) == (None, None, None):
        raise ValueError("compress has no target: target_bytes, target_ratio or min_score")
    if reserve and min_score is None:
        target_bytes = size_target(net, target_bytes, target_ratio, reserve)
        target_ratio = None
    small: Sequential = compress(
        net, X, y, target_bytes=target_bytes, target_ratio=target_ratio, min_score=min_score,
        epochs=epochs, learning_rate=learning_rate, random_state=random_state,
    )  # fmt: skip
    return small


def size_target(
    net: Any, target_bytes: int | None, target_ratio: float | None, reserve: int
) -> int | None:
    """Return the most bytes that are left for a network, beside `reserve`; None for no such target.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> net = qc.nn.Sequential.from_arrays([np.eye(10)], [np.zeros(10)], layout="in_out")
    >>> size_target(net, None, 2.0, 20), size_target(net, 500, None, 20)
    (200, 480)
    """
    if target_ratio is not None:
        size = sum(int(value.size) for value in net.named_weights().values())
        target_bytes = int(4 * size / target_ratio)
    return None if target_bytes is None else target_bytes - reserve
