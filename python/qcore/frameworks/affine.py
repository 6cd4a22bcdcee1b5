"""A chain of products, affine maps and activations, folded into dense layers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore.arrays.params.qparams import QParams
from qcore.arrays.tensor.tensor import QTensor
from qcore.chain.layers import Dense
from qcore.chain.normalization import Normalization
from qcore.nn.sequential import Sequential

__all__ = ["AffineChain"]


class AffineChain:
    """Takes what a framework's model does, step by step, and gives the network that does it.

    A scaling or shift goes into the layer before it or, behind an activation, into the layer after
    it; in float64. Numbers above 0 go through a ReLU, into the layer before it. What is done to the
    columns of the input becomes the network's normalization, which stays apart from the weights:
    only one factor for all columns goes into the first layer.

    Attributes
    ----------
    pending_input : QParams or None
        How the next layer takes its input.
    """

    def __init__(self) -> None:
        self.layers: list[dict[str, Any]] = []
        self.pending_input: QParams | str | None = None
        self._scale: NDArray[np.float64] | float = 1.0
        self._shift: NDArray[np.float64] | float = 0.0
        self._open = False  # whether the last layer still takes affine maps
        self._front: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None

    def product(self, weight: ArrayLike | QTensor) -> None:
        """Multiply by weights (out, in)."""
        if self.layers:
            self._through_relu(weight)
        elif not self._is_uniform() or isinstance(weight, QTensor):
            self._put_in_front()
        layer: dict[str, Any] = {"activation": "linear", "input": self.pending_input}
        if isinstance(weight, QTensor):
            if not self._is_plain():
                raise ValueError("a scaling before quantized weights cannot be folded into them")
            layer |= {"weight": weight, "bias": None}
        else:
            matrix = np.asarray(weight, np.float64)
            shift = np.broadcast_to(self._shift, (matrix.shape[1],))
            layer |= {"weight": matrix * self._scale, "bias": None}
            if np.any(shift):
                layer["bias"] = matrix @ shift
        self.layers.append(layer)
        self._scale, self._shift, self.pending_input, self._open = 1.0, 0.0, None, True

    def _through_relu(self, weight: ArrayLike | QTensor) -> None:
        """Move the size of a pending scale into the layer before a ReLU.

        Columns that small factors are waiting for would else share one integer scale with others.
        """
        before = self.layers[-1]
        coded = isinstance(weight, QTensor) or isinstance(before["weight"], QTensor)
        if before["activation"] != "relu" or coded or np.ndim(self._scale) == 0:
            return
        size = np.where(np.asarray(self._scale) == 0, 1.0, np.abs(self._scale))
        before["weight"] = before["weight"] * size[:, None]
        if before["bias"] is not None:
            before["bias"] = before["bias"] * size
        self._scale = self._scale / size

    def _is_uniform(self) -> bool:
        """Whether what is pending is one factor for all columns."""
        return bool(
            np.all(self._scale == np.reshape(self._scale, -1)[0]) and not np.any(self._shift)
        )

    def _put_in_front(self) -> None:
        """Let what is pending be the network's normalization."""
        if not self._is_plain():
            self._front = np.asarray(self._scale, np.float64), np.asarray(self._shift, np.float64)
            self._scale, self._shift = 1.0, 0.0

    def affine(self, scale: ArrayLike, shift: ArrayLike) -> None:
        """Compute ``x * scale + shift`` with a number, or a vector with one for each value."""
        factor, offset = (_vector(value) for value in (scale, shift))
        if self._open and (
            not isinstance(self.layers[-1]["weight"], QTensor) or np.all(factor == 1)
        ):
            layer = self.layers[-1]
            outputs = layer["weight"].shape[0]
            if np.any(factor != 1):
                layer["weight"] = layer["weight"] * np.broadcast_to(factor, (outputs,))[:, None]
            bias = 0.0 if layer["bias"] is None else layer["bias"]
            layer["bias"] = np.broadcast_to(bias * factor + offset, (outputs,))
            return
        self._scale = self._scale * factor
        self._shift = self._shift * factor + offset
        self._open = False

    def activation(self, name: str) -> None:
        """Apply an activation."""
        if not self._is_plain():
            raise ValueError(f"{name} follows a scaling that is behind no layer")
        if not self.layers or self.layers[-1]["activation"] != "linear":
            raise ValueError(f"{name} is behind no layer")
        self.layers[-1]["activation"] = name
        self._open = False

    def quantize_input(self, params: QParams | str) -> None:
        """Let the next layer take its input as integers."""
        if not self.layers:
            self._put_in_front()
        if not self._is_plain():
            raise ValueError("a scaling before a quantized input cannot be folded into a layer")
        self.pending_input = params
        self._open = False

    def network(self) -> Sequential:
        """Return the network."""
        if not self.layers:
            raise ValueError("there is no layer with weights")
        if not self._is_plain():
            raise ValueError("the last scaling is behind an activation: no layer can take it")
        layers = []
        for found in self.layers:
            layer = Dense.from_weights(
                found["weight"], found["bias"], layout="out_in", activation=found["activation"]
            )
            layer.input_qparams = found["input"]
            layers.append(layer)
        if self._front is None:
            return Sequential(layers)
        return Sequential(layers, normalization=self._normalization(layers[0]))

    def _normalization(self, first: Dense) -> Normalization:
        """Return what is in front of the first layer, which takes in columns that are constant."""
        assert self._front is not None
        scale, shift = (np.broadcast_to(part, (first.in_features,)) for part in self._front)
        constant = scale == 0
        if (constant & (shift != 0)).any():
            if isinstance(first.weight, QTensor):
                raise ValueError("a constant input of quantized weights cannot be folded into them")
            more = first.dense_weight().astype(np.float64) @ np.where(constant, shift, 0.0)
            first.bias = np.asarray(more if first.bias is None else first.bias + more, np.float32)
            first.use_bias = True
        mean = np.where(constant, 0.0, -shift / np.where(constant, 1.0, scale))
        return Normalization(mean, scale)

    def _is_plain(self) -> bool:
        return bool(np.all(self._scale == 1) and not np.any(self._shift))


def _vector(value: ArrayLike) -> NDArray[np.float64]:
    """Return a number, or a vector along the last axis."""
    array = np.asarray(value, np.float64)
    if array.ndim > 1 and array.size != array.shape[-1]:
        raise ValueError(f"a constant has shape {array.shape}; it must be one vector")
    return array.reshape(-1) if array.ndim else array
