"""Samples are counted along one named dim, wherever an input has it; outputs of one channel."""

from __future__ import annotations

import numpy as np
import pytest

import qcore as qc
from qcore.estimators.graphs.batches import SIZE, batches_of
from qcore.graph.node import Node
from qcore.graph.value import Value
from small_graphs import images, small_cnn

RNG = np.random.default_rng(0)


def recurrent(**shapes: tuple[int | str, ...]) -> qc.Graph:
    """Return x @ w + the last of the layers of a state, times a rate."""
    dims = {"x": ("batch", 4), "state": (2, "batch", 4), "rate": ()} | shapes
    return qc.Graph(
        [
            Node("last", "Gather", ("state", "one"), ("h",), {"axis": 0}),
            Node("product", "MatMul", ("x", "w"), ("p",)),
            Node("sum", "Add", ("p", "h"), ("s",)),
            Node("times", "Mul", ("s", "rate"), ("y",)),
        ],
        inputs=[Value(name, "float32", shape) for name, shape in dims.items()],
        outputs=[Value("y", "float32")],
        constants={"w": RNG.standard_normal((4, 4)).astype(np.float32), "one": np.int64(1)},
    )


def samples(count: int) -> dict[str, np.ndarray]:
    return {
        "x": RNG.standard_normal((count, 4)).astype(np.float32),
        "state": RNG.standard_normal((2, count, 4)).astype(np.float32),
        "rate": np.float32(2),
    }


def test_a_state_is_cut_with_the_samples() -> None:
    net, given = recurrent(), samples(SIZE + 3)
    parts = list(batches_of(net, given))
    assert [part["x"].shape[0] for part in parts] == [SIZE, 3]
    assert [part["state"].shape for part in parts] == [(2, SIZE, 4), (2, 3, 4)]
    found = np.concatenate([net.run(part)["y"] for part in parts])
    np.testing.assert_array_equal(found, net.run(given)["y"])
    small = qc.compress(net, given)
    exact = net.run(given)["y"]
    assert np.abs(small.run(given)["y"] - exact).max() < 0.05 * np.abs(exact).max()


def test_open_dims_of_other_names_are_not_cut() -> None:
    net, given = recurrent(rate=("n",)), samples(SIZE + 3)
    given["rate"] = np.ones(1, np.float32)
    assert [part["x"].shape[0] for part in batches_of(net, given)] == [SIZE + 3]


def test_transposed_convolution_to_one_channel() -> None:
    weight = RNG.standard_normal((6, 1, 2, 2)).astype(np.float32)
    net = qc.Graph(
        [Node("up", "ConvTranspose", ("x", "w"), ("y",), {"strides": [2, 2]})],
        inputs=[Value("x", "float32", ("n", 6, 4, 4))], outputs=[Value("y", "float32")],
        constants={"w": weight},
    )  # fmt: skip
    assert net.slots[0].out_axis == 1
    small = qc.Quantizer(8, activations=None).fit_transform(net)
    q = small.constants["w"]
    assert q.shape == weight.shape
    assert q.scale.size == 1
    assert np.abs(np.asarray(q) - weight).max() <= np.abs(weight).max() / 254 * 1.001
    x = RNG.standard_normal((3, 6, 4, 4)).astype(np.float32)
    exact = net(x)
    assert np.abs(qc.compress(net, x)(x) - exact).max() < 0.05 * np.abs(exact).max()


def test_samples_are_cut_to_the_batch_that_a_graph_was_exported_for():
    net = small_cnn()
    one = net.changed(inputs=[Value("x", "float32", (1, *net.inputs[0].shape[1:]))])
    x = images(20)
    found, wanted = qc.compress(one, x), qc.compress(net, x)
    np.testing.assert_array_equal(found(x[:1]), wanted(x[:1]))
    three = net.changed(inputs=[Value("x", "float32", (3, *net.inputs[0].shape[1:]))])
    with pytest.raises(ValueError, match="dim 0 must be 3"):
        qc.compress(three, x)
