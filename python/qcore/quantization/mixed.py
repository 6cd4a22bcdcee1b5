"""Mixed precision: the width of each output of each layer, under one target for the network.

What a width costs an output is measured on samples (the error that the layer's algorithm leaves at
that width), weighed by how much the output moves the logits; an integer layer pays for its integer
input too. Which widths are best under the target is then solved exactly.

Dong et al., "HAWQ-V2: Hessian Aware trace-Weighted Quantization of Neural Networks", NeurIPS 2020
(by layer, with second derivatives); here by output, with measured errors.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qcore._validation import check_int
from qcore.quantization.allocation import LayerChoice, allocate
from qcore.quantization.calibration import layer_inputs, quantized_input
from qcore.quantization.input_stats import InputStats
from qcore.quantization.layerwise import row_errors
from qcore.quantization.qparams import QParams
from qcore.quantization.sensitivity import input_errors, output_weights

if TYPE_CHECKING:
    from qcore.nn.layers import Dense
    from qcore.nn.sequential import Sequential

__all__ = ["FLOAT_BITS", "Choices", "check_choices", "measure"]

#: Types that a layer may stay in, and their bits.
FLOAT_BITS = {"float16": 16, "float32": 32}

Floats = NDArray[np.float32]


def check_choices(bits: tuple[Any, ...]) -> tuple[list[int], list[str]]:
    """Return the integer widths, ascending, and the float types of a mixture."""
    floats = [one for one in bits if isinstance(one, str)]
    for one in floats:
        if one not in FLOAT_BITS:
            raise ValueError(f"bits has {one!r}; it must be 2 to 8, 'float16' or 'float32'")
    widths = sorted({check_int(one, "bits", 2, 8) for one in bits if not isinstance(one, str)})
    if not widths:
        raise ValueError(f"bits is {bits!r}; a mixture has at least one integer width")
    return widths, floats


@dataclass(frozen=True, slots=True)
class Choices:
    """What was measured of a network, for any target.

    Attributes
    ----------
    layers : list of Dense
        Those that take part.
    errors : list of ndarray, (rows, widths)
        What each output loses at each width, as squared error of the logits.
    base_errors : list of float
        What each layer's integer input loses.
    half_errors : list of float
        What each layer loses in float16.
    """

    widths: list[int]
    floats: list[str]
    by_layer: bool
    layers: list[Dense]
    errors: list[NDArray[np.float64]]
    base_errors: list[float]
    half_errors: list[float]

    def by_bits(self, target: float) -> Mapping[str, NDArray[np.uint8] | str]:
        """Return the best widths of so many bits a weight on average."""
        total = sum(layer.in_features * layer.out_features for layer in self.layers)
        return self._solve(int(target * total + 1e-9), self._bit_costs(0, 0, 1))

    def by_bytes(self, target: int, fixed: int) -> Mapping[str, NDArray[np.uint8] | str]:
        """Return the best widths within so many bytes, of which `fixed` are not these weights'.

        A row has a scale, a width and a zero point besides its codes.
        """
        return self._solve(8 * (target - fixed), self._bit_costs(32 + 8 + 8, 32, 8))

    def by_time(self, target_us: float, samples: Floats) -> Mapping[str, NDArray[np.uint8] | str]:
        """Return the best widths with which one sample takes so long, by measured kernels.

        All integer widths run on one kernel; what time decides is which layers stay floats.
        """
        costs = []
        for layer in self.layers:
            integer, real = _kernel_nanoseconds(layer)
            costs.append(([0] * len(self.widths), integer, dict.fromkeys(self.floats, real)))
        return self._solve(int(target_us * 1000), costs)

    def curve(self, points: int = 17) -> list[dict[str, float]]:
        """Return the least predicted error for mean bits from the fewest to 8 or the most."""
        low, high = self.range
        found = []
        for target in np.linspace(low, min(high, 8.0), points):
            mixture = self.by_bits(float(target))
            found.append({"bits": float(target), "predicted error": self.error_of(mixture)})
        return found

    def error_of(self, mixture: Mapping[str, NDArray[np.uint8] | str]) -> float:
        """Return the squared error of the logits that a mixture is predicted to leave."""
        total = 0.0
        places = {bits: index for index, bits in enumerate(self.widths)}
        for index, layer in enumerate(self.layers):
            rows = mixture[f"{layer.name}.weight"]
            if isinstance(rows, str):
                total += self.half_errors[index] if rows == "float16" else 0.0
                continue
            at = [places[int(bits)] for bits in rows]
            total += self.base_errors[index]
            total += float(self.errors[index][np.arange(len(at)), at].sum())
        return total

    @property
    def range(self) -> tuple[float, float]:
        """The fewest and the most bits a weight that a mixture can have."""
        most = [FLOAT_BITS[name] for name in self.floats]
        return float(self.widths[0]), float(max([self.widths[-1], *most]))

    def _bit_costs(
        self, row: int, half: int, pad: int
    ) -> list[tuple[list[int], int, dict[str, int]]]:
        costs = []
        for layer in self.layers:
            inputs, outputs = layer.in_features, layer.out_features
            rows = [pad * -(-inputs * bits // pad) + row for bits in self.widths]
            floats = {
                name: FLOAT_BITS[name] * inputs * outputs + (half if name == "float16" else 0)
                for name in self.floats
            }
            costs.append((rows, 0, floats))
        return costs

    def _solve(
        self, budget: int, costs: list[tuple[list[int], int, dict[str, int]]]
    ) -> Mapping[str, NDArray[np.uint8] | str]:
        choices = []
        for index, (rows, base, floats) in enumerate(costs):
            errors = self.errors[index]
            if self.by_layer:
                rows = [cost * len(errors) for cost in rows]
                errors = errors.sum(axis=0, keepdims=True)
            lost = {"float16": self.half_errors[index], "float32": 0.0}
            kinds = {name: (cost, lost[name]) for name, cost in floats.items()}
            base_error = self.base_errors[index]
            choices.append(LayerChoice(rows, errors, base, base_error, kinds))
        if budget < 0:
            raise ValueError("the target is too low: not even the fewest bits fit it")
        found: dict[str, NDArray[np.uint8] | str] = {}
        widths = np.array(self.widths, np.uint8)
        for layer, choice in zip(self.layers, allocate(choices, budget), strict=True):
            if isinstance(choice, str):
                found[f"{layer.name}.weight"] = choice
            else:
                rows_of = np.broadcast_to(widths[choice], (layer.out_features,))
                found[f"{layer.name}.weight"] = np.array(rows_of)
        return found


def measure(
    net: Sequential,
    samples: Floats,
    names: list[str],
    sources: Mapping[str, QParams | str | None],
    choices: tuple[list[int], list[str]],
    *,
    steps: tuple[str, ...],
    by_layer: bool,
) -> Choices:
    """Measure what each width costs each output, and an integer input each layer."""
    widths, floats = choices
    weights = output_weights(net, samples)
    inputs = input_errors(net, samples, [sources.get(layer.name) for layer in net.layers])
    layers, errors, bases, halves = [], [], [], []
    for (layer, value), importance, base in zip(
        layer_inputs(net, samples), weights, inputs, strict=True
    ):
        if f"{layer.name}.weight" not in names:
            continue
        stats = InputStats().update(quantized_input(value, sources[layer.name]))
        matrix = layer.dense_weight()
        found = row_errors(matrix, stats, widths, steps) * importance[:, None]
        off = (matrix - matrix.astype(np.float16)).astype(np.float64)
        half = np.einsum("ij,ij->i", off @ (stats.gram / stats.count), off)
        layers.append(layer)
        errors.append(found)
        bases.append(base)
        halves.append(float(half @ importance))
    return Choices(widths, floats, by_layer, layers, errors, bases, halves)


def _kernel_nanoseconds(layer: Dense) -> tuple[int, int]:
    """Return how long one sample takes in a layer with integer and with float weights."""
    from qcore.nn.sequential import Sequential  # networks are above this room
    from qcore.quantization.quantizer import Quantizer

    x = np.ones((1, layer.in_features), np.float32)
    single = layer.copy()
    net = Sequential([single])
    integer = Quantizer(8, activations="dynamic", progress=False).fit_transform(net)
    return _fastest(integer, x), _fastest(net, x)


def _fastest(net: Sequential, x: Floats) -> int:
    times = []
    for _ in range(30):
        started = time.perf_counter_ns()
        net.predict_logits(x)
        times.append(time.perf_counter_ns() - started)
    return min(times)
