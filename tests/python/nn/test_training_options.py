"""Teachers, hints, augmentation, dropout, checkpoints, schedules that regrow and rewind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import qcore as qc
from qcore.nn.sequential import Sequential
from qcore.training.settings import Settings
from qcore.training.training import Training
from training_parts import digits, network, settings


def blobs(n: int = 300, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 6)).astype(np.float32)
    return X, (X[:, 0] * X[:, 1] > 0).astype(int)


def test_several_teachers_are_averaged() -> None:
    from qcore.chain.activations import softmax
    from qcore.training.distillation import Teachers

    X, _ = blobs()
    asks = [lambda x: x[:, :2], lambda x: 3 * x[:, 2:4]]
    net = network(6, 5, 2)
    net.fit(X, epochs=1, teacher=asks, alpha=1.0, random_state=0)
    expected = (softmax(X[:, :2], 2.0) + softmax(3 * X[:, 2:4], 2.0)) / 2
    np.testing.assert_allclose(Teachers(asks, 2, 2.0).answer_all(X), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="teacher is empty"):
        network(6, 5, 2).fit(X, teacher=[], alpha=1.0)
    with pytest.raises(TypeError, match="teacher is int"):
        network(6, 5, 2).fit(X, teacher=[3], alpha=1.0)


def test_a_network_teaches_its_logits_though_it_can_be_called() -> None:
    from qcore.training.distillation import Teachers

    X, y = blobs()
    teacher = network(6, 5, 2).fit(X, y, epochs=2, random_state=0)
    assert callable(teacher)
    found = Teachers(teacher, 2, 2.0).answer_all(X)
    np.testing.assert_array_equal(found, Teachers(teacher.predict_logits, 2, 2.0).answer_all(X))
    assert not np.allclose(found, Teachers(teacher, 2, 1.0).answer_all(X))


def test_a_student_learns_from_any_function_pruned_and_quantized() -> None:
    X, _, Xt, yt = digits()
    X_, y_, _, _ = digits()
    teacher = network(64, 48, 10).fit(X_, y_, epochs=30, random_state=1)
    function = teacher.predict_logits
    student = network(64, 16, 10).fit(
        X, epochs=30, teacher=function, alpha=1.0, prune=qc.Pruner(0.5), quantize="int8",
        random_state=0,
    )  # fmt: skip
    assert student.score(Xt, yt) > 0.9
    assert np.count_nonzero(student.layers[0].weight.values) <= 0.51 * 64 * 16


def test_hints_pull_a_hidden_layer_towards_its_features() -> None:
    X, y, _, _ = digits()
    teacher = network(64, 24, 10).fit(X, y, epochs=10, random_state=1)
    hint = teacher.features("fc1")
    np.testing.assert_allclose(hint(X[:3]), teacher.layers[0].forward(X[:3]))

    def distance(net: Sequential) -> float:
        """What a linear map from the student's features leaves of the teacher's."""
        found, wanted = net.features("fc1")(X), hint(X)
        rest = wanted - found @ np.linalg.lstsq(found, wanted, rcond=None)[0]
        return float(np.mean(rest**2))

    common = {"epochs": 40, "learning_rate": 5e-3, "random_state": 0}
    plain = network(64, 16, 10).fit(X, y, **common)
    hinted = network(64, 16, 10).fit(X, y, hints={"fc1": hint}, hint_weight=10.0, **common)
    assert distance(hinted) < 0.7 * distance(plain)
    assert hinted.score(X, y) > 0.9


def test_the_gradient_of_hints_is_the_slope_of_the_loss() -> None:
    X, y = blobs(8)
    net = network(6, 7, 5, 2, activation="tanh")
    hints = {"fc1": lambda x: np.tanh(x[:, :3]), "fc2": lambda x: x[:, :4] ** 2}
    training = Training(net, X, y, settings(hints=hints, hint_weight=0.7))
    rows = np.arange(8)
    training._step(rows, training._buffers(8), None, 0)
    for flat, grads in (
        (training.params, training.grads.copy()),
        (training.hints.params, training.hints.grads.copy()),
    ):
        for index in np.random.default_rng(0).choice(flat.size, 15, replace=False):
            kept, losses = flat[index], []
            for shift in (1e-3, -1e-3):
                flat[index] = kept + shift
                losses.append(training._step(rows, training._buffers(8), None, 0))
            flat[index] = kept
            assert grads[index] == pytest.approx((losses[0] - losses[1]) / 2e-3, abs=1e-3)


@pytest.mark.parametrize(
    ("hints", "error", "message"),
    [
        ({"fc9": lambda x: x}, ValueError, "hints names 'fc9'; hidden layers are"),
        ({"fc2": lambda x: x}, ValueError, "hints names 'fc2'"),
        ({"fc1": 3}, TypeError, "it must be a function"),
        ({"fc1": lambda x: x[0]}, ValueError, "must be \\(n, features\\)"),
    ],
)
def test_hints_that_do_not_fit(hints: Any, error: Any, message: str) -> None:
    X, y = blobs()
    with pytest.raises(error, match=message):
        network(6, 4, 2).fit(X, y, hints=hints)
    with pytest.raises(ValueError, match="the teacher has no layer 'x'"):
        network(6, 4, 2).features("x")


def test_augmentation_sees_every_batch_and_the_teacher_sees_what_it_made() -> None:
    X, y = blobs(64)
    seen, asked = [], []

    def augment(batch: Any, rng: np.random.Generator) -> Any:
        seen.append(batch.copy())
        return batch + 100

    def teacher(batch: Any) -> Any:
        asked.append(batch.copy())
        return batch[:, :2]

    network(6, 4, 2).fit(
        X, y, batch_size=16, epochs=2, augment=augment, teacher=teacher, random_state=0
    )
    assert len(seen) == len(asked) == 8
    np.testing.assert_array_equal(np.sort(np.concatenate(seen[:4]), axis=0), np.sort(X, axis=0))
    np.testing.assert_allclose(asked[3], seen[3] + 100)
    with pytest.raises(TypeError, match="augment is 3"):
        network(6, 4, 2).fit(X, y, augment=3)


def test_dropout_leaves_out_its_share_and_keeps_the_mean() -> None:
    X, y = blobs(64)
    training = Training(network(6, 500, 2), X, y, settings(batch_size=64, dropout=0.25))
    buffers = training._buffers(64)
    training._step(np.arange(64), buffers, None, 0)
    scale = buffers.dropped[1]
    assert set(np.unique(scale)) == {0.0, np.float32(1 / 0.75)}
    assert float(np.mean(scale == 0)) == pytest.approx(0.25, abs=0.02)
    np.testing.assert_array_equal(buffers.inputs[1], buffers.sums[0] * scale)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_gradients_with_dropout_are_the_slopes_of_the_loss(activation: str) -> None:
    X, y = blobs(8)
    training = Training(
        network(6, 12, 2, activation=activation), X, y, settings(dropout=0.5, random_state=3)
    )
    rows, state = np.arange(8), training.rng.bit_generator.state

    def loss() -> float:
        training.rng.bit_generator.state = state  # the same neurons are left out
        return training._step(rows, training._buffers(8), None, 0)

    loss()
    exact = training.grads.copy()
    for index in np.random.default_rng(0).choice(exact.size, 20, replace=False):
        kept, losses = training.params[index], []
        for shift in (1e-3, -1e-3):
            training.params[index] = kept + shift
            losses.append(loss())
        training.params[index] = kept
        assert exact[index] == pytest.approx((losses[0] - losses[1]) / 2e-3, abs=1e-3)


def test_dropout_does_not_change_prediction_and_regularizes() -> None:
    X, y, Xt, yt = digits()
    net = network(64, 64, 10).fit(X, y, epochs=20, dropout=0.3, random_state=0)
    assert net.score(Xt, yt) > 0.95
    np.testing.assert_array_equal(net.predict_logits(Xt), net.predict_logits(Xt))
    with pytest.raises(ValueError, match=r"dropout is 1\.0"):
        network(64, 64, 10).fit(X, y, dropout=1.0)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": "sgd", "learning_rate_schedule": "cosine", "dropout": 0.2},
        {"quantize": "int8", "prune": qc.Pruner(0.5)},
        {"quantize": qc.Quantizer(3)},
        {"prune": qc.Pruner(schedule=qc.Rewinding(0.6, 2, 5))},
        {"prune": qc.Pruner(schedule=qc.Regrowth(qc.ConstantSparsity(0.5, 0, frequency=7)))},
        {"regularize": qc.nn.GroupLasso(0.01)},
        {"teacher": lambda x: x[:, :2], "hints": {"fc1": lambda x: x[:, :3]}},
    ],
)
def test_a_stopped_training_goes_on_to_the_same_bytes(tmp_path: Any, options: Any) -> None:
    X, y = blobs()
    common = {"epochs": 6, "batch_size": 20, "random_state": 0, "validation_data": blobs(50, 1)}
    whole = network(6, 8, 2).fit(X, y, **common, **options)
    path = tmp_path / "training.safetensors"
    ticks: list[int] = []

    def stop(done: int, total: int, text: str) -> None:
        ticks.append(done)
        if "epoch 4" in text:
            raise KeyboardInterrupt

    common["batch_size"] = 20
    with pytest.raises(KeyboardInterrupt):
        network(6, 8, 2).fit(X[:300], y, **common, **options, checkpoint=path, progress=stop)
    resumed = network(6, 8, 2).fit(X, y, **common, **options, checkpoint=path)
    for one, other in zip(whole.layers, resumed.layers, strict=True):
        assert one.dense_weight().tobytes() == other.dense_weight().tobytes()
    assert whole.history_["val_score"] == resumed.history_["val_score"]
    again = network(6, 8, 2).fit(X, y, **common, **options, checkpoint=path)  # nothing is left
    assert again.layers[0].dense_weight().tobytes() == whole.layers[0].dense_weight().tobytes()


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Any) -> None:
    X, y = blobs()
    path = tmp_path / "training.safetensors"
    network(6, 8, 2).fit(X, y, epochs=1, random_state=0, checkpoint=path)
    changes = ({"epochs": 2}, {"random_state": 1}, {"learning_rate": 0.1}, {"dropout": 0.5})
    for changed in changes:
        with pytest.raises(ValueError, match="other data or settings"):
            network(6, 8, 2).fit(
                X, y, checkpoint=path, **({"epochs": 1, "random_state": 0} | changed)
            )
    with pytest.raises(ValueError, match="other data or settings"):
        network(6, 8, 2).fit(X + 1, y, epochs=1, random_state=0, checkpoint=path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(qc.FormatError):
        network(6, 8, 2).fit(X, y, epochs=1, random_state=0, checkpoint=path)


def test_regrowth_keeps_the_sparsity_and_moves_the_weights() -> None:
    X, y = blobs()
    inner = qc.ConstantSparsity(0.75, 0, frequency=10)
    nets = [
        network(6, 16, 2).fit(
            X,
            y,
            epochs=8,
            random_state=0,
            batch_size=20,
            prune=qc.Pruner(schedule=schedule, scope="layer"),
        )
        for schedule in (inner, qc.Regrowth(inner))
    ]
    masks = [net.layers[0].dense_weight() != 0 for net in nets]
    assert [np.count_nonzero(mask) for mask in masks] == [24, 24]
    assert (masks[0] != masks[1]).any()


def test_what_regrows_has_the_greatest_gradients() -> None:
    rng = np.random.default_rng(0)
    w, gradient = rng.standard_normal((2, 8, 10))
    schedule = qc.Regrowth(qc.ConstantSparsity(0.5, 0), 0.5, end_step=100)
    pruner = qc.Pruner(schedule=schedule, scope="layer")
    mask = pruner.masks_at({"fc1.weight": w}, 0, {"fc1.weight": gradient})["fc1.weight"]
    strong = np.abs(w) >= np.sort(np.abs(w).reshape(-1))[-20]
    assert mask.sum() == 40
    assert mask[strong].all()
    others = np.sort(np.abs(gradient[~strong]))[::-1]
    assert set(np.abs(gradient[mask & ~strong])) == set(others[:20])
    with pytest.raises(ValueError, match="the schedule regrows"):
        qc.Pruner(pattern="2:4", schedule=schedule).masks_at({"fc1.weight": w}, 0)
    with pytest.raises(ValueError, match="gradients is None"):
        pruner.masks_at({"fc1.weight": w}, 0)


def test_rewinding_takes_the_weights_back() -> None:
    X, y = blobs()
    schedule = qc.Rewinding(0.5, rounds=1, rewind_step=15)
    common: dict[str, Any] = {"epochs": 4, "batch_size": 20, "random_state": 0, "progress": False}
    training = Training(
        network(6, 8, 2),
        X,
        y,
        Settings(prune=qc.Pruner(schedule=schedule, scope="layer"), **common),
    )
    seen = {}
    optimizer = training.optimizer

    class Watched:
        def start(self, size: int) -> Any:
            return optimizer.start(size)

        def step(self, number: int, params: Any, *rest: Any) -> None:
            seen[len(seen)] = (number, params.copy(), rest[2])
            optimizer.step(number, params, *rest)

    training.optimizer = Watched()
    training.run()
    cycle = training.rewinds.cycle_steps  # type: ignore[union-attr]
    number, params, rate = seen[cycle]
    np.testing.assert_array_equal(params, seen[15][1])
    assert (number, rate) == (1, seen[15][2])
    assert [seen[cycle + k][0] for k in range(3)] == [1, 2, 3]
    assert np.count_nonzero(training.net.layers[0].dense_weight()) == 24


def test_regularizers_leave_exact_zeros_and_learn() -> None:
    X, y, X_test, y_test = digits()
    common: dict[str, Any] = {"epochs": 12, "random_state": 0, "learning_rate": 3e-3}
    net = network(64, 32, 10).fit(X, y, **common, regularize=qc.nn.L1(0.3))
    assert np.mean(net.layers[0].dense_weight() == 0) > 0.3
    assert net.score(X_test, y_test) > 0.9
    grouped = network(64, 32, 10).fit(X, y, **common, regularize=qc.nn.GroupLasso(0.2))
    weight = grouped.layers[0].dense_weight()
    dead = ~weight.any(axis=1)
    assert 3 < dead.sum() < 29
    assert (weight[~dead] != 0).all()
    assert grouped.score(X_test, y_test) > 0.9
    assert len(qc.compact(grouped).layers[0].dense_weight()) == 32 - dead.sum()


@pytest.mark.parametrize("strength", [-1.0, float("nan"), "much"])
def test_a_strength_is_a_number_that_is_not_negative(strength: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="strength"):
        qc.nn.L1(strength)
    with pytest.raises(TypeError, match="regularize is 'l1'"):
        network(6, 8, 2).fit(*blobs(), regularize="l1")  # type: ignore[arg-type]
