"""Depthwise convolutions: scales through them, biases behind them, channels out of them."""

from __future__ import annotations

from typing import Any

import numpy as np

import qcore as qc
from qcore.graph.node import Node
from qcore.graph.value import Value


def normal(*shape: int, seed: int) -> Any:
    values = np.random.default_rng(seed).standard_normal(shape)
    return (values / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def network(*, residual: bool = False) -> qc.Graph:
    """Pointwise, depthwise, pointwise, as in every mobile network."""
    relu, same = {"activation": "relu"}, {"pads": [1, 1, 1, 1]}
    nodes = [
        Node("wide", "Conv", ("x", "w0", "b0"), ("h",), relu),
        Node("deep", "Conv", ("h", "w1", "b1"), ("d",), relu | same | {"group": 12}),
        Node("narrow", "Conv", ("d", "w2", "b2", *(("x",) if residual else ())), ("n",)),
        Node("mean", "GlobalAveragePool", ("n",), ("y",)),
    ]
    return qc.Graph(
        nodes,
        inputs=[Value("x", "float32", ("n", 6, 8, 8))],
        outputs=[Value("y", "float32")],
        constants={
            "w0": normal(12, 6, 1, 1, seed=0), "b0": normal(12, 1, seed=1).ravel(),
            "w1": normal(12, 1, 3, 3, seed=2), "b1": normal(12, 1, seed=3).ravel(),
            "w2": normal(6, 12, 1, 1, seed=4), "b2": normal(6, 1, seed=5).ravel(),
        },
    )  # fmt: skip


def samples(count: int = 64) -> Any:
    x = np.random.default_rng(9).standard_normal((count, 6, 8, 8)).astype(np.float32)
    return x + np.float32(0.5)


def test_biases_behind_depthwise_weights_keep_the_means() -> None:
    net, x = network(), samples()
    linear = net.changed(
        nodes=[
            node.changed(attributes={k: v for k, v in node.attributes.items() if k != "activation"})
            if node.name == "deep" else node
            for node in net.nodes
        ]
    )  # fmt: skip
    wanted = linear.run({"x": x}, ["d"])["d"].mean(axis=(0, 2, 3))
    off = {}
    for algorithm in ((), ("bias_correction",)):
        small = qc.Quantizer(3, algorithm=algorithm, progress=False).fit_transform(linear, x)
        found = small.run({"x": x}, ["d"])["d"].mean(axis=(0, 2, 3))
        off[algorithm] = np.abs(found - wanted).max()
    assert off["bias_correction",] < 0.2 * off[()]


def test_scales_move_through_depthwise_weights() -> None:
    net, x = network(), samples()
    spread = np.logspace(-2, 2, 12).astype(np.float32)
    # The same function, whose channels differ ten thousand times on their way.
    uneven = net.with_weights({
        "w0": net.constants["w0"] * spread.reshape(-1, 1, 1, 1), "b0": net.constants["b0"] * spread,
        "w1": net.constants["w1"] / spread[::-1].reshape(-1, 1, 1, 1),
        "b1": net.constants["b1"] * spread / spread[::-1],
        "w2": net.constants["w2"] * (spread[::-1] / spread).reshape(1, -1, 1, 1),
    })  # fmt: skip
    np.testing.assert_allclose(uneven(x), net(x), rtol=1e-3, atol=1e-4)
    errors = {}
    for algorithm in ((), ("cross_layer_equalization",)):
        small = qc.Quantizer(8, algorithm=algorithm, progress=False).fit_transform(uneven, x)
        errors[algorithm] = np.sqrt(np.mean((small(x) - net(x)) ** 2)) / net(x).std()
    assert errors["cross_layer_equalization",] < 0.05
    assert errors["cross_layer_equalization",] < 0.5 * errors[()]


def test_channels_leave_all_three_arrays() -> None:
    net, x = network(residual=True), samples()
    pruned = qc.Pruner(0.5, pattern="neurons").fit_transform(net, x)
    small = qc.compact(pruned)
    shapes = [np.shape(small.constants[name]) for name in ("w0", "w1", "w2")]
    assert shapes == [(6, 6, 1, 1), (6, 1, 3, 3), (6, 6, 1, 1)]
    np.testing.assert_allclose(small(x), pruned(x), rtol=1e-4, atol=1e-5)
    coded = qc.Quantizer(8, progress=False).fit_transform(small, x)
    assert np.abs(coded(x) - small(x)).max() < 0.1 * np.abs(small(x)).max()
