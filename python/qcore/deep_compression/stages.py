"""The stages of Deep Compression: prune while training, share values, train what is shared.

Han, Mao and Dally, "Deep Compression: Compressing Deep Neural Networks with Pruning, Trained
Quantization and Huffman Coding", ICLR 2016. Beyond the paper: sparsity rises gradually, over all
layers together; the network before compression teaches; codes are chosen by what they cost in the
file; dead neurons go; and the coder is an adaptive one with contexts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.pruning.schedules import PolynomialDecay
from qcore.deep_compression.codes import choose_codes
from qcore.deep_compression.tidy import as_stored, tidied
from qcore.estimators.pruner.pruner import Pruner
from qcore.estimators.quantizer.quantizer import Quantizer
from qcore.saving.checkpoint import stored_nbytes
from qcore.training.training import gradient_norms

if TYPE_CHECKING:
    from qcore.nn.sequential import Sequential

__all__ = ["Sharing", "Trainer", "predicted_nbytes"]

#: Samples from which the importance of weights is taken.
_IMPORTANCE_SAMPLES = 20_000
#: The last layer decides between classes: it is small, and keeps more values than the others.
_MORE_LEVELS = 2


@dataclass(frozen=True)
class Sharing:
    """How weights are to share values.

    Attributes
    ----------
    levels : int
        The most values of a layer besides 0.
    rate : float
        The price of a bit; see `choose_codes`.
    bias_bits : int
        Biases are multiples of ``2**-bias_bits``.
    """

    levels: int
    rate: float = 0.0
    bias_bits: int = 6


@dataclass
class Trainer:
    """Samples, and the options of the trainings between.

    Attributes
    ----------
    X, y : ndarray
        What is trained on.
    options : dict
        Of `Sequential.fit`: batch size, learning rate, teacher and so on.
    epochs : int
        Of a pruning from dense.
    folder : Path or None
        Where each training keeps its checkpoint.
    """

    X: NDArray[np.float32]
    y: NDArray[Any]
    options: dict[str, Any]
    epochs: int
    folder: Path | None = None
    trainings: int = field(default=0, init=False)

    def pruned(
        self, net: Sequential, sparsity: float, *, start: float = 0.0, share: float = 1.0
    ) -> Sequential:
        """Return the network pruned gradually to a sparsity, in a share of the epochs."""
        epochs = max(1, round(self.epochs * share))
        batch = self.options.get("batch_size", 64)
        steps = epochs * -(-len(self.X) // batch)
        frequency = max(1, min(50, steps // 20))
        end = max(1, int(0.6 * steps) // frequency) * frequency
        schedule = PolynomialDecay(start, sparsity, 0, end, frequency=frequency)
        pruner = Pruner(sparsity, scope="global", schedule=schedule)
        return self._fit(net, epochs, prune=pruner)

    def shared(self, net: Sequential, sharing: Sharing) -> Sequential:
        """Return a pruned network with codes, not yet trained."""
        small = tidied(net)
        samples = min(len(self.X), _IMPORTANCE_SAMPLES)
        norms = gradient_norms(small, self.X[:samples], self.y[:samples])
        last = small.layers[-1]
        for layer in small.layers:
            levels = sharing.levels * (_MORE_LEVELS if layer is last else 1)
            weight = layer.dense_weight()
            layer.weight = choose_codes(
                weight,
                norms[f"{layer.name}.weight"].astype(np.float64) ** 2,
                levels=min(255, levels),
                rate=sharing.rate,
                stride=_line(weight.shape[1]),
            )
        return small

    def finished(self, net: Sequential, sharing: Sharing) -> Sequential:
        """Return a network with codes whose values are trained, in the form of the file."""
        quantizer = Quantizer(scheme="kmeans", levels=sharing.levels)
        trained = self._fit(net, max(1, self.epochs // 8), rate=0.5, quantize=quantizer)
        return as_stored(trained, sharing.bias_bits)

    def _fit(self, net: Sequential, epochs: int, rate: float = 1.0, **options: Any) -> Sequential:
        self.trainings += 1
        path = None
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"training{self.trainings}.safetensors"
        options = {"learning_rate_schedule": "cosine", **self.options, **options}
        options["learning_rate"] = rate * options.get("learning_rate", 1e-3)
        return net.copy().fit(self.X, self.y, epochs=epochs, checkpoint=path, **options)


def predicted_nbytes(net: Sequential, sparsity: float, sharing: Sharing) -> int:
    """Return what the file would weigh if the network were pruned at once, untrained."""
    small = tidied(Pruner(sparsity, scope="global").fit_transform(net))
    for layer in small.layers:
        weight = layer.dense_weight()
        layer.weight = choose_codes(
            weight, levels=sharing.levels, rate=sharing.rate, stride=_line(weight.shape[1])
        )
    return stored_nbytes(as_stored(small, sharing.bias_bits))


def _line(columns: int) -> int:
    """Return the side of a square image of so many pixels, if there is one."""
    root = int(np.sqrt(columns) + 0.5)
    return root if root > 1 and root * root == columns else 0
