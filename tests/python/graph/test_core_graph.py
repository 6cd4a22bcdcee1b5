"""The binding of the graph crate: arrays by name, sessions, errors."""

import json
import threading

import numpy as np
import pytest

from qcore import _core


def graph(nodes, *, inputs, outputs, tensors=None, **more):
    """A graph of inputs by name and of nodes (op, inputs, outputs, attributes)."""
    tensors = tensors or {}
    spec = {
        "inputs": [{"name": n, "dtype": d, "shape": s} for n, (d, s) in inputs.items()],
        "outputs": outputs,
        "constants": {name: index for index, name in enumerate(tensors)},
        "nodes": [
            {"op": op, "inputs": i.split(), "outputs": o.split(), "attributes": a}
            for op, i, o, a in nodes
        ],
        **more,
    }
    return _core.Graph(json.dumps(spec), list(tensors.values()))


@pytest.fixture
def net():
    """relu(x @ w) for batches of any size."""
    w = np.arange(6, dtype=np.float32).reshape(3, 2) - 2
    return graph(
        [("MatMul", "x w", "h", {}), ("Relu", "h", "y", {})],
        inputs={"x": ("float32", ["batch", 3])},
        outputs=["y"],
        tensors={"w": w},
    ), w


def test_run_gives_the_outputs_or_the_values_asked_for(net):
    g, w = net
    for batch in (1, 5, 0):
        x = np.linspace(-1, 1, 3 * batch, dtype=np.float32).reshape(batch, 3)
        out = g.run({"x": x})
        assert list(out) == ["y"]
        np.testing.assert_allclose(out["y"], np.maximum(x @ w, 0), rtol=1e-6)
        values = g.run({"x": x}, ["h", "x"])
        np.testing.assert_allclose(values["h"], x @ w, rtol=1e-6)
        np.testing.assert_array_equal(values["x"], x)
        assert not np.shares_memory(values["x"], x)


def test_infer_keeps_names(net):
    inferred = json.loads(net[0].infer())
    assert inferred["y"] == {"dtype": "float32", "shape": ["batch", 2]}
    assert inferred["w"] == {"dtype": "float32", "shape": [3, 2]}


def test_kernels_name_every_step(net):
    kernels = net[0].kernels({"x": np.zeros((1, 3), np.float32)})
    assert [node for node, _ in kernels] == ["MatMul_0", "Relu_1"]


def test_a_session_overwrites_its_own_arrays(net):
    g, w = net
    session = g.session({"batch": 2})
    x = np.ones((2, 3), np.float32)
    first = session.run({"x": x})["y"]
    second = session.run({"x": -x})["y"]
    assert first is second
    np.testing.assert_allclose(second, np.maximum(-x @ w, 0))
    with pytest.raises(ValueError, match=r"shape \[1, 3\]; the session's is \[2, 3\]"):
        session.run({"x": x[:1]})
    with pytest.raises(ValueError, match="'batch'"):
        g.session({})


def test_a_session_takes_its_own_output_as_input():
    g = graph(
        [("Transpose", "x", "y", {"perm": [1, 0]})],
        inputs={"x": ("float32", [3, 3])},
        outputs=["y"],
    )
    session = g.session({})
    x = np.arange(9, dtype=np.float32).reshape(3, 3)
    y = session.run({"x": x})["y"]
    np.testing.assert_array_equal(session.run({"x": y})["y"], x)


def test_inputs_that_decide_shapes_are_compiled_for():
    g = graph(
        [("Reshape", "x to", "y", {})],
        inputs={"x": ("float32", [6]), "to": ("int64", [2])},
        outputs=["y"],
    )
    session = g.session({})
    x = np.arange(6, dtype=np.float32)
    for to in ([2, 3], [3, -1], [2, 3]):
        inputs = {"x": x, "to": np.array(to)}
        for out in (g.run(inputs), session.run(inputs)):
            np.testing.assert_array_equal(out["y"], x.reshape(to))


def test_what_does_not_fit_is_refused_by_name(net):
    g, _ = net
    x = np.zeros((1, 3), np.float32)
    with pytest.raises(ValueError, match="input 'x' is missing"):
        g.run({})
    with pytest.raises(ValueError, match="no input 'z'"):
        g.run({"x": x, "z": x})
    with pytest.raises(TypeError, match="input 'x' is int64; it must be float32"):
        g.run({"x": np.zeros((1, 3), np.int64)})
    with pytest.raises(TypeError, match="float64"):
        g.run({"x": np.zeros((1, 3))})
    with pytest.raises(ValueError, match="C-contiguous"):
        g.run({"x": np.zeros((3, 1), np.float32).T[:, ::-1]})
    with pytest.raises(ValueError, match="it must have 3"):
        g.run({"x": np.zeros((1, 4), np.float32)})
    with pytest.raises(KeyError, match="no value 'q'"):
        g.run({"x": x}, ["q"])
    with pytest.raises(NotImplementedError, match="Frob\t2\tFrob_0"):
        graph(
            [("Frob", "x", "y", {}), ("Frob", "y", "z", {})],
            inputs={"x": ("float32", [1])},
            outputs=["z"],
        )


def test_other_threads_run_meanwhile():
    n = 512
    w = np.ones((n, n), np.float32)
    g = graph(
        [("MatMul", f"h{i} w", f"h{i + 1}", {}) for i in range(30)],
        inputs={"h0": ("float32", [n, n])},
        outputs=["h30"],
        tensors={"w": w / n},
    )
    x = np.ones((n, n), np.float32)
    g.run({"h0": x})
    done, ticks = threading.Event(), 0
    thread = threading.Thread(target=lambda: (g.run({"h0": x}), done.set()))
    thread.start()
    # If the call kept the GIL, this loop would stand still until it ends.
    while not done.is_set():
        ticks += 1
    thread.join()
    assert ticks > 100


def test_every_op_has_a_name():
    ops = _core.Graph.ops()
    assert ops == sorted(set(ops))
    assert {"Conv", "If", "LSTM", "Resize", "Where"} <= set(ops)
