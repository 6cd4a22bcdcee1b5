"""Exports are exact on x86 CPUs without VNNI too, where uint8 by int8 is added up in int16.

`saturating` is a model of VPMADDUBSW, by which ONNX Runtime multiplies uint8 by int8 there. Under
``qemu-x86_64 -cpu Haswell`` (``make test-emulated``) the real runtime runs these tests on that
instruction; the int8 export of a network such as `loud` was 0.22 off.
"""

from __future__ import annotations

import numpy as np
import pytest

import qcore as qc

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.numerics


def loud(bits=8, mode="static", seed=0, **options):
    """Return a quantized network whose pairs of products are beyond int16, and its samples."""
    rng = np.random.default_rng(seed)
    weights = [rng.uniform(-1, 1, (o, i)).astype(np.float32) for o, i in ((33, 64), (10, 33))]
    biases = [rng.normal(0, 1, len(w)).astype(np.float32) for w in weights]
    net = qc.nn.Sequential.from_arrays(weights, biases, layout="out_in")
    x = np.abs(rng.normal(0, 1, (50, 64))).astype(np.float32)
    small = qc.Quantizer(bits, activations=mode, algorithm=(), **options).fit_transform(net, x)
    return small, x


def products(model):
    """Return the types of the inputs and the weights (in, out) of each integer product."""
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node}
    found = []
    for node in model.graph.node:
        if node.op_type == "MatMulInteger":
            cast = makers[node.input[0]]
            kind = helper_type(cast)
            found.append((kind, constants[node.input[1]], constants[node.input[3]]))
        elif node.op_type in ("Gemm", "MatMul"):
            left, right = (makers.get(name) for name in node.input[:2])
            if left is None or left.op_type != "DequantizeLinear":
                continue
            weight = constants[right.input[0]]
            weight = weight.T if node.op_type == "Gemm" else weight
            found.append((constants[left.input[2]].dtype, weight, constants[right.input[2]]))
    return found


def helper_type(cast):
    to = next(a.i for a in cast.attribute if a.name == "to")
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(to))


def saturating(x, w):
    """Multiply uint8 by int8 as VPMADDUBSW and VPADDW do: pairs in int16, which saturate."""
    wide = x.astype(np.int32)[:, :, None] * w.astype(np.int32)[None]
    wide = np.concatenate([wide, np.zeros_like(wide[:, : wide.shape[1] % 2])], axis=1)
    pairs = np.clip(wide[:, 0::2] + wide[:, 1::2], -(2**15), 2**15 - 1)
    return pairs.sum(axis=1)


@pytest.mark.parametrize("mode", ["static", "dynamic"])
@pytest.mark.parametrize("bits", [2, 4, 7, 8])
def test_no_product_can_saturate(bits, mode):
    net, _ = loud(bits, mode)
    pairs = products(net.to_onnx())
    assert len(pairs) == 2
    for kind, weight, zero in pairs:
        assert kind == np.uint8
        if weight.dtype == np.uint8:
            assert (zero == 128).all()
            continue
        assert not zero.any()
        # The greatest inputs, in every order of the inputs that a kernel could choose.
        most = np.full((1, len(weight)), 255, np.uint8)
        for order in (np.argsort(weight[:, 0]), np.arange(len(weight))):
            exact = most.astype(np.int64) @ weight[order].astype(np.int64)
            assert np.array_equal(saturating(most, weight[order]), exact)
        assert (np.sort(weight.astype(int), axis=0)[-2:].sum(axis=0) * 255 < 2**15).all()


def test_int8_weights_on_request(tmp_path):
    net, x = loud()
    model = net.to_onnx(tmp_path / "a.onnx", int8_weights=True)
    assert all(weight.dtype == np.int8 for _, weight, _ in products(model))
    assert np.array_equal(qc.load(tmp_path / "a.onnx").predict(x), net.predict(x))
    with pytest.raises(TypeError, match="int8_weights"):
        net.to_onnx(int8_weights=1)


def test_the_model_of_the_kernel_saturates():
    """As int8, the weights of this network are ones that VPMADDUBSW multiplies wrongly."""
    net, _ = loud()
    weight = np.ascontiguousarray(net.layers[0].weight.values.T)
    most = np.full((1, len(weight)), 255, np.uint8)
    exact = most.astype(np.int64) @ weight.astype(np.int64)
    assert not np.array_equal(saturating(most, weight), exact)


@pytest.mark.parametrize("mode", ["static", "dynamic"])
@pytest.mark.parametrize("options", [{}, {"axis": None}, {"bits": 7}, {"bits": 4}], ids=str)
def test_the_real_runtime_agrees(options, mode):
    options = dict(options)
    net, x = loud(options.pop("bits", 8), mode, **options)
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        net.to_onnx().SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"input": x})
    assert np.abs(found - net.predict_proba(x)).max() < 1e-5


@pytest.mark.parametrize("bits", [7, 8])
def test_what_is_exported_has_the_same_codes_when_it_is_read(bits):
    net, x = loud(bits)
    back = qc.from_onnx(net.to_onnx())
    for layer, other in zip(net.layers, back.layers, strict=True):
        codes = [
            w.values.astype(int) - w.zero_point.reshape(-1, 1) for w in (layer.weight, other.weight)
        ]
        assert np.array_equal(*codes)
    assert np.array_equal(back.predict_logits(x), net.predict_logits(x))
