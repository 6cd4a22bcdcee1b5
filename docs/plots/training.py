"""Plots of what happens while a network trains: schedules, and what draws weights to zero."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.figure import Figure

import qcore as qc

STEPS = 1000


def schedules(figure: Figure) -> None:
    """Draw how sparse a network is at each step, and how many connections move at a turn."""
    left, right = figure.subplots(1, 2)
    decay = qc.PolynomialDecay(0.0, 0.9, begin_step=100, end_step=800)
    constant = qc.ConstantSparsity(0.9, begin_step=0)
    steps = np.arange(STEPS)
    for name, schedule in {"PolynomialDecay": decay, "ConstantSparsity": constant}.items():
        left.plot(steps, [schedule.sparsity(int(step)) for step in steps], label=name)
    moving = qc.Regrowth(constant, drop_fraction=0.3, end_step=750)
    right.plot(steps, [moving.regrowth(int(step)) for step in steps], color="C2")
    left.set(title="share of zeros", xlabel="step", ylim=(-0.05, 1))
    right.set(title="Regrowth: share of the kept that moves", xlabel="step")
    left.legend(fontsize=7)


def proximal(figure: Figure) -> None:
    """Draw a weight, and the norm of a neuron, before and after one step."""
    left, right = figure.subplots(1, 2)
    w = np.linspace(-1, 1, 401, dtype=np.float32)
    for strength in (0.0, 0.2, 0.5):
        one = w[None].copy()
        qc.nn.L1(strength).shrink({"fc1.weight": one}, learning_rate=1.0)
        left.plot(w, one[0], label=f"strength {strength}")
        rows = np.abs(w)[:, None] * np.full((1, 16), 0.25, np.float32)
        weights = {"fc1.weight": rows, "fc2.weight": np.ones((1, len(rows)), np.float32)}
        qc.nn.GroupLasso(strength / 4).shrink(weights, learning_rate=1.0)
        right.plot(np.abs(w), np.linalg.norm(rows, axis=1), ".", markersize=2)
    left.set(title="L1: a weight after a step", xlabel="before")
    right.set(title="GroupLasso: a neuron's norm after it", xlabel="before")
    left.legend(fontsize=7)


PLOTS: dict[str, Callable[[Figure], None]] = {"schedules": schedules, "proximal": proximal}
