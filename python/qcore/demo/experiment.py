"""The recipes: every way in which the digit network is compressed. A new row is a new entry.

The figures in the recipes (sparsity schedules, the student's width, temperature and alpha) were
chosen by ``qcore demo --split validation``, which never reads the test labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import qcore as qc
from qcore.demo.augmentation import with_shifts
from qcore.demo.data import CLASSES, Digits
from qcore.demo.measure import Clock

__all__ = [
    "BATCH_SIZE",
    "EPOCHS",
    "HIDDEN",
    "RECIPES",
    "SMALL_SET_EPOCHS",
    "Recipe",
    "Tick",
    "Trial",
]

HIDDEN = 128
BATCH_SIZE = 64
EPOCHS = 10
# scikit-learn's digits are a fortieth of MNIST: an epoch is 22 steps.
SMALL_SET_EPOCHS = 50
# The student's hidden neurons, and those of the same network without a teacher; and the teacher's.
SMALL = 32
TEACHER = 256
# The side of an image from which on a digit moved by a pixel looks like one that was written so.
MOVABLE = 16

Tick = Callable[[float], None]


@dataclass
class Trial:
    """One seed of the experiment: what recipes work with.

    Attributes
    ----------
    digits : Digits
    epochs, seed : int
    clock : Clock
        Learns how long training and calibration took.
    tick : callable
        Gets the share that is done of the row under way.
    nets : dict of str to Sequential
        The networks of the rows before, by name.
    """

    digits: Digits
    epochs: int
    seed: int
    clock: Clock
    tick: Tick
    nets: dict[str, qc.nn.Sequential] = field(default_factory=dict)

    def train(self, hidden: int = HIDDEN, **options: Any) -> qc.nn.Sequential:
        """Train a new network with `hidden` ReLU neurons; options are those of `fit`."""
        return self._fit(self.digits.X_train, self.digits.y_train, hidden, self.epochs, **options)

    def train_teacher(self) -> qc.nn.Sequential:
        """Train a wide network that saw the images moved as well, where a pixel is a small move.

        A teacher that only knows the training images knows them by heart, and its answers say
        little more than their labels.
        """
        digits = self.digits
        X, y, epochs = digits.X_train, digits.y_train, self.epochs
        if min(digits.shape) >= MOVABLE:
            with self.clock.phase("train"):
                X, y = with_shifts(X, digits.shape), np.tile(y, 5)
            epochs = max(1, round(0.4 * epochs))
        return self._fit(X, y, TEACHER, epochs, learning_rate_schedule="linear")

    def _fit(
        self,
        X: NDArray[np.float32],
        y: NDArray[np.int64],
        hidden: int,
        epochs: int,
        **options: Any,
    ) -> qc.nn.Sequential:
        net = qc.nn.Sequential(
            [
                qc.nn.Dense(self.digits.inputs, hidden, activation="relu"),
                qc.nn.Dense(hidden, CLASSES, activation="softmax"),
            ]
        )
        with self.clock.phase("train"):
            return net.fit(
                X,
                y,
                batch_size=BATCH_SIZE,
                epochs=epochs,
                random_state=self.seed,
                progress=lambda done, total, _: self.tick(done / total),
                **options,
            )

    def quantize(self, name: str, **options: Any) -> qc.nn.Sequential:
        """Quantize the network of an earlier row after its training."""
        with self.clock.phase("calibrate"):
            quantizer = qc.Quantizer(**options)
            return quantizer.fit_transform(self.nets[name], self.digits.X_train)


@dataclass(frozen=True)
class Recipe:
    """One row of the table.

    Attributes
    ----------
    name, title, recipe : str
        As in `qcore.demo.report.Row`.
    kind : {"float", "int8", "csr", "csr-int8", "codebook"}
        The kernels that it must run on.
    make : callable
        Returns the row's network.
    starts_from : str or None
        The row whose network it compresses.
    """

    name: str
    title: str
    kind: str
    recipe: str
    make: Callable[[Trial], qc.nn.Sequential]
    starts_from: str | None = None


RECIPES = (
    Recipe("float", "float32", "float", "trained", lambda trial: trial.train()),
    Recipe(
        "int8-post", "int8, post-training", "int8",
        "weights by channel, activations static, ranges from the training images",
        lambda trial: trial.quantize("float", bits=8),
        starts_from="float",
    ),
    Recipe(
        "int8-aware", "int8, quantization-aware", "int8",
        "trained with the rounding that int8 brings",
        lambda trial: trial.train(quantize="int8"),
    ),
    Recipe(
        "pruned-80", "pruned 80 %", "csr",
        "pruned gradually while training",
        lambda trial: trial.train(prune=qc.Pruner(0.8, scope="global")),
    ),
    Recipe(
        "pruned-90", "pruned 90 %", "csr",
        "pruned gradually while training",
        lambda trial: trial.train(prune=qc.Pruner(0.9, scope="global")),
    ),
    Recipe(
        "pruned-90-int8", "pruned 90 %, int8", "csr-int8",
        "pruned gradually, then int8 post-training",
        lambda trial: trial.quantize("pruned-90", bits=8),
        starts_from="pruned-90",
    ),
    Recipe(
        "kmeans-16", "codebook of 16, k-means", "codebook",
        "weights share 16 values a layer, 4 bits each",
        lambda trial: trial.quantize("float", scheme="kmeans", levels=16),
        starts_from="float",
    ),
    Recipe(
        "teacher", "wide, the teacher", "float",
        f"{TEACHER} hidden neurons, trained on the images, large ones moved by a pixel too",
        lambda trial: trial.train_teacher(),
    ),
    Recipe(
        "small", "small, no teacher", "float",
        f"{SMALL} hidden neurons, trained on the labels alone",
        lambda trial: trial.train(SMALL),
    ),
    Recipe(
        "student", "small, distilled", "float",
        f"{SMALL} hidden neurons, trained on the teacher's answers (T = 4, alpha = 0.9)",
        lambda trial: trial.train(SMALL, teacher=trial.nets["teacher"], temperature=4.0, alpha=0.9),
        starts_from="teacher",
    ),
    Recipe(
        "student-int8", "small, distilled, int8", "int8",
        "the distilled network, then int8 post-training",
        lambda trial: trial.quantize("student", bits=8),
        starts_from="student",
    ),
)  # fmt: skip
