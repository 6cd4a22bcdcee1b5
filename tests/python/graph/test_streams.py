"""Graphs that keep their state between chunks; inputs and sizes that are fixed; known branches."""

from __future__ import annotations

import numpy as np
import pytest

import qcore as qc
from qcore.graph.node import Body, Node
from qcore.graph.value import Value

RNG = np.random.default_rng(0)
WEIGHTS = {
    "w": RNG.standard_normal((1, 24, 4)).astype(np.float32) / 2,
    "r": RNG.standard_normal((1, 24, 6)).astype(np.float32) / 2,
}


def lstm() -> qc.Graph:
    """Return an LSTM over (time, batch, 4) whose two states come in and go out."""
    node = Node(
        "lstm", "LSTM", ("x", "w", "r", "", "", "h", "c"), ("y", "hn", "cn"), {"hidden_size": 6}
    )
    state = (1, "batch", 6)
    return qc.Graph(
        [node],
        inputs=[
            Value("x", "float32", ("time", "batch", 4)), Value("h", "float32", state),
            Value("c", "float32", state),
        ],
        outputs=[Value(name, "float32") for name in ("y", "hn", "cn")],
        constants=WEIGHTS,
    )  # fmt: skip


def zeros(batch: int) -> dict[str, np.ndarray]:
    return {name: np.zeros((1, batch, 6), np.float32) for name in ("h", "c")}


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_chunks_give_the_bits_of_the_whole(chunk: int) -> None:
    net = lstm()
    x = RNG.standard_normal((20, 3, 4)).astype(np.float32)
    whole = net.run({"x": x, **zeros(3)})
    stream = net.stream({"hn": "h", "cn": "c"}, {"time": chunk, "batch": 3})
    assert [value.name for value in stream.inputs] == ["x"]
    for _ in range(2):
        found = [
            stream.run({"x": x[at : at + chunk]})["y"].copy() for at in range(0, len(x), chunk)
        ]
        np.testing.assert_array_equal(np.concatenate(found), whole["y"])
        np.testing.assert_array_equal(stream.state["h"], whole["hn"])
        stream.reset()
    assert not stream.state["c"].any()


def test_states_can_be_taken_and_set() -> None:
    stream = lstm().stream({"hn": "h", "cn": "c"}, {"time": 1, "batch": 1})
    x = RNG.standard_normal((4, 1, 1, 4)).astype(np.float32)
    stream.run({"x": x[0]})
    kept = stream.state
    first = stream.run({"x": x[1]})["y"].copy()
    stream.run({"x": x[2]})
    stream.set_state(kept)
    np.testing.assert_array_equal(stream.run({"x": x[1]})["y"], first)
    kept["h"][:] = 7  # a copy
    assert not (stream.state["h"] == 7).any()
    with pytest.raises(ValueError, match="input 'c' is missing"):
        stream.set_state({"h": kept["h"]})
    with pytest.raises(ValueError, match="dim 2 must be 6"):
        stream.set_state({"h": kept["h"][..., :5], "c": kept["c"]})


def test_what_cannot_be_a_state_is_said() -> None:
    net, sizes = lstm(), {"time": 1, "batch": 1}
    with pytest.raises(ValueError, match="state names the output 'z'; there are 'y', 'hn', 'cn'"):
        net.stream({"z": "h"}, sizes)
    with pytest.raises(ValueError, match="state names the input 'z'; there are 'x', 'h', 'c'"):
        net.stream({"hn": "z"}, sizes)
    with pytest.raises(ValueError, match="the input 'h' two outputs"):
        net.stream({"hn": "h", "cn": "h"}, sizes)
    with pytest.raises(TypeError, match="state is 5"):
        net.stream(5, sizes)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no size for the named dim 'time'"):
        net.stream({"hn": "h"}, {"batch": 1})
    stream = net.stream({"hn": "h", "cn": "c"}, sizes)
    with pytest.raises(ValueError, match="inputs has 'h', a state"):
        stream.run({"x": np.zeros((1, 1, 4), np.float32), **zeros(1)})
    wrong = net.stream({"y": "h", "cn": "c"}, sizes)
    with pytest.raises(ValueError, match="output 'y' has shape"):
        wrong.run({"x": np.zeros((1, 1, 4), np.float32)})


def chooser() -> qc.Graph:
    """Return x @ (then or else weights), by a rate; inside it, by the number of rows."""

    def product(weight: str, made: str) -> Body:
        node = Node("p", "MatMul", ("x", weight), (made,))
        array = WEIGHTS["r"][0, :6] * (2.0 if weight == "fast" else 1.0)
        return Body((node,), (made,), {weight: np.float32(array)})

    inner = Node(
        "rows", "If", ("many",), ("q",),
        {"then_branch": product("fast", "a"), "else_branch": product("slow", "a")},
    )  # fmt: skip
    return qc.Graph(
        [
            Node("rate", "Equal", ("sr", "usual"), ("is_usual",)),
            Node("shape", "Shape", ("x",), ("sizes",)),
            Node("count", "Gather", ("sizes", "zero"), ("count",), {"axis": 0}),
            Node("many", "Greater", ("count", "one"), ("many",)),
            Node(
                "top", "If", ("is_usual",), ("y",),
                {
                    "then_branch": Body((inner,), ("q",), {}),
                    "else_branch": Body((Node("n", "Neg", ("x",), ("q",)),), ("q",), {}),
                },
            ),
        ],
        inputs=[Value("x", "float32", (None, 6)), Value("sr", "int64", ())],
        outputs=[Value("y", "float32")],
        constants={"usual": np.int64(16), "zero": np.int64(0), "one": np.int64(1)},
    )  # fmt: skip


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("rate", [16, 8])
def test_fixed_inputs_choose_branches(rows: int, rate: int) -> None:
    net = chooser()
    x = RNG.standard_normal((rows, 6)).astype(np.float32)
    wanted = net.run({"x": x, "sr": rate})["y"]
    fixed = net.fixed({"sr": rate})
    assert [value.name for value in fixed.inputs] == ["x"]
    np.testing.assert_array_equal(fixed.run({"x": x})["y"], wanted)
    sized = net.fixed({"sr": rate}, {"x": (rows, 6)})
    np.testing.assert_array_equal(sized(x), wanted)
    assert [node.op for node in sized] == ["MatMul" if rate == 16 else "Neg"]
    assert len(sized.slots) == (rate == 16)
    assert sized.outputs[0].shape == (rows, 6)


def test_a_chosen_branch_is_compressed() -> None:
    x = RNG.standard_normal((64, 6)).astype(np.float32)
    net = chooser().fixed({"sr": 16}, {"x": ("n", 6)})
    assert not net.slots  # the number of rows chooses, at run time
    net = chooser().fixed({"sr": 16}, {"x": (64, 6)})
    small = qc.compress(net, x)
    assert isinstance(small.slots[0].weight, qc.QTensor)
    assert np.abs(small(x) - net(x)).max() < 0.03 * np.abs(net(x)).max()


def test_weights_in_branches_are_counted_and_what_stays_is_told() -> None:
    net = chooser()
    assert net.nbytes == 3 * 8 + 2 * WEIGHTS["r"][0, :6].nbytes
    x = {"x": RNG.standard_normal((4, 6)).astype(np.float32), "sr": 16}
    with pytest.warns(UserWarning, match=r"'top' .* stay floats.*Graph\.fixed"):
        qc.compress(net, x, ignore=("*",))
    assert qc.compress(net, x).nbytes < net.nbytes


def test_what_cannot_be_fixed_is_said() -> None:
    net = lstm()
    with pytest.raises(ValueError, match="there is no input 'z'"):
        net.fixed({"z": 1})
    with pytest.raises(ValueError, match="shapes names 'z'; the inputs are 'c', 'h', 'x'"):
        net.fixed({}, {"z": 1})
    with pytest.raises(ValueError, match="the input's shape is"):
        net.fixed({}, {"x": (1, 1, 5)})
    with pytest.raises(ValueError, match="must be a size"):
        net.fixed({}, {"batch": (1, 1)})
    with pytest.raises(ValueError, match="must be a tuple of sizes"):
        net.fixed({}, {"x": 3})
    with pytest.raises(TypeError, match="shapes is list"):
        net.fixed({}, [1])  # type: ignore[arg-type]
    assert net.fixed({}, {"batch": 2}).inputs[1].shape == (1, 2, 6)
