"""How far to go: sparsity and shared values for a size or a score, and the front between."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._arguments.validation import check_fraction, check_int, single_samples
from qcore._display.table import Report
from qcore.deep_compression.stages import Sharing, Trainer, predicted_nbytes
from qcore.deep_compression.tidy import as_stored
from qcore.errors import ArgumentError
from qcore.saving.checkpoint import stored_nbytes

if TYPE_CHECKING:
    from qcore.nn.sequential import Sequential

__all__ = ["compress_deeply", "sparsity_for"]

#: Epochs of pruning from dense, where the caller does not say.
EPOCHS = 30
#: How values may be shared, the finest first. Each is tried, and what scores best stays.
SHARINGS = (Sharing(8), Sharing(5))
#: The sharing for which sizes are predicted.
USUAL = Sharing(8)
#: The share of the samples that is held out where there are no validation data.
HELD_OUT = 0.1
#: What density is multiplied by from one point to the next on the way to a score.
STEP = 0.6
#: The first density on the way to a score.
FIRST = 0.4
#: Below this density there is no network any more.
LAST = 0.001
#: How often pruning goes on where a file came out too large.
CORRECTIONS = 4
#: What is then aimed at, as a share of the target.
CORRECTION = 0.98


@dataclass(frozen=True)
class Point:
    """A network on the front between size and score.

    Attributes
    ----------
    net : Sequential
    sparsity : float
    sharing : Sharing
    nbytes : int
    score : float
    """

    net: Sequential
    sparsity: float
    sharing: Sharing
    nbytes: int
    score: float


def compress_deeply(
    net: Sequential,
    X: ArrayLike,
    y: ArrayLike,
    *,
    target_bytes: int | None = None,
    target_ratio: float | None = None,
    min_score: float | None = None,
    validation_data: tuple[ArrayLike, ArrayLike] | None = None,
    folder: Path | None = None,
    **options: Any,
) -> Sequential:
    """Compress a trained network to a size, or as far as a score allows; see `qcore.compress`."""
    targets = (target_bytes, target_ratio, min_score)
    if sum(target is not None for target in targets) != 1:
        raise ValueError("give one of target_bytes, target_ratio and min_score")
    net._check_built()
    samples = single_samples(X, net.layers[0].in_features)
    labels = np.asarray(y)
    if validation_data is None:
        samples, labels, validation_data = _held_out(samples, labels, options.get("random_state"))
    epochs = check_int(options.pop("epochs", EPOCHS), "epochs", 1)
    trainer = Trainer(samples, labels, {"teacher": net, **options}, epochs, folder)
    search = _Search(net, trainer, validation_data)
    if min_score is not None:
        return search.to_score(check_fraction(min_score, "min_score"))
    if target_bytes is None:
        assert target_ratio is not None
        if isinstance(target_ratio, (bool, str)) or not 1 <= target_ratio < float("inf"):
            raise ArgumentError(
                "target_ratio", f"target_ratio is {target_ratio!r}; it must be a number from 1 on"
            )
        target_bytes = int(search.float_bytes / target_ratio)
    return search.to_size(check_int(target_bytes, "target_bytes", 1))


def _held_out(
    X: NDArray[np.float32], y: NDArray[Any], random_state: Any
) -> tuple[NDArray[np.float32], NDArray[Any], tuple[NDArray[np.float32], NDArray[Any]]]:
    """Return samples to train on, and a tenth that is not trained on."""
    held = round(len(X) * HELD_OUT)
    if len(y) != len(X) or not held:
        raise ValueError(f"X has {len(X)} rows, y has {len(y)}; validation needs some of them")
    seed = random_state if isinstance(random_state, (int, np.integer)) else 0
    order = np.random.default_rng(seed).permutation(len(X))
    rows, rest = order[:held], order[held:]
    return X[rest], y[rest], (X[rows], y[rows])


def sparsity_for(net: Sequential, target: int) -> float:
    """Return the sparsity at which the file is predicted to weigh just less than a target."""
    low, high = 0.0, 1.0 - LAST
    if predicted_nbytes(net, high, USUAL) > target:
        share = f"{100 * LAST:g} % of the weights"
        raise ValueError(f"the target is {target} bytes; not even {share} fit")
    for _ in range(12):
        middle = (low + high) / 2
        if predicted_nbytes(net, middle, USUAL) > target:
            low = middle
        else:
            high = middle
    return high


class _Search:
    """A search for one network: what was measured on the way is the front."""

    def __init__(self, net: Sequential, trainer: Trainer, validation: tuple[Any, Any]) -> None:
        self.net = net
        self.trainer = trainer
        self.validation = validation
        self.front: list[Point] = []
        self.float_bytes = sum(4 * int(w.size) for w in net.named_weights().values())

    # to a size ---------------------------------------------------------------------------------
    def to_size(self, target: int) -> Sequential:
        """Return the network of the best score among those that weigh no more than `target`."""
        sparsity = sparsity_for(self.net, target)
        pruned = self.trainer.pruned(self.net, sparsity)
        for _ in range(CORRECTIONS):
            fitting = self._share(pruned, sparsity, target)
            if fitting:
                best = max(fitting, key=lambda point: (point.score, -point.nbytes))
                return self._chosen(best, f"the best score within {target:,} bytes")
            least = min(self._untrained(pruned, sharing)[1] for sharing in SHARINGS)
            before, sparsity = sparsity, sparsity_for(pruned, round(CORRECTION * target))
            pruned = self.trainer.pruned(pruned, sparsity, start=before, share=0.3)
        raise ValueError(
            f"the target is {target} bytes; the smallest network that came out has {least}"
        )

    # to a score --------------------------------------------------------------------------------
    def to_score(self, least: float) -> Sequential:
        """Return the smallest network whose score is not below `least`."""
        best: Point | None = None
        pruned, before, density = self.net, 0.0, FIRST
        while density >= LAST:
            candidate, passing = self._next(pruned, before, density, least)
            if not passing:
                break
            best = min(passing, key=lambda point: point.nbytes)
            pruned, before = candidate, 1.0 - density
            density *= STEP
        if best is None:
            found = max((point.score for point in self.front), default=0.0)
            raise ArgumentError(
                "min_score", f"min_score is {least}; the best that came out scores {found:.4f}"
            )
        # Once more, between what passed and what did not.
        passing = self._next(pruned, before, (1.0 - before) * STEP**0.5, least)[1]
        best = min([best, *passing], key=lambda point: point.nbytes)
        return self._chosen(best, f"the smallest with a score of {least} or more")

    def _next(
        self, net: Sequential, before: float, density: float, least: float
    ) -> tuple[Sequential, list[Point]]:
        """Prune on to a density; returns the network, and what passes of its sharings."""
        share = 0.5 if before else 1.0
        pruned = self.trainer.pruned(net, 1.0 - density, start=before, share=share)
        points = self._share(pruned, 1.0 - density)
        return pruned, [point for point in points if point.score >= least]

    # the parts ---------------------------------------------------------------------------------
    def _share(self, pruned: Sequential, sparsity: float, target: int | None = None) -> list[Point]:
        """Return what comes out of each sharing that fits a target, trained and scored."""
        points = []
        for sharing in SHARINGS:
            small, nbytes = self._untrained(pruned, sharing)
            if target is not None and nbytes > target:
                continue
            small = self.trainer.finished(small, sharing)
            nbytes = stored_nbytes(small)
            point = Point(small, sparsity, sharing, nbytes, small.score(*self.validation))
            self.front.append(point)
            if target is None or nbytes <= target:
                points.append(point)
        return points

    def _untrained(self, pruned: Sequential, sharing: Sharing) -> tuple[Sequential, int]:
        small = self.trainer.shared(pruned, sharing)
        return small, stored_nbytes(as_stored(small, sharing.bias_bits))

    def _chosen(self, best: Point, reason: str) -> Sequential:
        rows = [self._row(point, point is best) for point in self.front]
        totals = self._row(best, True) | {"network": f"chosen: {reason}"}
        best.net.report_ = Report("deep compression", rows, totals)
        return best.net

    def _row(self, point: Point, chosen: bool) -> dict[str, Any]:
        return {
            "network": "chosen" if chosen else "",
            "sparsity": point.sparsity,
            "levels": point.sharing.levels,
            "bytes": point.nbytes,
            "ratio": self.float_bytes / point.nbytes,
            "score": point.score,
        }
