"""Learned step size quantization: the steps of few-bit weights are trained with the weights.

Where a weight's code does not saturate, its gradient passes through the rounding, and the step gets
what the rounding error takes; where it saturates, the step gets all (Esser, McKinstry, Bablani,
Appuswamy and Modha, "Learned Step Size Quantization", ICLR 2020). The logarithm of a step is
trained, with Adam, so that one learning rate fits steps of all sizes. One bit is a sign times a
learned scale (Rastegari et al., "XNOR-Net", ECCV 2016).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore.arrays.params.qparams import code_range
from qcore.arrays.tensor.functions import quantize
from qcore.arrays.tensor.tensor import QTensor

__all__ = ["LearnedSteps"]

Floats = NDArray[np.float32]

#: How much faster than weights the logarithms of steps move. Chosen on validation images, from 0.1,
#: 1 and 5: see docs/quantization.md.
STEP_RATE = 5.0

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


class LearnedSteps:
    """The steps of one weight matrix (out, in), one for each output.

    Attributes
    ----------
    scale : ndarray of float32, (out,)
    """

    def __init__(self, weight: Floats, bits: int, narrow_range: bool) -> None:
        self.bits = bits
        self.narrow_range = narrow_range
        first = self._first(weight)
        self.zero_point = first.zero_point.copy()
        self.log_scale = np.log(np.maximum(first.scale, np.float32(1e-12)).astype(np.float64))
        self._mean = np.zeros_like(self.log_scale)
        self._square = np.zeros_like(self.log_scale)
        self._steps = 0
        self._real = np.empty_like(weight)
        self._inside = np.ones_like(weight)

    @property
    def scale(self) -> Floats:
        """The steps as float32, as they are exported."""
        scale: Floats = np.exp(self.log_scale).astype(np.float32)
        return scale

    def state(self) -> dict[str, NDArray[Any]]:
        """Return all that training changes, by name; `restore` takes it."""
        return {
            "log_scale": self.log_scale, "zero_point": self.zero_point, "mean": self._mean,
            "square": self._square, "steps": np.array(self._steps),
        }  # fmt: skip

    def restore(self, state: dict[str, NDArray[Any]]) -> None:
        """Go on from a state."""
        self.log_scale, self.zero_point = state["log_scale"], state["zero_point"]
        self._mean, self._square = state["mean"], state["square"]
        self._steps = int(state["steps"])

    def forward(self, weight: Floats) -> Floats:
        """Return the weight as its codes decode; kept until `backward`."""
        scale = self.scale
        if self.bits == 1:
            np.multiply(np.where(weight < 0, np.float32(-1), np.float32(1)), scale[:, None],
                        out=self._real)  # fmt: skip
            np.less_equal(np.abs(weight), 2 * scale[:, None], out=self._inside, casting="unsafe")
            return self._real
        low, high = code_range(self.bits, True, self.narrow_range)
        _core.fake_quantize(
            weight, scale, self.zero_point, low, high, self._real, self._inside, axis=weight.shape
        )
        return self._real

    def backward(self, weight: Floats, gradient: Floats, learning_rate: float) -> None:
        """Turn the gradient of the decoded weight into that of the weight; move the steps."""
        change = np.einsum("ij,ij->i", gradient, self._real, dtype=np.float64)
        np.multiply(gradient, self._inside, out=gradient)
        if self.bits > 1:
            change -= np.einsum("ij,ij->i", gradient, weight, dtype=np.float64)
        self._steps += 1
        self._mean += (1 - _BETA1) * (change - self._mean)
        self._square += (1 - _BETA2) * (change**2 - self._square)
        mean = self._mean / (1 - _BETA1**self._steps)
        square = self._square / (1 - _BETA2**self._steps)
        self.log_scale -= STEP_RATE * learning_rate * mean / (np.sqrt(square) + _EPSILON)

    def export(self, weight: Floats) -> QTensor:
        """Return the tensor whose values the last forward pass would have."""
        if self.bits == 1:
            return quantize(weight, bits=1, axis=0, scale=self.scale)
        return quantize(
            weight, bits=self.bits, axis=0, scale=self.scale, zero_point=self.zero_point,
            narrow_range=self.narrow_range,
        )  # fmt: skip

    def _first(self, weight: Floats) -> QTensor:
        """Return the tensor of least squared error, from which the steps start."""
        if self.bits == 1:
            return quantize(weight, bits=1, axis=0)
        options: dict[str, Any] = {"bits": self.bits, "axis": 0, "narrow_range": self.narrow_range}
        q = quantize(weight, observer="mse", **options)
        if self.narrow_range:
            return q
        # The code that a symmetric range has too many goes to the side where it does more good.
        above = quantize(weight, scale=q.scale, zero_point=np.full(len(weight), -1), **options)
        lost = [np.sum((weight - t.dequantize()) ** 2, axis=1) for t in (q, above)]
        zeros = np.where(lost[1] < lost[0], -1, 0).astype(np.int32)
        return quantize(weight, scale=q.scale, zero_point=zeros, **options)
