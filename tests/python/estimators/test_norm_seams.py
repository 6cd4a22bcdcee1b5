"""SmoothQuant and AWQ through the norms of a transformer: the same function, smaller errors."""

from __future__ import annotations

import numpy as np
import pytest

import qcore as qc
from qcore.estimators.equalization.norms import norm_seams
from qcore.graph.node import Node
from qcore.graph.value import Value

WIDTH = 32


def block(*, residual: bool = False) -> qc.Graph:
    """Return two products behind a norm with loud channels, which a residual may read too."""
    rng = np.random.default_rng(0)
    gain = np.where(np.arange(WIDTH) % 8 == 0, 60, 1).astype(np.float32)
    weights = {name: rng.standard_normal((WIDTH, WIDTH)).astype(np.float32) for name in "qk"}
    nodes = [
        Node("norm", "LayerNormalization", ("x", "gain", "shift"), ("n",), {"axis": -1}),
        Node("q", "MatMul", ("n", "q.weight"), ("a",)),
        Node("k", "MatMul", ("n", "k.weight"), ("b",)),
        Node("sum", "Add", ("a", "n" if residual else "b"), ("y",)),
    ]
    return qc.Graph(
        nodes, inputs=[Value("x", "float32", ("n", WIDTH))],
        outputs=[Value("y", "float32"), Value("b", "float32")],
        constants={
            "gain": gain, "shift": gain / 3,
            **{f"{name}.weight": weight / gain[:, None] for name, weight in weights.items()},
        },
    )  # fmt: skip


@pytest.mark.parametrize("method", ["smoothquant", "awq"])
def test_a_norm_takes_the_scales(method: str) -> None:
    net = block()
    x = np.random.default_rng(1).standard_normal((64, WIDTH)).astype(np.float32)
    exact = net.run({"x": x})["y"]

    def error(algorithm: tuple[str, ...]) -> float:
        bits = 4 if method == "awq" else 8
        quantizer = qc.Quantizer(
            bits, activations="static" if bits == 8 else None, algorithm=algorithm, progress=False
        )
        small = quantizer.fit_transform(net, x)
        return float(np.mean((small.run({"x": x})["y"] - exact) ** 2))

    assert len(norm_seams(net)) == 1
    assert error((method,)) < 0.2 * error(())


def test_a_norm_that_a_residual_reads_stays() -> None:
    assert norm_seams(block(residual=True)) == []
