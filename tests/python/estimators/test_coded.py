"""Which values of a graph become codes, and what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qcore as qc
from qcore.estimators.graphs.coded import coded_groups
from qcore.graph.node import Node
from qcore.graph.running.evaluate import evaluate
from qcore.graph.value import Value


def normal(*shape: int, seed: int) -> Any:
    values = np.random.default_rng(seed).standard_normal(shape)
    return (values / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def branches() -> qc.Graph:
    """Two convolutions that are joined, added to, pooled and read by a dense layer."""
    same = {"pads": [1, 1, 1, 1]}
    return qc.Graph(
        [
            Node("stem", "Conv", ("x", "w0", "b0"), ("s",), same | {"activation": "relu"}),
            Node("pool", "MaxPool", ("s",), ("p",), {"kernel_shape": [2, 2], "strides": [2, 2]}),
            Node("left", "Conv", ("p", "w1"), ("l",), same),
            Node("right", "Conv", ("p", "w2"), ("r",)),
            Node("join", "Concat", ("l", "r"), ("c",), {"axis": 1}),
            Node("clip", "Clip", ("c", "zero", "six"), ("k",)),
            Node("more", "Conv", ("k", "w3"), ("m",)),
            Node("sum", "Add", ("m", "p"), ("a",)),
            Node("swish", "HardSwish", ("a",), ("h",)),
            Node("mean", "GlobalAveragePool", ("h",), ("g",)),
            Node("flat", "Flatten", ("g",), ("f",)),
            Node("fc", "Gemm", ("f", "w4"), ("z",), {"transB": 1}),
            Node("soft", "Softmax", ("z",), ("y",)),
        ],
        inputs=[Value("x", "float32", ("n", 3, 12, 12))],
        outputs=[Value("y", "float32")],
        constants={
            "w0": normal(8, 3, 3, 3, seed=0), "b0": normal(8, 1, seed=1).ravel(),
            "w1": normal(4, 8, 3, 3, seed=2), "w2": normal(6, 8, 1, 1, seed=3),
            "w3": normal(8, 10, 1, 1, seed=4), "w4": normal(5, 8, seed=5),
            "zero": np.float32(0), "six": np.float32(6),
        },
    )  # fmt: skip


def samples(count: int = 64) -> Any:
    return np.random.default_rng(9).standard_normal((count, 3, 12, 12)).astype(np.float32)


def test_every_value_between_products_has_codes() -> None:
    net = branches()
    groups = coded_groups(net, [n for n in net.nodes if n.op in ("Conv", "Gemm")])
    shared = sorted(sorted(group.values) for group in groups)
    assert shared == [["a"], ["c", "k", "l", "r"], ["f", "g"], ["h"], ["m"], ["p", "s"], ["x"]]
    observed = {frozenset(group.values): group.observed for group in groups}
    # What the clip cuts off is not covered; what passes through is seen once.
    assert observed[frozenset("ckrl")] == ("k",)
    assert observed[frozenset("ps")] == ("s",)
    assert observed[frozenset("fg")] == ("g",)


def test_without_its_products_nothing_has_codes() -> None:
    assert coded_groups(branches(), []) == []
    net = branches()
    only = coded_groups(net, [net.nodes[-2]])
    # The dense layer alone: codes reach back to what reads the floats of other products.
    assert sorted(name for group in only for name in group.values) == ["a", "f", "g", "h"]


def test_a_value_that_something_else_reads_stays_float() -> None:
    net = branches()
    nodes = [*net.nodes, Node("norm", "Softmax", ("m",), ("other",))]
    net = net.changed(nodes=nodes, outputs=[*net.outputs, Value("other", "float32")])
    groups = coded_groups(net, [n for n in net.nodes if n.op in ("Conv", "Gemm")])
    assert "m" not in {name for group in groups for name in group.values}


@pytest.mark.parametrize("observer", ["auto", "minmax", "percentile", "mse", "entropy"])
def test_a_quantized_graph_answers_as_before(observer: str, tmp_path: Path) -> None:
    net, x = branches(), samples()
    coder = qc.Quantizer(8, observer=observer, progress=False)
    small = coder.fit_transform(net, x)
    assert set(small.codes) == set("xsplrckmahgf")
    assert all(not params.signed for params in small.codes.values())
    found, wanted = small(x), net(x)
    assert np.abs(found - wanted).max() < 0.03
    small.save(tmp_path / "small.safetensors")
    again = qc.load(tmp_path / "small.safetensors")
    assert dict(again.codes) == dict(small.codes)
    np.testing.assert_array_equal(again(x), found)


def test_values_are_what_their_codes_stand_for() -> None:
    net, x = branches(), samples(8)
    small = qc.Quantizer(8, progress=False).fit_transform(net, x)
    for name, value in evaluate(small, x):
        if name in small.codes and name != "x":
            np.testing.assert_array_equal(qc.fake_quantize(value, small.codes[name]), value)


def test_samples_may_come_in_batches() -> None:
    net, x = branches(), samples()
    whole = qc.Quantizer(8, algorithm=(), progress=False).fit_transform(net, x)
    parts = qc.Quantizer(8, algorithm=(), progress=False).fit_transform(
        net, (x[at : at + 7] for at in range(0, 64, 7))
    )
    assert dict(whole.codes) == dict(parts.codes)


@pytest.mark.parametrize(("end", "coded"), [("Add", False), ("GlobalAveragePool", True)])
def test_codes_that_would_become_floats_again_are_none(end: str, coded: bool) -> None:
    """What is only moved about before floats stays floats; what is reduced may be codes."""
    moved = [
        Node("conv", "Conv", ("x", "w"), ("c",)),
        Node("turn", "Transpose", ("c",), ("t",), {"perm": (0, 1, 3, 2)}),
        Node("end", end, ("t", "bias") if end == "Add" else ("t",), ("e",)),
        Node("soft", "Softmax", ("e",), ("y",), {"axis": 1}),
    ]
    net = qc.Graph(
        moved,
        inputs=[Value("x", "float32", ("n", 3, 6, 6))],
        outputs=[Value("y", "float32")],
        constants={"w": normal(4, 3, 1, 1, seed=0), "bias": normal(4, 1, 1, seed=1)},
    )
    groups = coded_groups(net, [net.nodes[0]])
    found = {name for group in groups for name in group.values}
    assert found == ({"x", "c", "t"} if coded else {"x"})
