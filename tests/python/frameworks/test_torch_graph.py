"""PyTorch's modules through torch.export, beside the modules themselves."""

from __future__ import annotations

import numpy as np
import pytest

import qcore as qc

torch = pytest.importorskip("torch")
nn = torch.nn
pytestmark = pytest.mark.filterwarnings("ignore")


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.b = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        h = torch.relu(self.norm(self.a(x)))
        h = nn.functional.max_pool2d(torch.nn.functional.hardswish(self.b(h)) + h, 2)
        h = h + nn.functional.silu(self.b(h))  # used again
        return self.head(h.mean((2, 3))).softmax(-1)


class Two(nn.Module):
    def forward(self, x, y):
        a, b = torch.split(torch.cat([x, 2 * y], dim=1), [3, 5], dim=1)
        return a.sum(1), nn.functional.gelu(b)


@pytest.mark.parametrize("batch", [1, 3])
def test_residuals_and_reuse(batch):
    torch.manual_seed(0)
    module = Residual()
    module.norm.running_var.uniform_(0.5, 2)
    net = qc.from_torch(module, (torch.randn(max(batch, 1), 3, 8, 8),))
    assert isinstance(net, qc.Graph)
    assert module.training  # as it was
    x = torch.randn(batch if batch == 1 else 5, 3, 8, 8)
    np.testing.assert_allclose(net(x.numpy()), module.eval()(x).detach(), rtol=1e-4, atol=1e-6)
    assert net.inputs[0].shape[0] == (1 if batch == 1 else "batch")


def test_attention():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, activation="gelu").eval()
    net = qc.from_torch(layer, (torch.randn(2, 6, 16),))
    x = torch.randn(4, 6, 16)
    np.testing.assert_allclose(net(x.numpy()), layer(x).detach(), rtol=1e-4, atol=1e-5)


def test_several_inputs_and_outputs():
    net = qc.from_torch(Two(), (torch.randn(2, 4), torch.randn(2, 4)))
    x, y = torch.randn(3, 4), torch.randn(3, 4)
    found = net.run({"x": x.numpy(), "y": y.numpy()})
    for one, two in zip(found.values(), Two()(x, y), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)


def test_ops_that_there_are_not_are_listed():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(torch.special.bessel_j0(x))

    with pytest.raises(qc.UnsupportedError, match=r"special_bessel_j0.* \(2 nodes"):
        qc.from_torch(Odd(), (torch.randn(2, 3, 4),))
