"""What a training works with: settings checked, samples and targets encoded, buffers laid out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._arguments.validation import (
    check_fraction,
    check_instance,
    check_int,
    check_number,
    check_one_of,
    single_samples,
)
from qcore.arrays.pruning.schedules import Rewinding
from qcore.chain.chain import Chain
from qcore.training.buffers import Buffers
from qcore.training.distillation import Hints, Teachers
from qcore.training.losses import resolve_loss
from qcore.training.optimizers import optimizer_from
from qcore.training.quantization_aware import FakeQuantization
from qcore.training.settings import Settings, WeightQuantizer
from qcore.training.shared_weights import SharedWeights
from qcore.training.targets import encode_targets

if TYPE_CHECKING:
    from qcore.chain.layers import Dense

__all__ = ["Setup"]

Floats = NDArray[np.float32]

SCHEDULES = ("constant", "linear", "cosine")

#: Steps in which quantization-aware training only watches the activations.
SETTLE = 100

#: The share of the steps after which weights of fewer than 8 bits are quantized. Chosen on a
#: validation split; see docs/quantization.md.
LEARN_STEPS_FROM = 0.3


class Setup:
    """What one call of `Sequential.fit` works with, checked and laid out.

    A copy of the network is trained: what is refused leaves the caller's as it was.
    """

    def __init__(self, net: Chain, X: ArrayLike, y: ArrayLike | None, settings: Settings) -> None:
        # Work is done on a copy: what is refused leaves the caller's network as it was.
        self.given, net = net, net.copy()
        self.net = net
        self.batch_size = check_int(settings.batch_size, "batch_size", 1)
        self.epochs = check_int(settings.epochs, "epochs", 1)
        self.learning_rate = check_number(
            settings.learning_rate, "learning_rate", 0.0, open_low=True
        )
        self.temperature = check_number(settings.temperature, "temperature", 0.0, open_low=True)
        self.alpha = check_fraction(settings.alpha, "alpha")
        self.schedule = settings.learning_rate_schedule
        check_one_of(self.schedule, "learning_rate_schedule", SCHEDULES)
        self.patience = settings.patience
        if self.patience is not None:
            check_int(self.patience, "patience", 1)
            if settings.validation_data is None:
                raise ValueError("patience needs validation_data to wait on")
        self.optimizer = optimizer_from(settings.optimizer)
        self.progress = settings.progress
        self.pruner = settings.prune
        self.validation = settings.validation_data
        self.output = net.layers[-1].activation
        self.loss = resolve_loss(settings.loss, self.output)
        self.X = single_samples(X, net.layers[0].in_features)
        self.dropout = check_fraction(settings.dropout, "dropout", closed=False)
        self.augment = settings.augment
        if self.augment is not None and not callable(self.augment):
            raise TypeError(f"augment is {self.augment!r}; it must be a function of (X, rng)")
        self.teachers = self._teachers(settings.teacher)
        self.target = self._targets(y)
        self.rng = np.random.default_rng(settings.random_state)
        quantizer = self._quantizer(settings.quantize)
        for layer in net.layers:
            if not layer.built:
                layer.initialize(self.rng)
        self.shared = None
        if quantizer is not None and quantizer.scheme == "kmeans":
            self.shared = SharedWeights(net, quantizer)
        for layer in net.layers:
            if not isinstance(layer.weight, np.ndarray):
                # Training moves floats; what was quantized goes on from what it decodes to.
                layer.weight = layer.dense_weight()
            layer.input_qparams = None
        self._flatten()
        self.fake = self._fake_quantization(quantizer)
        self.hints = None
        if settings.hints is not None:
            check_instance(settings.hints, Mapping, "hints")
        if settings.hints:
            weight = check_number(settings.hint_weight, "hint_weight", 0.0, open_low=True)
            self.hints = Hints(net, settings.hints, weight, self.X, self.optimizer, self.rng)
        self.steps = -(-len(self.X) // self.batch_size) * self.epochs
        self.rewinds: Rewinding | None = None
        if self.pruner is not None:
            if not hasattr(self.pruner, "for_training"):
                kind = type(self.pruner).__name__
                raise TypeError(f"prune is {kind}; it must be a Pruner, such as Pruner(0.9)")
            self.pruner = self.pruner.for_training(self.steps)
            if isinstance(self.pruner.schedule, Rewinding):
                self.rewinds = self.pruner.schedule
        self.regularizer = settings.regularize
        if self.regularizer is not None and not hasattr(self.regularizer, "shrink"):
            raise TypeError(f"regularize is {self.regularizer!r}; it needs a method shrink")
        self.buffers: dict[int, Buffers] = {}
        self.state = self.optimizer.start(self.params.size)
        self.mask: Floats | None = None
        #: The weights to go back to, and the step at which the optimizer was last started anew.
        self.early: Floats | None = None
        self.restart = 0
        self.best: tuple[float, int, Floats, Any] | None = None
        self.history: dict[str, list[float]] = {"loss": [], "seconds": []}

    # set-up ------------------------------------------------------------------------------------
    def _targets(self, y: ArrayLike | None) -> Floats | None:
        outputs = self.net.layers[-1].out_features
        if y is None:
            if self.alpha < 1.0:
                raise ValueError("y is None; only distillation with alpha=1 goes without labels")
            return None
        # A trained network keeps the meaning of its outputs; a new one learns it from the labels.
        known = self.net.classes_ if self.net.layers[-1].built else None
        target, classes = encode_targets(y, outputs, self.output, known)
        if len(target) != len(self.X):
            raise ValueError(f"X has {len(self.X)} rows, y has {len(target)}")
        self.net.classes_ = classes
        return target

    def _teachers(self, teacher: Any) -> Teachers | None:
        if teacher is None:
            self.alpha = 0.0
            return None
        if self.output != "softmax":
            raise ValueError(f"teacher needs a softmax output; this network ends in {self.output}")
        return Teachers(teacher, self.net.layers[-1].out_features, self.temperature)

    def _flatten(self) -> None:
        """Move all parameters into one flat array; the layers keep views of it."""
        parts: list[tuple[Dense, str, Any]] = [
            (layer, part, getattr(layer, part))
            for layer in self.net.layers
            for part in ("weight", "bias")
            if getattr(layer, part) is not None
        ]
        size = sum(value.size for _, _, value in parts)
        self.params = np.empty(size, np.float32)
        self.grads = np.zeros(size, np.float32)
        self.places: dict[str, slice] = {}
        self.gradients: dict[str, Floats] = {}
        start = 0
        for layer, part, value in parts:
            place = slice(start, start + value.size)
            view = self.params[place].reshape(value.shape)
            view[...] = value
            setattr(layer, part, view)
            self.places[f"{layer.name}.{part}"] = place
            self.gradients[f"{layer.name}.{part}"] = self.grads[place].reshape(value.shape)
            start = place.stop

    def _quantizer(self, quantize: WeightQuantizer | None) -> WeightQuantizer | None:
        if quantize is None:
            return None
        if quantize.scheme not in ("affine", "kmeans"):
            known = "'affine' and 'kmeans'"
            raise ValueError(f"quantize has scheme {quantize.scheme!r}; training knows {known}")
        if quantize.scheme == "kmeans" and self.pruner is not None:
            raise ValueError("prune and shared weights exclude each other: prune first")
        if quantize.algorithm not in ("auto", (), None):
            found = f"quantize has algorithm {quantize.algorithm!r}"
            raise ValueError(f"{found}; that is for after training, leave it out")
        return quantize

    def _fake_quantization(self, quantizer: WeightQuantizer | None) -> FakeQuantization | None:
        if quantizer is None or quantizer.scheme != "affine":
            return None
        settle = min(SETTLE, len(self.X) // self.batch_size)
        learn = int(LEARN_STEPS_FROM * self.epochs * -(-len(self.X) // self.batch_size))
        return FakeQuantization(self.net, quantizer, settle, learn)
