"""Weights wherever a graph may have them, and what it must not do to the names around them."""

from __future__ import annotations

import os

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import qcore as qc
from qcore.frameworks.onnx.read.load import GraphReader
from qcore.frameworks.onnx.read.tensors import GraphTensors
from qcore.frameworks.onnx.weights.quantize import plan_graph, quantize_graph

RNG = np.random.default_rng(3)
W = RNG.standard_normal((40, 24)).astype(np.float32)
X = RNG.standard_normal((5, 40)).astype(np.float32)
FLOAT = TensorProto.FLOAT


def value(name, shape, kind=FLOAT):
    shape = ["a", "b"] if shape is None else shape
    return helper.make_tensor_value_info(name, kind, shape)


def constant(array, name):
    return numpy_helper.from_array(array, name)


def model(nodes, initializers=(), *, inputs=(), opset=17, ir=9, outputs=None):
    graph = helper.make_graph(
        nodes, "graph", [value("x", ["n", 40]), *inputs],
        outputs or [value("y", None)], list(initializers),
    )  # fmt: skip
    opsets = [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir)


def run(path, **feeds):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(os.fspath(path), options)
    return session.run(None, {"x": X} | feeds)[0]


def product(weight="w", out="y", start="x"):
    return helper.make_node("MatMul", [start, weight], [out])


def branch(initializers, nodes=None):
    nodes = nodes or [product(out="b")]
    return helper.make_graph(nodes, "branch", [], [value("b", None)], initializers)


def conditional(inside, outside):
    node = helper.make_node(
        "If", ["c"], ["y"], name="choice", then_branch=branch(inside), else_branch=branch(inside)
    )
    return model([node], outside, inputs=[value("c", [], TensorProto.BOOL)])


def loop():
    body = helper.make_graph(
        [product(out="p", start="x"), helper.make_node("Identity", ["more"], ["go"]),
         helper.make_node("Add", ["sum", "p"], ["next"])],
        "body",
        [value("i", [], TensorProto.INT64), value("more", [], TensorProto.BOOL),
         value("sum", None)],
        [value("go", [], TensorProto.BOOL), value("next", None)],
    )  # fmt: skip
    count, start = np.array(3), np.zeros((1, 24), np.float32)
    return model(
        [helper.make_node("Loop", ["count", "", "start"], ["y"], body=body)],
        [constant(W, "w"), constant(count, "count"), constant(start, "start")],
    )


def behind(kind, array, **attributes):
    return model([helper.make_node(kind, ["v"], ["w"], **attributes), product()],
                 [constant(array, "v")])  # fmt: skip


PLACES = {
    "a Constant node": model([helper.make_node("Constant", [], ["w"], value=constant(W, "v")),
                              product()]),
    "a Transpose": behind("Transpose", W.T.copy()),
    "a Cast": behind("Cast", W.astype(np.float16), to=FLOAT),
    "a Slice": model([helper.make_node("Slice", ["v", "from", "to"], ["w"]), product()],
                     [constant(np.vstack([W, W]), "v"), constant(np.array([0]), "from"),
                      constant(np.array([40]), "to")]),
    "branches": conditional([constant(W, "w")], []),
    "a graph around branches": conditional([], [constant(W, "w")]),
    "a graph around a loop": loop(),
}  # fmt: skip


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("place", PLACES)
def test_a_weight_is_found_behind(tmp_path, place, bits):
    onnx.save(PLACES[place], tmp_path / "a.onnx")
    report = quantize_graph(tmp_path / "a.onnx", tmp_path / "b.onnx", qc.Quantizer(bits))
    onnx.checker.check_model(tmp_path / "b.onnx", full_check=True)
    feeds = {"c": np.array(True)} if "branches" in place else {}
    before, after = (run(tmp_path / name, **feeds) for name in ("a.onnx", "b.onnx"))
    assert before.shape == after.shape
    error = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert 0 < error < (0.02 if bits == 8 else 0.2)
    kept = {row["tensor"] for row in report.rows if "kept" in row}
    assert kept <= {"start"}  # what a loop begins with
    # The weights have the names that they had, in the table and in both files.
    old, new = GraphTensors(tmp_path / "a.onnx"), GraphTensors(tmp_path / "b.onnx")
    for row in (row for row in report.rows if row["tensor"] not in kept):
        assert old[row["tensor"]].shape == new[row["tensor"]].shape
        assert isinstance(new[row["tensor"]], qc.QTensor)


def test_what_is_no_weight_says_so(tmp_path):
    table = RNG.standard_normal((1, 24)).astype(np.float32)
    both = [product(out="p"), helper.make_node("Add", ["p", "table"], ["y"])]
    onnx.save(model(both, [constant(W, "w"), constant(table, "table")]), tmp_path / "a.onnx")
    report = quantize_graph(tmp_path / "a.onnx", tmp_path / "b.onnx", qc.Quantizer())
    assert "Add reads it" in report.rows[1]["kept"]
    with pytest.raises(ValueError, match=r"nothing was written.*w: ignore names it"):
        quantize_graph(tmp_path / "a.onnx", tmp_path / "c.onnx", qc.Quantizer(ignore=["*"]))
    assert not (tmp_path / "c.onnx").exists()


def test_new_names_are_new(tmp_path):
    """Names that a decoder would like are taken: by constants, values, nodes, inner graphs."""
    taken = [
        constant(np.full(24, v, np.float32), f"w_{n}") for v, n in ((3, "scale"), (5, "codes"))
    ]
    nodes = [
        product(out="p"),
        helper.make_node("Mul", ["p", "w_scale"], ["w_zero_point"], name="w_decode"),
        helper.make_node("Add", ["w_zero_point", "w_codes"], ["y"]),
    ]
    onnx.save(model(nodes, [constant(W, "w"), *taken]), tmp_path / "a.onnx")
    quantize_graph(tmp_path / "a.onnx", tmp_path / "b.onnx", qc.Quantizer(symmetric=False))
    onnx.checker.check_model(tmp_path / "b.onnx", full_check=True)
    expected = X @ np.asarray(qc.quantize(W, axis=1, symmetric=False)) * 3 + 5
    np.testing.assert_allclose(run(tmp_path / "b.onnx"), expected, rtol=1e-4, atol=1e-4)


def test_a_constant_that_is_an_input_too(tmp_path):
    old = model([product()], [constant(W, "w")], inputs=[value("w", [40, 24])], opset=13, ir=3)
    onnx.save(old, tmp_path / "a.onnx")
    quantize_graph(tmp_path / "a.onnx", tmp_path / "b.onnx", qc.Quantizer())
    onnx.checker.check_model(tmp_path / "b.onnx", full_check=True)
    assert [i.name for i in onnx.load(tmp_path / "b.onnx").graph.input] == ["x"]
    assert np.abs(run(tmp_path / "b.onnx") - X @ W).max() < 0.3


@pytest.mark.parametrize("per_output", [True, False])
def test_weights_that_a_graph_quantizes_become_its_codes(tmp_path, per_output):
    scale = np.abs(W).max(0) / 100 if per_output else np.array(np.abs(W).max() / 100)
    zero = np.zeros(scale.shape, np.int8)
    axis = {"axis": 1} if per_output else {}
    nodes = [
        helper.make_node("QuantizeLinear", ["w", "s", "z"], ["q"], **axis),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], **axis),
        product("d"),
    ]
    parts = [constant(W, "w"), constant(scale.astype(np.float32), "s"), constant(zero, "z")]
    onnx.save(model(nodes, parts), tmp_path / "a.onnx")
    report = quantize_graph(tmp_path / "a.onnx", tmp_path / "b.onnx", qc.Quantizer())
    onnx.checker.check_model(tmp_path / "b.onnx", full_check=True)
    np.testing.assert_array_equal(run(tmp_path / "a.onnx"), run(tmp_path / "b.onnx"))
    assert [row["tensor"] for row in report.rows] == ["w"]
    assert isinstance(GraphTensors(tmp_path / "b.onnx")["w"], qc.QTensor)
    assert (tmp_path / "b.onnx").stat().st_size < 0.5 * (tmp_path / "a.onnx").stat().st_size


@pytest.mark.parametrize("bits", [8, 4])
def test_what_a_plan_says_is_what_is_written(tmp_path, bits):
    for name, external in (("in", False), ("out", True)):
        path = tmp_path / f"{name}.onnx"
        big = constant(RNG.standard_normal((3000, 24)).astype(np.float32), "big")
        nodes = [product(out="p"), helper.make_node("Transpose", ["p"], ["t"]),
                 helper.make_node("MatMul", ["big", "t"], ["y"])]  # fmt: skip
        onnx.save(model(nodes, [constant(W, "w"), big]), path, save_as_external_data=external,
                  location=f"{name}.bin", size_threshold=100)  # fmt: skip
        plan = plan_graph(path, qc.Quantizer(bits), output=tmp_path / "o.onnx")
        quantize_graph(path, tmp_path / "o.onnx", qc.Quantizer(bits))
        written = sum(file.stat().st_size for file in tmp_path.glob("o.onnx*"))
        assert plan.nbytes == pytest.approx(written, rel=0.002)
        for file in tmp_path.glob("o.onnx*"):
            file.unlink()


def test_odd_4_bit_codes_among_external_data(tmp_path):
    raw = RNG.integers(0, 256, 7 * 11 // 2 + 1).astype(np.uint8)
    odd = helper.make_tensor("odd", TensorProto.INT4, (7, 11), raw.tobytes(), raw=True)
    nodes = [
        product(), helper.make_node("DequantizeLinear", ["odd", "s"], ["z"]),
    ]  # fmt: skip
    for order in ((odd, constant(W, "w")), (constant(W, "w"), odd)):
        made = model(nodes, [*order, constant(np.float32(0.5), "s")], opset=21, ir=10,
                     outputs=[value("y", None), value("z", [7, 11])])  # fmt: skip
        onnx.save(made, tmp_path / "a.onnx", save_as_external_data=True, location="a.bin",
                  size_threshold=0)  # fmt: skip
        quantize_graph(tmp_path / "a.onnx", tmp_path / "b.onnx", qc.Quantizer(4))
        onnx.checker.check_model(tmp_path / "b.onnx", full_check=True)
        session = onnxruntime.InferenceSession(tmp_path / "b.onnx")
        expected = np.asarray(GraphTensors(tmp_path / "a.onnx")["z"])
        np.testing.assert_array_equal(session.run(["z"], {"x": X})[0], expected)


def test_links_of_a_cache_are_followed_and_no_others(tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "rev" / "onnx"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    onnx.save(model([product()], [constant(W, "w")]), snapshot / "a.onnx",
              save_as_external_data=True, location="a.bin", size_threshold=0)  # fmt: skip
    (snapshot / "a.bin").rename(blobs / "hash")
    (snapshot / "a.bin").symlink_to("../../../blobs/hash")
    np.testing.assert_array_equal(GraphTensors(snapshot / "a.onnx")["w"], W)
    quantize_graph(snapshot / "a.onnx", tmp_path / "b.onnx", qc.Quantizer())
    (blobs / "hash").rename(tmp_path / "elsewhere")
    (snapshot / "a.bin").unlink()
    (snapshot / "a.bin").symlink_to(tmp_path / "elsewhere")
    for call in (GraphTensors, lambda p: quantize_graph(p, tmp_path / "c.onnx", qc.Quantizer())):
        with pytest.raises(qc.FormatError, match="a link out of its folder"):
            call(snapshot / "a.onnx")


@pytest.mark.parametrize(("bits", "symmetric"), [(4, True), (4, False), (8, True)])
def test_products_with_blocks_are_read(tmp_path, bits, symmetric):
    quantizer = pytest.importorskip("onnxruntime.quantization.matmul_nbits_quantizer")
    made = quantizer.MatMulNBitsQuantizer(
        model([product()], [constant(W, "w")], opset=21, ir=10),
        bits=bits, block_size=16, is_symmetric=symmetric,
    )  # fmt: skip
    made.process()
    made.model.save_model_to_file(os.fspath(tmp_path / "n.onnx"), False)
    [name] = GraphTensors(tmp_path / "n.onnx")
    real = GraphTensors(tmp_path / "n.onnx")[name]
    assert real.shape == W.shape
    np.testing.assert_allclose(X @ real, run(tmp_path / "n.onnx"), rtol=1e-3, atol=1e-3)


def test_a_nan_is_told_by_its_tensor_and_what_helps(tmp_path):
    bad = W.copy()
    bad[3, 2] = np.nan
    onnx.save(model([product()], [constant(bad, "w")]), tmp_path / "a.onnx")
    with pytest.raises(ValueError, match=r"tensor 'w'.*NaN.*--ignore 'w'"):
        quantize_graph(tmp_path / "a.onnx", tmp_path / "b.onnx", qc.Quantizer())
    assert not (tmp_path / "b.onnx").exists()


def quantized_network(*, kind=np.uint8, last=False, other_zero=False, weight_kind=np.int8):
    """A QDQ network of one layer."""
    codes = RNG.integers(1, 100, (40, 24)).astype(weight_kind)
    zero = np.array(0 if np.dtype(kind).kind == "i" else 100, kind)
    parts = [constant(np.float32(0.05), "s"), constant(zero, "z"), constant(codes, "w_codes"),
             constant(np.full(24, 0.01, np.float32), "w_scale"),
             constant(np.array(7, kind), "other")]  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "other" if other_zero else "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w_codes", "w_scale"], ["w"], axis=1),
        product(out="p" if last else "y", start="d"),
    ]
    if last:
        nodes += [helper.make_node("QuantizeLinear", ["p", "s", "z"], ["pq"]),
                  helper.make_node("DequantizeLinear", ["pq", "s", "z"], ["y"])]  # fmt: skip
    return model(nodes, parts, opset=21, ir=10)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": np.uint16}, "codes of type 4"),
        ({"kind": np.int16}, "codes of type 5"),
        ({"weight_kind": np.int16}, "weights that are no codes of 8 bits"),
    ],
)
def test_networks_that_would_be_read_wrongly_are_refused(options, words):
    made = quantized_network(**options)
    with pytest.raises(ValueError, match=words):
        GraphReader(made).network()
    with pytest.raises((ValueError, NotImplementedError)):
        qc.from_onnx(made)


@pytest.mark.parametrize("weight_kind", [np.int8, np.uint8])
def test_codes_of_any_type_are_what_they_stand_for(tmp_path, weight_kind):
    made = quantized_network(weight_kind=weight_kind)
    onnx.save(made, tmp_path / "a.onnx")
    found = qc.from_onnx(made).predict(X)
    np.testing.assert_allclose(found, run(tmp_path / "a.onnx"), rtol=1e-3, atol=2e-3)
