"""Training with learned steps: what is exported is what was trained, and gradients are right."""

import numpy as np
import pytest

import qcore as qc
from qcore.training.learned_steps import LearnedSteps


def weights(rows=4, columns=7, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("narrow", [False, True])
def test_what_is_exported_is_what_the_forward_pass_saw(bits, narrow):
    if bits == 1 and narrow:
        pytest.skip("1 bit has no narrow range")
    weight = weights(30, 50)
    steps = LearnedSteps(weight, bits, narrow)
    for seed in range(5):
        gradient = weights(30, 50, seed)
        seen = steps.forward(weight).copy()
        q = steps.export(weight)
        assert q.bits == bits
        assert len(np.unique(q.values)) <= 2**bits - narrow
        np.testing.assert_array_equal(q.dequantize(), seen)
        steps.backward(weight, gradient, 0.05)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_steps_move_down_the_slope_of_the_loss(bits):
    weight, target = weights(), weights(seed=5)
    steps = LearnedSteps(weight, bits, False)

    def loss():
        return float(np.sum((steps.forward(weight) - target) ** 2))

    first = loss()
    for _ in range(50):
        gradient = 2 * (steps.forward(weight) - target)
        steps.backward(weight, gradient, 0.01)
    assert loss() < first


def test_a_gradient_passes_where_a_weight_does_not_saturate():
    weight = np.array([[0.1, 5.0, -5.0, 0.3]], np.float32)
    steps = LearnedSteps(weight, 2, True)
    steps.log_scale[:] = 0.0
    gradient = np.ones_like(weight)
    steps.forward(weight)
    steps.backward(weight, gradient, 0.0)
    assert gradient.tolist() == [[1.0, 0.0, 0.0, 1.0]]


@pytest.mark.parametrize("bits", [1, 2, 4, {"fc1": 2, "*": 4}])
def test_a_network_trains_to_integers_that_it_scores_with(bits, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 12)).astype(np.float32)
    y = (X @ rng.standard_normal((12, 3))).argmax(axis=1)
    net = qc.nn.Sequential([qc.nn.Dense(12, 32, "relu"), qc.nn.Dense(32, 3, "softmax")])
    net.fit(X, y, epochs=12, learning_rate=5e-3, random_state=0, quantize=qc.Quantizer(bits),
            validation_data=(X, y))  # fmt: skip
    assert net.history_["val_score"][-1] == net.score(X, y) > 0.85
    widths = [layer.weight.bits for layer in net.layers]
    assert widths == ([2, 4] if isinstance(bits, dict) else [bits, bits])
    net.save(tmp_path / "net")
    assert qc.load(tmp_path / "net").score(X, y) == net.score(X, y)


def test_ternary_training_has_three_values():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 12)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int)
    net = qc.nn.Sequential([qc.nn.Dense(12, 8, "relu"), qc.nn.Dense(8, 2, "softmax")])
    net.fit(X, y, epochs=3, random_state=0, quantize=qc.Quantizer(2, narrow_range=True))
    assert set(np.unique(net.layers[0].weight.values)) <= {-1, 0, 1}
