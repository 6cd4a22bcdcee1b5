"""What post-training quantization sees of a network: samples go through, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore.arrays.params.input_stats import InputStats
from qcore.arrays.params.observer import Observer
from qcore.arrays.params.qparams import QParams
from qcore.arrays.tensor.functions import fake_quantize

if TYPE_CHECKING:
    from qcore.chain.chain import Chain
    from qcore.chain.layers import Dense

__all__ = ["Walk", "layer_inputs", "quantized_input"]

Floats = NDArray[np.float32]

#: Rows that go through a layer at once.
BLOCK = 4096


def layer_inputs(net: Chain, samples: Floats) -> Iterator[tuple[Dense, Floats]]:
    """Yield each layer with its input in the float network."""
    value = net.normalized(samples)
    for layer in net.layers:
        if not np.isfinite(value).all():
            raise ValueError(f"the input of {layer.name} has values that are not finite")
        yield layer, value
        value = layer.forward(value)


def quantized_input(value: Floats, source: QParams | str | None) -> Floats:
    """Return a layer's input as its integers decode."""
    if source is None:
        return value
    if isinstance(source, QParams):
        return fake_quantize(value, source)
    # By the kernel that the network will run, so that nothing is fitted to other integers.
    rows = np.ascontiguousarray(value, np.float32)
    real = np.empty_like(rows)
    if rows.size:
        _core.fake_quantize_rows(rows, rows.shape[1], real)
    return real


class Walk:
    """Takes samples through the float network and through the quantized one, side by side.

    Attributes
    ----------
    exact, value : ndarray of float32
        The samples, as the layer at hand would get them, and as it gets them.
    """

    def __init__(self, samples: Floats) -> None:
        self.exact = samples
        self.value = samples

    def observe(self, observer: Observer) -> None:
        """Show an observer what the float network gives the layer at hand."""
        observer.update(self.exact)

    def stats(self, source: QParams | str | None) -> InputStats:
        """Return the statistics of the layer's input, with the exact ones where they differ."""
        stats = InputStats()
        for block in _blocks(len(self.value)):
            value = quantized_input(self.value[block], source)
            same = self.value is self.exact
            stats.update(value, None if same else self.exact[block])
        return stats

    def through(self, layer: Dense, quantized: Dense, source: QParams | str | None) -> None:
        """Go on to the next layer."""
        exact = _through(layer, self.exact, None)
        same = quantized is layer and self.value is self.exact and source is None
        self.value = exact if same else _through(quantized, self.value, source)
        self.exact = exact


def _through(layer: Dense, value: Floats, source: QParams | str | None) -> Floats:
    out = np.empty((len(value), layer.out_features), np.float32)
    for block in _blocks(len(value)):
        out[block] = layer.forward(quantized_input(value[block], source), value[block])
    if not np.isfinite(out).all():
        raise ValueError(f"the output of {layer.name} has values that are not finite")
    return out


def _blocks(rows: int) -> Iterator[slice]:
    for start in range(0, rows, BLOCK):
        yield slice(start, start + BLOCK)
