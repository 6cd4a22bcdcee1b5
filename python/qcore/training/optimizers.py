"""Optimizers: one fused step over all parameters of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore._arguments.validation import check_number
from qcore.errors import ArgumentError

__all__ = ["SGD", "Adam", "Optimizer", "optimizer_from"]

Floats = NDArray[np.float32]


class Optimizer(Protocol):
    """What `fit` asks of an optimizer: a state for flat parameters, and a step."""

    def start(self, size: int) -> tuple[Floats, ...]:
        """Return the state for `size` parameters."""

    def step(
        self,
        number: int,
        params: Floats,
        grads: Floats,
        state: tuple[Floats, ...],
        learning_rate: float,
        mask: Floats | None,
    ) -> None:
        """Take step `number`, from 1 on, in place; where `mask` is 0, parameters become 0."""


@dataclass(frozen=True, slots=True)
class Adam:
    """Adam: steps scaled by running moments of the gradient.

    Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-7

    def __post_init__(self) -> None:
        check_number(self.beta1, "beta1", 0.0, 1.0)
        check_number(self.beta2, "beta2", 0.0, 1.0)
        check_number(self.epsilon, "epsilon", 0.0, open_low=True)

    def start(self, size: int) -> tuple[Floats, ...]:
        """Return the state for `size` parameters."""
        return np.zeros(size, np.float32), np.zeros(size, np.float32)

    def step(
        self,
        number: int,
        params: Floats,
        grads: Floats,
        state: tuple[Floats, ...],
        learning_rate: float,
        mask: Floats | None,
    ) -> None:
        """Take step `number`, from 1 on, in place; where `mask` is 0, parameters become 0."""
        mean, square = state
        _core.adam_step(
            params, grads, mean, square, number, learning_rate,
            self.beta1, self.beta2, self.epsilon, mask,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class SGD:
    """Stochastic gradient descent with momentum.

    Polyak, "Some methods of speeding up the convergence of iteration methods", 1964.
    """

    momentum: float = 0.9

    def __post_init__(self) -> None:
        check_number(self.momentum, "momentum", 0.0, 1.0)

    def start(self, size: int) -> tuple[Floats, ...]:
        """Return the state for `size` parameters."""
        return (np.zeros(size, np.float32),)

    def step(
        self,
        number: int,
        params: Floats,
        grads: Floats,
        state: tuple[Floats, ...],
        learning_rate: float,
        mask: Floats | None,
    ) -> None:
        """Take step `number`, from 1 on, in place; where `mask` is 0, parameters become 0."""
        _core.sgd_step(params, grads, state[0], learning_rate, self.momentum, mask)


def optimizer_from(optimizer: str | Optimizer) -> Optimizer:
    """Return the optimizer of that name, or the object itself."""
    if isinstance(optimizer, str):
        known: dict[str, Optimizer] = {"adam": Adam(), "sgd": SGD()}
        if optimizer not in known:
            raise ArgumentError(
                "optimizer", f"optimizer is {optimizer!r}; it must be one of 'adam', 'sgd'"
            )
        return known[optimizer]
    made = not isinstance(optimizer, type)
    if not (made and hasattr(optimizer, "start") and hasattr(optimizer, "step")):
        raise TypeError(f"optimizer is {optimizer!r}; it needs start and step")
    return optimizer
