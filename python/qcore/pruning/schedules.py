"""How sparse a network is to be at each step of its training.

Arguments, defaults and values are those of the TensorFlow Model Optimization Toolkit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from qcore._validation import check_fraction, check_int

__all__ = ["ConstantSparsity", "PolynomialDecay", "Schedule"]


class Schedule(Protocol):
    """What a `Pruner` asks of a schedule."""

    def sparsity(self, step: int) -> float:
        """Return the share of zeros at a step."""

    def should_prune(self, step: int) -> bool:
        """Return whether masks are to be renewed at a step."""


def _is_turn(step: int, begin_step: int, end_step: int, frequency: int) -> bool:
    within = step >= begin_step and (end_step == -1 or step <= end_step)
    return within and (step - begin_step) % frequency == 0


@dataclass(frozen=True)
class ConstantSparsity:
    """The same sparsity from the first step of pruning to the last.

    Parameters
    ----------
    target_sparsity : float
        The share of zeros, at least 0 and below 1.
    begin_step : int
        The first step that prunes.
    end_step : int, default -1
        The last step that may prune; -1 for no end.
    frequency : int, default 100
        Masks are renewed every so many steps.

    Examples
    --------
    >>> import qcore as qc
    >>> schedule = qc.ConstantSparsity(0.5, begin_step=100)
    >>> schedule.should_prune(0), schedule.should_prune(200), schedule.sparsity(200)
    (False, True, 0.5)
    """

    target_sparsity: float
    begin_step: int
    end_step: int = -1
    frequency: int = 100

    def __post_init__(self) -> None:
        check_fraction(self.target_sparsity, "target_sparsity", closed=False)
        check_int(self.begin_step, "begin_step", 0)
        check_int(self.end_step, "end_step", -1)
        check_int(self.frequency, "frequency", 1)
        if self.end_step != -1 and self.end_step < self.begin_step:
            raise ValueError(
                f"end_step is {self.end_step}; it must be -1 or at least {self.begin_step}, "
                "the begin_step"
            )

    def sparsity(self, step: int) -> float:
        """Return the share of zeros at a step: always the same."""
        return self.target_sparsity

    def should_prune(self, step: int) -> bool:
        """Return whether masks are to be renewed at a step."""
        return _is_turn(step, self.begin_step, self.end_step, self.frequency)


@dataclass(frozen=True)
class PolynomialDecay:
    """A sparsity that rises fast at first and slowly at the end.

    ``final + (initial - final) * (1 - p)**power``, where p goes from 0 at `begin_step` to 1 at
    `end_step`. The last turn is the last multiple of `frequency` after `begin_step` that is not
    beyond `end_step`: choose the three so that it is `end_step`, or the final sparsity is not
    quite reached.

    Parameters
    ----------
    initial_sparsity, final_sparsity : float
        The share of zeros at the ends, at least 0 and below 1.
    begin_step, end_step : int
        The first and the last step that may prune.
    power : float, default 3
        The exponent.
    frequency : int, default 100
        Masks are renewed every so many steps.

    References
    ----------
    Zhu and Gupta, "To prune, or not to prune", ICLR 2018 workshop.

    Examples
    --------
    >>> import qcore as qc
    >>> schedule = qc.PolynomialDecay(0.0, 0.8, begin_step=0, end_step=1000)
    >>> [round(schedule.sparsity(step), 3) for step in (0, 500, 1000)]
    [0.0, 0.7, 0.8]
    """

    initial_sparsity: float
    final_sparsity: float
    begin_step: int
    end_step: int
    power: float = 3
    frequency: int = 100

    def __post_init__(self) -> None:
        check_fraction(self.initial_sparsity, "initial_sparsity", closed=False)
        check_fraction(self.final_sparsity, "final_sparsity", closed=False)
        check_int(self.begin_step, "begin_step", 0)
        check_int(self.end_step, "end_step", self.begin_step + 1)
        check_int(self.frequency, "frequency", 1)
        if isinstance(self.power, (bool, str)) or not 0 < self.power < float("inf"):
            raise ValueError(f"power is {self.power!r}; it must be a number above 0")

    def sparsity(self, step: int) -> float:
        """Return the share of zeros at a step."""
        done = (step - self.begin_step) / (self.end_step - self.begin_step)
        left = 1.0 - min(1.0, max(0.0, done))
        change = self.initial_sparsity - self.final_sparsity
        return float(change * left**self.power + self.final_sparsity)

    def should_prune(self, step: int) -> bool:
        """Return whether masks are to be renewed at a step."""
        return _is_turn(step, self.begin_step, self.end_step, self.frequency)
