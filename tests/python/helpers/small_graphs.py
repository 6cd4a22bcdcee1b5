"""Small graphs that tests share, and samples for them."""

from __future__ import annotations

from typing import Any

import numpy as np

import qcore as qc
from qcore.graph.node import Node
from qcore.graph.value import Value


def normal(*shape: int, seed: int) -> Any:
    values = np.random.default_rng(seed).standard_normal(shape)
    return (values / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def small_cnn(*, depthwise: bool = True) -> qc.Graph:
    """Conv, pool, depthwise, 1x1 with a residual, global pool, dense."""
    constants = {
        "conv.weight": normal(8, 3, 3, 3, seed=0), "conv.bias": normal(8, 1, seed=1).ravel(),
        "depth.weight": normal(8, 1, 3, 3, seed=2), "depth.bias": normal(8, 1, seed=3).ravel(),
        "point.weight": normal(6, 8, 1, 1, seed=4), "fc.weight": normal(5, 6, seed=5),
        "fc.bias": normal(5, 1, seed=6).ravel(),
    }  # fmt: skip
    pad = {"pads": [1, 1, 1, 1]}
    nodes = [
        Node("conv", "Conv", ("x", "conv.weight", "conv.bias"), ("a",), pad),
        Node("relu", "Relu", ("a",), ("b",)),
        Node("pool", "MaxPool", ("b",), ("c",), {"kernel_shape": [2, 2], "strides": [2, 2]}),
        Node("depth", "Conv", ("c", "depth.weight", "depth.bias"), ("d",), pad | {"group": 8}),
        Node("relu2", "Relu", ("d" if depthwise else "c",), ("e",)),
        Node("point", "Conv", ("e", "point.weight"), ("f",)),
        Node("relu3", "Relu", ("f",), ("g",)),
        Node("mean", "GlobalAveragePool", ("g",), ("h",)),
        Node("flat", "Flatten", ("h",), ("i",)),
        Node("fc", "Gemm", ("i", "fc.weight", "fc.bias"), ("y",), {"transB": 1}),
    ]
    if not depthwise:
        del nodes[3]
        del constants["depth.weight"], constants["depth.bias"]
    return qc.Graph(
        nodes,
        inputs=[Value("x", "float32", ("n", 3, 12, 12))],
        outputs=[Value("y", "float32")],
        constants=constants,
    )


def images(count: int = 40) -> Any:
    return np.maximum(np.random.default_rng(9).standard_normal((count, 3, 12, 12)), 0).astype(
        np.float32
    )
