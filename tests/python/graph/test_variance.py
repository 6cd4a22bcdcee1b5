"""The mean of squares less the square of the mean keeps its digits, and what is none stays."""

from __future__ import annotations

import numpy as np
import pytest

import qcore as qc
from qcore.graph.node import Node
from qcore.graph.passes.fuse import fused
from qcore.graph.value import Value

COUNT = 32


def written_out(*, factor: float = 1 / COUNT, other: str = "x", reduce: str = "sum") -> qc.Graph:
    """Return a variance over the middle axis, as TensorFlow's exporter writes it."""

    def mean(name: str, of: str) -> list[Node]:
        if reduce == "mean":
            return [Node(name, "ReduceMean", (of, "axes"), (name,), {"keepdims": 0})]
        total = Node(f"{name}.sum", "ReduceSum", (of, "axes"), (f"{name}.sum",), {"keepdims": 0})
        return [total, Node(name, "Mul", (f"{name}.sum", "factor"), (name,))]

    nodes = [
        *mean("mean", "x"),
        Node("square", "Mul", (other, other), ("square",)),
        *mean("squares", "square"),
        Node("of mean", "Mul", ("mean", "mean"), ("of mean",)),
        Node("variance", "Sub", ("squares", "of mean"), ("variance",)),
    ]
    return qc.Graph(
        nodes,
        inputs=[Value(name, "float32", ("n", COUNT, 5)) for name in ("x", "y")],
        outputs=[Value("variance", "float32"), Value("mean", "float32")],
        constants={"axes": np.int64([1]), "factor": np.float32(factor)},
    )


def samples() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    x = (300 + rng.standard_normal((3, COUNT, 5))).astype(np.float32)
    return {"x": x, "y": x[::-1].copy()}


@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_a_variance_keeps_its_digits(reduce: str) -> None:
    found = fused(written_out(reduce=reduce)).run(samples())
    x = samples()["x"].astype(np.float64)
    exact = x.var(axis=1)
    np.testing.assert_allclose(found["variance"], exact, rtol=1e-5)
    np.testing.assert_allclose(found["mean"], x.mean(axis=1), rtol=1e-6)
    squares = (samples()["x"] ** 2).mean(axis=1, dtype=np.float32)
    plain = squares - samples()["x"].mean(axis=1, dtype=np.float32) ** 2
    assert np.abs(plain - exact).max() > 1e-3  # what float32 makes of the difference


@pytest.mark.parametrize("change", [{"factor": 1 / (COUNT + 1)}, {"other": "y"}])
def test_what_is_no_variance_stays(change: dict[str, object]) -> None:
    graph = written_out(**change)  # type: ignore[arg-type]
    ops = sorted(node.op for node in fused(graph).nodes)
    assert ops == sorted(node.op for node in graph.nodes)
