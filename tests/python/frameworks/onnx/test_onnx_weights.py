"""Weights quantized in place: any graph, the rest untouched, data files included."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import qcore as qc
from qcore.frameworks.onnx.weights.quantize import quantize_graph

R = np.random.default_rng(0)
CONSTANTS = {
    "table": R.standard_normal((50, 64)),
    "conv": R.standard_normal((8, 1, 3, 3)),
    "wide": R.standard_normal((64, 40)),
    "gemm": R.standard_normal((16, 40)),
    "gemm_bias": R.standard_normal(16),
    "shared": R.standard_normal((16, 16)),
    "shape": np.array([1, 1, -1, 64], np.int64),
    "flat": np.array([-1, 64], np.int64),
}


def model(dtype=np.float32, opset=21):
    """A look-up, a convolution, a MatMul, a Gemm, and a constant that is not only a weight."""
    constants = {
        name: array if array.dtype == np.int64 else array.astype(dtype)
        for name, array in CONSTANTS.items()
    }
    nodes = [
        ("Gather", ["table", "ids"], ["looked_up"], {}),
        ("Reshape", ["looked_up", "shape"], ["image"], {}),
        ("Conv", ["image", "conv"], ["convolved"], {"pads": [1, 1, 1, 1]}),
        ("Reshape", ["convolved", "flat"], ["rows"], {}),
        ("MatMul", ["rows", "wide"], ["product"], {}),
        ("Gemm", ["product", "gemm", "gemm_bias"], ["sum"], {"transB": 1}),
        ("MatMul", ["sum", "shared"], ["last"], {}),
        ("Add", ["shared", "shared"], ["twice"], {}),
        ("MatMul", ["last", "twice"], ["y"], {}),
    ]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        [helper.make_node(op, i, o, name=o[0], **a) for op, i, o, a in nodes],
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])],
        [helper.make_tensor_value_info("y", kind, ["m", 16])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def run(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # Optimized, a product with decoded weights quantizes its input too: not what is tested here.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"ids": np.arange(7)})[0]


def decoded(**options):
    """The model with weights that qcore decoded: what the quantized graph has to compute."""
    axes = {"table": 0, "conv": 0, "wide": 1, "gemm": 0}
    changed = model()
    for tensor in changed.graph.initializer:
        if tensor.name in axes:
            w = CONSTANTS[tensor.name].astype(np.float32)
            q = qc.quantize(w, axis=axes[tensor.name], **options)
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(q), tensor.name))
    return changed


@pytest.mark.parametrize("options", [{"bits": 8}, {"bits": 4}, {"bits": 8, "symmetric": False}])
def test_the_graph_computes_with_the_decoded_weights(tmp_path, options):
    onnx.save(model(), tmp_path / "a.onnx")
    onnx.save(decoded(**options), tmp_path / "expected.onnx")
    report = quantize_graph(
        tmp_path / "a.onnx", tmp_path / "b.onnx", qc.Quantizer(**options, observer="minmax")
    )
    onnx.checker.check_model(tmp_path / "b.onnx", full_check=True)
    expected = run(tmp_path / "expected.onnx")
    assert np.abs(run(tmp_path / "b.onnx") - expected).max() <= 1e-4 * np.abs(expected).max()
    assert [row["tensor"] for row in report.rows] == ["table", "conv", "wide", "gemm", "shared"]
    assert "Add reads it" in report.rows[-1]["kept"]
    before, after = (onnx.load(tmp_path / name) for name in ("a.onnx", "b.onnx"))
    names = [node.name for node in after.graph.node]
    assert [node.name for node in before.graph.node] == [n for n in names if "_decode" not in n]
    kept = {tensor.name: tensor for tensor in after.graph.initializer}
    for name in ("shared", "gemm_bias", "shape"):
        assert np.array_equal(numpy_helper.to_array(kept[name]), CONSTANTS[name].astype(
            np.int64 if name == "shape" else np.float32))  # fmt: skip


def test_groups_of_four_bits_become_matmul_nbits(tmp_path):
    onnx.save(model(), tmp_path / "a.onnx")
    recipe = qc.Quantizer(
        bits=4, group_size=16, observer="minmax", ignore=["table", "conv", "gemm"]
    )
    report = quantize_graph(tmp_path / "a.onnx", tmp_path / "b.onnx", recipe)
    changed = model()
    for tensor in changed.graph.initializer:
        if tensor.name == "wide":
            q = qc.quantize(CONSTANTS["wide"].T.astype(np.float32), bits=4, group_size=16)
            tensor.CopyFrom(numpy_helper.from_array(np.asarray(q).T.copy(), "wide"))
    onnx.save(changed, tmp_path / "expected.onnx")
    expected = run(tmp_path / "expected.onnx")
    assert np.abs(run(tmp_path / "b.onnx") - expected).max() <= 1e-4 * np.abs(expected).max()
    kinds = [node.op_type for node in onnx.load(tmp_path / "b.onnx").graph.node]
    assert kinds.count("MatMulNBits") == 1
    assert [row["tensor"] for row in report.rows if "kept" not in row] == ["wide"]


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_keep_their_type(tmp_path, dtype):
    onnx.save(model(dtype), tmp_path / "a.onnx")
    for opset in (17, 21):
        onnx.save(model(dtype, opset), tmp_path / "a.onnx")
        quantize_graph(tmp_path / "a.onnx", tmp_path / "b.onnx", qc.Quantizer())
        onnx.checker.check_model(tmp_path / "b.onnx", full_check=True)
        if dtype == np.float64:
            continue  # valid, but ONNX Runtime convolves no float64
        before, after = run(tmp_path / "a.onnx"), run(tmp_path / "b.onnx")
        assert after.dtype == dtype
        assert np.abs(after - before).max() < 0.05 * np.abs(before).max()


@pytest.mark.parametrize("way", ["had a data file", "grew too large"])
def test_data_files(tmp_path, way):
    folder = tmp_path / "small"
    folder.mkdir()
    path = tmp_path / "a.onnx"
    if way == "had a data file":
        onnx.save_model(
            model(), path, save_as_external_data=True, location="weights.bin", size_threshold=0
        )
        quantize_graph(path, folder / "b.onnx", qc.Quantizer())
    else:
        onnx.save(model(), path)
        quantize_graph(path, folder / "b.onnx", qc.Quantizer(), external_from=1000)
    assert sorted(p.name for p in folder.iterdir()) == ["b.onnx", "b.onnx.data"]
    quantize_graph_in_one = tmp_path / "one.onnx"
    onnx.save(model(), tmp_path / "plain.onnx")
    quantize_graph(tmp_path / "plain.onnx", quantize_graph_in_one, qc.Quantizer())
    assert np.array_equal(run(folder / "b.onnx"), run(quantize_graph_in_one))
    assert (folder / "b.onnx").stat().st_size < 7000


def test_data_outside_the_folder_is_refused(tmp_path):
    onnx.save_model(model(), tmp_path / "a.onnx", save_as_external_data=True, location="w.bin",
                    size_threshold=0)  # fmt: skip
    for name in ("../w.bin", "/etc/passwd", ""):
        broken = onnx.load_model(tmp_path / "a.onnx", load_external_data=False)
        for tensor in broken.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = name
        (tmp_path / "b.onnx").write_bytes(broken.SerializeToString())
        with pytest.raises(qc.FormatError, match="not beside it"):
            quantize_graph(tmp_path / "b.onnx", tmp_path / "c.onnx", qc.Quantizer())
    assert not (tmp_path / "c.onnx").exists()
    assert not (tmp_path / "c.onnx.data").exists()


def test_recipes_that_onnx_has_no_form_for(tmp_path):
    onnx.save(model(), tmp_path / "a.onnx")
    for recipe, reason in (
        ({"bits": 5}, "of 8, of 4 and of 2 bits"),
        ({"scheme": "kmeans"}, "of 8, of 4 and of 2 bits"),
    ):
        with pytest.raises(ValueError, match=reason):
            qc.compress(tmp_path / "a.onnx", output=tmp_path / "b.onnx", **recipe)


def test_groups_of_other_operators_are_blocks(tmp_path):
    """Only matrices have rows; a convolution stays as it is, and the table says why."""
    onnx.save(model(opset=17), tmp_path / "a.onnx")
    report = quantize_graph(
        tmp_path / "a.onnx", tmp_path / "b.onnx",
        qc.Quantizer(8, group_size=20, observer="minmax"),
    )  # fmt: skip
    onnx.checker.check_model(tmp_path / "b.onnx", full_check=True)
    changed = model(opset=17)
    for tensor in changed.graph.initializer:
        if tensor.name in ("table", "wide", "gemm"):
            turned = tensor.name == "wide"
            w = CONSTANTS[tensor.name].astype(np.float32)
            q = np.asarray(qc.quantize(w.T.copy() if turned else w, group_size=20))
            back = q.T.copy() if turned else q
            tensor.CopyFrom(numpy_helper.from_array(back, tensor.name))
    onnx.save(changed, tmp_path / "expected.onnx")
    expected = run(tmp_path / "expected.onnx")
    assert np.abs(run(tmp_path / "b.onnx") - expected).max() <= 1e-4 * np.abs(expected).max()
    kept = {row["tensor"]: row["kept"] for row in report.rows if "kept" in row}
    assert "rows of matrices" in kept["conv"]


def test_an_older_opset_is_raised_where_codes_need_it(tmp_path):
    for opset, bits, least in ((13, 4, 21), (11, 8, 13)):
        onnx.save(model(opset=opset), tmp_path / "old.onnx")
        onnx.save(decoded(bits=bits), tmp_path / "expected.onnx")
        recipe = qc.Quantizer(bits=bits, observer="minmax")
        quantize_graph(tmp_path / "old.onnx", tmp_path / "b.onnx", recipe)
        onnx.checker.check_model(tmp_path / "b.onnx", full_check=True)
        assert onnx.load(tmp_path / "b.onnx").opset_import[0].version == least
        expected = run(tmp_path / "expected.onnx")
        assert np.abs(run(tmp_path / "b.onnx") - expected).max() <= 1e-4 * np.abs(expected).max()
