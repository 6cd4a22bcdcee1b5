"""The yardstick: the same network, trained and run by a plain NumPy loop on float32 BLAS."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["NumpyNetwork"]

Floats = NDArray[np.float32]


class NumpyNetwork:
    """A ReLU network with one hidden layer and a softmax, as one writes it in NumPy.

    Parameters
    ----------
    sizes : tuple of int
        Inputs, hidden neurons, classes.
    seed : int
        Of the initial weights and of the shuffling.
    """

    def __init__(self, sizes: tuple[int, int, int], seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.parameters: list[Floats] = []
        for inputs, outputs in itertools.pairwise(sizes):
            limit = np.sqrt(6 / (inputs + outputs))
            weight = self._rng.uniform(-limit, limit, (inputs, outputs))
            self.parameters += [weight.astype(np.float32), np.zeros(outputs, np.float32)]

    def fit(
        self,
        X: Floats,
        y: NDArray[Any],
        *,
        epochs: int,
        batch_size: int = 64,
        tick: Callable[[float], None] = lambda _share: None,
    ) -> None:
        """Train with Adam on the cross-entropy; `tick` gets the share that is done."""
        targets = np.eye(len(self.parameters[-1]), dtype=np.float32)[y]
        means = [np.zeros_like(value) for value in self.parameters]
        squares = [np.zeros_like(value) for value in self.parameters]
        step = 0
        for epoch in range(epochs):
            tick(epoch / epochs)
            order = self._rng.permutation(len(X))
            for start in range(0, len(X), batch_size):
                batch = order[start : start + batch_size]
                step += 1
                gradients = self._gradients(X[batch], targets[batch])
                rate = 1e-3 * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
                for value, gradient, mean, square in zip(
                    self.parameters, gradients, means, squares, strict=True
                ):
                    mean += 0.1 * (gradient - mean)
                    square += 0.001 * (gradient * gradient - square)
                    value -= np.float32(rate) * mean / (np.sqrt(square) + np.float32(1e-7))

    def predict_proba(self, X: Floats) -> Floats:
        """Return the probability of each class, (n, classes)."""
        w1, b1, w2, b2 = self.parameters
        hidden = np.maximum(X @ w1 + b1, 0)
        return _softmax(hidden @ w2 + b2)

    def score(self, X: Floats, y: NDArray[Any]) -> float:
        """Return the share of samples whose likeliest class is the right one."""
        return float((self.predict_proba(X).argmax(axis=1) == y).mean())

    def _gradients(self, X: Floats, targets: Floats) -> list[Floats]:
        w1, b1, w2, b2 = self.parameters
        hidden = np.maximum(X @ w1 + b1, 0)
        error = (_softmax(hidden @ w2 + b2) - targets) / np.float32(len(X))
        below = (error @ w2.T) * (hidden > 0)
        return [X.T @ below, below.sum(axis=0), hidden.T @ error, error.sum(axis=0)]


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Floats = powers / powers.sum(axis=1, keepdims=True)
    return shares
