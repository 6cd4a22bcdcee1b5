"""Residuals of images of unknown size: fused where sizes are the same for certain."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import qcore as qc
from qcore.graph.node import Node
from qcore.graph.passes import prepared
from qcore.graph.value import Value
from small_graphs import normal


def block(second: dict[str, Any], shape: tuple[Any, ...], other: str = "a") -> qc.Graph:
    """Two convolutions and a sum with what the first one, or something else, gave."""
    same = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    return qc.Graph(
        [
            Node("first", "Conv", ("x", "w1"), ("a",), same | {"strides": [2, 2]}),
            Node("relu", "Relu", ("a",), ("b",)),
            Node("mean", "GlobalAveragePool", ("b",), ("m",)),
            Node("second", "Conv", ("b", "w2"), ("c",), same | second),
            Node("sum", "Add", ("c", other), ("d",)),
            Node("end", "Relu", ("d",), ("y",)),
        ],
        inputs=[Value("x", "float32", shape)],
        outputs=[Value("y", "float32")],
        constants={"w1": normal(4, 3, 3, 3, seed=0), "w2": normal(4, 4, 3, 3, seed=1)},
    )


@pytest.mark.parametrize("shape", [(None, 3, None, None), ("n", 3, "h", "w"), ("n", 3, 9, None)])
def test_a_residual_of_open_size_is_fused(shape: tuple[Any, ...]) -> None:
    net = block({}, shape)
    fused = prepared(net)
    assert [node.op for node in fused.nodes].count("Add") == 0
    for size in ((9, 9), (9, 14)):
        x = np.random.default_rng(1).standard_normal((2, 3, *size)).astype(np.float32)
        np.testing.assert_allclose(fused(x), net(x), atol=1e-5)


@pytest.mark.parametrize(
    ("second", "other"),
    [
        ({"dilations": [2, 2], "pads": [2, 2, 2, 2]}, "m"),  # a mean, which is broadcast
        ({"strides": [2, 2]}, "m"),
        ({"pads": [0, 0, 0, 0]}, "m"),
    ],
)
def test_what_is_broadcast_or_of_another_size_is_not(second: dict[str, Any], other: str) -> None:
    net = block(second, (None, 3, None, None), other)
    fused = prepared(net)
    assert [node.op for node in fused.nodes].count("Add") == 1
    x = np.random.default_rng(1).standard_normal((2, 3, 12, 10)).astype(np.float32)
    np.testing.assert_allclose(fused(x), net(x), atol=1e-5)
