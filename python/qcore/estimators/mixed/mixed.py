"""Mixed precision: the width of each output of each layer, under one target for the network.

What a width costs an output is measured on samples (the error that the layer's algorithm leaves at
that width, and that of the integer input, which only rows of codes take), weighed by how much the
output moves the logits. Which widths are best under the target is then solved exactly.

Dong et al., "HAWQ-V2: Hessian Aware trace-Weighted Quantization of Neural Networks", NeurIPS 2020
(by layer, with second derivatives); here by output, with measured errors.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._validation import check_int
from qcore.arrays.layerwise.layerwise import row_errors
from qcore.arrays.params.input_stats import InputStats
from qcore.arrays.params.qparams import QParams
from qcore.chain.chain import Chain
from qcore.chain.layers import Dense
from qcore.errors import ArgumentError
from qcore.estimators.calibration.calibration import layer_inputs, quantized_input
from qcore.estimators.calibration.sensitivity import output_weights
from qcore.estimators.mixed.allocation import LayerChoice, allocate_each

__all__ = ["FLOAT_BITS", "Choices", "Mixture", "check_choices", "measure"]

#: Types that rows may stay in, and their bits.
FLOAT_BITS = {"float16": 16, "float32": 32}

#: From the name of a weight to the width of each row, or to the type that all of it stays in.
Mixture = Mapping[str, "NDArray[np.uint8] | str"]

Floats = NDArray[np.float32]

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
class Choices:
    """What was measured of a network, for any target.

    Attributes
    ----------
    widths : list of int
        Ascending; 16 and 32 are floats.
    layers : list of Dense
        Those that take part.
    errors : list of ndarray, (rows, widths)
        What each output loses at each width, as squared error of the logits.
    sources : list of (QParams, "dynamic" or None)
        How each layer would take its input with integer weights.
    """

    widths: list[int]
    by_layer: bool
    layers: list[Dense]
    errors: list[NDArray[np.float64]]
    sources: list[QParams | str | None]

    def by_bits(self, target: float) -> Mixture:
        """Return the best widths of so many bits a weight on average."""
        return self._solve([self._budget(target)], self._bit_costs(0, 1))[0]

    def by_bytes(self, target: int, fixed: int) -> Mixture:
        """Return the best widths within so many bytes, of which `fixed` are not these weights'.

        A row has a scale, a width and a zero point besides.
        """
        return self._solve([8 * (target - fixed)], self._bit_costs(32 + 8 + 8, 8))[0]

    def by_time(self, target_us: float) -> Mixture:
        """Return the best widths with which one sample takes so long, by measured kernels.

        Each layer is timed at each width, with the kernel that it then runs on. A kernel takes the
        whole layer, so here all its rows have one width.
        """
        costs = []
        for layer, source in zip(self.layers, self.sources, strict=True):
            known: dict[str, int] = {}
            costs.append([_nanoseconds(layer, bits, source, known) for bits in self.widths])
        return self._solve([int(target_us * 1000)], costs, by_layer=True)[0]

    def curve(self, points: int = 17) -> list[dict[str, float]]:
        """Return the least predicted error for mean bits from the fewest to 8 or the most."""
        low, high = self.range
        targets = np.linspace(low, min(high, 8.0), points)
        budgets = [self._budget(float(target)) for target in targets]
        # Of large networks bits are counted by the lot, so that the fewest are enough for a point.
        rows = sum(len(errors) for errors in self.errors)
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
        for layer, errors in zip(self.layers, self.errors, strict=True):
            rows = mixture[f"{layer.name}.weight"]
            if isinstance(rows, str):
                rows = np.full(len(errors), FLOAT_BITS[rows], np.uint8)
            at = [places[int(bits)] for bits in rows]
            total += float(errors[np.arange(len(at)), at].sum())
        return total

    @property
    def range(self) -> tuple[float, float]:
        """The fewest and the most bits a weight that a mixture can have."""
        return float(self.widths[0]), float(self.widths[-1])

    def _budget(self, target: float) -> int:
        total = sum(layer.in_features * layer.out_features for layer in self.layers)
        return int(target * total + 1e-9)

    def _bit_costs(self, row: int, pad: int) -> list[list[int]]:
        """Return what a row of each layer costs at each width, and `row` besides."""
        return [
            [pad * -(-layer.in_features * bits // pad) + row for bits in self.widths]
            for layer in self.layers
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
        for errors, cost in zip(self.errors, costs, strict=True):
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
        for layer, chosen in zip(self.layers, places, strict=True):
            rows = np.array(np.broadcast_to(widths[chosen], (layer.out_features,)))
            kinds = np.unique(rows)
            one = types.get(int(kinds[0])) if len(kinds) == 1 else None
            found[f"{layer.name}.weight"] = rows if one is None else one
        return found


def measure(
    net: Chain,
    samples: Floats,
    names: list[str],
    sources: Mapping[str, QParams | str | None],
    widths: list[int],
    *,
    steps: tuple[str, ...],
    by_layer: bool,
) -> Choices:
    """Measure what each width costs each output, the integer input of the layer included."""
    layers, errors, taken = [], [], []
    for (layer, value), importance in zip(
        layer_inputs(net, samples), output_weights(net, samples), strict=True
    ):
        if f"{layer.name}.weight" not in names:
            continue
        source = sources[layer.name]
        found = _layer_errors(layer.dense_weight(), value, source, widths, steps)
        layers.append(layer)
        errors.append(found * importance[:, None])
        taken.append(source)
    return Choices(widths, by_layer, layers, errors, taken)


def _layer_errors(
    weight: Floats,
    value: Floats,
    source: QParams | str | None,
    widths: list[int],
    steps: tuple[str, ...],
) -> NDArray[np.float64]:
    """Return what each row of a layer loses at each width, (rows, widths)."""
    integer = quantized_input(value, source)
    stats = InputStats().update(integer)
    codes = [bits for bits in widths if bits <= 8]
    lost = row_errors(weight, stats, codes, steps)
    # What the input is off by goes through the exact weights: the codes cannot know it.
    off = (integer - value) @ weight.T
    lost = lost + np.mean(off.astype(np.float64) ** 2, axis=0)[:, None]
    columns = [*lost.T]
    exact = InputStats().update(value)
    for bits in widths[len(codes) :]:
        kept = weight.astype(np.float16 if bits == 16 else np.float32)
        missed = (weight - kept).astype(np.float64)
        columns.append(np.einsum("ij,ij->i", missed @ (exact.gram / exact.count), missed))
    return np.stack(columns, axis=1)


def _nanoseconds(
    layer: Dense, bits: int, source: QParams | str | None, known: dict[str, int]
) -> int:
    """Return how long one sample takes in a layer at a width: `known` already, if it is.

    Widths that run on one kernel take the same time: it is measured once.
    """
    from qcore.arrays.tensor.functions import quantize

    single = layer.copy()
    weight = layer.dense_weight()
    if bits <= 8:
        # With the zero points that fitted codes have, or another kernel would run.
        zeros = np.full(len(weight), -1 if bits < 8 else 0)
        single.weight = quantize(weight, bits=bits, axis=0, zero_point=zeros)
        single.input_qparams = source
    elif bits == 16:
        single.weight = quantize(weight, scheme="float16")
    net = Chain([single])
    kernel = net.kernels[0]
    if kernel in known:
        return known[kernel]
    x = np.ones((1, layer.in_features), np.float32)
    times = []
    for _ in range(30):
        started = time.perf_counter_ns()
        net.predict_logits(x)
        times.append(time.perf_counter_ns() - started)
    known[kernel] = min(times)
    return known[kernel]
