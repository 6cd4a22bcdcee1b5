"""The network: dense layers, one after another, that can be trained and saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qcore._arguments.validation import check_one_of
from qcore._display.progress import Progress
from qcore.chain.chain import Chain
from qcore.estimators.pruner.pruner import Pruner
from qcore.estimators.quantizer.quantizer import Quantizer
from qcore.frameworks.onnx.write.chain import to_onnx
from qcore.saving.checkpoint import save
from qcore.training.distillation import Ask, features_of
from qcore.training.optimizers import Optimizer
from qcore.training.regularizers import Regularizer
from qcore.training.settings import Augment, Settings, Teacher
from qcore.training.training import Training

__all__ = ["Sequential"]


class Sequential(Chain):
    """A network of dense layers.

    Parameters
    ----------
    layers : iterable of Dense
        From input to output; each takes as many values as the one before gives. Softmax may only
        come last.
    normalization : Normalization, optional
        What is done to the columns of raw samples before the first layer, in floats.

    Attributes
    ----------
    layers : tuple of Dense
    normalization : Normalization or None
    classes_ : ndarray
        The labels, in the order of the outputs; for classifiers, after `fit`.
    one_versus_rest : bool
        Whether probabilities are each class's own, scaled to a sum of 1, instead of a softmax, as
        those of some of scikit-learn's models.
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
        if isinstance(quantize, str):
            check_one_of(quantize, "quantize", ("int8",))
            quantize = Quantizer(8)
        if not isinstance(quantize, Quantizer | None):
            raise TypeError(f"quantize is {quantize!r}; it must be 'int8' or a Quantizer")
        settings = Settings(
            batch_size=batch_size,
            epochs=epochs,
            optimizer=optimizer,
            learning_rate=learning_rate,
            learning_rate_schedule=learning_rate_schedule,
            loss=loss,
            validation_data=validation_data,
            patience=patience,
            quantize=quantize,
            prune=prune,
            regularize=regularize,
            teacher=teacher,
            temperature=temperature,
            alpha=alpha,
            hints=hints,
            hint_weight=hint_weight,
            dropout=dropout,
            augment=augment,
            checkpoint=checkpoint,
            random_state=random_state,
            progress=progress,
        )
        Training(self, X, y, settings).run()
        self._executable = None
        return self

    def features(self, name: str) -> Ask:
        """Return the function from samples to the output of a layer: a hint for a student."""
        return features_of(self, name)

    # files -------------------------------------------------------------------------------------
    def save(self, path: str | PathLike[str]) -> None:
        """Write the network to a safetensors file; see `qcore.save`."""
        save(path, self)

    def to_onnx(
        self, path: str | PathLike[str] | None = None, *, int8_weights: bool = False
    ) -> Any:
        """Return the network as an ONNX model, which is also written to `path`, if it is given.

        Runtimes compute what this network computes: integer layers become QuantizeLinear and
        DequantizeLinear around a Gemm. The model has the input "input" and the output "output";
        the value before the last activation is called "logits".

        Parameters
        ----------
        path : path, optional
            The file to write, atomically.
        int8_weights : bool, default False
            Keep all weights of integer products int8, also those that ONNX Runtime multiplies
            wrongly on x86 CPUs without VNNI; on others that is up to three times as fast.

        Returns
        -------
        onnx.ModelProto
            Of opset 21.

        Raises
        ------
        ImportError
            If the onnx package is not there: ``pip install 'qcore-cpu[onnx]'``.
        """
        return to_onnx(self, path, int8_weights=int8_weights)
