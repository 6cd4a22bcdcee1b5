"""Attention as PyTorch's exporters lay it out, with open sizes: found as one step all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qcore as qc
from qcore.graph.node import Node
from qcore.graph.passes import prepared
from qcore.graph.value import Value

HEADS, SIZE = 4, 8
WIDTH = HEADS * SIZE


def rows_first(mask: str = "", *, weights: bool = False) -> qc.Graph:
    """`nn.MultiheadAttention` of (rows, samples, width) as PyTorch 2 exports it.

    `weights`: as where it is asked for the weights, by products of three dims.
    """
    nodes = [
        Node("", "Shape", ("x",), ("sizes",)),
        Node("", "Gather", ("sizes", "zero"), ("rows",)),
        Node("", "Gather", ("sizes", "one"), ("n",)),
        Node("", "Mul", ("n", "heads"), ("all",)), Node("", "Reshape", ("all", "whole"), ("many",)),
        Node("", "Reshape", ("rows", "whole"), ("row",)),
        Node("", "Reshape", ("n", "whole"), ("s",)),
        Node("", "Concat", ("row", "many", "size"), ("three",), {"axis": 0}),
        Node("", "Concat", ("s", "head", "row", "size"), ("four",), {"axis": 0}),
        Node("", "Concat", ("s", "head", "size", "row"), ("ends",), {"axis": 0}),
        Node("", "Concat", ("row", "s", "width"), ("back",), {"axis": 0}),
        Node("", "Concat", ("whole", "row", "size"), ("flat",), {"axis": 0}),
    ]  # fmt: skip
    for part in "qkv":
        nodes += [
            Node("", "MatMul", ("x", f"w{part}"), (f"{part}0",)),
            Node("", "Reshape", (f"{part}0", "three"), (f"{part}1",)),
            Node("", "Transpose", (f"{part}1",), (f"{part}2",), {"perm": (1, 0, 2)}),
        ]
    if weights:
        nodes += [
            Node("", "Mul", ("q2", "scale"), ("q",)),
            Node("", "Transpose", ("k2",), ("k",), {"perm": (0, 2, 1)}),
        ]
        values = "v2"
    else:
        nodes += [Node("", "Reshape", (f"{part}2", "four"), (f"{part}3",)) for part in "qkv"]
        nodes += [
            Node("", "Reshape", ("k3", "flat"), ("k4",)),
            Node("", "Transpose", ("k4",), ("k5",), {"perm": (0, 2, 1)}),
            Node("", "Reshape", ("k5", "ends"), ("k6",)),
            Node("", "Mul", ("k6", "scale"), ("k",)), Node("", "Identity", ("q3",), ("q",)),
        ]  # fmt: skip
        values = "v3"
    scores = "z"
    nodes.append(Node("", "MatMul", ("q", "k"), ("z",)))
    if mask:
        if weights:
            nodes += [
                Node("", "Concat", ("s", "head", "unit", "row"), ("wide",), {"axis": 0}),
                Node("", "Concat", ("many", "unit", "row"), ("narrow",), {"axis": 0}),
                Node("", "Expand", ("mask", "wide"), ("m4",)),
                Node("", "Reshape", ("m4", "narrow"), ("m",)),
            ]
        nodes.append(Node("", "Add", ("z", "m" if weights else "mask"), ("masked",)))
        scores = "masked"
    perm = (1, 0, 2) if weights else (2, 0, 1, 3)
    nodes += [
        Node("", "Softmax", (scores,), ("p",), {"axis": -1}),
        Node("", "MatMul", ("p", values), ("o",)),
        Node("", "Transpose", ("o",), ("o1",), {"perm": perm}),
        Node("", "Reshape", ("o1", "side"), ("o2",)), Node("", "MatMul", ("o2", "wo"), ("o3",)),
        Node("", "Reshape", ("o3", "back"), ("y",)),
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    constants: dict[str, Any] = {
        f"w{part}": (rng.standard_normal((WIDTH, WIDTH)) / WIDTH**0.5).astype(np.float32)
        for part in "qkvo"
    }
    numbers = {"zero": 0, "one": 1, "heads": HEADS, "whole": [-1], "size": [SIZE], "head": [HEADS],
               "unit": [1], "width": [WIDTH], "side": [-1, WIDTH]}  # fmt: skip
    constants |= {name: np.array(number, np.int64) for name, number in numbers.items()}
    inputs = [Value("x", "float32", ("rows", "n", WIDTH))]
    if mask:
        inputs.append(Value("mask", "float32", ("n", 1, 1, "rows")))
    constants["scale"] = np.float32(SIZE**-0.5)
    return qc.Graph(nodes, inputs=inputs, outputs=[Value("y", "float32")], constants=constants)


def feeds_of(graph: qc.Graph, rows: int, n: int) -> dict[str, Any]:
    rng = np.random.default_rng(rows)
    found = {"x": rng.standard_normal((rows, n, WIDTH)).astype(np.float32)}
    if len(graph.inputs) > 1:
        mask = np.zeros((n, 1, 1, rows), np.float32)
        mask[0, ..., rows - 2 :] = -np.inf
        found["mask"] = mask
    return found


def steps(graph: qc.Graph, feeds: dict[str, Any]) -> list[str]:
    return [name for _, name in graph.kernels(feeds)]


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("mask", ["", "mask"])
def test_attention_with_rows_first_is_one_step(mask: str, weights: bool) -> None:
    net = rows_first(mask, weights=weights)
    one = prepared(net)
    for rows, n in ((7, 3), (5, 1), (3, 4)):
        feeds = feeds_of(net, rows, n)
        found, wanted = one.run(feeds)["y"], net.run(feeds)["y"]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6)
        assert "softmax" in steps(net, feeds)
        assert steps(one, feeds).count("attention") == 1
        assert "softmax" not in steps(one, feeds)


def test_its_products_run_on_integers() -> None:
    net = prepared(rows_first("mask"))
    coder = qc.Quantizer(8, activations="dynamic", attention="int8", progress=False)
    small = coder.fit_transform(net)
    feeds = feeds_of(net, 9, 2)
    assert "attention int8" in steps(small, feeds)
    found, wanted = small.run(feeds)["y"], net.run(feeds)["y"]
    assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()


@pytest.mark.parametrize("change", ["weights are read", "another mask", "another order"])
def test_what_is_otherwise_stays_as_it_is(change: str) -> None:
    net = rows_first("mask", weights=True)
    nodes = list(net.nodes)
    outputs = list(net.outputs)
    if change == "weights are read":
        outputs.append(Value("p", "float32"))
    elif change == "another mask":  # by heads and samples, as nobody can tell apart
        nodes = [n.changed(inputs=("z", "extra")) if n.op == "Add" else n for n in nodes]
    else:
        nodes = [
            n.changed(attributes={"perm": (0, 2, 1)}) if n.inputs[0] == "o" else n for n in nodes
        ]
        nodes = [n.changed(inputs=("o1", "all2")) if n.inputs[0] == "o1" else n for n in nodes]
    constants = {**net.constants, "all2": np.array([-1, WIDTH], np.int64)}
    inputs = list(net.inputs)
    if change == "another mask":
        inputs.append(Value("extra", "float32", ("k", 1, "rows")))
    net = net.changed(nodes=nodes, outputs=outputs, constants=constants, inputs=inputs)
    feeds = feeds_of(net, 6, 2)
    if change == "another mask":
        feeds["extra"] = np.random.default_rng(1).standard_normal((8, 1, 6)).astype(np.float32)
    one = prepared(net)
    for name, wanted in net.run(feeds).items():
        np.testing.assert_allclose(one.run(feeds)[name], wanted, rtol=0, atol=2e-6)
    assert "softmax" in steps(one, feeds)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("weights", [False, True])
def test_layers_of_pytorch_with_open_sizes(first: bool, weights: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")

    class Net(torch.nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=first)

        def forward(self, x: Any) -> Any:
            return self.inner(x, x, x, need_weights=weights)[0]

    torch.manual_seed(0)
    net = Net().eval()
    path = tmp_path / "net.onnx"
    sizes = [torch.export.Dim("rows", min=2, max=99), torch.export.Dim("n", min=2, max=99)]
    dims = dict(enumerate(sizes[::-1] if first else sizes))
    torch.onnx.export(
        net, (torch.zeros(4, 6, WIDTH),), path, dynamo=True, dynamic_shapes=(dims,), verbose=False
    )
    graph = qc.load(path)
    x = np.random.default_rng(2).standard_normal((5, 3, WIDTH)).astype(np.float32)
    feeds = {graph.inputs[0].name: x}
    with torch.no_grad():
        wanted = net(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(graph.run(feeds)[graph.outputs[0].name], wanted, rtol=0, atol=2e-6)
    assert "attention" in steps(graph, feeds)
