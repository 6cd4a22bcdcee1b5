"""What a search for a size or a score would try, before anything is trained."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore.deep_compression import search
from qcore.deep_compression.stages import predicted_nbytes

if TYPE_CHECKING:
    from qcore.nn.sequential import Sequential

__all__ = ["Forecast", "Step", "forecast"]

# Samples that are trained on once, to tell how long all epochs take.
_SAMPLES = 2048


class Step(NamedTuple):
    """A pruning, and after it a training of each way to share values.

    Attributes
    ----------
    sparsity : float
        The share of weights that are 0 after it.
    epochs : int
        Of all its trainings.
    nbytes : int
        What the file would weigh, predicted from the weights as they are, untrained.
    """

    sparsity: float
    epochs: int
    nbytes: int


class Forecast(NamedTuple):
    """What would be tried.

    Attributes
    ----------
    steps : list of Step
        The first always; the others one after another, until the target is met or, of a score, is
        not met any more.
    least, most : int
        Bytes of the file, between which it would come out.
    seconds : tuple of (float, float)
        About how long the first step takes, and all of them.
    memory : float
        About how many bytes are held at once.
    for_score : bool
        Whether the target is a score.
    """

    steps: list[Step]
    least: int
    most: int
    seconds: tuple[float, float]
    memory: float
    for_score: bool


def forecast(
    net: Sequential,
    X: NDArray[Any],
    y: NDArray[Any],
    *,
    target_bytes: int | None = None,
    min_score: float | None = None,
    epochs: int = search.EPOCHS,
) -> Forecast:
    """Say what `compress_deeply` would try for one of the targets.

    Raises
    ------
    ValueError
        If no network meets the target: it is below the smallest file.
    """
    least = predicted_nbytes(net, 1.0 - search.LAST, search.USUAL)
    if target_bytes is not None:
        steps = _steps_to_size(net, target_bytes, epochs)
        most = target_bytes
    else:
        assert min_score is not None
        steps = _steps_to_score(net, epochs)
        most = steps[0].nbytes
    epoch = _epoch_seconds(net, X, y)
    seconds = (epoch * steps[0].epochs, epoch * sum(step.epochs for step in steps))
    weights = sum(4 * int(w.size) for w in net.named_weights().values())
    # The network, its teacher, gradients, two moments and a mask; the samples, once more in order.
    memory = 6.0 * weights + 2.0 * X.nbytes
    return Forecast(steps, least, most, seconds, memory, for_score=target_bytes is None)


def _sharing_epochs(epochs: int) -> int:
    return len(search.SHARINGS) * max(1, epochs // 8)


def _steps_to_size(net: Sequential, target: int, epochs: int) -> list[Step]:
    sparsity = search.sparsity_for(net, target)
    nbytes = predicted_nbytes(net, sparsity, search.USUAL)
    more = Step(sparsity, max(1, round(0.3 * epochs)) + _sharing_epochs(epochs), nbytes)
    first = Step(sparsity, epochs + _sharing_epochs(epochs), nbytes)
    return [first, *[more] * (search.CORRECTIONS - 1)]


def _steps_to_score(net: Sequential, epochs: int) -> list[Step]:
    steps: list[Step] = []
    density = search.FIRST
    while density >= search.LAST:
        nbytes = predicted_nbytes(net, 1.0 - density, search.USUAL)
        pruning = max(1, round(0.5 * epochs)) if steps else epochs
        steps.append(Step(1.0 - density, pruning + _sharing_epochs(epochs), nbytes))
        density *= search.STEP
    return steps


def _epoch_seconds(net: Sequential, X: NDArray[Any], y: NDArray[Any]) -> float:
    """Train a copy on some samples, with the network as its teacher, as the search does."""
    count = min(len(X), _SAMPLES)
    samples, labels = np.asarray(X[:count], np.float32), y[:count]
    start = perf_counter()
    net.copy().fit(samples, labels, epochs=1, teacher=net)
    return (perf_counter() - start) * len(X) * (1.0 - search.HELD_OUT) / count
