"""The training loop: products on NumPy's BLAS, everything between them fused in kernels.

All parameters lie in one flat array, of which weights and biases are views, so that the optimizer
takes one step over all of them. Buffers are allocated once a batch size, not once a step.
"""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore import _core
from qcore._display.progress import EpochProgress
from qcore._runtime.blas import blas_threads, threads_that_pay
from qcore.chain.activations import activate
from qcore.chain.chain import Chain
from qcore.training.buffers import Buffers
from qcore.training.losses import loss_and_gradient
from qcore.training.resuming import Checkpoint
from qcore.training.settings import Settings
from qcore.training.setup import Setup

__all__ = ["Training", "gradient_norms"]

Floats = NDArray[np.float32]


class Training(Setup):
    """One call of `Sequential.fit`, which documents the settings."""

    def __init__(self, net: Chain, X: ArrayLike, y: ArrayLike | None, settings: Settings) -> None:
        super().__init__(net, X, y, settings)
        self.checkpoint = None
        if settings.checkpoint is not None:
            self.checkpoint = Checkpoint(settings.checkpoint, self)

    # the loop ----------------------------------------------------------------------------------
    def run(self) -> None:
        """Train; the network has its final weights afterwards, also if this is interrupted."""
        widest = max(layer.in_features * layer.out_features for layer in self.net.layers)
        try:
            with blas_threads(threads_that_pay(self.batch_size * widest)):
                self._run()
        finally:
            self._finish()

    def _run(self) -> None:
        self.given.history_ = self.history
        first = 1 if self.checkpoint is None else self.checkpoint.restore() + 1
        soft = None
        if self.teachers is not None and self.augment is None and first <= self.epochs:
            soft = self.teachers.answer_all(self.X)
        with EpochProgress(self.progress, self.steps, "train") as bar:
            for epoch in range(first, self.epochs + 1):
                if self._is_over(epoch - 1):
                    break
                self._epoch(epoch, soft, bar)
                self._validate(epoch)
                if self.checkpoint is not None:
                    self.checkpoint.save(epoch)

    def _epoch(self, epoch: int, soft: Floats | None, bar: EpochProgress) -> None:
        samples = len(self.X)
        started = time.perf_counter()
        order = self.rng.permutation(samples)
        total = 0.0
        step = self.steps // self.epochs * (epoch - 1)
        for start in range(0, samples, self.batch_size):
            rows = order[start : start + self.batch_size]
            buffers = self._buffers(len(rows))
            total += self._step(rows, buffers, soft, step) * len(rows)
            self._prune(step)
            rate = self._rate(step)
            number = step + 1 - self.restart
            self.optimizer.step(number, self.params, self.grads, self.state, rate, self.mask)
            if self.regularizer is not None:
                self.regularizer.shrink(self._weights(), rate)
            if self.hints is not None:
                self.hints.step(step + 1, rate)
            step += 1
            if step % 20 == 0:
                bar.update(step, f"epoch {epoch} of {self.epochs}")
        self.history["loss"].append(total / samples)
        self.history["seconds"].append(time.perf_counter() - started)
        if not np.isfinite(self.history["loss"][-1]):
            raise ValueError(f"the loss is not finite in epoch {epoch}: learn more slowly")

    def _step(self, rows: NDArray[np.intp], b: Buffers, soft: Floats | None, step: int) -> float:
        """Go forward and back once; the gradients are in place afterwards. Returns the loss."""
        layers = self.net.layers
        np.take(self.X, rows, axis=0, out=b.inputs[0], mode="clip")
        if self.augment is not None:
            b.inputs[0][...] = self.augment(b.inputs[0], self.rng)
        # What teachers are asked about; fake quantization rounds the inputs in place.
        normalizes = self.net.normalization is not None
        x = b.inputs[0].copy() if self.fake is not None or normalizes else b.inputs[0]
        if normalizes:
            b.inputs[0][...] = self.net.normalized(x)
        weights = []
        for index, layer in enumerate(layers):
            source = b.inputs[index]
            weight = layer.weight
            if self.fake is not None:
                self.fake.activation(index, source, b.inside[index], step)
                weight = self.fake.weight(index, layer)
            assert isinstance(weight, np.ndarray)
            weights.append(weight)
            np.matmul(source, weight.T, out=b.sums[index])
            if index + 1 < len(layers):
                _core.finish_rows(b.sums[index], layer.out_features, layer.bias, layer.activation)
                if self.fake is not None:
                    b.inputs[index + 1][...] = b.sums[index]
                if self.dropout:
                    self._drop(b.sums[index], b.inputs[index + 1], b.dropped[index + 1])
        last = layers[-1]
        _core.finish_rows(b.sums[-1], last.out_features, last.bias, "linear")
        loss = self._loss(rows, b, self._soft(rows, x, soft))
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
                if self.hints is not None:
                    hidden, before = b.sums[index - 1], b.deltas[index - 1]
                    loss += self.hints.add_gradient(index - 1, x, hidden, before)
                if self.dropout:
                    b.deltas[index - 1] *= b.dropped[index]
                _core.multiply_derivative(
                    b.deltas[index - 1], b.sums[index - 1], layers[index - 1].activation,
                    b.inside[index],
                )  # fmt: skip
        if self.shared is not None:
            self.shared.share(self.gradients)
        return loss

    def _drop(self, hidden: Floats, out: Floats, scale: Floats) -> None:
        """Leave out a share of a layer's outputs; the others grow to the same mean."""
        self.rng.random(dtype=np.float32, out=scale)
        np.greater_equal(scale, np.float32(self.dropout), out=scale)
        scale *= np.float32(1.0 / (1.0 - self.dropout))
        np.multiply(hidden, scale, out=out)

    def _soft(self, rows: NDArray[np.intp], x: Floats, soft: Floats | None) -> Floats | None:
        """Return what the teachers say about a batch: now, if it was made up just now."""
        if self.teachers is None:
            return None
        return self.teachers.answer(x) if soft is None else soft[rows]

    def _loss(self, rows: NDArray[np.intp], b: Buffers, soft: Floats | None) -> float:
        sums, delta = b.sums[-1], b.deltas[-1]
        delta.fill(0.0)
        loss = 0.0
        if soft is not None:
            loss += _core.softmax_loss(
                sums, soft, sums.shape[1], self.temperature, self.alpha, delta
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

    def _rate(self, step: int) -> float:
        done = step / self.steps
        if self.rewinds is not None:
            place, length = self.rewinds.position(step)
            done = min(1.0, place / length)
        if self.schedule == "linear":
            return self.learning_rate * (1.0 - done)
        if self.schedule == "cosine":
            return float(self.learning_rate * 0.5 * (1.0 + np.cos(np.pi * done)))
        return self.learning_rate

    def _prune(self, step: int) -> None:
        """Renew the masks where the schedule says so."""
        if self.pruner is None:
            return
        if self.rewinds is not None and step == self.rewinds.rewind_step:
            self.early = self.params.copy()
        masks = self.pruner.masks_at(self._weights(), step, self.gradients)
        if masks is None:
            return
        if self.mask is None:
            self.mask = np.ones_like(self.params)
        for name, mask in masks.items():
            self.mask[self.places[name]] = np.asarray(mask, np.float32).reshape(-1)
        if self.early is not None:
            self._rewind(step)

    def _rewind(self, step: int) -> None:
        """Go back to the early weights; the step that is being taken does not move them."""
        assert self.early is not None
        self.params[...] = self.early
        self.grads.fill(0.0)
        for part in self.state:
            part.fill(0.0)
        self.restart = step

    def _weights(self) -> dict[str, Floats]:
        """Return the parameters by name: views."""
        return {
            name: self.params[place].reshape(self.gradients[name].shape)
            for name, place in self.places.items()
        }

    # evaluation --------------------------------------------------------------------------------
    def _snapshot(self) -> Chain:
        """Return the network as it would be if training ended now."""
        coding = self.fake or self.shared
        return self.net.copy() if coding is None else coding.export(self.net)

    def _validate(self, epoch: int) -> None:
        """Score the network after an epoch."""
        if self.validation is None:
            return
        score = self._snapshot().score(*self.validation)
        self.history.setdefault("val_score", []).append(score)
        if self.patience is None:
            return
        if self.best is None or score > self.best[0]:
            ranges = None if self.fake is None else [(r.low, r.high) for r in self.fake.ranges]
            self.best = (score, epoch, self.params.copy(), ranges)

    def _is_over(self, epoch: int) -> bool:
        """Whether the score has not risen for so long that training stops after an epoch."""
        if self.patience is None or self.best is None:
            return False
        return bool(epoch - self.best[1] >= self.patience)

    def _finish(self) -> None:
        """Give the layers arrays of their own, the best ones if that was asked for."""
        best = self.best
        if best is not None:
            self.params[...] = best[2]
            for observed, bounds in zip(
                self.fake.ranges if self.fake else (), best[3] or (), strict=True
            ):
                observed.low, observed.high = bounds
        final = self._snapshot()
        self.given.classes_ = final.classes_
        for layer, trained in zip(self.given.layers, final.layers, strict=True):
            layer.weight, layer.bias = trained.weight, trained.bias
            layer.input_qparams = trained.input_qparams

    def _buffers(self, rows: int) -> Buffers:
        if rows not in self.buffers:
            self.buffers[rows] = Buffers(self.net, rows, self.fake is not None, self.dropout > 0)
        return self.buffers[rows]


def gradient_norms(net: Chain, X: Floats, y: ArrayLike) -> dict[str, Floats]:
    """Return the root mean square, over batches of samples, of the loss's gradient by tensor.

    The mean itself is next to 0 where training has ended.
    """
    training = Training(net.copy(), X, y, Settings(batch_size=min(64, len(X)), progress=False))
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
