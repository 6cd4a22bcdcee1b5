"""Mixed precision: the width of each output of each layer, under one target for the network.

What a width costs an output is measured on samples (the error that the layer's algorithm leaves at
that width, and that of the integer input, which only rows of codes take), weighed by how much the
output moves the logits. Which widths are best under the target is then solved exactly.

Dong et al., "HAWQ-V2: Hessian Aware trace-Weighted Quantization of Neural Networks", NeurIPS 2020
(by layer, with second derivatives); here by output, with measured errors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._arguments.validation import check_int
from qcore.errors import ArgumentError
from qcore.estimators.mixed.allocation import LayerChoice, allocate_each

__all__ = [
    "FLOAT_BITS",
    "Choices",
    "Mixture",
    "Part",
    "check_choices",
    "fastest_ns",
    "float_errors",
]

#: Types that rows may stay in, and their bits.
FLOAT_BITS = {"float16": 16, "float32": 32}

#: From the name of a weight to the width of each row, or to the type that all of it stays in.
Mixture = Mapping[str, "NDArray[np.uint8] | str"]

#: Cells of the table for the curve, which is for people to see.
CURVE_CELLS = 10**7


def check_choices(bits: tuple[Any, ...]) -> list[int]:
    """Return the widths of a mixture, ascending: 2 to 8, and those of float types."""
    for one in bits:
        if isinstance(one, str) and one not in FLOAT_BITS:
            raise ValueError(f"bits has {one!r}; it must be 2 to 8, 'float16' or 'float32'")
    widths = {check_int(one, "bits", 2, 8) for one in bits if not isinstance(one, str)}
    if not widths:
        raise ArgumentError("bits", f"bits is {bits!r}; a mixture has at least one integer width")
    return sorted(widths | {FLOAT_BITS[one] for one in bits if isinstance(one, str)})


@dataclass(frozen=True, slots=True)
class Part:
    """A weight that takes part in a mixture, and what was measured of it.

    Attributes
    ----------
    name : str
        Of the weight.
    columns : int
        Inputs of each row.
    errors : ndarray, (rows, widths)
        What each output loses at each width, as squared error of the logits.
    nanoseconds : callable
        How long one sample takes in the layer with all weights of a width, measured when asked.
    extra : int
        Bytes that come with codes of it: a bias that it did not have, how it is laid out.
    """

    name: str
    columns: int
    errors: NDArray[np.float64]
    nanoseconds: Callable[[int], int]
    extra: int = 0


@dataclass(frozen=True, slots=True)
class Choices:
    """What was measured of a network, for any target.

    Attributes
    ----------
    widths : list of int
        Ascending; 16 and 32 are floats.
    by_layer : bool
        Whether all outputs of a layer get one width.
    parts : list of Part
    """

    widths: list[int]
    by_layer: bool
    parts: list[Part]

    def by_bits(self, target: float) -> Mixture:
        """Return the best widths of so many bits a weight on average."""
        return self._solve([self._budget(target)], self._bit_costs(0, 1))[0]

    def by_bytes(self, target: int, fixed: int) -> Mixture:
        """Return the best widths within so many bytes, of which `fixed` are not these weights'.

        A row has a scale, a width and a zero point besides.
        """
        extra = sum(part.extra for part in self.parts)
        return self._solve([8 * (target - fixed - extra)], self._bit_costs(32 + 8 + 8, 8))[0]

    def by_time(self, target_us: float) -> Mixture:
        """Return the best widths with which one sample takes so long, by measured kernels.

        Each layer is timed at each width, with the kernel that it then runs on. A kernel takes the
        whole layer, so here all its rows have one width.
        """
        costs = [[part.nanoseconds(bits) for bits in self.widths] for part in self.parts]
        return self._solve([int(target_us * 1000)], costs, by_layer=True)[0]

    def curve(self, points: int = 17) -> list[dict[str, float]]:
        """Return the least predicted error for mean bits from the fewest to 8 or the most."""
        low, high = self.range
        targets = np.linspace(low, min(high, 8.0), points)
        budgets = [self._budget(float(target)) for target in targets]
        # Of large networks bits are counted by the lot, so that the fewest are enough for a point.
        rows = sum(len(part.errors) for part in self.parts)
        unit = max(1, budgets[-1] * rows // CURVE_CELLS)
        costs = [[cost // unit for cost in layer] for layer in self._bit_costs(0, 1)]
        mixtures = self._solve([budget // unit for budget in budgets], costs)
        return [
            {"bits": float(target), "predicted error": self.error_of(mixture)}
            for target, mixture in zip(targets, mixtures, strict=True)
        ]

    def error_of(self, mixture: Mixture) -> float:
        """Return the squared error of the logits that a mixture is predicted to leave."""
        places = {bits: index for index, bits in enumerate(self.widths)}
        total = 0.0
        for part in self.parts:
            rows = mixture[part.name]
            if isinstance(rows, str):
                rows = np.full(len(part.errors), FLOAT_BITS[rows], np.uint8)
            at = [places[int(bits)] for bits in rows]
            total += float(part.errors[np.arange(len(at)), at].sum())
        return total

    @property
    def range(self) -> tuple[float, float]:
        """The fewest and the most bits a weight that a mixture can have."""
        return float(self.widths[0]), float(self.widths[-1])

    def _budget(self, target: float) -> int:
        total = sum(part.columns * len(part.errors) for part in self.parts)
        return int(target * total + 1e-9)

    def _bit_costs(self, row: int, pad: int) -> list[list[int]]:
        """Return what a row of each layer costs at each width, and `row` besides."""
        return [
            [pad * -(-part.columns * bits // pad) + row for bits in self.widths]
            for part in self.parts
        ]

    def _solve(
        self,
        budgets: list[int],
        costs: list[list[int]],
        *,
        by_layer: bool | None = None,
    ) -> list[Mixture]:
        """Return the best mixture for each budget; costs are of rows, by layer of layers."""
        whole = self.by_layer if by_layer is None else by_layer
        choices = []
        for part, cost in zip(self.parts, costs, strict=True):
            errors = part.errors
            if whole:
                of_layer = cost if by_layer else [one * len(errors) for one in cost]
                choices.append(LayerChoice(of_layer, errors.sum(axis=0, keepdims=True)))
            else:
                choices.append(LayerChoice(cost, errors))
        return [self._named(places) for places in allocate_each(choices, budgets)]

    def _named(self, places: Sequence[NDArray[np.intp]]) -> Mixture:
        widths = np.array(self.widths, np.uint8)
        types = {bits: name for name, bits in FLOAT_BITS.items()}
        found: dict[str, NDArray[np.uint8] | str] = {}
        for part, chosen in zip(self.parts, places, strict=True):
            rows = np.array(np.broadcast_to(widths[chosen], (len(part.errors),)))
            kinds = np.unique(rows)
            one = types.get(int(kinds[0])) if len(kinds) == 1 else None
            found[part.name] = rows if one is None else one
        return found


def float_errors(
    weight: NDArray[np.float32], gram: NDArray[np.float64], widths: Sequence[int]
) -> list[NDArray[np.float64]]:
    """Return what each row loses as a float of these bits; `gram` is E[xxᵀ]."""
    columns = []
    for bits in widths:
        kept = weight.astype(np.float16 if bits == 16 else np.float32)
        missed = (weight - kept).astype(np.float64)
        columns.append(np.einsum("ij,ij->i", missed @ gram, missed))
    return columns


def fastest_ns(call: Callable[[], object], times: int = 30) -> int:
    """Return the least nanoseconds that a call takes."""
    found = []
    for _ in range(times):
        started = time.perf_counter_ns()
        call()
        found.append(time.perf_counter_ns() - started)
    return min(found)
