"""AdaRound: whether each weight is rounded up or down is learned, so that outputs keep still.

Each weight becomes ``(floor(w / scale) + h) * scale`` with h between 0 and 1, a stretched sigmoid
of a variable that Adam moves down (w - ŵ)ᵀ H (w - ŵ) plus a penalty of ``1 - |2h - 1|**b`` that
drives h to an end while b falls. Here it goes on from what the other algorithms found: it takes
their steps, coordinate descent finishes what it found, and a row whose error is no lower keeps the
codes that it had.

Nagel, Amjad, van Baalen, Louizos and Blankevoort, "Up or Down? Adaptive Rounding for Post-Training
Quantization", ICML 2020, equations 21 to 25.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qcore._runtime.interrupt import product

__all__ = ["learned_rounding"]

Matrix = NDArray[np.float64]
Floats = NDArray[np.float32]
Levels = NDArray[np.int32]

#: The stretch of the sigmoid: of the paper.
LOW, HIGH = -0.1, 1.1

#: Steps of Adam, their size, and the weight of the penalty beside the error in units of a step;
#: the share of the steps without penalty, and b from its first to its last value. Chosen on
#: networks trained without the images they were judged on.
STEPS, RATE, PENALTY, WARM_UP, FIRST, LAST = 1000, 0.02, 5.0, 0.2, 20.0, 2.0

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


def learned_rounding(
    target: Matrix, hessian: Matrix, scale: Matrix, low: Levels, high: Levels, steps: int = STEPS
) -> Levels:
    """Return the levels of a matrix (rows, columns), each the floor of its exact one, or one more.

    Parameters
    ----------
    target : ndarray of float64, (rows, columns)
        The weights.
    hessian : ndarray of float64, (columns, columns)
        The second moment of the inputs.
    scale : ndarray of float64, (rows, columns)
        The step of each weight.
    low, high : ndarray of int32, (rows, 1) or (rows, columns)
        The least and the greatest level.
    steps : int
        Of the optimizer.

    Returns
    -------
    ndarray of int32, (rows, columns)
    """
    exact = target / scale
    floor = np.clip(np.floor(exact), low, high)
    moment = (hessian / max(float(np.diag(hessian).mean()), 1e-300)).astype(np.float32)
    goal, base = exact.astype(np.float32), floor.astype(np.float32)
    size = scale.astype(np.float32)
    least, most = low.astype(np.float32), high.astype(np.float32)
    share = np.clip(goal - base, 0.01, 0.99)
    variable = np.log((share - np.float32(LOW)) / (np.float32(HIGH) - share))
    mean, square = np.zeros_like(variable), np.zeros_like(variable)
    for step in range(1, steps + 1):
        h, slope = _stretched(variable)
        off = (np.clip(base + h, least, most) - goal) * size
        gradient = 2 * product(off, moment) / size
        gradient -= _penalty_slope(h, step / steps)
        gradient *= slope
        mean += np.float32(1 - _BETA1) * (gradient - mean)
        square += np.float32(1 - _BETA2) * (gradient * gradient - square)
        move = mean / np.float32(1 - _BETA1**step)
        variable -= (
            np.float32(RATE)
            * move
            / (np.sqrt(square / np.float32(1 - _BETA2**step)) + np.float32(_EPSILON))
        )
    found: Levels = np.clip(floor + (_stretched(variable)[0] >= 0.5), low, high).astype(np.int32)
    return found


def _stretched(variable: Floats) -> tuple[Floats, Floats]:
    """Return h, and its slope, which is 0 where h is at an end."""
    sigmoid = 1 / (1 + np.exp(-variable))
    stretch = np.float32(HIGH - LOW)
    h = np.clip(sigmoid * stretch + np.float32(LOW), 0.0, 1.0)
    slope = stretch * sigmoid * (1 - sigmoid) * ((h > 0) & (h < 1))
    return h, slope.astype(np.float32)


def _penalty_slope(h: Floats, done: float) -> Floats | float:
    """Return what the penalty adds to h's way to its nearer end."""
    if done <= WARM_UP:
        return 0.0
    rest = (done - WARM_UP) / (1 - WARM_UP)
    power = LAST + (FIRST - LAST) * 0.5 * (1 + np.cos(np.pi * rest))
    side = 2 * h - 1
    steep: Floats = np.sign(side) * np.abs(side) ** np.float32(power - 1)
    slope: Floats = steep * np.float32(2 * PENALTY * power)
    return slope
