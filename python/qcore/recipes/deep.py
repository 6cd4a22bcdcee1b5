"""Compression with training, to a size or a score, as a recipe asks for it."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from qcore.compression import compress
from qcore.nn.sequential import Sequential

__all__ = ["compress_to_target"]


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
    if reserve and target_ratio is not None:
        size = sum(int(value.size) for value in net.named_weights().values())
        target_bytes, target_ratio = int(4 * size / target_ratio), None
    if reserve and target_bytes is not None:
        target_bytes -= reserve
    small: Sequential = compress(
        net, X, y, target_bytes=target_bytes, target_ratio=target_ratio, min_score=min_score,
        epochs=epochs, learning_rate=learning_rate, random_state=random_state,
    )  # fmt: skip
    return small
