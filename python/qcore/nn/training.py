"""The training loop: products on NumPy's BLAS, everything between them fused in kernels.

All parameters lie in one flat array, of which weights and biases are views, so that the optimizer
takes one step over all of them. Buffers are allocated once a batch size, not once a step.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore import _core
from qcore._validation import check_finite, check_fraction, check_int, check_one_of
from qcore.nn.activations import activate
from qcore.nn.distillation import soft_targets
from qcore.nn.losses import loss_and_gradient, resolve_loss
from qcore.nn.optimizers import optimizer_from
from qcore.nn.progress import EpochProgress
from qcore.nn.quantization_aware import FakeQuantization
from qcore.nn.sequential import Sequential, check_samples
from qcore.quantization.quantizer import Quantizer

if TYPE_CHECKING:
    from qcore.nn.layers import Dense

__all__ = ["Training", "gradient_norms"]

Floats = NDArray[np.float32]

SCHEDULES = ("constant", "linear", "cosine")

#: Steps in which quantization-aware training only watches the activations.
SETTLE = 100

#: The share of the steps after which weights of fewer than 8 bits are quantized. Chosen on a
#: validation split; see docs/quantization.md.
LEARN_STEPS_FROM = 0.3


class Training:
    """One call of `Sequential.fit`, which documents the settings."""

    def __init__(self, net: Sequential, X: ArrayLike, y: ArrayLike | None, **settings: Any) -> None:
        self.net = net
        self.batch_size = check_int(settings["batch_size"], "batch_size", 1)
        self.epochs = check_int(settings["epochs"], "epochs", 1)
        self.learning_rate = _positive(settings["learning_rate"], "learning_rate")
        self.temperature = _positive(settings["temperature"], "temperature")
        self.alpha = check_fraction(settings["alpha"], "alpha")
        self.schedule = settings["learning_rate_schedule"]
        check_one_of(self.schedule, "learning_rate_schedule", SCHEDULES)
        self.patience = settings["patience"]
        if self.patience is not None:
            check_int(self.patience, "patience", 1)
            if settings["validation_data"] is None:
                raise ValueError("patience needs validation_data to wait on")
        self.optimizer = optimizer_from(settings["optimizer"])
        self.progress = settings["progress"]
        self.pruner = settings["prune"]
        self.validation = settings["validation_data"]
        self.output = net.layers[-1].activation
        self.loss = resolve_loss(settings["loss"], self.output)
        self.X = check_samples(X, net.layers[0].in_features)
        self.teacher = settings["teacher"]
        if self.teacher is None:
            self.alpha = 0.0
        elif self.output != "softmax":
            raise ValueError(f"teacher needs a softmax output; this network ends in {self.output}")
        self.target = self._targets(y)
        self.rng = np.random.default_rng(settings["random_state"])
        for layer in net.layers:
            if not layer.built:
                layer.initialize(self.rng)
            elif not isinstance(layer.weight, np.ndarray):
                # Training moves floats; what was quantized goes on from what it decodes to.
                layer.weight = layer.dense_weight()
            layer.input_qparams = None
        self._flatten()
        self.fake = self._fake_quantization(settings["quantize"])
        steps_an_epoch = -(-len(self.X) // self.batch_size)
        self.steps = steps_an_epoch * self.epochs
        if self.pruner is not None:
            self.pruner = self.pruner.for_training(self.steps)
        self.buffers: dict[int, Buffers] = {}

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

    def _fake_quantization(self, quantize: Any) -> FakeQuantization | None:
        if quantize is None:
            return None
        if isinstance(quantize, str):
            check_one_of(quantize, "quantize", ("int8",))
            quantize = Quantizer(8)
        if not isinstance(quantize, Quantizer):
            raise TypeError(f"quantize is {quantize!r}; it must be 'int8' or a Quantizer")
        if quantize.scheme != "affine":
            raise ValueError(f"quantize has scheme {quantize.scheme!r}; training knows 'affine'")
        settle = min(SETTLE, len(self.X) // self.batch_size)
        learn = int(LEARN_STEPS_FROM * self.epochs * -(-len(self.X) // self.batch_size))
        return FakeQuantization(self.net, quantize, settle, learn)

    # the loop ----------------------------------------------------------------------------------
    def run(self) -> None:
        """Train; the network has its final weights afterwards, also if this is interrupted."""
        try:
            self._run()
        finally:
            self._finish()

    def _run(self) -> None:
        samples = len(self.X)
        soft = self._soft_targets()
        state = self.optimizer.start(self.params.size)
        history: dict[str, list[float]] = {"loss": [], "seconds": []}
        self.net.history_ = history
        self.mask: Floats | None = None
        self.best: tuple[float, int, Floats, Any] | None = None
        step = 0
        with EpochProgress(self.progress, self.steps, "train") as bar:
            for epoch in range(1, self.epochs + 1):
                started = time.perf_counter()
                order = self.rng.permutation(samples)
                total = 0.0
                for start in range(0, samples, self.batch_size):
                    rows = order[start : start + self.batch_size]
                    buffers = self._buffers(len(rows))
                    total += self._step(rows, buffers, soft, step) * len(rows)
                    self._prune(step)
                    self.optimizer.step(
                        step + 1, self.params, self.grads, state, self._rate(step), self.mask
                    )
                    step += 1
                    if step % 20 == 0:
                        bar.update(step, f"epoch {epoch} of {self.epochs}")
                history["loss"].append(total / samples)
                history["seconds"].append(time.perf_counter() - started)
                if not np.isfinite(history["loss"][-1]):
                    raise ValueError(f"the loss is not finite in epoch {epoch}: learn more slowly")
                if self._validate(epoch):
                    break

    def _step(self, rows: NDArray[np.intp], b: Buffers, soft: Floats | None, step: int) -> float:
        """Go forward and back once; the gradients are in place afterwards. Returns the loss."""
        layers = self.net.layers
        np.take(self.X, rows, axis=0, out=b.inputs[0], mode="clip")
        weights = []
        for index, layer in enumerate(layers):
            x = b.inputs[index]
            weight = layer.weight
            if self.fake is not None:
                self.fake.activation(index, x, b.inside[index], step)
                weight = self.fake.weight(index, layer)
            assert isinstance(weight, np.ndarray)
            weights.append(weight)
            np.matmul(x, weight.T, out=b.sums[index])
            if index + 1 < len(layers):
                _core.bias_activate(b.sums[index], layer.out_features, layer.bias, layer.activation)
                if self.fake is not None:
                    b.inputs[index + 1][...] = b.sums[index]
        last = layers[-1]
        _core.bias_activate(b.sums[-1], last.out_features, last.bias, "linear")
        loss = self._loss(rows, b, soft)
        for index in range(len(layers) - 1, -1, -1):
            layer, delta = layers[index], b.deltas[index]
            gradient = self.gradients[f"{layer.name}.weight"]
            np.matmul(delta.T, b.inputs[index], out=gradient)
            if self.fake is not None:
                self.fake.backward(layer, gradient, self._rate(step))
            if layer.bias is not None:
                np.sum(delta, axis=0, out=self.gradients[f"{layer.name}.bias"])
            if index:
                np.matmul(delta, weights[index], out=b.deltas[index - 1])
                _core.multiply_derivative(
                    b.deltas[index - 1], b.sums[index - 1], layers[index - 1].activation,
                    b.inside[index],
                )  # fmt: skip
        return loss

    def _loss(self, rows: NDArray[np.intp], b: Buffers, soft: Floats | None) -> float:
        sums, delta = b.sums[-1], b.deltas[-1]
        delta.fill(0.0)
        loss = 0.0
        if soft is not None:
            np.take(soft, rows, axis=0, out=b.target, mode="clip")
            loss += _core.softmax_loss(
                sums, b.target, sums.shape[1], self.temperature, self.alpha, delta
            )
        if self.target is not None and self.alpha < 1.0:
            np.take(self.target, rows, axis=0, out=b.target, mode="clip")
            output = sums
            if self.loss != "cross_entropy":
                output = sums.copy()
                activate(output, None, self.output)
            loss += loss_and_gradient(
                self.loss, self.output, sums, output, b.target, 1.0 - self.alpha, delta
            )
        return loss

    def _soft_targets(self) -> Floats | None:
        if self.teacher is None:
            return None
        outputs = self.net.layers[-1].out_features
        return soft_targets(self.teacher, self.X, outputs, self.temperature)

    def _rate(self, step: int) -> float:
        done = step / self.steps
        if self.schedule == "linear":
            return self.learning_rate * (1.0 - done)
        if self.schedule == "cosine":
            return float(self.learning_rate * 0.5 * (1.0 + np.cos(np.pi * done)))
        return self.learning_rate

    def _prune(self, step: int) -> None:
        """Renew the masks where the schedule says so."""
        if self.pruner is None:
            return
        weights = {
            name: self.params[place].reshape(self.gradients[name].shape)
            for name, place in self.places.items()
        }
        masks = self.pruner.masks_at(weights, step)
        if masks is None:
            return
        if self.mask is None:
            self.mask = np.ones_like(self.params)
        for name, mask in masks.items():
            self.mask[self.places[name]] = np.asarray(mask, np.float32).reshape(-1)

    # evaluation --------------------------------------------------------------------------------
    def _snapshot(self) -> Sequential:
        """Return the network as it would be if training ended now."""
        return self.net.copy() if self.fake is None else self.fake.export(self.net)

    def _validate(self, epoch: int) -> bool:
        """Score the network after an epoch; returns whether to stop."""
        if self.validation is None:
            return False
        score = self._snapshot().score(*self.validation)
        self.net.history_.setdefault("val_score", []).append(score)
        if self.patience is None:
            return False
        if self.best is None or score > self.best[0]:
            ranges = None if self.fake is None else [(r.low, r.high) for r in self.fake.ranges]
            self.best = (score, epoch, self.params.copy(), ranges)
        return bool(epoch - self.best[1] >= self.patience)

    def _finish(self) -> None:
        """Give the layers arrays of their own, the best ones if that was asked for."""
        best = getattr(self, "best", None)
        if best is not None:
            self.params[...] = best[2]
            for observed, bounds in zip(
                self.fake.ranges if self.fake else (), best[3] or (), strict=True
            ):
                observed.low, observed.high = bounds
        final = self._snapshot()
        for layer, trained in zip(self.net.layers, final.layers, strict=True):
            layer.weight, layer.bias = trained.weight, trained.bias
            layer.input_qparams = trained.input_qparams

    def _buffers(self, rows: int) -> Buffers:
        if rows not in self.buffers:
            self.buffers[rows] = Buffers(self.net, rows, self.fake is not None)
        return self.buffers[rows]


class Buffers:
    """What a step writes, for one batch size.

    Without fake quantization the output of a layer is the input of the next, the same memory.
    """

    def __init__(self, net: Sequential, rows: int, fake: bool) -> None:
        layers = net.layers
        self.sums = [np.empty((rows, layer.out_features), np.float32) for layer in layers]
        self.deltas = [np.empty_like(sums) for sums in self.sums]
        self.target = np.empty_like(self.sums[-1])
        self.inputs = [np.empty((rows, layers[0].in_features), np.float32)]
        self.inside: list[Floats | None] = [None] * len(layers)
        for index in range(1, len(layers)):
            before = self.sums[index - 1]
            self.inputs.append(np.empty_like(before) if fake else before)
            self.inside[index] = np.ones_like(before) if fake else None


def gradient_norms(net: Sequential, X: Floats, y: ArrayLike) -> dict[str, Floats]:
    """Return the root mean square, over batches of samples, of the loss's gradient by tensor.

    The mean itself is next to 0 where training has ended.
    """
    settings = {
        "alpha": 0.0, "batch_size": min(64, len(X)), "epochs": 1, "learning_rate": 1.0,
        "learning_rate_schedule": "constant", "loss": "auto", "optimizer": "adam", "patience": None,
        "progress": False, "prune": None, "quantize": None, "random_state": None, "teacher": None,
        "temperature": 1.0, "validation_data": None,
    }  # fmt: skip
    training = Training(net.copy(), X, y, **settings)
    squares = np.zeros(training.grads.size)
    batches = range(0, len(X), training.batch_size)
    for start in batches:
        rows = np.arange(start, min(start + training.batch_size, len(X)))
        training._step(rows, training._buffers(len(rows)), None, 0)
        squares += np.square(training.grads, dtype=np.float64)
    norms = np.sqrt(squares / len(batches)).astype(np.float32)
    return {
        name: norms[place].reshape(training.gradients[name].shape)
        for name, place in training.places.items()
    }


def encode_targets(
    y: ArrayLike, outputs: int, activation: str, classes: NDArray[Any] | None
) -> tuple[Floats, NDArray[Any] | None]:
    """Return targets (n, outputs) as floats, and the classes where `y` are labels."""
    values = np.asarray(y)
    if values.ndim == 1 and (activation == "softmax" or (activation == "sigmoid" and outputs == 1)):
        return _encode_labels(values, outputs, classes)
    if values.dtype.kind not in "fiub":
        raise TypeError(f"y has dtype {values.dtype}; targets must be numbers")
    target = values.astype(np.float32).reshape(len(values), -1)
    if target.shape[1] != outputs:
        raise ValueError(f"y has shape {values.shape}; it must be (n, {outputs})")
    check_finite(target, "y")
    return np.ascontiguousarray(target), classes


def _encode_labels(
    labels: NDArray[Any], outputs: int, classes: NDArray[Any] | None
) -> tuple[Floats, NDArray[Any]]:
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        check_finite(labels, "y")
    count = max(outputs, 2)
    if classes is None:
        found = np.unique(labels)
        whole = found.dtype.kind in "iu" and found[0] >= 0 and found[-1] < count
        classes = np.arange(count) if whole else found
    if len(classes) > count:
        raise ValueError(
            f"y has {len(classes)} different labels; the network has {outputs} outputs"
        )
    codes = np.searchsorted(classes, labels)
    codes[codes == len(classes)] = 0
    wrong = classes[codes] != labels
    if wrong.any():
        at = int(np.argmax(wrong))
        raise ValueError(f"y[{at}] is {labels[at]!r}, which is not one of {list(classes)}")
    if outputs == 1:
        return codes.astype(np.float32).reshape(-1, 1), classes
    target = np.zeros((len(labels), outputs), np.float32)
    target[np.arange(len(labels)), codes] = 1.0
    return target, classes


def _positive(value: Any, name: str) -> float:
    if isinstance(value, (bool, str)) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name} is {value!r}; it must be a number")
    number = float(value)
    if not (np.isfinite(number) and number > 0):
        raise ValueError(f"{name} is {value}; it must be finite and above 0")
    return number
