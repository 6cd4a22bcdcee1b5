"""What training is told: the settings of `Sequential.fit`, with the same defaults."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._display.progress import Progress
from qcore.training.distillation import Ask
from qcore.training.optimizers import Optimizer
from qcore.training.regularizers import Regularizer

__all__ = ["Augment", "Settings", "Teacher", "WeightPruner", "WeightQuantizer"]

#: From samples (n, inputs), which it may change, and a generator to samples.
Augment = Callable[[NDArray[np.float32], np.random.Generator], NDArray[np.float32]]
#: A network, or any function from samples to logits.
Teacher = Any


class WeightQuantizer(Protocol):
    """What training needs of a `Quantizer`, which stands above this room."""

    scheme: Any
    algorithm: Any
    ignore: Any
    levels: Any
    bits_: Any

    def fit(self, model: Any, X: Any = None, y: Any = None) -> Any:
        """Find the widths of a network's weights."""

    def narrow_range_of(self, name: str) -> bool:
        """Return whether a weight's codes leave the lowest out."""


class WeightPruner(Protocol):
    """What training needs of a `Pruner`, which stands above this room."""

    schedule: Any

    def for_training(self, steps: int) -> Any:
        """Return the pruner with its schedule laid over so many steps."""

    def masks_at(self, *args: Any, **options: Any) -> Any:
        """Return which weights stay at a step."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One setting for each keyword of `Sequential.fit`, which documents them."""

    batch_size: int = 64
    epochs: int = 10
    optimizer: str | Optimizer = "adam"
    learning_rate: float = 1e-3
    learning_rate_schedule: str = "constant"
    loss: str = "auto"
    validation_data: tuple[ArrayLike, ArrayLike] | None = None
    patience: int | None = None
    quantize: WeightQuantizer | None = None
    prune: WeightPruner | None = None
    regularize: Regularizer | None = None
    teacher: Teacher | Sequence[Teacher] | None = None
    temperature: float = 4.0
    alpha: float = 0.9
    hints: Mapping[str, Ask] | None = None
    hint_weight: float = 1.0
    dropout: float = 0.0
    augment: Augment | None = None
    checkpoint: str | PathLike[str] | None = None
    random_state: int | np.random.Generator | None = None
    progress: Progress = "auto"
