"""Training: gradients, determinism, early stopping, and what each option promises."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import numpy as np
import pytest

import qcore as qc
from qcore.training.settings import Settings
from qcore.training.training import Training
from training_parts import digits, network, settings


def test_fit_has_the_defaults_of_the_settings() -> None:
    parameters = inspect.signature(qc.nn.Sequential.fit).parameters.values()
    given = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert given == dataclasses.asdict(Settings())


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh", "linear"])
@pytest.mark.parametrize(
    ("output", "loss"),
    [
        ("softmax", "cross_entropy"),
        ("sigmoid", "binary_cross_entropy"),
        ("linear", "mse"),
        ("tanh", "mse"),
    ],
)
@pytest.mark.parametrize("distilled", [False, True])
def test_gradients_are_the_slopes_of_the_loss(
    activation: str, output: str, loss: str, distilled: bool
) -> None:
    if distilled and output != "softmax":
        pytest.skip("only softmax networks have teachers")
    rng = np.random.default_rng(1)
    X = rng.normal(size=(8, 5)).astype(np.float32)
    y = rng.integers(0, 3, 8) if output == "softmax" else rng.uniform(0, 1, (8, 3))
    teacher = (lambda x: np.tanh(x[:, :3]) * 2) if distilled else None
    net = network(5, 7, 3, activation=activation, output=output)
    training = Training(net, X, y, settings(loss=loss, teacher=teacher))
    soft = None if training.teachers is None else training.teachers.answer_all(X)
    rows = np.arange(8)
    training._step(rows, training._buffers(8), soft, 0)
    exact = training.grads.copy()
    for index in rng.choice(len(training.params), 25, replace=False):
        kept = training.params[index]
        losses = []
        for shift in (1e-3, -1e-3):
            training.params[index] = kept + shift
            losses.append(training._step(rows, training._buffers(8), soft, 0))
        training.params[index] = kept
        slope = (losses[0] - losses[1]) / 2e-3
        assert exact[index] == pytest.approx(slope, abs=1e-3)


def test_the_same_seed_gives_the_same_bytes() -> None:
    X, y, _, _ = digits()
    runs = [network(64, 16, 10).fit(X, y, epochs=2, random_state=7) for _ in range(2)]
    for one, other in zip(*(net.named_weights().values() for net in runs), strict=True):
        assert one.tobytes() == other.tobytes()
    different = network(64, 16, 10).fit(X, y, epochs=2, random_state=8)
    assert different.named_weights()["fc1.weight"].tobytes() != one.tobytes()


def test_numpys_global_random_state_is_left_alone() -> None:
    X, y, _, _ = digits()
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    network(64, 8, 10).fit(X[:100], y[:100], epochs=1)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("optimizer", ["adam", "sgd", qc.nn.Adam(beta1=0.8), qc.nn.SGD(0.5)])
def test_every_optimizer_learns(optimizer: Any) -> None:
    X, y, Xt, yt = digits()
    rate = 1e-3 if "dam" in str(optimizer) else 0.1
    net = network(64, 32, 10).fit(
        X, y, epochs=30, optimizer=optimizer, learning_rate=rate, random_state=0
    )
    assert net.score(Xt, yt) > 0.93
    assert net.history_["loss"][-1] < net.history_["loss"][0] / 3


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_falling_rates_learn_too(schedule: str) -> None:
    X, y, Xt, yt = digits()
    net = network(64, 32, 10)
    net.fit(X, y, epochs=15, learning_rate_schedule=schedule, learning_rate=3e-3, random_state=0)
    assert net.score(Xt, yt) > 0.93


def test_regression_reaches_a_line() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 4)).astype(np.float32)
    y = X @ np.array([1.0, -2.0, 0.5, 0.0], np.float32) + 0.3
    net = network(4, 1, output="linear")
    net.fit(X, y, epochs=60, learning_rate=0.02, random_state=0)
    assert net.score(X, y[:, None]) > 0.999


def test_labels_of_any_kind_come_back() -> None:
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(-2, 1, (60, 3)), rng.normal(2, 1, (60, 3))]).astype(np.float32)
    names = np.array(["cat"] * 60 + ["dog"] * 60)
    two = network(3, 2).fit(X, names, epochs=40, learning_rate=0.05, random_state=0)
    assert set(two.predict(X)) == {"cat", "dog"}
    assert two.score(X, names) > 0.95
    one = network(3, 1, output="sigmoid")
    one.fit(X, names, epochs=40, learning_rate=0.05, random_state=0)
    assert one.score(X, names) > 0.95


def test_early_stopping_keeps_the_best_epoch() -> None:
    X, y, Xt, yt = digits()
    net = network(64, 32, 10)
    net.fit(
        X, y, epochs=60, learning_rate=0.02, validation_data=(Xt, yt), patience=3, random_state=0
    )
    scores = net.history_["val_score"]
    assert len(scores) < 60
    assert net.score(Xt, yt) == pytest.approx(max(scores))
    assert len(scores) == int(np.argmax(scores)) + 1 + 3


def test_quantization_aware_training_ends_on_integers_that_score_as_validated() -> None:
    X, y, Xt, yt = digits()
    net = network(64, 32, 10)
    net.fit(X, y, epochs=20, quantize="int8", validation_data=(Xt, yt), random_state=0)
    for layer in net.layers:
        assert isinstance(layer.weight, qc.QTensor)
        assert isinstance(layer.input_qparams, qc.QParams)
    assert net.score(Xt, yt) == net.history_["val_score"][-1] > 0.93


def test_a_student_learns_from_its_teacher_without_labels() -> None:
    X, y, Xt, yt = digits()
    teacher = network(64, 64, 10).fit(X, y, epochs=15, random_state=0)
    student = network(64, 16, 10)
    student.fit(X, epochs=30, teacher=teacher, alpha=1.0, random_state=0)
    assert student.score(Xt, yt) > 0.9
    agreement = np.mean(student.predict(Xt) == teacher.predict(Xt))
    assert agreement > 0.93


def test_training_goes_on_from_given_weights_and_from_quantized_ones() -> None:
    X, y, Xt, yt = digits()
    net = network(64, 32, 10).fit(X, y, epochs=10, random_state=0)
    small = qc.Quantizer().fit_transform(net, X)
    again = small.copy().fit(X, y, epochs=1, random_state=1)
    assert isinstance(again.layers[0].weight, np.ndarray)
    assert again.score(Xt, yt) > small.score(Xt, yt) - 0.02


def test_a_run_that_is_interrupted_leaves_a_network_that_works() -> None:
    X, y, Xt, _ = digits()

    def stop(done: int, _total: int, _text: str) -> None:
        if done >= 40:
            raise KeyboardInterrupt

    net = network(64, 16, 10)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, y, epochs=5, quantize="int8", progress=stop, random_state=0)
    assert np.isfinite(net.predict_proba(Xt)).all()


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"epochs": 0}, ValueError, "epochs is 0"),
        ({"batch_size": 1.5}, TypeError, "batch_size is 1.5"),
        ({"optimizer": "rmsprop"}, ValueError, "optimizer is 'rmsprop'"),
        ({"loss": "mse"}, ValueError, "does not go with"),
        ({"loss": "hinge"}, ValueError, "loss is 'hinge'"),
        ({"learning_rate": -1}, ValueError, "learning_rate is -1"),
        ({"alpha": 2.0}, ValueError, "alpha is 2"),
        ({"quantize": "int3"}, ValueError, "quantize is 'int3'"),
        ({"patience": 2}, ValueError, "patience needs validation_data"),
        ({"learning_rate_schedule": "wavy"}, ValueError, "learning_rate_schedule is 'wavy'"),
        ({"teacher": lambda x: x[:, :2]}, ValueError, "teacher gave logits of shape"),
    ],
)
def test_wrong_settings_say_what_is_wrong(changes: dict[str, Any], error: Any, text: str) -> None:
    X = np.zeros((4, 5), np.float32)
    with pytest.raises(error, match=text):
        network(5, 3).fit(X, [0, 1, 2, 0], **({"epochs": 1} | changes))


def test_wrong_data_say_where() -> None:
    net = network(3, 2)
    X = np.zeros((4, 3), np.float32)
    X[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"X\[2, 1\] is nan"):
        net.fit(X, [0, 1, 0, 1])
    X[2, 1] = 0
    with pytest.raises(ValueError, match="X has shape"):
        net.fit(X[:, :2], [0, 1, 0, 1])
    with pytest.raises(ValueError, match="4 rows, y has 3"):
        net.fit(X, [0, 1, 0])
    with pytest.raises(ValueError, match="3 different labels"):
        net.fit(X, ["a", "b", "c", "a"])
    with pytest.raises(ValueError, match="y is None"):
        network(3, 2).fit(X)
    with pytest.raises(TypeError, match="X has dtype object"):
        net.fit(np.array([[None] * 3] * 4), [0, 1, 0, 1])
