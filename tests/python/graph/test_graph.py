"""The graph from Python: structure, strict inputs, slots, seams, files, labels."""

from __future__ import annotations

import json
import pickle
import struct
from dataclasses import replace

import numpy as np
import pytest

import qcore as qc
from qcore.graph.node import Node
from qcore.graph.running.evaluate import evaluate
from qcore.graph.value import Value


def small_cnn(dtype="float32", seed=0):
    """Two convolutions with a residual, a pool, and a product: (n, 3, 8, 8) -> (n, 5)."""
    rng = np.random.default_rng(seed)
    weights = {
        "w1": rng.normal(size=(4, 3, 3, 3)), "b1": rng.normal(size=4),
        "w2": rng.normal(size=(4, 4, 1, 1)), "w3": rng.normal(size=(5, 4)),
        "b3": rng.normal(size=5),
    }  # fmt: skip
    nodes = [
        Node("head", "Gemm", ("flat", "w3", "b3"), ("sums",), {"transB": 1}),
        Node("soft", "Softmax", ("sums",), ("p",), {"axis": -1}),
        Node("c1", "Conv", ("x", "w1", "b1"), ("h",), {"pads": [1, 1, 1, 1]}),
        Node("r1", "Relu", ("h",), ("a",)),
        Node("c2", "Conv", ("a", "w2"), ("k",)),
        Node("add", "Add", ("k", "a"), ("s",)),
        Node("pool", "GlobalAveragePool", ("s",), ("g",)),
        Node("flat", "Flatten", ("g",), ("flat",), {"axis": 1}),
    ]
    constants = {name: weight.astype(np.float32) for name, weight in weights.items()}
    return qc.Graph(
        nodes, inputs=[Value("x", dtype, ("n", 3, 8, 8))], outputs=[Value("p", dtype)],
        constants=constants,
    )  # fmt: skip


def plain(net, x):
    """What the network above computes, in NumPy and float64."""
    w = {name: array.astype(np.float64) for name, array in net.constants.items()}
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
    h = np.einsum("nchwij,ocij->nohw", windows, w["w1"]) + w["b1"][:, None, None]
    a = np.maximum(h, 0)
    s = np.einsum("nchw,oc->nohw", a, w["w2"][:, :, 0, 0]) + a
    sums = s.mean(axis=(2, 3)) @ w["w3"].T + w["b3"]
    e = np.exp(sums - sums.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.fixture
def x():
    return np.random.default_rng(1).normal(size=(6, 3, 8, 8)).astype(np.float32)


def test_nodes_are_put_in_order_and_run(x):
    net = small_cnn()
    assert net.nodes[0].name == "c1"
    assert net.producers["s"].op == "Add"
    assert [node.name for node in net.readers["a"]] == ["c2", "add"]
    np.testing.assert_allclose(net(x), plain(net, x), rtol=1e-5, atol=1e-6)
    assert net.values["s"].shape == ("n", 4, 8, 8)


def test_evaluate_yields_every_value(x):
    net = small_cnn()
    found = dict(evaluate(net, x))
    assert list(found) == ["x", "h", "a", "k", "s", "g", "flat", "sums", "p"]
    np.testing.assert_allclose(found["s"], found["k"] + found["a"], rtol=1e-6)
    np.testing.assert_array_equal(found["p"], net(x))
    named = net.run({"x": x}, ["w1", "x", "h"])
    np.testing.assert_array_equal(named["h"], found["h"])
    np.testing.assert_array_equal(named["w1"], net.constants["w1"])


def test_structure_that_cannot_be_is_refused():
    one = {"inputs": [Value("x", "float32", (2,))], "outputs": [Value("y", "float32")]}
    relu = Node("r", "Relu", ("x",), ("y",))
    cases = {
        "makes 'y', which is there already": [relu, Node("again", "Relu", ("x",), ("y",))],
        "reads 'z', which nothing makes": [Node("r", "Relu", ("z",), ("y",))],
        "has a cycle": [Node("a", "Add", ("x", "y"), ("z",)), Node("b", "Relu", ("z",), ("y",))],
        "'y' is made by no node": [Node("r", "Relu", ("x",), ("w",))],
    }
    for reason, nodes in cases.items():
        with pytest.raises(ValueError, match=reason):
            qc.Graph(nodes, **one, constants={})
    with pytest.raises(TypeError, match="constant 'w' has dtype uint16"):
        qc.Graph([relu], **one, constants={"w": np.zeros(2, np.uint16)})
    nodes = [Node("m1", "Magic", ("x",), ("z",)), Node("m2", "Magic", ("z",), ("y",))]
    net = qc.Graph(nodes, **one, constants={})
    with pytest.raises(qc.UnsupportedError, match=r"Magic \(2 nodes, the first is 'm1'\)") as error:
        net.run({"x": np.zeros(2, np.float32)})
    assert error.value.ops == (("Magic", 2, "m1"),)


def test_inputs_are_checked_and_named(x):
    net = small_cnn()
    for given, kind, reason in [
        (x, TypeError, "inputs is ndarray"),
        ({"y": x}, ValueError, "no input 'y'; the inputs are 'x'"),
        ({}, ValueError, "input 'x' is missing"),
        ({"x": x[0]}, ValueError, r"input 'x' has shape \(3, 8, 8\)"),
        ({"x": x[:, :2]}, ValueError, "dim 1 must be 3"),
        ({"x": x.astype(np.float64)}, TypeError, "input 'x' has dtype float64; it must be float32"),
        ({"x": x.astype(complex)}, TypeError, "input 'x' has dtype complex128"),
        ({"x": np.full(x.shape, 1 << 25)}, ValueError, r"input 'x'\[0, 0, 0, 0\] is 33554432"),
    ]:
        with pytest.raises(kind, match=reason):
            net.run(given)
    codes = np.arange(3 * 64, dtype=np.int64).reshape(1, 3, 8, 8)
    np.testing.assert_array_equal(net(codes), net(codes.astype(np.float32)))
    np.testing.assert_array_equal(net(x.astype(np.float16)), net(x.astype(np.float16).astype("f4")))
    np.testing.assert_array_equal(net(x.tolist()), net(x))


def test_named_dims_agree_between_inputs():
    net = qc.Graph(
        [Node("a", "Add", ("x", "y"), ("z",))],
        inputs=[Value("x", "int32", ("n", 2)), Value("y", "int32", ("n", 2))],
        outputs=[Value("z", "int32")], constants={},
    )  # fmt: skip
    two, three = np.zeros((2, 2), np.int64), np.zeros((3, 2), np.int64)
    with pytest.raises(ValueError, match=r"'y' has 3 in dim 0 \(n\), which is 2 in input 'x'"):
        net.run({"x": two, "y": three})
    with pytest.raises(ValueError, match="as int32 it must be -2147483648 to 2147483647"):
        net.run({"x": two, "y": two + (1 << 40)})
    assert net.run({"x": two, "y": two + 5})["z"].dtype == np.int32
    with pytest.raises(ValueError, match="2 inputs and 1 outputs"):
        net(two)


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_other_floats_are_cast_in_and_out(dtype, x):
    if dtype == "bfloat16":
        ml_dtypes = pytest.importorskip("ml_dtypes")
        kind = np.dtype(ml_dtypes.bfloat16)
    else:
        kind = np.dtype(dtype)
    net = small_cnn(dtype)
    found = net(x.astype(kind))
    assert found.dtype == kind
    wanted = small_cnn()(x.astype(kind).astype(np.float32))
    np.testing.assert_array_equal(found, wanted.astype(kind))


def test_sessions_keep_their_arrays(x):
    net = small_cnn()
    session = net.session({"n": 2})
    first = session.run({"x": x[:2]})["p"]
    np.testing.assert_array_equal(first, net(x[:2]))
    second = session.run({"x": x[2:4]})["p"]
    assert np.shares_memory(first, second)
    with pytest.raises(ValueError, match="no size for the named dim 'n'"):
        net.session()
    with pytest.raises(ValueError, match="names 'm'; the named dims of the inputs are 'n'"):
        net.session({"m": 1, "n": 1})
    with pytest.raises(ValueError, match="dim 0 must be 2"):
        session.run({"x": x})


def test_sessions_fill_arrays_that_are_given(x):
    net = small_cnn()
    session = net.session({"n": 2})
    mine = np.empty_like(net(x[:2]))
    found = session.run({"x": x[:2]}, out={"p": mine})["p"]
    assert found is mine
    session.run({"x": x[2:4]})
    np.testing.assert_array_equal(mine, net(x[:2]))
    with pytest.raises(ValueError, match="out names 'q'; the outputs are 'p'"):
        session.run({"x": x[:2]}, out={"q": mine})
    with pytest.raises(ValueError, match=r"out\['p'\] has shape \(1,\)"):
        session.run({"x": x[:2]}, out={"p": mine[0, :1]})
    with pytest.raises(TypeError, match=r"out\['p'\] has dtype float64"):
        session.run({"x": x[:2]}, out={"p": mine.astype(np.float64)})
    with pytest.raises(TypeError, match="out is ndarray; it must be a mapping"):
        session.run({"x": x[:2]}, out=mine)


def test_slots_are_matrices_and_back():
    net = small_cnn()
    assert {slot.name: slot.shape for slot in net.slots} == {
        "w1": (4, 27), "w2": (4, 4), "w3": (5, 4),
    }  # fmt: skip
    conv = net.slots[0]
    w = net.constants["w1"]
    np.testing.assert_array_equal(conv.matrix()[2].reshape(3, 3, 3), w[2].transpose(1, 2, 0))
    np.testing.assert_array_equal(conv.weight_of(conv.matrix()), w)
    assert (conv.bias, net.slots[1].bias) == ("b1", "")
    with pytest.raises(ValueError, match=r"matrix has shape \(1, 1\)"):
        conv.weight_of(np.zeros((1, 1)))


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolutions_have_their_outputs_in_rows(groups):
    w = np.arange(4 * 3 * 2 * 2, dtype=np.float32).reshape(4, 3, 2, 2)
    net = qc.Graph(
        [Node("t", "ConvTranspose", ("x", "w"), ("y",), {"group": groups})],
        inputs=[Value("x", "float32", (1, 4, 3, 3))], outputs=[Value("y", "float32")],
        constants={"w": w},
    )  # fmt: skip
    (slot,) = net.slots
    assert slot.shape == (3 * groups, 4 * 4 // groups)
    np.testing.assert_array_equal(slot.weight_of(slot.matrix()), w)
    inner = 4 // groups
    for group in range(groups):
        for out in range(3):
            taps = w[group * inner : (group + 1) * inner, out].transpose(1, 2, 0).reshape(-1)
            np.testing.assert_array_equal(slot.matrix()[group * 3 + out], taps)


def test_a_seam_scales_without_changing_the_outputs(x):
    """What a seam promises: rows of its producers times s, columns of its readers over s."""
    net = small_cnn()
    seams = {seam.producers[0].name: seam for seam in net.seams}
    seam = seams["w1"]
    assert {slot.name for slot in seam.producers} == {"w1", "w2"}  # the sum joins them
    assert sorted(reader.slot.name for reader in seam.readers) == ["w2", "w3"]
    assert (seam.size, seam.scales) == (4, True)
    scale = np.float32([2, 4, 0.5, 1])
    weights = {}
    for slot in seam.producers:
        weights[slot.name] = slot.weight_of(slot.matrix() * scale[:, None])
        if slot.bias:
            weights[slot.bias] = net.constants[slot.bias] * scale
    for reader in seam.readers:
        slot = reader.slot
        before = weights.get(slot.name, slot.weight)
        matrix = replace(slot, weight=before).matrix()
        columns = np.tile(np.repeat(scale, reader.repeat), slot.shape[1] // (4 * reader.repeat))
        weights[slot.name] = slot.weight_of(matrix / columns)
    np.testing.assert_allclose(net.with_weights(weights)(x), net(x), rtol=1e-5)


def test_activations_that_do_not_commute_are_noted():
    def chain(op):
        return qc.Graph(
            [
                Node("a", "MatMul", ("x", "w"), ("h",)),
                Node("f", op, ("h",), ("g",)),
                Node("b", "MatMul", ("g", "w"), ("y",)),
            ],
            inputs=[Value("x", "float32", ("n", 3))], outputs=[Value("y", "float32")],
            constants={"w": np.eye(3, dtype=np.float32)},
        )  # fmt: skip

    assert [seam.scales for seam in chain("Relu").seams] == [True]
    assert [seam.scales for seam in chain("Tanh").seams] == [False]
    assert chain("Softmax").seams == ()


@pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
def test_files_hold_the_graph(tmp_path, suffix, x):
    net = small_cnn("float16").changed(classes=["a", "b", "c", "d", "e"])
    path = tmp_path / f"net{suffix}"
    net.save(path)
    again = qc.load(path)
    assert isinstance(again, qc.Graph)
    half = x.astype(np.float16)
    np.testing.assert_allclose(again(half), net(half), atol=1e-3)
    assert again.classes_.tolist() == net.classes_.tolist()
    assert [value.dtype for value in (*again.inputs, *again.outputs)] == ["float16"] * 2
    if suffix == ".safetensors":
        assert [repr(node) for node in again.nodes] == [repr(node) for node in net.nodes]
        np.testing.assert_array_equal(again(half), net(half))
        text = path.read_bytes()
        header = json.loads(text[8 : 8 + struct.unpack("<Q", text[:8])[0]])
        about = json.loads(header["__metadata__"]["qcore"])
        assert (about["format"], about["kind"]) == (2, "graph")


def test_networks_and_tensors_are_still_of_format_1(tmp_path):
    net = qc.nn.Sequential.from_arrays([np.eye(2, 3)], [np.ones(3)], layout="in_out")
    for name, thing in (("n", net), ("t", np.ones(3)), ("d", {"a": np.ones(3)})):
        qc.save(tmp_path / name, thing)
        text = (tmp_path / name).read_bytes()
        header = json.loads(text[8 : 8 + struct.unpack("<Q", text[:8])[0]])
        assert json.loads(header["__metadata__"]["qcore"])["format"] == 1


def test_quantized_weights_and_infinite_attributes_are_kept(tmp_path):
    w = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    q = qc.quantize(w, bits=8, axis=0)
    net = qc.Graph(
        [
            Node("fc", "Gemm", ("x", "w"), ("h",), {
                "transB": 1, "activation": "clip", "activation_min": 0.0,
                "activation_max": float("inf"),
            }),
            Node("f", "ConstantOfShape", ("s",), ("c",), {"value": np.float32([2])}),
            Node("m", "Mul", ("h", "c"), ("y",)),
        ],
        inputs=[Value("x", "float32", ("n", 3))], outputs=[Value("y", "float32")],
        constants={"w": q, "s": np.int64([1])},
    )  # fmt: skip
    net.save(tmp_path / "q.safetensors")
    again = qc.load(tmp_path / "q.safetensors")
    assert isinstance(again.constants["w"], qc.QTensor)
    x = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    wanted = 2 * np.maximum(x @ q.dequantize().T, 0)
    np.testing.assert_allclose(again(x), wanted, rtol=1e-5, atol=1e-6)


def test_graphs_pickle(x):
    net = small_cnn()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(net))(x), net(x))  # noqa: S301


def test_classifiers_predict_labels(x):
    net = small_cnn()
    codes = net(x).argmax(axis=1)
    np.testing.assert_array_equal(net.predict(x), codes)
    np.testing.assert_array_equal(net.predict(x.astype(np.float64)), codes)
    np.testing.assert_array_equal(net.predict_proba(x), net(x))
    assert net.score(x, codes) == 1.0
    labels = np.array(["a", "b", "c", "d", "e"])
    named = net.changed(classes=labels)
    assert named.predict(x).tolist() == labels[codes].tolist()
    fixed = net.changed(inputs=[Value("x", "float32", (2, 3, 8, 8))])
    np.testing.assert_array_equal(fixed.predict(x), codes)
    with pytest.raises(ValueError, match="X has 5 samples; the graph takes 2 at a time"):
        fixed.predict(x[:5])


def test_graphs_without_probabilities_say_so(x):
    whole = small_cnn()
    net = whole.changed(
        nodes=[node for node in whole.nodes if node.op != "Softmax"],
        outputs=[Value("sums", "float32")],
    )
    with pytest.raises(ValueError, match="no probabilities"):
        net.predict_proba(x)
    np.testing.assert_array_equal(net.predict(x), net(x))
    assert net.score(x, net(x)) == 1.0
    with pytest.raises(ValueError, match="set classes_"):
        net.score(x, np.zeros(6))
    assert net.changed(classes=range(5)).score(x, net(x).argmax(axis=1)) == 1.0


def test_scalars_stay_scalars():
    net = qc.Graph(
        [Node("a", "Neg", ("x",), ("y",))],
        inputs=[Value("x", "float32", ())], outputs=[Value("y", "float32")], constants={},
    )  # fmt: skip
    assert net(np.float32(3)).shape == ()
