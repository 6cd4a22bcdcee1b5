"""A chain of dense layers: what it holds, and how it predicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._arguments.arrays import as_array
from qcore._arguments.estimator import NotFittedError
from qcore._arguments.validation import check_finite, check_instance, check_one_of, samples
from qcore._display.html import number_text, table_html
from qcore._display.table import Report
from qcore.arrays.layerwise.nested import upper_half
from qcore.arrays.tensor.kinds import kind_of
from qcore.arrays.tensor.tensor import QTensor
from qcore.chain.inference import Executable, compile_network
from qcore.chain.labels import are_labels, label_codes, target_rows
from qcore.chain.layers import Dense
from qcore.chain.normalization import Normalization
from qcore.chain.session import ChainRunner
from qcore.errors import ArgumentError
from qcore.graph.running.inputs import check_inputs
from qcore.graph.running.session import Session
from qcore.graph.value import Value

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Chain"]


class Chain:
    """Dense layers, one after another: what estimators work on.

    `qcore.nn.Sequential` is the chain that can be trained and saved, and documents the attributes.

    Parameters
    ----------
    layers : iterable of Dense
        From input to output; each takes as many values as the one before gives. Softmax may only
        come last.
    normalization : Normalization, optional
        What is done to the columns of raw samples before the first layer, in floats.
    """

    report_: Report
    history_: dict[str, list[float]]

    def __init__(
        self, layers: Iterable[Dense], *, normalization: Normalization | None = None
    ) -> None:
        check_instance(layers, Iterable, "layers")
        self.layers = tuple(layers)
        if not self.layers:
            raise ValueError("layers is empty; a network has at least one")
        for place, layer in enumerate(self.layers, 1):
            if not isinstance(layer, Dense):
                raise TypeError(f"layers[{place - 1}] is {type(layer).__name__}; it must be Dense")
            layer._place = place
        for before, after in zip(self.layers, self.layers[1:], strict=False):
            if before.out_features != after.in_features:
                widths = f"{before.out_features} values, {after.name} takes {after.in_features}"
                raise ValueError(f"{before.name} gives {widths}")
            if before.activation == "softmax":
                raise ValueError(f"{before.name} has softmax; only the last layer may")
        names = [layer.name for layer in self.layers]
        if len(set(names)) < len(names):
            raise ValueError(f"layers share a name: {names}")
        inputs = self.layers[0].in_features
        if normalization is not None and not normalization.fits(inputs):
            found = f"{normalization.mean.size} means and {normalization.scale.size} scales"
            raise ValueError(f"normalization has {found}; the network takes {inputs} values")
        self.normalization = normalization
        self.classes_: NDArray[Any] | None = None
        self.one_versus_rest = False
        self.packed = False
        self.precision = 8
        self._executable: Executable | None = None

    @classmethod
    def from_arrays(
        cls,
        weights: Sequence[ArrayLike],
        biases: Sequence[ArrayLike | None],
        *,
        layout: str,
        activation: str = "relu",
        output: str = "softmax",
    ) -> Self:
        """Build a network from trained arrays.

        Parameters
        ----------
        weights, biases : sequences of array_like
            One for each layer; a bias may be None.
        layout : {"out_in", "in_out"}
            Which axis of a weight is which, as in `Dense.from_weights`. Required.
        activation : str
            Of the hidden layers.
        output : str
            Of the last layer.
        """
        if len(weights) != len(biases):
            raise ValueError(f"there are {len(weights)} weights and {len(biases)} biases")
        last = len(weights) - 1
        return cls(
            Dense.from_weights(
                w, b, layout=layout, activation=output if index == last else activation
            )
            for index, (w, b) in enumerate(zip(weights, biases, strict=True))
        )

    # weights -----------------------------------------------------------------------------------
    def named_weights(self) -> dict[str, Any]:
        """Return the tensors by name: ``fc1.weight``, ``fc1.bias``, and so on; not copied."""
        self._check_built()
        return {name: value for layer in self.layers for name, value in layer.tensors().items()}

    def with_weights(self, weights: Mapping[str, Any]) -> Self:
        """Return a copy of the network with the tensors of these names replaced."""
        check_instance(weights, Mapping, "weights")
        unknown = set(weights) - set(self.named_weights())
        if unknown:
            raise ValueError(f"the network has no tensor {sorted(unknown, key=repr)[0]!r}")
        new = self.copy()
        for layer in new.layers:
            for part in ("weight", "bias"):
                value = weights.get(f"{layer.name}.{part}")
                if value is None:
                    continue
                setattr(layer, part, _replacement(value, getattr(layer, part), layer, part))
        return new

    def copy(self) -> Self:
        """Return a network with copies of the layers."""
        return self.with_layers(layer.copy() for layer in self.layers)

    def with_layers(self, layers: Iterable[Dense]) -> Self:
        """Return a network of other layers, with what this one has besides."""
        new = type(self)(layers, normalization=self.normalization)
        new.classes_ = None if self.classes_ is None else self.classes_.copy()
        new.one_versus_rest = self.one_versus_rest
        new.packed = self.packed
        new.precision = self.precision
        return new

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors as they are in memory or, where quantized, as stored."""
        tensors = sum(int(value.nbytes) for value in self.named_weights().values())
        return tensors + (0 if self.normalization is None else self.normalization.nbytes)

    def _check_built(self) -> None:
        for layer in self.layers:
            if not layer.built:
                raise NotFittedError(f"layer {layer.name} has no weights yet: fit the network")

    # by name -----------------------------------------------------------------------------------
    @property
    def inputs(self) -> tuple[Value, ...]:
        """The one input: "input", (batch, inputs)."""
        return (Value("input", "float32", ("batch", self.layers[0].in_features)),)

    @property
    def outputs(self) -> tuple[Value, ...]:
        """The one output: "output", (batch, outputs)."""
        return (Value("output", "float32", ("batch", self.layers[-1].out_features)),)

    def run(self, inputs: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
        """Compute the output by name, as `Graph.run` does: ``run({"input": x})["output"]``."""
        arrays = check_inputs(self.inputs, inputs)
        return {"output": self.predict_proba(arrays["input"])}

    def __call__(self, x: ArrayLike) -> NDArray[Any]:
        """Compute the output for samples."""
        return self.run({"input": x})["output"]

    def session(
        self, shapes: Mapping[str, int] | None = None, threads: int | None = None
    ) -> Session:
        """Return the network made ready for ``{"batch": n}`` samples; see `Graph.session`."""
        return Session(
            self.inputs, self.outputs, shapes, threads,
            lambda sizes, most: ChainRunner(self, sizes["batch"], most),
        )  # fmt: skip

    # prediction --------------------------------------------------------------------------------
    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return the last layer's output, (n, outputs) float32: probabilities after softmax.

        Of a model with ``one_versus_rest``, each class's own probability, scaled to a sum of 1.
        """
        if self.one_versus_rest:
            each = np.exp(-np.logaddexp(0, -self.predict_logits(X).astype(np.float64)))
            return np.asarray(each / each.sum(axis=1, keepdims=True), np.float32)
        return self.executable().run(self._samples(X))

    def predict_logits(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return the last layer's sums before its activation: (n, outputs) float32."""
        return self.executable().run(self._samples(X), logits=True)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return labels (n,) of a classifier, else the output.

        Classifiers are networks that end in softmax or sigmoid, or in logits and have `classes_`.
        """
        last = self.layers[-1]
        if last.activation == "sigmoid" and last.out_features > 1:
            return (self.predict_logits(X) > 0).astype(np.int8)
        if not self._classifies and self.classes_ is None:
            return self.predict_proba(X)
        codes = self._codes(X)
        return codes if self.classes_ is None else self.classes_[codes]

    def _codes(self, X: ArrayLike) -> NDArray[np.intp]:
        """Return the place of the likeliest class, (n,)."""
        logits = self.predict_logits(X)
        if logits.shape[1] == 1:
            return (logits[:, 0] > 0).astype(np.intp)
        codes: NDArray[np.intp] = logits.argmax(axis=1)
        return codes

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """Return the accuracy of a classifier, or R² of a regression.

        Parameters
        ----------
        X : array_like, (n, inputs)
            Samples, at least one.
        y : array_like, (n,), (n, 1) or (n, outputs)
            Labels, one for each sample: those of `classes_`, or places among the outputs where
            there are none. A network that ends in logits (several linear outputs) is a classifier
            too where `y` has one label for each sample. Or one-hot rows, or numbers to come near
            to.

        Raises
        ------
        ValueError
            If `y` cannot be read so; names the first label that is unknown.
        """
        right = self.right(X, y)
        if right is not None:
            return float(np.mean(right))
        wanted = target_rows(as_array(y, "y"), self.layers[-1].out_features).astype(np.float64)
        found = self.predict_proba(X)
        rest = float(np.sum((wanted - found) ** 2))
        total = float(np.sum((wanted - wanted.mean(axis=0)) ** 2))
        return 1.0 - rest / total if total else float(rest == 0)

    def right(self, X: ArrayLike, y: ArrayLike) -> NDArray[np.float64] | None:
        """Return how right each answer is, (n,): 0 or 1, shares with several sigmoids.

        None where `y` has numbers to come near to; else as in `score`, which is the mean.
        """
        wanted = as_array(y, "y")
        rows = samples(X, self.layers[0].in_features, finite=False)
        if not wanted.ndim or len(rows) != len(wanted):
            count = f"{len(wanted)}" if wanted.ndim else "one number, no"
            raise ArgumentError("y", f"X has {len(rows)} rows, y has {count}")
        last = self.layers[-1]
        if self.reads_labels(wanted):
            codes = label_codes(wanted, last.out_features, self.classes_)
            return np.asarray(self._codes(rows) == codes, np.float64)
        if last.activation not in ("softmax", "sigmoid"):
            return None
        wanted = target_rows(wanted, last.out_features)
        if last.activation == "softmax":
            return np.asarray(self._codes(rows) == wanted.argmax(axis=1), np.float64)
        return np.asarray(np.mean(self.predict(rows) == wanted, axis=1))

    def reads_labels(self, y: ArrayLike) -> bool:
        """Whether `y` names a class for each sample, so that scores are accuracies."""
        last = self.layers[-1]
        return are_labels(as_array(y, "y"), last.out_features, last.activation, self.classes_)

    @property
    def is_classifier(self) -> bool:
        """Whether `predict` gives labels: it ends in softmax or sigmoid, or has classes."""
        return self._classifies or self.classes_ is not None

    @property
    def _classifies(self) -> bool:
        return self.layers[-1].activation in ("softmax", "sigmoid")

    def executable(self) -> Executable:
        """Return the network in the form that runs, built once: kernels chosen, weights laid out.

        Replace a layer's weights through `with_weights`, which makes a new network.
        """
        if self._executable is None:
            self._check_built()
            self._executable = compile_network(self._at_precision().layers)
        return self._executable

    @property
    def kernels(self) -> list[str]:
        """Which kernel runs each layer."""
        return self.executable().kernels

    def set_precision(self, bits: int) -> Self:
        """Run the 8-bit weights whole, or only the 4-bit codes in their upper halves.

        For networks that ``Quantizer(8, nested=4)`` made, the latter is as good as a network of 4
        bits; of other 8-bit networks it is the rounded codes. Files hold the whole codes.

        Parameters
        ----------
        bits : {8, 4}

        Returns
        -------
        Chain
            Itself.
        """
        check_one_of(bits, "bits", (8, 4))
        quantized = [layer.weight for layer in self.layers if isinstance(layer.weight, QTensor)]
        if not quantized:
            raise ValueError("the network has no 8-bit weights: quantize it first")
        if bits == 4:
            for weight in quantized:
                upper_half(weight)
        self.precision = int(bits)
        self._executable = None
        return self

    def _at_precision(self) -> Self:
        """Return the network whose weights are those that run."""
        if self.precision == 8:
            return self
        halved = self.copy()
        for layer in halved.layers:
            if isinstance(layer.weight, QTensor):
                layer.weight = upper_half(layer.weight)
        return halved

    def _samples(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return what the first layer gets of samples that a caller gave; NaN goes through."""
        inputs = self.layers[0].in_features
        if type(X) is np.ndarray and X.dtype == np.float32 and self.normalization is None:
            flags = X.flags
            plain = flags.c_contiguous and flags.aligned and X.dtype.isnative
            if plain and X.ndim == 2 and X.shape[1] == inputs:
                return X
        return self.normalized(samples(X, inputs, finite=False, empty=True))

    def normalized(self, X: NDArray[Any]) -> NDArray[np.float32]:
        """Return what the first layer gets of samples, (n, inputs) float32."""
        if self.normalization is not None:
            return self.normalization(X)
        with np.errstate(over="ignore"):
            return X.astype(np.float32, copy=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_executable": None}

    def _repr_html_(self) -> str:
        rows: list[dict[str, Any]] = []
        for layer in self.layers:
            weight, qparams = layer.weight, layer.input_qparams
            tensors = layer.tensors().values()
            rows.append(
                {
                    "layer": layer.name,
                    "widths": f"{layer.in_features} → {layer.out_features}",
                    "activation": layer.activation,
                    "weights": "not trained" if weight is None else kind_of(weight),
                    "input": qparams if qparams is None or isinstance(qparams, str) else "static",
                    "parameters": sum(int(value.size) for value in tensors),
                    "bytes": sum(int(value.nbytes) for value in tensors),
                }
            )
        sums = {key: sum(row[key] for row in rows) for key in ("parameters", "bytes")}
        rows.append({"layer": "all", **sums})
        return table_html(type(self).__name__, rows, number_text)

    def __repr__(self) -> str:
        return f"{type(self).__name__}([{', '.join(map(repr, self.layers))}])"


def _replacement(value: Any, old: Any, layer: Dense, part: str) -> Any:
    """Return what takes the place of a tensor: float32 or a QTensor, of the same shape."""
    name = f"{layer.name}.{part}"
    new = value
    if not isinstance(value, QTensor):
        array = as_array(value)
        if array.dtype != np.float32:
            raise TypeError(f"{name} has dtype {array.dtype}; it must be float32 or a QTensor")
        check_finite(array, name)
        new = np.array(array, np.float32, order="C")
    if old is None:
        raise ValueError(f"{name} is given; the layer has no {part}")
    if new.shape != old.shape:
        raise ValueError(f"{name} has shape {new.shape}, not {old.shape}")
    return new
