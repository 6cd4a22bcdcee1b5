"""Distillation: a student learns from what its teachers answer, not from labels alone.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015. For hints: Romero et
al., "FitNets: Hints for Thin Deep Nets", ICLR 2015.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qcore.chain.activations import softmax

if TYPE_CHECKING:
    from qcore.chain.chain import Chain
    from qcore.chain.layers import Dense
    from qcore.training.optimizers import Optimizer

__all__ = ["Ask", "Hints", "Teachers", "features_of"]

Floats = NDArray[np.float32]
#: From samples (n, inputs) to values (n, outputs).
Ask = Callable[[Floats], NDArray[Any]]
_BLOCK = 4096


class Teachers:
    """Those who answer: their softened probabilities are averaged.

    Parameters
    ----------
    teacher : Sequential, callable, or a sequence of these
    outputs : int
        Logits of a sample.
    temperature : float
        What logits are divided by.
    """

    def __init__(self, teacher: Any, outputs: int, temperature: float) -> None:
        several = teacher if isinstance(teacher, Sequence) else [teacher]
        if not several:
            raise ValueError("teacher is empty; there must be one at least")
        self._asks: list[Ask] = [_ask_logits(one) for one in several]
        self._outputs = outputs
        self._temperature = temperature

    def answer(self, X: Floats) -> Floats:
        """Return the mean of the teachers' ``softmax(logits / T)`` for a batch."""
        total = np.zeros((len(X), self._outputs), np.float32)
        for ask in self._asks:
            total += softmax(self._logits(ask, X), self._temperature)
        total /= np.float32(len(self._asks))
        return total

    def answer_all(self, X: Floats) -> Floats:
        """Return the answers for all samples, block by block."""
        blocks = [self.answer(X[start : start + _BLOCK]) for start in range(0, len(X), _BLOCK)]
        return np.concatenate(blocks)

    def _logits(self, ask: Ask, X: Floats) -> Floats:
        logits = np.asarray(ask(X), np.float32)
        wanted = (len(X), self._outputs)
        if logits.shape != wanted:
            raise ValueError(f"teacher gave logits of shape {logits.shape}; they must be {wanted}")
        if not np.isfinite(logits).all():
            raise ValueError("teacher gave logits that are not finite")
        return logits


def _ask_logits(teacher: Any) -> Ask:
    # A network can be called, too: for its probabilities.
    ask: Any = getattr(teacher, "predict_logits", teacher)
    if not callable(ask):
        kind = type(teacher).__name__
        raise TypeError(f"teacher is {kind}; it must be a network or a function giving logits")
    found: Ask = ask
    return found


class Hints:
    """What hidden layers should say: features of a teacher, through a learned linear map.

    A layer's output h, times a matrix that is trained along, is to come near the hint t:
    ``weight * mean((h @ map.T - t) ** 2)``. The map is dropped after training.

    Parameters
    ----------
    net : Sequential
        The student.
    hints : mapping of str to callable
        From the name of a hidden layer to a function of samples that gives its hint, (n, features).
    weight : float
        Of the hints in the loss.
    X : ndarray of float32, (n, inputs)
        Samples, of which the first are asked about, to learn the hints' widths.
    optimizer : Optimizer
        That moves the maps.
    rng : Generator
        For the maps to start from.
    """

    def __init__(
        self,
        net: Chain,
        hints: Mapping[str, Ask],
        weight: float,
        X: Floats,
        optimizer: Optimizer,
        rng: np.random.Generator,
    ) -> None:
        places = {layer.name: index for index, layer in enumerate(net.layers[:-1])}
        self.weight = weight
        self.asks: dict[int, Ask] = {}
        self._optimizer = optimizer
        shapes: dict[int, tuple[int, int]] = {}
        for name, ask in hints.items():
            if name not in places:
                raise ValueError(f"hints names {name!r}; hidden layers are {list(places)}")
            if not callable(ask):
                raise TypeError(f"hints[{name!r}] is {type(ask).__name__}; it must be a function")
            features = np.asarray(ask(X[:2]))
            if features.ndim != 2 or len(features) != len(X[:2]):
                shape = features.shape
                raise ValueError(f"hints[{name!r}] gave shape {shape}; it must be (n, features)")
            index = places[name]
            self.asks[index] = ask
            shapes[index] = (features.shape[1], net.layers[index].out_features)
        self._flatten(shapes, rng)

    def _flatten(self, shapes: Mapping[int, tuple[int, int]], rng: np.random.Generator) -> None:
        size = sum(rows * columns for rows, columns in shapes.values())
        self.params, self.grads = np.empty(size, np.float32), np.zeros(size, np.float32)
        self.state = self._optimizer.start(size)
        self._maps: dict[int, tuple[Floats, Floats]] = {}
        start = 0
        for index, shape in shapes.items():
            place = slice(start, start + shape[0] * shape[1])
            limit = np.sqrt(6.0 / sum(shape))
            self.params[place] = rng.uniform(-limit, limit, shape[0] * shape[1])
            self._maps[index] = (
                self.params[place].reshape(shape),
                self.grads[place].reshape(shape),
            )
            start = place.stop

    def add_gradient(self, index: int, x: Floats, hidden: Floats, delta: Floats) -> float:
        """Add the gradient with respect to a layer's output to `delta`; returns the loss."""
        if index not in self.asks:
            return 0.0
        matrix, gradient = self._maps[index]
        error = hidden @ matrix.T - np.asarray(self.asks[index](x), np.float32)
        scaled = error * np.float32(2 * self.weight / error.size)
        np.matmul(scaled.T, hidden, out=gradient)
        delta += scaled @ matrix
        return self.weight * float(np.mean(error.astype(np.float64) ** 2))

    def step(self, number: int, learning_rate: float) -> None:
        """Move the maps."""
        self._optimizer.step(number, self.params, self.grads, self.state, learning_rate, None)


def features_of(teacher: Chain, name: str) -> Ask:
    """Return the function that gives a layer's output in a trained network, for hints."""
    layers: list[Dense] = []
    for layer in teacher.layers:
        layers.append(layer)
        if layer.name == name:
            break
    else:
        raise ValueError(f"the teacher has no layer {name!r}")

    def features(X: Floats) -> Floats:
        value = teacher.normalized(X)
        for layer in layers:
            value = layer.forward(value)
        return value

    return features
