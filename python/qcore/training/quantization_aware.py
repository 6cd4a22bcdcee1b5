"""Quantization-aware training: the forward pass sees what the integers will see.

Weights are quantized anew at every step, as `qcore.quantize` would, and the gradient passes
through the rounding as if it were not there (the straight-through estimator); where an activation
saturates, it does not pass. The float weights remain what the optimizer moves. Weights of fewer
than 8 bits have steps that are learned (`LearnedSteps`), from a while after the start on: steps
that fit random weights fit nothing later.

Bengio, Léonard and Courville, "Estimating or Propagating Gradients Through Stochastic Neurons for
Conditional Computation", 2013. Jacob et al., "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference", CVPR 2018, section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore.arrays.params.qparams import QParams, qparams_from_range
from qcore.arrays.tensor.functions import quantize
from qcore.arrays.tensor.tensor import QTensor
from qcore.training.learned_steps import LearnedSteps

if TYPE_CHECKING:
    from qcore.chain.chain import Chain
    from qcore.chain.layers import Dense
    from qcore.training.settings import WeightQuantizer

__all__ = ["ActivationRange", "FakeQuantization"]

Floats = NDArray[np.float32]


class ActivationRange:
    """A moving average of the range of an activation.

    Averages of batches are not mergeable: they live here, in training, and nowhere else.
    """

    def __init__(self, momentum: float = 0.99) -> None:
        self.momentum = momentum
        self.low: float | None = None
        self.high: float | None = None

    def update(self, x: Floats) -> None:
        """Take in a batch."""
        low, high, _, _ = _core.ranges(x)
        if self.low is None or self.high is None:
            self.low, self.high = float(low[0]), float(high[0])
            return
        keep = self.momentum
        self.low = keep * self.low + (1 - keep) * float(low[0])
        self.high = keep * self.high + (1 - keep) * float(high[0])

    def qparams(self) -> QParams:
        """Return asymmetric uint8 parameters for the range so far."""
        low = 0.0 if self.low is None else self.low
        high = 0.0 if self.high is None else self.high
        return qparams_from_range(low, high, signed=False, symmetric=False)


class FakeQuantization:
    """What quantization-aware training keeps beside the network."""

    def __init__(self, net: Chain, quantizer: WeightQuantizer, settle: int, learn: int) -> None:
        self.bits = quantizer.fit(net, None).bits_
        self.narrow = {name: quantizer.narrow_range_of(name) for name in self.bits}
        self.settle = settle
        self.learn = learn
        self.step = 0
        self.steps: dict[str, LearnedSteps] = {}
        self.ranges = [ActivationRange() for _ in net.layers]
        self.weights = [np.empty_like(layer.dense_weight()) for layer in net.layers]
        self._zeros = [np.zeros(layer.out_features, np.int32) for layer in net.layers]

    def weight(self, index: int, layer: Dense) -> Floats:
        """Return the layer's weight as its integers will decode."""
        weight = layer.weight
        assert isinstance(weight, np.ndarray)
        name = f"{layer.name}.weight"
        bits = self.bits.get(name)
        if bits is None or (bits < 8 and self.step < self.learn):
            return weight
        if bits < 8:
            if name not in self.steps:
                self.steps[name] = LearnedSteps(weight, bits, self.narrow[name])
            return self.steps[name].forward(weight)
        rows = weight.shape
        low, high, _, _ = _core.ranges(weight, axis=rows)
        params = qparams_from_range(
            low, high, bits=bits, signed=True, symmetric=True, narrow_range=True
        )
        out = self.weights[index]
        _core.fake_quantize(
            weight, params.scale, self._zeros[index], params.qmin, params.qmax, out, axis=rows
        )
        return out

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return what training changed of the steps, by name; `restore` takes it."""
        return {
            f"{name}:{part}": value
            for name, steps in self.steps.items()
            for part, value in steps.state().items()
        }

    def restore(self, net: Chain, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Go on from a state."""
        for layer in net.layers:
            name = f"{layer.name}.weight"
            parts = {key.rpartition(":")[2]: v for key, v in state.items() if f"{name}:" in key}
            if parts:
                steps = LearnedSteps(layer.dense_weight(), self.bits[name], self.narrow[name])
                steps.restore(parts)
                self.steps[name] = steps

    def backward(self, layer: Dense, gradient: Floats, learning_rate: float) -> None:
        """Turn the gradient of a quantized weight into that of the float weight, in place."""
        steps = self.steps.get(f"{layer.name}.weight")
        if steps is not None:
            assert isinstance(layer.weight, np.ndarray)
            steps.backward(layer.weight, gradient, learning_rate)

    def activation(self, index: int, x: Floats, inside: Floats | None, step: int) -> None:
        """Quantize a layer's input in place; `inside` gets the straight-through mask.

        The first steps only watch, so that the range has settled when it starts to clip.
        """
        observed = self.ranges[index]
        observed.update(x)
        self.step = step
        if step < self.settle:
            if inside is not None:
                inside.fill(1.0)
            return
        params = observed.qparams()
        source = x.copy()
        _core.fake_quantize(
            source, params.scale, params.zero_point, params.qmin, params.qmax, x, inside
        )

    def export(self, net: Chain) -> Chain:
        """Return the network on integers: weights and ranges as training last saw them."""
        small = net.copy()
        for layer, observed in zip(small.layers, self.ranges, strict=True):
            bits = self.bits.get(f"{layer.name}.weight")
            if bits is not None:
                learned = self.steps.get(f"{layer.name}.weight")
                weight = layer.dense_weight()
                layer.weight = learned.export(weight) if learned else _rounded(weight, bits)
                layer.input_qparams = observed.qparams()
        return small


def _rounded(weight: Floats, bits: int) -> QTensor:
    """Return a weight whose steps were not learned yet."""
    return quantize(weight, bits=bits, axis=0, observer="mse" if 1 < bits < 8 else "minmax")
