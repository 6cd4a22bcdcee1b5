"""PyTorch's modules as networks; runs where PyTorch is installed."""

from __future__ import annotations

import numpy as np
import pytest

import qcore as qc

torch = pytest.importorskip("torch")
nn = torch.nn
pytestmark = pytest.mark.filterwarnings("ignore")  # what warns is PyTorch's own


def trained_norm(width):
    norm = nn.BatchNorm1d(width)
    with torch.no_grad():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        norm.weight.normal_()
        norm.bias.normal_()
    return norm


def modules():
    torch.manual_seed(0)
    return {
        "linear": nn.Linear(20, 3),
        "no_bias": nn.Linear(20, 3, bias=False),
        "stack": nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 3)),
        "deep_tanh": nn.Sequential(
            nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 12), nn.Tanh(), nn.Linear(12, 3)
        ),
        "softmax": nn.Sequential(
            nn.Linear(20, 8), nn.Sigmoid(), nn.Linear(8, 4), nn.Softmax(dim=1)
        ),
        "nested": nn.Sequential(
            nn.Flatten(), nn.Sequential(nn.Linear(20, 9), nn.ReLU()), nn.Linear(9, 2), nn.Sigmoid()
        ),
        "norm_after": nn.Sequential(nn.Linear(20, 9), trained_norm(9), nn.ReLU(), nn.Linear(9, 2)),
        "norm_before": nn.Sequential(
            nn.Linear(20, 9), nn.ReLU(), trained_norm(9), nn.Dropout(), nn.Linear(9, 2)
        ),
        "norm_first": nn.Sequential(trained_norm(20), nn.Linear(20, 5), nn.Identity()),
        "no_activation": nn.Sequential(nn.Linear(20, 9), nn.Linear(9, 2)),
        "half": nn.Sequential(nn.Linear(20, 9), nn.ReLU(), nn.Linear(9, 2)).bfloat16(),
    }


X = np.random.default_rng(0).normal(0, 1, (50, 20)).astype(np.float32)


@pytest.mark.parametrize("name", modules())
def test_the_output_is_the_modules(name):
    module = modules()[name].eval()
    net = qc.from_torch(module)
    with torch.no_grad():
        expected = module.float()(torch.from_numpy(X)).numpy()
    assert np.abs(net.predict_proba(X) - expected).max() <= 1e-5


def test_dynamic_quantized_modules_keep_their_codes():
    torch.manual_seed(0)
    stack = nn.Sequential(nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    quantized = torch.ao.quantization.quantize_dynamic(stack, {nn.Linear}, dtype=torch.qint8)
    net = qc.from_torch(quantized)
    for place, layer in ((0, net.layers[0]), (2, net.layers[1])):
        weight = quantized[place].weight()
        assert np.array_equal(layer.weight.values, weight.int_repr().numpy())
        assert float(layer.weight.scale) == np.float32(weight.q_scale())
        assert layer.input_qparams == "dynamic"
    expected = quantized(torch.from_numpy(X)).numpy()
    assert np.corrcoef(net.predict(X).ravel(), expected.ravel())[0, 1] > 0.999


def test_static_quantized_modules_keep_everything():
    torch.manual_seed(0)
    torch.backends.quantized.engine = "fbgemm"
    stack = nn.Sequential(
        torch.ao.quantization.QuantStub(),
        nn.Linear(20, 16), nn.ReLU(), nn.Linear(16, 3),
        torch.ao.quantization.DeQuantStub(),
    ).eval()  # fmt: skip
    stack.qconfig = torch.ao.quantization.get_default_qconfig("fbgemm")
    fused = torch.ao.quantization.fuse_modules(stack, [["1", "2"]])
    prepared = torch.ao.quantization.prepare(fused)
    prepared(torch.from_numpy(X))
    quantized = torch.ao.quantization.convert(prepared)
    net = qc.from_torch(quantized)
    first, last = net.layers
    assert np.array_equal(first.weight.values, quantized[1].weight().int_repr().numpy())
    scales = quantized[1].weight().q_per_channel_scales().numpy().astype(np.float32)
    assert np.array_equal(first.weight.scale, scales)
    assert float(last.input_qparams.scale) == np.float32(quantized[1].scale)
    expected = quantized(torch.from_numpy(X)).numpy()
    step = float(quantized[3].scale)  # PyTorch quantizes the output as well
    assert np.abs(net.predict(X) - expected).max() <= 1.01 * step


def test_what_no_dense_network_does():
    for module, reason in (
        (nn.Sequential(nn.Linear(2, 2), nn.GELU()), "module '1': GELU does what no dense"),
        (nn.Conv1d(1, 1, 1), "Conv1d does what no dense"),
        (nn.ReLU(), "relu is behind no layer"),
        (nn.Sequential(nn.Linear(2, 2), nn.Softmax(dim=0)), "axis 0; it must be the last"),
    ):
        with pytest.raises(ValueError, match=reason):
            qc.from_torch(module)
    with pytest.raises(TypeError, match="module is dict"):
        qc.from_torch({})


def test_any_state_dict(tmp_path):
    module = modules()["norm_after"]
    state = module.state_dict()
    small = qc.compress(state)
    assert small["0.weight"] == qc.quantize(state["0.weight"].numpy(), axis=0)
    assert np.array_equal(small["1.running_mean"], state["1.running_mean"].numpy())
    qc.save(tmp_path / "a", dict(module.named_parameters()))  # these require gradients
    assert np.array_equal(qc.load(tmp_path / "a")["3.bias"], state["3.bias"].numpy())


def test_tensors_are_arrays_everywhere():
    w = torch.randn(4, 6, requires_grad=True)
    expected = qc.quantize(w.detach().numpy())
    assert qc.quantize(w) == expected
    assert qc.quantize(w.detach().T) == qc.quantize(w.detach().numpy().T)
    half = w.detach().bfloat16()
    assert qc.quantize(half) == qc.quantize(half.float().numpy())
    net = qc.from_torch(modules()["stack"])
    assert np.array_equal(net.predict(torch.from_numpy(X)), net.predict(X))
