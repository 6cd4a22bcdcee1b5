"""Codes of a matrix that keep its products with the inputs it will see, not its values.

All minimise, for each row w, (w - ŵ)ᵀ H (w - ŵ), where H is the second moment of the inputs, made a
little rounder: `DAMPING` times its mean diagonal is added. Of these each has a file of its own:

clip_search
    Tries smaller steps and the free code, row by row.
gptq
    Rounds column by column and makes up for each error with the columns that are left.
coordinate_descent
    Changes one code at a time, and the step, while that helps.
adaround
    Learns for each weight whether it is rounded up or down; last, and where it helps.
bias_correction
    Leaves the error of the mean to the bias: H is then the covariance of the inputs, and the bias
    is to be what `corrected_bias` returns.

A weight that is exactly 0 keeps the code of 0: what was pruned stays pruned.

With statistics that have the exact inputs beside those of the quantized network, the rows to be
met are those that make the best of the latter, so that a layer makes up for the errors of those
before it (Frantar et al., "GPTQ", ICLR 2023, section 4; Lin et al., "GPTAQ", 2025).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcore._arguments.validation import check_finite
from qcore._runtime.interrupt import product, stoppable
from qcore.arrays.layerwise.adaround import learned_rounding
from qcore.arrays.layerwise.clip_search import Form, forms, fractions
from qcore.arrays.layerwise.coordinate_descent import ROUNDS, descend
from qcore.arrays.layerwise.gptq import Factor, factored, gptq_levels
from qcore.arrays.params.input_stats import InputStats
from qcore.arrays.params.layout import scale_shape
from qcore.arrays.params.qparams import code_dtype, resolve, round_scales
from qcore.arrays.tensor.options import Options
from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import ArgumentError

__all__ = [
    "ALGORITHMS",
    "DAMPING",
    "LAYERWISE",
    "Problem",
    "fit_codes",
    "layer_objective",
    "row_errors",
]

#: What is best together, and not slow.
ALGORITHMS = ("clip_search", "gptq", "coordinate_descent", "bias_correction")

#: All that this module does.
LAYERWISE = (*ALGORITHMS, "adaround")

#: The share of H's mean diagonal that is added to it. Chosen on held-out images of networks trained
#: without them.
DAMPING = 0.1

Matrix = NDArray[np.float64]


class Fit(NamedTuple):
    """Steps (rows, groups), levels (rows, columns), zero points and what each row loses (rows,)."""

    scale: Matrix
    levels: NDArray[np.int32]
    zero: NDArray[np.int32]
    error: Matrix


def fit_codes(
    x: NDArray[Any],
    stats: InputStats | None,
    steps: tuple[str, ...],
    o: Options,
    row_bits: NDArray[np.uint8] | None = None,
    *,
    keep: NDArray[np.bool_] | None = None,
    target: NDArray[Any] | None = None,
) -> QTensor:
    """Return the tensor whose codes the algorithms choose; see the module.

    `row_bits`: the width of each row, 2 to 8, where they differ. `keep`: false where a weight is
    to be 0; the others make up for it as they do for rounding. `target`: the rows to be met, where
    it is known what is best without rounding.
    """
    width, symmetric, narrow = resolve(
        o.bits, o.signed, o.symmetric, o.narrow_range, given=False, has_zero_point=False
    )
    _check(x, stats, steps, o, width, symmetric)
    assert stats is not None
    centred = "bias_correction" in steps
    problem = Problem(np.asarray(x, np.float64), stats, o.group_size, centred, keep, target)
    free = "clip_search" in steps and o.symmetric is None and o.narrow_range is None
    if row_bits is None:
        widths = np.full(len(x), width, np.uint8)
    else:
        widths = row_bits
        width, narrow, free = int(widths.max(initial=2)), False, True
    fit = problem.best(forms(widths, narrow, free), steps)
    # Of a free code, the range is full, but int8 leaves the least one out.
    narrow = narrow and (not free or width == 8)
    return _tensor(problem, fit, widths, width, narrow, row_bits, steps, o)


def row_errors(
    weight: NDArray[Any], stats: InputStats, widths: Iterable[int], steps: tuple[str, ...]
) -> Matrix:
    """Return what each row loses at each width, (rows, widths): E[(w·x - ŵ·x)²]."""
    problem = Problem(np.asarray(weight, np.float64), stats, None, "bias_correction" in steps)
    free = "clip_search" in steps
    columns = [
        problem.best(forms(np.full(len(weight), bits, np.uint8), bits == 8, free), steps).error
        for bits in widths
    ]
    return np.stack(columns, axis=1)


def layer_objective(
    weights: Matrix, stats: InputStats, *, centred: bool, damping: float = DAMPING
) -> tuple[Matrix, Matrix]:
    """Return H, (in, in), and the rows that are to be met, (out, in); see the module."""
    second, cross = stats.moments(centred)
    # What is left of inputs that never change is the rounding of their squares.
    noise = 1e-9 * float(np.diag(stats.gram).mean()) / stats.count
    ridge = max(damping * float(np.diag(second).mean()), noise) or 1.0
    hessian = second + ridge * np.eye(len(second))
    if cross is None:
        return hessian, weights
    wanted = product(weights, cross.T) + ridge * weights
    return hessian, np.ascontiguousarray(stoppable(np.linalg.solve, hessian, wanted.T).T)


class Problem:
    """A matrix, and what it is to be multiplied with."""

    def __init__(
        self,
        weights: Matrix,
        stats: InputStats,
        group_size: int | None,
        centred: bool,
        keep: NDArray[np.bool_] | None = None,
        target: NDArray[Any] | None = None,
    ) -> None:
        self.hessian, self.target = layer_objective(weights, stats, centred=centred)
        if target is not None:
            self.target = np.ascontiguousarray(target, np.float64)
        self.pruned = weights == 0 if keep is None else ~keep
        self.group = weights.shape[1] if group_size is None else group_size
        starts = np.arange(0, weights.shape[1], self.group)
        self.absmax = np.maximum.reduceat(np.abs(self.target), starts, axis=1)
        self._factor: Factor | None = None
        self._product: Matrix | None = None

    def best(self, tried: list[Form], steps: tuple[str, ...]) -> Fit:
        """Return, row by row, the best of what the algorithms make of some forms and steps."""
        best: Fit | None = None
        products = self.target.size * self.target.shape[1] * len(tried)
        for form in tried:
            for fraction in fractions("clip_search" in steps, products):
                fit = self.fit(form, fraction, steps)
                best = fit if best is None else _better(best, fit)
        assert best is not None
        if "adaround" in steps:
            best = _better(best, self._rounded_anew(best, tried[0], steps))
        return best

    def fit(self, form: Form, fraction: float, steps: tuple[str, ...]) -> Fit:
        """Return what the algorithms make of steps of this fraction."""
        half = (form.high - form.low)[:, None] / 2
        scale = np.maximum(self.absmax * (fraction / half), np.finfo(np.float32).tiny)
        scale[self.absmax == 0] = 1.0
        low, high = (
            np.repeat(part[:, None], scale.shape[1], axis=1) for part in (form.low, form.high)
        )
        if "gptq" in steps:
            levels = self.gptq(scale, low, high)
        else:
            levels = np.rint(self.target / self.wide(scale))
            levels = levels.clip(form.low[:, None], form.high[:, None])
            levels = np.where(self.pruned, 0, levels).astype(np.int32)
        if "coordinate_descent" in steps:
            scale = self.descend(scale, low, high, levels, ROUNDS, refit=True)
        return Fit(scale, levels, form.zero.copy(), self.error(scale, levels))

    def gptq(self, scale: Matrix, low: NDArray[Any], high: NDArray[Any]) -> NDArray[np.int32]:
        """Return levels that make up for each other's errors."""
        if self._factor is None:
            self._factor = factored(self.hessian)
        return gptq_levels(self.target, self._factor, scale, low, high, self.pruned, self.group)

    def descend(
        self, scale: Matrix, low: NDArray[Any], high: NDArray[Any], levels: NDArray[np.int32],
        rounds: int, *, refit: bool,
    ) -> Matrix:  # fmt: skip
        """Improve levels in place; returns the steps that go with them."""
        if self._product is None:
            self._product = np.ascontiguousarray(product(self.target, self.hessian))
        return descend(
            self._product, self.hessian, scale, low, high, self.pruned, self.group, levels, rounds,
            refit=refit,
        )  # fmt: skip

    def _rounded_anew(self, fit: Fit, form: Form, steps: tuple[str, ...]) -> Fit:
        """Return what learned rounding makes of the steps of a fit."""
        shift = (form.zero - fit.zero)[:, None]
        low, high = form.low[:, None] + shift, form.high[:, None] + shift
        levels = learned_rounding(self.target, self.hessian, self.wide(fit.scale), low, high)
        levels = np.where(self.pruned, 0, levels).astype(np.int32)
        scale = fit.scale
        if "coordinate_descent" in steps:
            low, high = (np.repeat(part, scale.shape[1], axis=1) for part in (low, high))
            scale = self.descend(scale, low, high, levels, ROUNDS, refit=True)
        return Fit(scale, levels, fit.zero, self.error(scale, levels))

    def wide(self, scale: Matrix) -> Matrix:
        """Return a step for each element."""
        return np.repeat(scale, self.group, axis=1)[:, : self.target.shape[1]]

    def error(self, scale: Matrix, levels: NDArray[np.int32]) -> Matrix:
        """Return what each row loses."""
        off = self.target - self.wide(scale) * levels
        lost: Matrix = np.einsum("ij,ij->i", product(off, self.hessian), off)
        return lost


def _check(
    x: NDArray[Any], stats: InputStats | None, steps: tuple[str, ...], o: Options, width: int,
    symmetric: bool,
) -> None:  # fmt: skip
    if not isinstance(stats, InputStats) or not stats.count:
        raise ArgumentError(
            "algorithm", f"algorithm is {steps!r}; it needs stats, an InputStats of the inputs"
        )
    if x.ndim != 2 or x.shape[1] != len(stats.gram):
        raise ValueError(
            f"x has shape {x.shape}; with these stats it must be (out, {len(stats.gram)})"
        )
    if o.group_size is None and o.axis != 0:
        raise ArgumentError("axis", f"axis is {o.axis}; an algorithm needs axis=0, or groups")
    if not o.signed or not symmetric or width > 8:
        raise ValueError("an algorithm needs signed, symmetric codes of 2 to 8 bits")
    o.refuse("an algorithm", "scale", "zero_point", "offset", "levels", "importance")
    if o.out is not None:
        raise ValueError("out is given; an algorithm has none, leave it out")
    check_finite(x, "x")


def _better(one: Fit, other: Fit) -> Fit:
    """Return the first, with the rows of the other that lose less, in place."""
    better = other.error < one.error
    for old, new in ((one.scale, other.scale), (one.levels, other.levels)):
        np.copyto(old, new, where=better[:, None])
    for old, new in ((one.zero, other.zero), (one.error, other.error)):
        np.copyto(old, new, where=better)
    return one


def _tensor(
    problem: Problem, fit: Fit, widths: NDArray[np.uint8], width: int, narrow: bool,
    row_bits: NDArray[np.uint8] | None, steps: tuple[str, ...], o: Options,
) -> QTensor:  # fmt: skip
    """Return the tensor of a fit, its steps rounded to their type and its codes fitted to that."""
    stored, kind = round_scales(fit.scale.astype(np.float32), o.scale_dtype, o.group_size)
    half = 1 << (widths.astype(np.int32) - 1)
    bounds = (narrow - half - fit.zero, half - 1 - fit.zero)
    if "coordinate_descent" in steps:
        low, high = (np.repeat(part[:, None], stored.shape[1], axis=1) for part in bounds)
        problem.descend(stored.astype(np.float64), low, high, fit.levels, 1, refit=False)
    codes = (fit.levels + fit.zero[:, None]).astype(code_dtype(width, True))
    shape = scale_shape(codes.shape, o.axis, o.group_size)
    scale = np.ascontiguousarray(stored.reshape(shape))
    points = fit.zero if o.group_size is None else np.repeat(fit.zero[:, None], shape[1], axis=1)
    points = np.ascontiguousarray(points, np.int32)
    reach = np.maximum(bounds[1], -bounds[0])[:, None] + 0.5
    clipped = int(np.count_nonzero(np.abs(problem.target) > problem.wide(fit.scale) * reach))
    rows = None if row_bits is None else np.array(row_bits, np.uint8)
    for part in (codes, scale, points, rows):
        if part is not None:
            part.setflags(write=False)
    return QTensor._make(
        codes, scale, points, o.axis, o.group_size, width, True, narrow, clipped=clipped,
        scale_dtype=kind, row_bits=rows,
    )  # fmt: skip
