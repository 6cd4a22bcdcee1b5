"""Make arrays smaller: neurons that do nothing go, with all that belongs to them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, TypeVar

import numpy as np

from qcore._arguments.validation import check_instance
from qcore._display.table import Report
from qcore.arrays.pruning.patterns import Mask
from qcore.chain.activations import activate
from qcore.chain.chain import Chain
from qcore.chain.layers import Dense
from qcore.estimators.pruner.graphs import compact_graph
from qcore.graph.graph import BaseGraph

__all__ = ["compact"]

Network = TypeVar("Network", bound="Chain | BaseGraph")


def compact(net: Network) -> Network:
    """Remove the neurons that do nothing: their rows, biases, and columns in the next layer.

    A hidden neuron goes if the next layer reads nothing of it, or if it reads nothing itself: then
    it gives a constant, which moves into the next layer's bias. What that leaves without readers
    goes too, until nothing does. Inputs and outputs of the network stay. The results differ by
    float rounding alone.

    Parameters
    ----------
    net : Sequential
        A float network, such as a `Pruner` with ``pattern="neurons"`` makes; it is not changed.

    Returns
    -------
    Sequential
        With ``report_``, what was removed from each layer. Each hidden layer keeps a neuron.

    Raises
    ------
    TypeError
        If a weight is quantized: compact before quantizing.

    Examples
    --------
    >>> import numpy as np, qcore as qc
    >>> w1, w2 = np.float32([[1, 2], [0, 0], [3, 4]]), np.float32([[1, 5, 0]])
    >>> net = qc.nn.Sequential.from_arrays([w1, w2], [np.ones(3), np.zeros(1)], layout="out_in",
    ...                                    output="linear")
    >>> small = qc.compact(net)
    >>> small.layers[0].weight, small.layers[1].weight, small.layers[1].bias
    (array([[1., 2.]], dtype=float32), array([[1.]], dtype=float32), array([5.], dtype=float32))
    """
    if isinstance(net, BaseGraph):
        return compact_graph(net)  # type: ignore[return-value]
    check_instance(net, Chain, "net")
    new = net.copy()
    new._check_built()
    for layer in new.layers:
        if not isinstance(layer.weight, np.ndarray):
            kind = type(layer.weight).__name__
            raise TypeError(f"{layer.name}.weight is a {kind}; compact before quantizing")
    while sum(_remove_between(*pair) for pair in pairwise(new.layers)):
        pass
    new.report_ = _report(net, new)
    return new


def _remove_between(layer: Dense, reader: Dense) -> bool:
    """Remove the dead neurons of `layer`, which `reader` reads; returns whether there were any."""
    weight, reads = layer.dense_weight(), reader.dense_weight()
    silent: Mask = ~np.any(weight, axis=1)
    read: Mask = np.any(reads, axis=0)
    keep = ~silent & read
    if keep.all() or len(keep) == 1:
        return False
    _move_constants(layer, reader, silent & read)
    if not keep.any():
        keep[0] = True
        weight, reads = np.zeros_like(weight), np.zeros_like(reads)
    layer.weight = np.ascontiguousarray(weight[keep])
    reader.weight = np.ascontiguousarray(reads[:, keep])
    layer.bias = None if layer.bias is None else layer.bias[keep]
    layer.out_features = reader.in_features = int(np.count_nonzero(keep))
    return True


def _move_constants(layer: Dense, reader: Dense, silent: Mask) -> None:
    """Add to the reader's bias what neurons that read nothing give it."""
    constant = np.zeros((1, layer.out_features), np.float32)
    activate(constant, layer.bias, layer.activation)
    constant[:, ~silent] = 0.0
    if not constant.any():
        return
    moved = reader.dense_weight().astype(np.float64) @ constant[0]
    bias = np.zeros(reader.out_features) if reader.bias is None else reader.bias
    reader.bias = (bias + moved).astype(np.float32)
    reader.use_bias = True


def _report(before: Chain, after: Chain) -> Report:
    rows: list[dict[str, Any]] = []
    for old, new in zip(before.layers, after.layers, strict=True):
        row = {"tensor": f"{new.name}.weight", "shape": f"{old.out_features}x{old.in_features}"}
        row["compact shape"] = f"{new.out_features}x{new.in_features}"
        removed = old.out_features - new.out_features
        rows.append(row | {"removed neurons": removed, "bytes": int(new.dense_weight().nbytes)})
    removed = sum(row["removed neurons"] for row in rows)
    return Report(
        "compact", rows, {"tensor": "all", "removed neurons": removed, "bytes": after.nbytes}
    )
