"""The dense layer: ``activation(x @ weight.T + bias)``."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore import _core
from qcore._arguments.validation import check_finite, check_int, check_one_of, float_array
from qcore.arrays.params.qparams import QParams
from qcore.arrays.products.activations import DENSE
from qcore.arrays.tensor.tensor import QTensor
from qcore.chain.activations import activate

__all__ = ["Dense"]

LAYOUTS = ("out_in", "in_out")


class Dense:
    """A dense layer.

    Parameters
    ----------
    in_features, out_features : int
        Width of the input and of the output.
    activation : {"linear", "relu", "sigmoid", "softmax", "tanh"}
        What follows the sum.
    use_bias : bool, default True
        Whether there is a bias.
    name : str, optional
        Default: the network names it "fc1", "fc2", and so on.

    Attributes
    ----------
    weight : ndarray of float32, QTensor or None
        (out_features, in_features), as torch has it; None until trained or given.
    bias : ndarray of float32 or None
        (out_features,).
    input_qparams : QParams, "dynamic" or None
        How the layer takes its input: as integers with fixed parameters, as integers with a scale
        of each row's own, or as floats.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> layer = qc.nn.Dense.from_weights(np.eye(2, 3, dtype=np.float32), layout="in_out")
    >>> layer.in_features, layer.out_features
    (2, 3)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        activation: str = "linear",
        *,
        use_bias: bool = True,
        name: str | None = None,
    ) -> None:
        self.in_features = check_int(in_features, "in_features", 1)
        self.out_features = check_int(out_features, "out_features", 1)
        check_one_of(activation, "activation", DENSE)
        if name is not None and (not isinstance(name, str) or not name or "." in name):
            raise ValueError(f"name is {name!r}; it must be a text without a dot")
        self.activation = activation
        self.use_bias = bool(use_bias)
        self._given_name = name
        self._place = 1
        self.weight: NDArray[np.float32] | QTensor | None = None
        self.bias: NDArray[np.float32] | None = None
        self.input_qparams: QParams | str | None = None

    @classmethod
    def from_weights(
        cls,
        weight: ArrayLike | QTensor,
        bias: ArrayLike | None = None,
        *,
        layout: str,
        activation: str = "linear",
        name: str | None = None,
    ) -> Dense:
        """Build a layer from trained weights.

        Parameters
        ----------
        weight : array_like of float, or QTensor
            Two-dimensional; copied, as float32 where it is not quantized.
        bias : array_like of float, optional
            (out_features,).
        layout : {"out_in", "in_out"}
            Which axis is which: "out_in" in torch, "in_out" in Keras and scikit-learn. Required: a
            square weight would be misread without an error.
        activation, name
            As in the constructor.

        Raises
        ------
        ValueError
            If shapes do not fit, or a value is not finite.
        """
        check_one_of(layout, "layout", LAYOUTS)
        matrix: NDArray[np.float32] | QTensor
        if isinstance(weight, QTensor):
            matrix = weight if layout == "out_in" else weight.T
        else:
            array = float_array(weight, "weight")
            check_finite(array, "weight")
            if array.ndim == 2:
                array = array if layout == "out_in" else array.T
            matrix = np.array(array, np.float32, order="C")
        if matrix.ndim != 2:
            raise ValueError(f"weight has {matrix.ndim} dimensions; it must have 2")
        outputs, inputs = matrix.shape
        layer = cls(inputs, outputs, activation, use_bias=bias is not None, name=name)
        layer.weight = matrix
        if bias is not None:
            vector = np.array(float_array(bias, "bias"), np.float32, order="C")
            check_finite(vector, "bias")
            if vector.shape != (outputs,):
                raise ValueError(f"bias has shape {vector.shape}; it must be {(outputs,)}")
            layer.bias = vector
        return layer

    @property
    def name(self) -> str:
        """The layer's name; tensors are called ``name.weight`` and ``name.bias``."""
        return self._given_name or f"fc{self._place}"

    @property
    def built(self) -> bool:
        """Whether the layer has weights."""
        return self.weight is not None

    def initialize(self, rng: np.random.Generator) -> None:
        """Draw Glorot-uniform weights and set the bias to 0.

        Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
        networks", AISTATS 2010.
        """
        limit = np.sqrt(6.0 / (self.in_features + self.out_features))
        shape = (self.out_features, self.in_features)
        self.weight = rng.uniform(-limit, limit, shape).astype(np.float32)
        self.bias = np.zeros(self.out_features, np.float32) if self.use_bias else None
        self.input_qparams = None

    def dense_weight(self) -> NDArray[np.float32]:
        """Return the weight as a float array, decoded where it is quantized."""
        weight = self.weight
        if weight is None:
            raise ValueError(f"layer {self.name} has no weights yet: fit the network")
        return weight.dequantize() if isinstance(weight, QTensor) else weight

    def forward(
        self, x: NDArray[np.float32], exact: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Return the layer's float output: the reference for what kernels compute.

        `exact` is what rows that stay floats take, where `x` is what integers decode to.
        """
        weight = self.dense_weight()
        z = _product(x, weight)
        floats = self.float_rows
        if exact is not None and floats is not None:
            z[:, floats] = _product(exact, weight[floats])
        activate(z, self.bias, self.activation)
        return z

    def sums(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the layer's float output before its activation."""
        z = _product(x, self.dense_weight())
        activate(z, self.bias, "linear")
        return z

    @property
    def float_rows(self) -> NDArray[np.bool_] | None:
        """Which outputs' weights stay floats in a quantized layer, (out,); None if none do."""
        weight = self.weight
        if not isinstance(weight, QTensor) or weight.float_rows is None:
            return None
        assert weight.row_bits is not None
        floats: NDArray[np.bool_] = weight.row_bits > 8
        return floats

    def copy(self) -> Dense:
        """Return a layer with the same settings and weights; arrays are copied."""
        new = Dense(
            self.in_features,
            self.out_features,
            self.activation,
            use_bias=self.use_bias,
            name=self._given_name,
        )
        new._place = self._place
        weight = self.weight
        new.weight = weight.copy() if isinstance(weight, np.ndarray) else weight
        new.bias = None if self.bias is None else self.bias.copy()
        new.input_qparams = self.input_qparams
        return new

    def tensors(self) -> dict[str, Any]:
        """Return the layer's tensors by their names in the network."""
        found = {f"{self.name}.weight": self.weight, f"{self.name}.bias": self.bias}
        return {name: value for name, value in found.items() if value is not None}

    def __repr__(self) -> str:
        weight = self.weight
        kind = "" if weight is None else f", {weight!r}" if isinstance(weight, QTensor) else ""
        widths = f"{self.in_features}, {self.out_features}"
        return f"Dense({widths}, activation={self.activation!r}{kind})"


def _product(x: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``x @ weight.T`` in qcore's own order of sums.

    A row's result is the same bits whatever rows it comes with, which BLAS does not promise: what
    is calibrated on it does not depend on how samples are batched.
    """
    out = np.empty((len(x), len(weight)), np.float32)
    weights = _core.PackedWeights.float(weight)
    weights.linear(np.ascontiguousarray(x, np.float32), None, "linear", out)
    return out
