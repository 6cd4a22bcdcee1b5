"""Patterns that real exporters write: each becomes one node, and the outputs stay."""

from __future__ import annotations

import io
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest

import qcore as qc

torch = pytest.importorskip("torch")
nn = torch.nn
pytestmark = pytest.mark.filterwarnings("ignore")


class Block(nn.Module):
    """A module from a function of parts that it owns."""

    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self._forward = forward

    def forward(self, x):
        return self._forward(self, x)


def conv(inputs=4, outputs=4, size=3, **more):
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, **more)


def normed(features):
    norm = nn.BatchNorm2d(features)
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    return norm


def rms(m, x):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + 1e-6) * m.gain


def layer_norm(m, x):
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / torch.sqrt(centred.pow(2).mean(-1, keepdim=True) + 1e-5)
    return scaled * m.gain + m.bias


def tanh_gelu(m, x):
    inner = 0.7978845608 * (x + 0.044715 * torch.pow(x, 3))
    return 0.5 * x * (1 + torch.tanh(inner))


def squeeze_excite(m, x):
    gate = m.up(torch.relu(m.down(x.mean((2, 3), keepdim=True))))
    return x * nn.functional.hardsigmoid(gate)


IMAGE, ROWS = (2, 4, 9, 7), (2, 5, 8)
VECTOR = nn.Parameter(torch.linspace(0.5, 2, 8))
# What a module is, its input, and the nodes that it has to become.
CASES = {
    "batch norm": (lambda: nn.Sequential(conv(), normed(4), nn.ReLU()), IMAGE, {"Conv": 1}),
    "batch norm of a depthwise convolution": (
        lambda: nn.Sequential(conv(groups=4), normed(4), nn.ReLU6()), IMAGE, {"Conv": 1},
    ),
    "residual and activation": (
        lambda: Block(lambda m, x: torch.relu(m.b(torch.relu(m.a(x))) + x), a=conv(), b=conv()),
        IMAGE, {"Conv": 2},
    ),
    "scale and shift": (
        lambda: Block(lambda m, x: m.a(x) * 2.5 + m.b, a=conv(),
                      b=nn.Parameter(torch.randn(4, 1, 1))),
        IMAGE, {"Conv": 1},
    ),
    "hard-swish": (lambda: nn.Sequential(conv(), nn.Hardswish()), IMAGE, {"Conv": 1}),
    "hard-swish alone": (
        lambda: Block(lambda m, x: x * nn.functional.relu6(x + 3) / 6), IMAGE, {"HardSwish": 1},
    ),
    "silu": (lambda: nn.Sequential(conv(), nn.SiLU()), IMAGE, {"Conv": 1}),
    "gelu by erf": (lambda: nn.Sequential(nn.Linear(8, 8), nn.GELU()), ROWS, {"MatMul": 1}),
    "gelu by erf alone": (lambda: nn.GELU(), ROWS, {"Gelu": 1}),
    "gelu by tanh": (lambda: Block(tanh_gelu), ROWS, {"Gelu": 1}),
    "layer norm": (lambda: nn.LayerNorm(8), ROWS, {"LayerNormalization": 1}),
    "layer norm written out": (
        lambda: Block(layer_norm, gain=VECTOR, bias=nn.Parameter(torch.randn(8))), ROWS,
        {"LayerNormalization": 1},
    ),
    "rms norm written out": (lambda: Block(rms, gain=VECTOR), ROWS, {"RMSNormalization": 1}),
    "padding": (
        lambda: nn.Sequential(nn.ZeroPad2d((1, 2, 0, 1)), nn.Conv2d(4, 4, 3)), IMAGE, {"Conv": 1},
    ),
    "squeeze and excite": (
        lambda: Block(squeeze_excite, down=conv(4, 2, 1), up=conv(2, 4, 1)), IMAGE,
        {"GlobalAveragePool": 1, "Conv": 2, "Mul": 1},
    ),
    "bias of a product": (lambda: nn.Linear(8, 3), ROWS, {"MatMul": 1}),
}  # fmt: skip


def exported(module, x, opset):
    file = io.BytesIO()
    torch.onnx.export(
        module.eval(), (x,), file, dynamo=False, opset_version=opset, input_names=["x"],
        dynamic_axes={"x": {0: "n"}},
    )  # fmt: skip
    return onnx.load_from_string(file.getvalue())


@pytest.mark.parametrize("opset", [13, 17])
@pytest.mark.parametrize("name", CASES)
def test_patterns_are_one_node(name, opset):
    torch.manual_seed(0)
    make, shape, wanted = CASES[name]
    model = exported(make(), torch.randn(shape), opset)
    net = qc.from_onnx(model)
    assert isinstance(net, qc.Graph)
    assert Counter(node.op for node in net) == wanted
    peer = onnxruntime.InferenceSession(model.SerializeToString())
    again = onnxruntime.InferenceSession(net.to_onnx().SerializeToString())
    for count in (1, 3):
        x = 2 * np.random.default_rng(count).normal(size=(count, *shape[1:])).astype(np.float32)
        expected = peer.run(None, {"x": x})[0]
        near = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(net(x), expected, atol=near, rtol=0)
        np.testing.assert_allclose(again.run(None, {"x": x})[0], expected, atol=near, rtol=0)


def test_batch_norms_that_the_exporter_left_are_folded():
    """As the OCR models of rapidocr have them: Conv, BatchNormalization, x * clip(x + 3) / 6."""
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.normal(size=(4, 3, 3, 3)), "gain": rng.uniform(0.5, 2, 4),
        "shift": rng.normal(size=4), "mean": rng.normal(size=4), "var": rng.uniform(0.5, 2, 4),
        "three": 3.0, "zero": 0.0, "six": 6.0,
    }  # fmt: skip
    node = onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [
            node("Conv", ["x", "w"], ["a"]),
            node("BatchNormalization", ["a", "gain", "shift", "mean", "var"], ["b"]),
            node("Add", ["b", "three"], ["c"]), node("Clip", ["c", "zero", "six"], ["d"]),
            node("Mul", ["b", "d"], ["e"]), node("Div", ["e", "six"], ["y"]),
        ],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, ["?", 3, "?", "?"])],
        [onnx.helper.make_tensor_value_info("y", 1, None)],
        [onnx.numpy_helper.from_array(np.float32(v), k) for k, v in constants.items()],
    )  # fmt: skip
    model = onnx.helper.make_model(
        graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 13)]
    )
    net = qc.from_onnx(model)
    assert [node.op for node in net] == ["Conv"]
    x = rng.normal(size=(2, 3, 9, 6)).astype(np.float32)
    wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_allclose(net(x), wanted, atol=1e-5 * np.abs(wanted).max())


def test_what_only_looks_like_a_pattern_stays():
    """Values that something else reads, and constants that are none of the formula's."""
    cases = [
        (Block(lambda m, x: (lambda y: torch.relu(y) + y)(m.a(x)), a=conv()), {"Conv": 1}),
        (Block(lambda m, x: x * nn.functional.relu6(x + 2.9) / 6), {"Clip": 1}),
        (Block(lambda m, x: m.a(x) + x.mean((2, 3), keepdim=True), a=conv()), {"Add": 1}),
    ]
    for module, parts in cases:
        model = exported(module, torch.randn(IMAGE), 17)
        net = qc.from_onnx(model)
        found = Counter(node.op for node in net)
        assert parts.items() <= found.items()
        x = np.random.default_rng(0).normal(size=IMAGE).astype(np.float32)
        peer = onnxruntime.InferenceSession(model.SerializeToString())
        np.testing.assert_allclose(net(x), peer.run(None, {"x": x})[0], atol=1e-5)
