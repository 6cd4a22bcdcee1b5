"""How sparse a network is to be at each step of its training.

Arguments, defaults and values are those of the TensorFlow Model Optimization Toolkit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

from qcore._arguments.validation import check_fraction, check_int
from qcore.errors import ArgumentError

__all__ = ["ConstantSparsity", "PolynomialDecay", "Regrowth", "Rewinding", "Schedule"]


class Schedule(Protocol):
    """What a `Pruner` asks of a schedule.

    One that has ``for_training(total_steps)`` is asked for what it becomes in a training of so
    many steps; of one that has ``regrowth(step)``, see `Regrowth`; of one that has
    ``rewind_step``, `Rewinding`.
    """

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
            raise ArgumentError(
                "end_step",
                f"end_step is {self.end_step}; it must be -1 or at least {self.begin_step}, "
                "the begin_step",
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
            raise ArgumentError("power", f"power is {self.power!r}; it must be a number above 0")

    def sparsity(self, step: int) -> float:
        """Return the share of zeros at a step."""
        done = (step - self.begin_step) / (self.end_step - self.begin_step)
        left = 1.0 - min(1.0, max(0.0, done))
        change = self.initial_sparsity - self.final_sparsity
        return float(change * left**self.power + self.final_sparsity)

    def should_prune(self, step: int) -> bool:
        """Return whether masks are to be renewed at a step."""
        return _is_turn(step, self.begin_step, self.end_step, self.frequency)


#: The share of a training after which connections no longer move, as in RigL.
SETTLED = 0.75


@dataclass(frozen=True)
class Regrowth:
    """A schedule under which connections move: at each turn the weakest go, and others grow.

    With `ConstantSparsity` from step 0 on, a network is sparse from the start of its training to
    the end; with `PolynomialDecay`, weights that were pruned too early come back. Those grow where
    the gradient of the loss is greatest, from 0.

    Parameters
    ----------
    schedule : ConstantSparsity or PolynomialDecay
        How sparse the network is, and when masks are renewed.
    drop_fraction : float, default 0.3
        The share of the kept weights that change places at the first turn; it falls to 0, as the
        cosine does, at `end_step`.
    end_step : int, optional
        The last step at which connections move. Default: the schedule's; where that has none,
        three quarters of the training.

    References
    ----------
    Evci et al., "Rigging the Lottery", ICML 2020 (RigL). Liu et al., "Sparse Training via Boosting
    Pruning Plasticity with Neuroregeneration", NeurIPS 2021 (with a sparsity that rises).

    Examples
    --------
    >>> import qcore as qc
    >>> schedule = qc.Regrowth(qc.ConstantSparsity(0.9, begin_step=0), end_step=1000)
    >>> schedule.sparsity(0), [round(schedule.regrowth(step), 2) for step in (0, 500, 1000)]
    (0.9, [0.3, 0.15, 0.0])
    """

    schedule: ConstantSparsity | PolynomialDecay
    drop_fraction: float = 0.3
    end_step: int | None = None

    def __post_init__(self) -> None:
        check_fraction(self.drop_fraction, "drop_fraction")
        if self.end_step is not None:
            check_int(self.end_step, "end_step", 1)

    @property
    def final_sparsity(self) -> float:
        """The sparsity in the end."""
        if isinstance(self.schedule, PolynomialDecay):
            return self.schedule.final_sparsity
        return self.schedule.target_sparsity

    def sparsity(self, step: int) -> float:
        """Return the share of zeros at a step."""
        return self.schedule.sparsity(step)

    def should_prune(self, step: int) -> bool:
        """Return whether masks are to be renewed at a step."""
        return self.schedule.should_prune(step)

    def for_training(self, total_steps: int) -> Regrowth:
        """Return this schedule with an end."""
        if self.end_step is not None:
            return self
        end = self.schedule.end_step
        return replace(self, end_step=max(1, int(SETTLED * total_steps)) if end == -1 else end)

    def regrowth(self, step: int) -> float:
        """Return the share of the kept weights that change places at a step."""
        end = self.end_step
        if end is None or step >= end:
            return 0.0
        begin = self.schedule.begin_step
        done = max(0, step - begin) / max(1, end - begin)
        return 0.5 * self.drop_fraction * (1.0 + math.cos(math.pi * done))


@dataclass(frozen=True)
class Rewinding:
    """Train, prune, take the weights back to what they were early on, and train again.

    Each round leaves the same share of the weights, and starts the learning rate's fall and the
    optimizer anew. A training is `rounds` + 1 times as long as one without pruning, less what each
    round need not repeat.

    Parameters
    ----------
    final_sparsity : float
        The share of zeros after the last round, at least 0 and below 1.
    rounds : int, default 3
        How often it prunes.
    rewind_step : int, default 0
        The step to whose weights it goes back: 0 is the start, some hundred are better.
    cycle_steps : int, optional
        The steps before the first pruning. Default: so that the last round, too, trains as long.

    References
    ----------
    Frankle and Carbin, "The Lottery Ticket Hypothesis", ICLR 2019. Frankle et al., "Linear Mode
    Connectivity and the Lottery Ticket Hypothesis", ICML 2020 (rewinding to an early step).

    Examples
    --------
    >>> import qcore as qc
    >>> schedule = qc.Rewinding(0.875, rounds=3, rewind_step=100).for_training(3700)
    >>> [step for step in range(3700) if schedule.should_prune(step)]
    [1000, 1900, 2800]
    >>> [schedule.sparsity(step) for step in (999, 1000, 1900, 2800)]
    [0.0, 0.5, 0.75, 0.875]
    """

    final_sparsity: float
    rounds: int = 3
    rewind_step: int = 0
    cycle_steps: int | None = None

    def __post_init__(self) -> None:
        check_fraction(self.final_sparsity, "final_sparsity", closed=False)
        check_int(self.rounds, "rounds", 1)
        check_int(self.rewind_step, "rewind_step", 0)
        if self.cycle_steps is not None:
            check_int(self.cycle_steps, "cycle_steps", self.rewind_step + 1)

    def for_training(self, total_steps: int) -> Rewinding:
        """Return this schedule with the length of its cycles.

        Raises
        ------
        ValueError
            If the training is too short for so many rounds.
        """
        if self.cycle_steps is not None:
            return self
        cycle = (total_steps + self.rounds * self.rewind_step) // (self.rounds + 1)
        if cycle <= self.rewind_step:
            raise ArgumentError(
                "rewind_step",
                f"rewind_step is {self.rewind_step}; {total_steps} steps are too few for "
                f"{self.rounds} rounds that go back to it",
            )
        return replace(self, cycle_steps=cycle)

    def sparsity(self, step: int) -> float:
        """Return the share of zeros at a step."""
        done = min(self.rounds, self._prunings(step))
        kept: float = (1.0 - self.final_sparsity) ** (done / self.rounds)
        return 1.0 - kept

    def should_prune(self, step: int) -> bool:
        """Return whether masks are to be renewed, and weights to go back, at a step."""
        done = self._prunings(step)
        return 0 < done <= self.rounds and done != self._prunings(step - 1)

    def position(self, step: int) -> tuple[int, int]:
        """Return where in its cycle a step is, and how long the cycle is."""
        cycle = self._cycle
        done = min(self.rounds, self._prunings(step))
        if not done:
            return step, cycle
        start = cycle + (done - 1) * (cycle - self.rewind_step)
        return self.rewind_step + step - start, cycle

    @property
    def _cycle(self) -> int:
        if self.cycle_steps is None:
            raise ValueError("cycle_steps is None; see for_training")
        return self.cycle_steps

    def _prunings(self, step: int) -> int:
        """Return how many rounds would be over at a step."""
        if step < self._cycle:
            return 0
        return 1 + (step - self._cycle) // (self._cycle - self.rewind_step)
