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


def reparametrized():
    from torch.nn.utils import parametrizations, prune

    torch.manual_seed(1)
    old_norm = nn.utils.weight_norm(nn.Linear(20, 6))
    new_norm = parametrizations.weight_norm(nn.Linear(20, 6))
    spectral = parametrizations.spectral_norm(nn.Linear(20, 6)).eval()
    pruned = prune.l1_unstructured(nn.Linear(20, 6), "weight", 0.5)
    made = {"weight_norm": old_norm, "new_weight_norm": new_norm, "spectral": spectral}
    made["pruned"] = pruned
    for module in made.values():  # what .weight says is of before this
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(1.5).add_(0.1)
    return made


@pytest.mark.parametrize("name", ["weight_norm", "new_weight_norm", "spectral", "pruned"])
def test_weights_that_are_made_of_others_are_those_that_run(name):
    first = reparametrized()[name]
    module = nn.Sequential(first, nn.ReLU(), nn.Linear(6, 3)).train()
    net = qc.from_torch(module)
    assert all(part.training for part in module.modules())
    with torch.no_grad():
        expected = module.eval()(torch.from_numpy(X)).numpy()
    assert np.abs(net.predict_proba(X) - expected).max() <= 1e-5 * np.abs(expected).max() + 1e-6


class Custom(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.b = nn.Linear(12, 12)  # assigned before what acts before it
        self.a = nn.Linear(20, 12)
        self.act = nn.Tanh()
        self.unused = nn.Linear(3, 3)
        self.way = forward

    def forward(self, x):
        return self.way(self, x)


def test_modules_are_taken_as_they_act():
    def way(m, x):
        return m.act(m.b(m.act(m.a(torch.flatten(x, 1)))))

    module = Custom(way).eval()
    net = qc.from_torch(module)
    assert [layer.activation for layer in net.layers] == ["tanh", "tanh"]
    expected = module(torch.from_numpy(X)).detach().numpy()
    assert np.abs(net.predict_proba(X) - expected).max() <= 1e-5
    twice = Custom(lambda m, x: m.b(m.act(m.b(m.act(m.a(x)))))).eval()
    assert len(qc.from_torch(twice).layers) == 3


@pytest.mark.parametrize(
    ("way", "words"),
    [
        (lambda m, x: m.b(torch.relu(m.a(x))), "between modules 'a' and 'b'"),
        (lambda m, x: torch.softmax(m.a(x), 1), "behind module 'a'"),
        (lambda m, x: m.a(2 * x), "input before the first"),
        (lambda m, x: m.a(x) + m.b(m.a(x)), "between modules '[ab]' and 'a'|behind module"),
        (lambda m, x: m.b(m.act(m.a(x))) + m.a(x), "between modules|behind module"),
        (lambda m, x: m.a(x[:, :7]), "cannot be run.*sample"),
    ],
)
def test_what_happens_outside_of_modules_is_refused(way, words):
    with pytest.raises(ValueError, match=words):
        qc.from_torch(Custom(way))


def test_a_subclass_with_a_forward_of_its_own_is_refused():
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    with pytest.raises(ValueError, match="Doubled does what no dense layer does"):
        qc.from_torch(nn.Sequential(Doubled(20, 3)))


def test_float16_weights_of_dynamic_modules():
    stack = nn.Sequential(nn.Linear(20, 4)).eval()
    half = torch.ao.quantization.quantize_dynamic(stack, {nn.Linear}, dtype=torch.float16)
    found = qc.from_torch(half).predict_proba(X)
    assert np.abs(found - half(torch.from_numpy(X)).numpy()).max() < 1e-3


def test_compress_takes_a_module():
    module = modules()["stack"]
    small = qc.compress(module, X)
    assert small.layers[0].weight.bits == 8
    assert np.array_equal(small.predict(X), qc.compress(qc.from_torch(module), X).predict(X))


@pytest.mark.parametrize("way", [
    lambda m, x: m.b(m.act(m.a(x))) if x.sum() > 0 else m.act(m.b(m.act(m.a(x)))),
    lambda m, x: m.act(m.a(x)) if x.min() > -5 else m.a(x),
    lambda m, x: m.a(x) if x.any() else m.act(m.a(x)),
])  # fmt: skip
@pytest.mark.parametrize("sign", [1, -1])
def test_ways_that_depend_on_values_are_refused(way, sign):
    module = Custom(way).eval()
    sample = sign * np.abs(np.random.default_rng(0).standard_normal((4, 20))).astype(np.float32)
    with pytest.raises(ValueError, match=r"depends on their values|data-dependent"):
        qc.from_torch(module, sample)


def test_examples_of_bfloat16_and_outputs_by_name():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(8, 4), nn.Linear(8, 2)

        def forward(self, x):
            return {"logits": self.a(x), "aux": self.b(x)}

    torch.manual_seed(0)
    module, x = Named(), torch.randn(6, 8)
    graph = qc.from_torch(module, (x,))
    found = list(graph.run({graph.inputs[0].name: x.numpy()}).values())
    with torch.no_grad():
        for output, wanted in zip(found, module(x).values(), strict=True):
            np.testing.assert_allclose(output, wanted.numpy(), atol=1e-5)
    half = nn.Sequential(nn.Linear(8, 4), nn.GELU(), nn.Linear(4, 3)).bfloat16()
    graph = qc.from_torch(half, (x.bfloat16(),))
    (output,) = graph.run({graph.inputs[0].name: x.numpy()}).values()
    with torch.no_grad():
        wanted = half(x.bfloat16()).float().numpy()
    assert np.abs(np.asarray(output, np.float32) - wanted).max() < 0.02
