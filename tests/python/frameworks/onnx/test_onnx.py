"""ONNX in and out: ONNX Runtime computes what qcore computes, integers included."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import qcore as qc
from qcore.frameworks.onnx.read.load import GraphReader

WIDTHS = (64, 48, 32, 10)


def network(*widths, activation="relu", output="softmax", seed=0):
    rng = np.random.default_rng(seed)
    shapes = list(zip(widths[1:], widths, strict=False))
    weights = [rng.normal(0, 1 / np.sqrt(i), (o, i)).astype(np.float32) for o, i in shapes]
    biases = [rng.normal(0, 0.3, o).astype(np.float32) for o, _ in shapes]
    return qc.nn.Sequential.from_arrays(
        weights, biases, layout="out_in", activation=activation, output=output
    )


def samples(n=300, inputs=WIDTHS[0], seed=1):
    return np.random.default_rng(seed).normal(0, 1, (n, inputs)).astype(np.float32)


def run(model, x, *names):
    """Run a model in ONNX Runtime; returns its output and the values of these names."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    kinds = {
        value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    shown.graph.output.extend(kinds[name] for name in names)
    onnx.checker.check_model(shown, full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        shown.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {session.get_inputs()[0].name: x})


SCHEMES = {
    "static": {},
    "static_per_tensor": {"axis": None},
    "static_4_bits": {"bits": 4},
    "static_2_bits": {"bits": 2},
    "dynamic": {"activations": "dynamic"},
    "weights": {"activations": None},
    "weights_asymmetric": {"activations": None, "symmetric": False},
    "weights_4_bits": {"bits": 4, "activations": None},
    "weights_4_bits_asymmetric": {"bits": 4, "activations": None, "symmetric": False},
    "weights_4_bit_groups": {"bits": 4, "group_size": 16},
    "weights_odd_groups": {"bits": 6, "group_size": 24},
    "codebook": {"scheme": "kmeans", "levels": 16},
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_onnx_runtime_computes_the_same(scheme):
    x = samples()
    net = qc.Quantizer(**SCHEMES[scheme]).fit_transform(network(*WIDTHS), x)
    output, logits = run(net.to_onnx(), x, "logits")
    assert np.abs(logits - net.predict_logits(x)).max() < 1e-5
    assert np.abs(output - net.predict_proba(x)).max() < 1e-5


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_the_integers_are_the_same(activation):
    """The codes of every hidden layer, against the definition in plain NumPy int64."""
    x = samples()
    net = qc.Quantizer().fit_transform(network(*WIDTHS, activation=activation), x)
    names = [f"{layer.name}.input_codes" for layer in net.layers]
    found = run(net.to_onnx(), x, *names)[1:]
    params = net.layers[0].input_qparams
    codes = np.clip(np.rint(x / params.scale) + params.zero_point, 0, 255).astype(np.int64)
    for index, layer in enumerate(net.layers):
        assert np.array_equal(found[index], codes), layer.name
        if index + 1 == len(net.layers):
            break
        after = net.layers[index + 1].input_qparams
        sums = (codes - int(params.zero_point)) @ layer.weight.values.T.astype(np.int64)
        scale = params.scale * layer.weight.scale
        total = (sums + np.rint(layer.bias.astype(float) / scale).astype(int)).astype(np.float32)
        low = int(after.zero_point) if layer.activation == "relu" else 0
        levels = np.rint(total * (scale / after.scale)) + int(after.zero_point)
        codes, params = np.clip(levels, low, 255).astype(np.int64), after


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "linear"])
def test_float_networks(activation):
    x = samples()
    net = network(*WIDTHS, activation=activation, output="sigmoid")
    (output,) = run(net.to_onnx(), x)
    assert np.abs(output - net.predict_proba(x)).max() < 1e-5


def test_pruned_networks_and_layers_without_bias(tmp_path):
    x = samples()
    net = qc.compress(network(*WIDTHS), x, sparsity=0.9)
    net.save(tmp_path / "a.safetensors")
    bare = qc.nn.Sequential.from_arrays(
        [np.eye(64, 5), np.eye(5, 3)], [None, None], layout="in_out", output="linear"
    )
    for case in (net, qc.Quantizer().fit_transform(bare, x), bare):
        qc.save(tmp_path / "a.onnx", case)
        (output,) = run(onnx.load(tmp_path / "a.onnx"), x)
        assert np.abs(output - case.predict_proba(x)).max() < 1e-5


def test_a_bias_that_no_int32_holds_goes_by_floats():
    net = network(8, 5, 3, output="linear")
    net.layers[0].weight[0] *= 1e-7
    net.layers[0].bias[0] = 3.0
    x = samples(inputs=8)
    small = qc.Quantizer().fit_transform(net, x)
    (output,) = run(small.to_onnx(), x)
    assert np.abs(output - small.predict(x)).max() < 1e-5


@pytest.mark.parametrize(
    "scheme", [name for name in SCHEMES if name not in ("dynamic", "codebook")]
)
def test_what_is_exported_is_imported(tmp_path, scheme):
    x = samples()
    net = qc.Quantizer(**SCHEMES[scheme]).fit_transform(network(*WIDTHS), x)
    net.classes_ = np.array(list("abcdefghij"))
    net.to_onnx(tmp_path / "a.onnx")
    back = qc.load(tmp_path / "a.onnx")
    assert np.abs(back.predict_logits(x) - net.predict_logits(x)).max() < 1e-5
    assert np.array_equal(back.predict(x), net.predict(x))
    if scheme.startswith("static"):
        assert all("int8" in kernel for kernel in back.kernels)
        assert np.array_equal(back.predict_logits(x), net.predict_logits(x))


# graphs of others -------------------------------------------------------------------------------
def graph(*nodes, opset=17, inputs=6, **constants):
    made = [helper.make_node(op, i, o, **a) for op, i, o, a in nodes]
    body = helper.make_graph(
        made,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", None])],
        [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in constants.items()],
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


R = np.random.default_rng(5)
W1, W2, B1, B2 = R.normal(size=(6, 8)), R.normal(size=(8, 3)), R.normal(size=8), R.normal(size=3)
S1, S2 = R.uniform(0.5, 2, 6), R.uniform(0.5, 2, 8)
M1, M2 = R.normal(size=6), R.normal(size=8)

GRAPHS = {
    "gemm": graph(
        ("Gemm", ["x", "w", "b"], ["h"], {}),
        ("Relu", ["h"], ["r"], {}),
        ("Gemm", ["r", "v", "c"], ["y"], {}),
        w=W1, b=B1, v=W2, c=B2,
    ),
    "gemm_transposed_scaled": graph(
        ("Gemm", ["x", "w", "b"], ["h"], {"transB": 1, "alpha": 0.5, "beta": 2.0}),
        ("Tanh", ["h"], ["y"], {}),
        w=W1.T, b=B1,
    ),
    "matmul_add": graph(
        ("MatMul", ["x", "w"], ["a"], {}),
        ("Add", ["b", "a"], ["h"], {}),
        ("Sigmoid", ["h"], ["r"], {}),
        ("MatMul", ["r", "v"], ["s"], {}),
        ("Add", ["s", "c"], ["t"], {}),
        ("Softmax", ["t"], ["y"], {"axis": 1}),
        w=W1, b=B1, v=W2, c=B2,
    ),
    "no_bias": graph(("MatMul", ["x", "w"], ["y"], {}), w=W1),
    "standardized_input": graph(
        ("Sub", ["x", "m"], ["a"], {}),
        ("Div", ["a", "s"], ["b"], {}),
        ("Gemm", ["b", "w"], ["h"], {}),
        ("Relu", ["h"], ["y"], {}),
        m=M1, s=S1, w=W1,
    ),
    "norm_after_gemm": graph(
        ("Gemm", ["x", "w", "b"], ["h"], {}),
        ("BatchNormalization", ["h", "g", "z", "m", "s"], ["n"], {"epsilon": 1e-3}),
        ("Relu", ["n"], ["y"], {}),
        w=W1, b=B1, g=M2, z=B1, m=M2 * 2, s=S2,
    ),
    "norm_after_relu": graph(
        ("Gemm", ["x", "w", "b"], ["h"], {}),
        ("Relu", ["h"], ["r"], {}),
        ("BatchNormalization", ["r", "g", "z", "m", "s"], ["n"], {}),
        ("Gemm", ["n", "v", "c"], ["y"], {}),
        w=W1, b=B1, g=M2, z=B1, m=M2 * 2, s=S2, v=W2, c=B2,
    ),
    "norm_at_the_start": graph(
        ("BatchNormalization", ["x", "g", "z", "m", "s"], ["n"], {}),
        ("MatMul", ["n", "w"], ["y"], {}),
        g=S1, z=M1, m=M1 * 2, s=S1 * 3, w=W1,
    ),
    "passed_through": graph(
        ("Identity", ["x"], ["a"], {}),
        ("Flatten", ["a"], ["b"], {}),
        ("Cast", ["b"], ["c0"], {"to": 1}),
        ("Gemm", ["c0", "w", "b1"], ["h"], {}),
        ("Dropout", ["h"], ["d"], {}),
        ("Relu", ["d"], ["y"], {}),
        w=W1, b1=B1,
    ),
    "two_products_in_a_row": graph(
        ("MatMul", ["x", "w"], ["a"], {}),
        ("MatMul", ["a", "v"], ["b"], {}),
        ("Mul", ["b", "k"], ["e"], {}),
        ("Sub", ["c", "e"], ["y"], {}),
        w=W1, v=W2, k=3.0, c=B2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_dense_graphs_become_networks(name, tmp_path):
    x = samples(40, 6)
    onnx.save(GRAPHS[name], tmp_path / "a.onnx")
    net = qc.from_onnx(tmp_path / "a.onnx")
    (expected,) = run(GRAPHS[name], x)
    found = net.predict_proba(x)
    assert np.abs(found - expected).max() <= 1e-5 * max(1, np.abs(expected).max())
    assert np.array_equal(qc.from_onnx(GRAPHS[name]).predict_proba(x), found)


def test_what_no_dense_network_does_is_named():
    cases = {
        "Conv ''": graph(("Conv", ["x", "w"], ["y"], {}), w=np.ones((1, 1, 1, 1))),
        "is behind no layer": graph(("Relu", ["x"], ["y"], {})),
        "no layer can take it": graph(
            ("Gemm", ["x", "w"], ["h"], {}),
            ("Relu", ["h"], ["r"], {}),
            ("Mul", ["r", "k"], ["y"], {}),
            w=W1, k=2.0,
        ),
        "one chain": graph(
            ("Gemm", ["x", "w"], ["h"], {}), ("Add", ["x", "h"], ["y"], {}), w=W1[:, :6]
        ),
        "axis 0; it must be the last": graph(
            ("Gemm", ["x", "w"], ["h"], {}), ("Softmax", ["h"], ["y"], {"axis": 0}), w=W1
        ),
        "must be the left": graph(("MatMul", ["w", "x"], ["y"], {}), w=W1),
    }  # fmt: skip
    for reason, model in cases.items():
        with pytest.raises(ValueError, match=reason):
            GraphReader(model).network()


def test_files_that_are_not_onnx(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"not a protobuf")
    with pytest.raises(qc.FormatError, match=r"a\.onnx' is no ONNX file"):
        qc.load(tmp_path / "a.onnx")
    with pytest.raises(FileNotFoundError):
        qc.load(tmp_path / "b.onnx")
    with pytest.raises(TypeError, match="an ONNX file holds a network"):
        qc.save(tmp_path / "b.onnx", {"w": W1})


def test_without_onnx_a_sentence_says_what_to_install():
    code = "import sys; sys.modules['onnx'] = None; import qcore as qc; qc.load('a.onnx')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'qcore-cpu[onnx]'" in done.stderr.splitlines()[-1]
