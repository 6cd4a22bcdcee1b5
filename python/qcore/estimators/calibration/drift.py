"""Whether the data that a deployed network gets have left the range that it was calibrated for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._arguments.validation import check_fraction, check_instance, check_one_of, single_samples
from qcore._display.table import Report
from qcore.arrays.params.observer import Observer
from qcore.arrays.params.qparams import QParams
from qcore.arrays.params.ranges import OBSERVERS
from qcore.chain.chain import Chain
from qcore.estimators.calibration.calibration import layer_inputs
from qcore.estimators.graphs.batches import batches_of
from qcore.graph.graph import BaseGraph

__all__ = ["DriftMonitor"]


class DriftMonitor:
    """Watches the inputs of a static network's layers, and re-calibrates it on request.

    A layer has drifted when more than `tolerance` of its input values lie outside the calibrated
    range, where they saturate, or when the values seen fill less than `least_use` of that range, so
    that steps are wasted. Watching runs the network on floats: give it samples of the traffic, not
    all of it.

    Parameters
    ----------
    net : Sequential or Graph
        A quantized network with static activations. Of a graph, the values that are codes are
        watched, under their own names.
    tolerance : float, default 0.001
        The share of values that may saturate.
    least_use : float, default 0.5
        The share of the calibrated range that values should fill.

    Attributes
    ----------
    samples : int
        Samples seen.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(0, 1, (200, 4)).astype(np.float32)
    >>> net = qc.nn.Sequential([qc.nn.Dense.from_weights(np.eye(4), layout="out_in")])
    >>> net = qc.Quantizer().fit_transform(net, x)
    >>> monitor = qc.DriftMonitor(net)
    >>> monitor.update(x).drifted
    []
    >>> monitor.update(3 * x).drifted
    ['fc1']
    >>> qc.DriftMonitor(monitor.recalibrated()).update(3 * x).drifted
    []
    """

    def __init__(
        self, net: Chain | BaseGraph, *, tolerance: float = 0.001, least_use: float = 0.5
    ) -> None:
        check_instance(net, (Chain, BaseGraph), "net")
        self.net = net
        self.tolerance = check_fraction(tolerance, "tolerance")
        self.least_use = check_fraction(least_use, "least_use")
        self._params: dict[str, QParams] = dict(_watched(net))
        if not self._params:
            raise ValueError("net has no static activations: there is no range to leave")
        self.reset()

    def reset(self) -> None:
        """Forget what was seen."""
        self.samples = 0
        self._seen = {name: Observer() for name in self._params}
        self._outside = dict.fromkeys(self._params, 0)

    def update(self, X: Any) -> DriftMonitor:
        """Take in samples (n, inputs); for a graph an array, a dict of arrays, or an iterable.

        Returns
        -------
        DriftMonitor
            Itself.
        """
        for count, name, value in self._given(X):
            low, high = _ends(self._params[name])
            self._seen[name].update(value)
            self._outside[name] += _count_outside(value, low, high)
            self.samples += count
        return self

    def _given(self, X: Any) -> Iterator[tuple[int, str, NDArray[np.float32]]]:
        """Yield what each watched input gets in the float network; samples count with the first."""
        if isinstance(self.net, Chain):
            samples = single_samples(X, self.net.layers[0].in_features)
            count = len(samples)
            for layer, value in layer_inputs(self.net, samples):
                if layer.name in self._params:
                    yield count, layer.name, value
                    count = 0
            return
        exact = self.net.changed(codes={})
        for batch in batches_of(exact, X):
            count = max((len(array) for array in batch.values() if array.ndim), default=1)
            for name, value in exact.run(batch, self._params).items():
                rows = np.ascontiguousarray(value, np.float32).reshape(len(value) or 1, -1)
                yield count, name, rows
                count = 0

    @property
    def drifted(self) -> list[str]:
        """The layers whose input has left its range, or fills too little of it."""
        return [str(row["tensor"]) for row in self.report().rows if row["drifted"]]

    def report(self) -> Report:
        """Return a row for each layer: the calibrated range, the one seen, the share outside."""
        rows: list[dict[str, Any]] = []
        for name, params in self._params.items():
            seen, (low, high) = self._seen[name], _ends(params)
            share = self._outside[name] / max(1, seen.count)
            use = (max(seen.max, 0.0) - min(seen.min, 0.0)) / (high - low)
            drifted = bool(seen.count) and (share > self.tolerance or use < self.least_use)
            rows.append({
                "tensor": name, "calibrated low": low, "calibrated high": high, "low": seen.min,
                "high": seen.max, "outside": share, "range used": use, "drifted": drifted,
            })  # fmt: skip
        return Report("drift", rows)

    def recalibrated(
        self, observer: str = "minmax", percentile: float = 99.99
    ) -> Chain | BaseGraph:
        """Return the network with ranges that fit what was seen; weights stay as they are."""
        check_one_of(observer, "observer", OBSERVERS)
        if not self.samples:
            raise ValueError("nothing was seen yet: update the monitor with samples first")
        ranges = {
            name: Observer(observer, percentile=percentile)
            .merge(seen)
            .qparams(signed=self._params[name].signed, symmetric=False)
            for name, seen in self._seen.items()
        }
        if isinstance(self.net, BaseGraph):
            codes = {**self.net.codes, **ranges}
            for node in reversed(self.net.nodes):
                # What goes through a clamp has the codes of what comes out.
                name, made = node.inputs[0] if node.inputs else "", node.outputs[0]
                if self.net.codes.get(name) == self.net.codes.get(made) and name not in ranges:
                    codes |= {name: codes[made]} if made in codes else {}
            return self.net.changed(codes=codes)
        new = self.net.copy()
        for layer in new.layers:
            if layer.name in ranges:
                layer.input_qparams = ranges[layer.name]
        return new


def _watched(net: Chain | BaseGraph) -> Iterator[tuple[str, QParams]]:
    """Yield what has a static range: layers of a chain, values of a graph."""
    if isinstance(net, BaseGraph):
        for name, params in net.codes.items():
            if name in net.constants or np.ndim(params.scale):
                continue
            after = [node.outputs[0] for node in net.readers.get(name, ())]
            # What only goes through a clamp into a value of the same codes saturates on purpose.
            if not after or any(net.codes.get(made) != params for made in after):
                yield name, params
        return
    for layer in net.layers:
        if isinstance(layer.input_qparams, QParams):
            yield layer.name, layer.input_qparams


def _ends(params: QParams) -> tuple[float, float]:
    """Return the least and the greatest value that does not saturate."""
    scale, zero = float(params.scale), int(params.zero_point)
    return (params.qmin - zero) * scale, (params.qmax - zero) * scale


def _count_outside(value: NDArray[np.float32], low: float, high: float) -> int:
    step = (high - low) / 512  # half a step of 8 bits rounds to the last code
    return int(np.count_nonzero((value < low - step) | (value > high + step)))
