"""The network: dense layers, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._arrays import as_array
from qcore._estimator import NotFittedError
from qcore._progress import Progress
from qcore._validation import check_finite, check_one_of, float_array, numeric_array
from qcore.arrays.tensor.tensor import QTensor
from qcore.nn.layers import Dense
from qcore.report import Report

if TYPE_CHECKING:
    from qcore.estimators.pruner.pruner import Pruner
    from qcore.estimators.quantizer.quantizer import Quantizer
    from qcore.nn.inference import Executable
    from qcore.nn.training.distillation import Ask
    from qcore.nn.training.optimizers import Optimizer
    from qcore.nn.training.regularizers import Regularizer

__all__ = ["Augment", "Sequential"]

#: From samples (n, inputs), which it may change, and a generator to samples.
Augment = Callable[[NDArray[np.float32], np.random.Generator], NDArray[np.float32]]
#: A network, or any function from samples to logits.
Teacher = Any


class Sequential:
    """A network of dense layers.

    Parameters
    ----------
    layers : iterable of Dense
        From input to output; each takes as many values as the one before gives. Softmax may only
        come last.

    Attributes
    ----------
    layers : tuple of Dense
    classes_ : ndarray
        The labels, in the order of the outputs; for classifiers, after `fit`.
    packed : bool
        Whether `save` entropy-codes all layers together, where weights are pruned and share values:
        the smallest file there is. What `qcore.compress` makes to a size or a score is so, and what
        was loaded so; set it for others.
    history_ : dict of str to list
        What `fit` measured, epoch by epoch.
    precision : int
        8, or 4 where only the upper halves of 8-bit codes run; see `set_precision`.
    report_ : Report
        What `qcore.compress` did, where it made this network.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> net = qc.nn.Sequential([qc.nn.Dense(2, 8, "tanh"), qc.nn.Dense(8, 2, "softmax")])
    >>> X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    >>> y = [0, 1, 1, 0]
    >>> net.fit(X, y, batch_size=4, epochs=300, learning_rate=0.05, random_state=0).score(X, y)
    1.0
    """

    report_: Report
    history_: dict[str, list[float]]

    def __init__(self, layers: Iterable[Dense]) -> None:
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
        self.classes_: NDArray[Any] | None = None
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
    ) -> Sequential:
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

    def with_weights(self, weights: Mapping[str, Any]) -> Sequential:
        """Return a copy of the network with the tensors of these names replaced."""
        unknown = set(weights) - set(self.named_weights())
        if unknown:
            raise ValueError(f"the network has no tensor {sorted(unknown)[0]!r}")
        new = self.copy()
        for layer in new.layers:
            for part in ("weight", "bias"):
                value = weights.get(f"{layer.name}.{part}")
                if value is None:
                    continue
                if value.shape != getattr(layer, part).shape:
                    wanted = getattr(layer, part).shape
                    raise ValueError(f"{layer.name}.{part} has shape {value.shape}, not {wanted}")
                plain = (
                    np.array(value, np.float32, order="C")
                    if isinstance(value, np.ndarray)
                    else value
                )
                setattr(layer, part, plain)
        return new

    def copy(self) -> Sequential:
        """Return a network with copies of the layers."""
        new = Sequential(layer.copy() for layer in self.layers)
        new.classes_ = None if self.classes_ is None else self.classes_.copy()
        new.packed = self.packed
        new.precision = self.precision
        return new

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors as they are in memory or, where quantized, as stored."""
        return sum(int(value.nbytes) for value in self.named_weights().values())

    def _check_built(self) -> None:
        for layer in self.layers:
            if not layer.built:
                raise NotFittedError(f"layer {layer.name} has no weights yet: fit the network")

    # training ----------------------------------------------------------------------------------
    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        batch_size: int = 64,
        epochs: int = 10,
        optimizer: str | Optimizer = "adam",
        learning_rate: float = 1e-3,
        learning_rate_schedule: str = "constant",
        loss: str = "auto",
        validation_data: tuple[ArrayLike, ArrayLike] | None = None,
        patience: int | None = None,
        quantize: str | Quantizer | None = None,
        prune: Pruner | None = None,
        regularize: Regularizer | None = None,
        teacher: Teacher | Sequence[Teacher] | None = None,
        temperature: float = 4.0,
        alpha: float = 0.9,
        hints: Mapping[str, Ask] | None = None,
        hint_weight: float = 1.0,
        dropout: float = 0.0,
        augment: Augment | None = None,
        checkpoint: str | PathLike[str] | None = None,
        random_state: int | np.random.Generator | None = None,
        progress: Progress = "auto",
    ) -> Sequential:
        """Train the network.

        Weights that are there are trained on; those that are not are drawn first.

        Parameters
        ----------
        X : array_like of float, (n, inputs)
            Samples.
        y : array_like, optional
            Labels (n,), one-hot rows or float targets (n, outputs). Optional with a teacher and
            ``alpha=1``.
        batch_size, epochs : int
            Samples a step; passes over the data. The last batch of a pass may be smaller.
        optimizer : {"adam", "sgd"} or Optimizer
        learning_rate : float
        learning_rate_schedule : {"constant", "linear", "cosine"}
            How the rate falls, step by step: not at all, or to (next to) 0 at the end.
        loss : {"auto", "cross_entropy", "binary_cross_entropy", "mse"}
            "auto": cross entropy after softmax, binary cross entropy after sigmoid, else mse.
        validation_data : tuple of (X, y), optional
            Scored after every epoch, with the integers that the network would run on.
        patience : int, optional
            Stop after so many epochs without a better score on `validation_data`, and go back to
            the best. Default: train all epochs and keep the last.
        quantize : "int8" or Quantizer, optional
            Quantization-aware training; afterwards the network predicts, scores and saves on
            integers. With a Quantizer of scheme "kmeans", weights share values, which are trained:
            codes that are there stay, others are found first; zeros stay 0.
        prune : Pruner, optional
            Prune while training, by its schedule.
        regularize : L1, GroupLasso or the like, optional
            What draws weights to 0 while training, and leaves some there.
        teacher : Sequential, callable, or sequence of these, optional
            Distillation: ``alpha * T**2 * KL(teacher || network) + (1 - alpha) * loss(y)``, both
            softened by `temperature`. A callable takes samples and gives logits, from whatever
            framework; of several teachers the probabilities are averaged. They are asked once,
            before training, and their answers take n x outputs floats; with `augment`, at every
            step.
        temperature, alpha : float
            Of distillation.
        hints : mapping of str to callable, optional
            What hidden layers are to say: from a layer's name to a function that takes samples and
            gives features (n, any width), such as ``teacher.features("fc1")``. The layer's output
            comes near them through a linear map that is trained along and dropped.
        hint_weight : float
            Of the mean squared error of the hints in the loss.
        dropout : float, default 0
            The share of hidden outputs, 0 to 1, that each step leaves out; the others grow to make
            up for them. Srivastava et al., "Dropout", JMLR 2014.
        augment : callable, optional
            Takes a batch (rows, inputs) float32, which it may change, and a Generator; gives the
            batch to train on, of the same shape.
        checkpoint : path-like, optional
            A file that holds the state of the training after each epoch. Where it is there as
            training starts, it goes on from it, to the same bytes as without the stop: with the
            same data and settings, else it is refused.
        random_state : int, Generator or None
            Weights and shuffling; the same seed gives the same bytes on one machine.
        progress : bool, "auto" or callable
            A bar on standard error; "auto": on a terminal only. A callable gets (done, total,
            text).

        Returns
        -------
        Sequential
            Itself, with `history_`.

        Raises
        ------
        TypeError
            If a dtype does not fit.
        ValueError
            If shapes, labels or options do not fit, or `X` is not finite; names the first place.
        """
        from qcore.nn.training.training import Training

        settings = {
            name: value
            for name, value in locals().items()
            if name not in ("self", "X", "y", "Training")
        }
        Training(self, X, y, **settings).run()
        self._executable = None
        return self

    # prediction --------------------------------------------------------------------------------
    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return the last layer's output, (n, outputs) float32: probabilities after softmax."""
        return self.executable().run(self._samples(X))

    def predict_logits(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return the last layer's sums before its activation: (n, outputs) float32."""
        return self.executable().run(self._samples(X), logits=True)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return labels (n,) of a classifier (softmax or sigmoid output), else the output."""
        if not self._classifies:
            return self.predict_proba(X)
        logits = self.predict_logits(X)
        if self.layers[-1].out_features == 1:
            codes = (logits[:, 0] > 0).astype(np.intp)
        elif self.layers[-1].activation == "softmax":
            codes = logits.argmax(axis=1)
        else:
            return (logits > 0).astype(np.int8)
        return codes if self.classes_ is None else self.classes_[codes]

    def score(self, X: ArrayLike, y: ArrayLike) -> float:
        """Return the accuracy of a classifier, or R² of a regression."""
        found, wanted = self.predict(X), np.asarray(y)
        if len(found) != len(wanted):
            raise ValueError(f"X has {len(found)} rows, y has {len(wanted)}")
        if self._classifies:
            if wanted.ndim == 2 and found.ndim == 1:
                wanted = wanted.argmax(axis=1)
            return float(np.mean(found == wanted))
        wanted = wanted.reshape(found.shape).astype(np.float64)
        rest = float(np.sum((wanted - found) ** 2))
        total = float(np.sum((wanted - wanted.mean(axis=0)) ** 2))
        return 1.0 - rest / total if total else float(rest == 0)

    @property
    def _classifies(self) -> bool:
        return self.layers[-1].activation in ("softmax", "sigmoid")

    def executable(self) -> Executable:
        """Return the network in the form that runs, built once: kernels chosen, weights laid out.

        Replace a layer's weights through `with_weights`, which makes a new network.
        """
        if self._executable is None:
            from qcore.nn.inference import compile_network

            self._check_built()
            self._executable = compile_network(self._at_precision())
        return self._executable

    @property
    def kernels(self) -> list[str]:
        """Which kernel runs each layer."""
        return self.executable().kernels

    def set_precision(self, bits: int) -> Sequential:
        """Run the 8-bit weights whole, or only the 4-bit codes in their upper halves.

        For networks that ``Quantizer(8, nested=4)`` made, the latter is as good as a network of 4
        bits; of other 8-bit networks it is the rounded codes. Files hold the whole codes.

        Parameters
        ----------
        bits : {8, 4}

        Returns
        -------
        Sequential
            Itself.
        """
        from qcore.arrays.layerwise.nested import upper_half

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

    def _at_precision(self) -> Sequential:
        """Return the network whose weights are those that run."""
        if self.precision == 8:
            return self
        from qcore.arrays.layerwise.nested import upper_half

        halved = self.copy()
        for layer in halved.layers:
            if isinstance(layer.weight, QTensor):
                layer.weight = upper_half(layer.weight)
        return halved

    def _samples(self, X: ArrayLike) -> NDArray[np.float32]:
        samples = as_array(X)
        if samples.dtype != np.float32 or not samples.flags.c_contiguous:
            samples = np.ascontiguousarray(float_array(samples, "X"), np.float32)
        inputs = self.layers[0].in_features
        if samples.ndim != 2 or samples.shape[1] != inputs:
            raise ValueError(f"X has shape {samples.shape}; it must be (n, {inputs})")
        return samples

    def features(self, name: str) -> Ask:
        """Return the function from samples to the output of a layer: a hint for a student."""
        from qcore.nn.training.distillation import features_of

        return features_of(self, name)

    # files -------------------------------------------------------------------------------------
    def save(self, path: str | PathLike[str]) -> None:
        """Write the network to a safetensors file; see `qcore.save`."""
        from qcore.files.checkpoint import save

        save(path, self)

    def to_onnx(self, path: str | PathLike[str] | None = None) -> Any:
        """Return the network as an ONNX model, which is also written to `path`, if it is given.

        Runtimes compute what this network computes: integer layers become QuantizeLinear and
        DequantizeLinear around a Gemm. The model has the input "input" and the output "output";
        the value before the last activation is called "logits".

        Parameters
        ----------
        path : path, optional
            The file to write, atomically.

        Returns
        -------
        onnx.ModelProto
            Of opset 21.

        Raises
        ------
        ImportError
            If the onnx package is not there: ``pip install 'qcore[onnx]'``.
        """
        from qcore.frameworks.onnx.export import to_onnx

        return to_onnx(self, path)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_executable": None}

    def _repr_html_(self) -> str:
        from qcore.report.notebook import network_html

        return network_html(self)

    def __repr__(self) -> str:
        return f"Sequential([{', '.join(map(repr, self.layers))}])"


def check_samples(X: ArrayLike, inputs: int, name: str = "X") -> NDArray[np.float32]:
    """Return finite samples (n, inputs) as float32."""
    array = as_array(X)
    if array.dtype.kind in "iu":
        array = numeric_array(array, name, [array.dtype.newbyteorder("=")]).astype(np.float32)
    samples = np.ascontiguousarray(float_array(array, name), np.float32)
    if samples.ndim != 2 or samples.shape[1] != inputs or not len(samples):
        raise ValueError(f"{name} has shape {samples.shape}; it must be (n, {inputs}), n above 0")
    check_finite(samples, name)
    return samples
