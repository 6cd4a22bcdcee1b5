"""What widths cost the outputs of a chain's layers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.layerwise.layerwise import row_errors
from qcore.arrays.params.input_stats import InputStats
from qcore.arrays.params.qparams import QParams
from qcore.arrays.tensor.functions import quantize
from qcore.chain.chain import Chain
from qcore.chain.layers import Dense
from qcore.estimators.calibration.calibration import layer_inputs, quantized_input
from qcore.estimators.calibration.sensitivity import output_weights
from qcore.estimators.mixed.mixed import Choices, Part, fastest_ns, float_errors

__all__ = ["measure"]

Floats = NDArray[np.float32]


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
    """Measure what each width costs each output, the integer input of the layer included.

    `sources`: how each layer would take its input with integer weights.
    """
    parts = []
    for (layer, value), importance in zip(
        layer_inputs(net, samples), output_weights(net, samples), strict=True
    ):
        name = f"{layer.name}.weight"
        if name not in names:
            continue
        source = sources[layer.name]
        found = _layer_errors(layer.dense_weight(), value, source, widths, steps)
        timer = _Timer(layer, source)
        parts.append(Part(name, layer.in_features, found * importance[:, None], timer))
    return Choices(widths, by_layer, parts)


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
    exact = InputStats().update(value)
    real = float_errors(weight, exact.gram / exact.count, widths[len(codes) :])
    return np.stack([*lost.T, *real], axis=1)


class _Timer:
    """Tells how long one sample takes in a layer at a width.

    Widths that run on one kernel take the same time: it is measured once.
    """

    def __init__(self, layer: Dense, source: QParams | str | None) -> None:
        self._layer = layer
        self._source = source
        self._known: dict[str, int] = {}

    def __call__(self, bits: int) -> int:
        layer, weight = self._layer, self._layer.dense_weight()
        single = layer.copy()
        if bits <= 8:
            # With the zero points that fitted codes have, or another kernel would run.
            zeros = np.full(len(weight), -1 if bits < 8 else 0)
            single.weight = quantize(weight, bits=bits, axis=0, zero_point=zeros)
            single.input_qparams = self._source
        elif bits == 16:
            single.weight = quantize(weight, scheme="float16")
        net = Chain([single])
        kernel = net.kernels[0]
        if kernel not in self._known:
            x = np.ones((1, layer.in_features), np.float32)
            self._known[kernel] = fastest_ns(lambda: net.predict_logits(x))
        return self._known[kernel]
