"""`qcore.Pruner` over dicts and networks, at once and in training."""

import json

import numpy as np
import pytest

import qcore as qc
from qcore.arrays.tensor.functions import quantize


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "fc1.weight": rng.standard_normal((20, 30)).astype(np.float32),
        "fc1.bias": rng.standard_normal(20).astype(np.float32),
        "fc2.weight": 5 * rng.standard_normal((7, 20)).astype(np.float32),
        "fc2.bias": rng.standard_normal(7).astype(np.float32),
        "steps": np.arange(6).reshape(2, 3),
    }


def network(seed=0):
    w = arrays(seed)
    layers = [
        qc.nn.Dense.from_weights(
            w[f"{name}.weight"], w[f"{name}.bias"], layout="out_in", activation=activation
        )
        for name, activation in (("fc1", "relu"), ("fc2", "softmax"))
    ]
    return qc.nn.Sequential(layers)


def zeros(w):
    return int(np.count_nonzero(w == 0))


def test_each_tensor_is_pruned_alone_and_the_rest_left():
    weights = arrays()
    pruner = qc.Pruner(0.8, scope="layer")
    small = pruner.fit_transform(weights)
    for name in ("fc1.weight", "fc2.weight"):
        np.testing.assert_array_equal(small[name], qc.prune(weights[name], sparsity=0.8))
        np.testing.assert_array_equal(pruner.masks_[name], small[name] != 0)
    for name in ("fc1.bias", "fc2.bias", "steps"):
        assert small[name] is weights[name]
    assert list(small) == list(weights)
    assert pruner.sparsity_ == pytest.approx(0.8, abs=1e-3)
    np.testing.assert_array_equal(weights["fc1.weight"], arrays()["fc1.weight"])


def test_global_scope_has_one_threshold():
    weights = arrays()
    small = qc.Pruner(0.75, scope="global").fit_transform(weights)
    names = ["fc1.weight", "fc2.weight"]
    together = np.concatenate([weights[name].reshape(-1) for name in names])
    expected = qc.prune(together, sparsity=0.75)
    np.testing.assert_array_equal(
        np.concatenate([small[name].reshape(-1) for name in names]), expected
    )
    assert zeros(small["fc1.weight"]) / 600 > zeros(small["fc2.weight"]) / 140
    mixed = weights | {"fc2.weight": weights["fc2.weight"].astype(np.float64)}
    np.testing.assert_array_equal(
        qc.Pruner(0.75, scope="global").fit_transform(mixed)["fc2.weight"], small["fc2.weight"]
    )


def test_the_scope_that_is_not_said_is_that_of_compress():
    """All weights together, but by layer where pattern, criterion or sparsity asks for it."""
    weights = arrays()
    for options in ({"sparsity": 0.5}, {"sparsity": {"*": 0.5}}, {"pattern": "2:4"}):
        pruned = qc.Pruner(**options).fit_transform(weights)
        small = qc.compress(weights, bits=None, **options)
        for name, value in pruned.items():
            np.testing.assert_array_equal(np.asarray(small[name]), value)
    together = qc.Pruner(0.5, scope="global").fit_transform(weights)
    np.testing.assert_array_equal(
        together["fc1.weight"], qc.Pruner(0.5).fit_transform(weights)["fc1.weight"]
    )
    assert qc.Pruner(0.5, criterion="wanda")._scope == "layer"


def test_a_network_comes_back_as_a_network():
    net = network()
    small = qc.Pruner(0.5, scope="layer").fit_transform(net)
    assert isinstance(small, qc.nn.Sequential)
    for name in ("fc1.weight", "fc2.weight"):
        before, after = net.named_weights()[name], small.named_weights()[name]
        np.testing.assert_array_equal(after, qc.prune(before, sparsity=0.5))
        assert zeros(before) == 0
    x = np.random.default_rng(1).standard_normal((5, 30)).astype(np.float32)
    assert small.predict_proba(x).shape == (5, 7)


def test_what_is_ignored_stays():
    weights = arrays()
    small = qc.Pruner(0.5, ignore=["fc1"]).fit_transform(weights)
    assert small["fc1.weight"] is weights["fc1.weight"]
    assert zeros(small["fc2.weight"]) == 70
    small = qc.Pruner(0.5, ignore=["re:2.w"]).fit_transform(weights)
    assert zeros(small["fc2.weight"]) == 0


def test_neurons_leave_the_outputs_and_take_their_bias_along():
    weights = arrays()
    del weights["steps"]
    small = qc.Pruner(0.25, pattern="neurons").fit_transform(weights)
    gone = np.flatnonzero((small["fc1.weight"] == 0).all(axis=1))
    assert len(gone) == 5
    np.testing.assert_array_equal(np.flatnonzero(small["fc1.bias"] == 0), gone)
    np.testing.assert_array_equal(small["fc2.weight"], weights["fc2.weight"])


def test_n_of_m():
    small = qc.Pruner(pattern="2:4").fit_transform(arrays())
    assert zeros(small["fc1.weight"]) == 20 * 14
    np.testing.assert_array_equal(
        small["fc2.weight"], qc.prune(arrays()["fc2.weight"], pattern="2:4")
    )


def test_the_report_counts_every_tensor():
    pruner = qc.Pruner(0.9, scope="layer")
    small = pruner.fit_transform(arrays())
    rows = {row["tensor"]: row for row in pruner.report_.to_dict()["rows"]}
    assert set(rows) == set(small)
    row = rows["fc1.weight"]
    assert (row["shape"], row["size"], row["nnz"]) == ("20x30", 600, 60)
    assert row["density"] == pytest.approx(0.1)
    assert (row["bytes"], row["sparse bytes"]) == (2400, 60 * 4 + 75)
    totals = pruner.report_.to_dict()["totals"]
    assert totals["nnz"] == 74
    assert totals["bytes"] == sum(value.nbytes for value in small.values())
    assert "fc1.weight" in str(pruner.report_)
    json.loads(pruner.report_.to_json())


def test_masks_follow_the_schedule_and_the_weights():
    schedule = qc.PolynomialDecay(0.0, 0.8, 0, 40, frequency=20)
    pruner = qc.Pruner(schedule=schedule, scope="layer")
    weights = {name: value for name, value in arrays().items() if name != "steps"}
    for step in range(60):
        masks = pruner.masks_at(weights, step)
        assert (masks is not None) == (step in (0, 20, 40))
        if masks is not None:
            assert set(masks) == {"fc1.weight", "fc2.weight"}
            for name, mask in masks.items():
                size = mask.size
                assert zeros(mask) == round(schedule.sparsity(step) * size)
                kept = np.abs(weights[name][mask]).min(initial=np.inf)
                assert kept >= np.abs(weights[name][~mask]).max(initial=0)
                weights[name] = weights[name] * mask
    assert zeros(weights["fc1.weight"]) == 480


@pytest.mark.parametrize("steps", [1, 2, 10, 37, 640, 9380])
def test_the_default_schedule_ends_at_the_sparsity(steps):
    pruner = qc.Pruner(0.9, scope="layer")
    trained = pruner.for_training(steps)
    assert pruner.schedule is None
    turns = [step for step in range(steps + 1) if trained.schedule.should_prune(step)]
    assert turns
    assert trained.schedule.sparsity(turns[-1]) == 0.9
    assert turns[-1] <= max(1, 0.6 * steps)


def test_a_given_schedule_is_kept_in_training():
    schedule = qc.ConstantSparsity(0.5, 3)
    assert qc.Pruner(schedule=schedule).for_training(100).schedule is schedule
    assert qc.Pruner(schedule=schedule).fit(arrays()).sparsity_ == pytest.approx(0.5)
    trained = qc.Pruner(pattern="1:4").for_training(100)
    assert trained.masks_at(arrays(), trained.schedule.begin_step) is not None


def test_training_reaches_the_sparsity():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 12)).astype(np.float32)
    y = (X[:, 0] + X[:, 1] > 0).astype(int)
    net = qc.nn.Sequential(
        [qc.nn.Dense(12, 16, activation="relu"), qc.nn.Dense(16, 2, activation="softmax")]
    )
    net.fit(
        X,
        y,
        batch_size=10,
        epochs=6,
        learning_rate=1e-2,
        random_state=0,
        prune=qc.Pruner(0.8, scope="layer"),
    )
    weights = net.named_weights()
    assert zeros(weights["fc1.weight"]) == round(0.8 * 192)
    assert zeros(weights["fc2.weight"]) == round(0.8 * 32)
    assert net.score(X, y) > 0.9


def test_manners_of_an_estimator():
    base = pytest.importorskip("sklearn.base")
    schedule = qc.ConstantSparsity(0.5, 0)
    pruner = qc.Pruner(0.5, scope="global", schedule=schedule)
    twin = base.clone(pruner)
    assert twin.get_params() == pruner.get_params()
    assert twin.set_params(sparsity=0.25).sparsity == 0.25
    assert repr(qc.Pruner(0.5)) == "Pruner(sparsity=0.5)"
    with pytest.raises(ValueError, match="not fitted"):
        twin.transform(arrays())
    with pytest.raises(ValueError, match="nonsense is not a parameter"):
        twin.set_params(nonsense=1)


@pytest.mark.parametrize(
    ("pruner", "message"),
    [
        (qc.Pruner(), "sparsity is None"),
        (qc.Pruner(2.0), "sparsity is 2.0"),
        (qc.Pruner(0.5, pattern="5-5"), "pattern is '5-5'"),
        (qc.Pruner(0.5, scope="model"), "scope is 'model'.*'layer', 'global'"),
        (qc.Pruner(pattern="2:4", scope="global"), "by layer only"),
        (qc.Pruner(0.5, criterion="x"), "criterion is 'x'"),
    ],
)
def test_options_that_do_not_fit(pruner, message):
    with pytest.raises(ValueError, match=message):
        pruner.fit(arrays())


def test_models_that_do_not_fit():
    weights = arrays()
    pruner = qc.Pruner(0.5, scope="layer").fit(weights)
    with pytest.raises(ValueError, match="has no tensor"):
        pruner.transform({"fc1.weight": weights["fc1.weight"]})
    with pytest.raises(ValueError, match=r"fc1\.weight has shape"):
        pruner.transform(weights | {"fc1.weight": np.ones((2, 2), np.float32)})
    with pytest.raises(TypeError, match="prune before quantizing"):
        pruner.fit({"w": quantize(np.ones((2, 2), np.float32))})
    with pytest.raises(TypeError, match="model is list"):
        pruner.fit([1, 2])
    weights["fc2.weight"][3, 4] = np.nan
    with pytest.raises(ValueError, match=r"fc2\.weight\[3, 4\] is NaN"):
        pruner.fit(weights)
    with pytest.raises(ValueError, match="schedule is None"):
        pruner.masks_at(weights, 0)


def labelled(n=400, seed=2):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 30)).astype(np.float32)
    return X, (X @ rng.standard_normal((30, 7))).argmax(axis=1)


def logits_error(net, small, X):
    return float(np.mean((net.predict_logits(X) - small.predict_logits(X)) ** 2))


def test_sparsity_by_pattern():
    small = qc.Pruner({"fc1": 0.9, "*": 0.5}).fit_transform(arrays())
    assert zeros(small["fc1.weight"]) == 540
    assert zeros(small["fc2.weight"]) == 70
    with pytest.raises(ValueError, match=r"sparsity names none for 'fc2\.weight'"):
        qc.Pruner({"fc1": 0.9}).fit(arrays())
    with pytest.raises(ValueError, match=r"sparsity\['fc1'\] is 2"):
        qc.Pruner({"fc1": 2, "*": 0.5}).fit(arrays())
    with pytest.raises(ValueError, match="it takes one sparsity"):
        qc.Pruner({"*": 0.5}, scope="global").fit(arrays())


def test_blocks_are_ranked_together_in_the_global_scope():
    small = qc.Pruner(0.5, pattern="4x1", scope="global").fit_transform(arrays())
    assert zeros(small["fc1.weight"]) / 600 > 0.5 > zeros(small["fc2.weight"]) / 140


def test_sparsity_by_pattern_rises_in_proportion():
    schedule = qc.PolynomialDecay(0.0, 0.8, 0, 40, frequency=20)
    pruner = qc.Pruner({"fc1": 0.8, "*": 0.4}, schedule=schedule)
    masks = pruner.masks_at(arrays(), 20)
    share = schedule.sparsity(20)
    assert zeros(masks["fc1.weight"]) == round(share * 600)
    assert zeros(masks["fc2.weight"]) == round(share / 2 * 140)


def test_sensitivity_spares_the_layers_that_the_output_hangs_on():
    net = network()
    X, _ = labelled()
    pruner = qc.Pruner(0.6, scope="sensitivity")
    small = pruner.fit_transform(net, X)
    total = sum(zeros(small.named_weights()[f"{name}.weight"]) for name in ("fc1", "fc2"))
    assert total == pytest.approx(0.6 * 740, abs=1)
    assert pruner.targets_["fc1.weight"] != pruner.targets_["fc2.weight"]
    plain = qc.Pruner(0.6).fit_transform(net)
    assert logits_error(net, small, X) < logits_error(net, plain, X)
    with pytest.raises(ValueError, match="needs a network and samples"):
        pruner.fit(net)


@pytest.mark.parametrize("criterion", ["wanda", "sparsegpt", "taylor"])
def test_networks_take_evidence_from_samples(criterion):
    net = network()
    X, y = labelled()
    X[:, :10] *= 0.05  # weights on faint inputs matter little
    pruner = qc.Pruner(0.5, scope="layer", criterion=criterion)
    small = pruner.fit_transform(net, X, y)
    assert zeros(small.named_weights()["fc1.weight"]) == 300
    assert logits_error(net, small, X) < logits_error(
        net, qc.Pruner(0.5, scope="layer").fit_transform(net), X
    )
    with pytest.raises(ValueError, match="is None"):
        pruner.fit(net)


def test_dicts_take_evidence_by_name():
    weights = arrays()
    gradients = {name: np.ones_like(value) for name, value in weights.items()}
    small = qc.Pruner(0.5, scope="layer", criterion="taylor").fit_transform(
        weights, gradients=gradients
    )
    np.testing.assert_array_equal(
        small["fc1.weight"], qc.prune(weights["fc1.weight"], sparsity=0.5)
    )
    with pytest.raises(ValueError, match=r"stats has nothing for 'fc1\.weight'"):
        qc.Pruner(0.5, criterion="sparsegpt").fit(weights)
    with pytest.raises(ValueError, match="stats is None; criterion 'wanda' needs it"):
        qc.Pruner(0.5, criterion="wanda").fit(weights)


@pytest.mark.parametrize("pattern", ["2:4", "unstructured"])
def test_sparsegpt_keeps_what_it_found(pattern):
    net = network()
    X, _ = labelled()
    pruner = qc.Pruner(0.5, pattern=pattern, criterion="sparsegpt").fit(net, X)
    small = pruner.transform(net)
    for name, mask in pruner.masks_.items():
        np.testing.assert_array_equal(small.named_weights()[name] != 0, mask)
    plain = qc.Pruner(0.5, scope="layer", pattern=pattern).fit_transform(net)
    assert logits_error(net, small, X) < 0.8 * logits_error(net, plain, X)


@pytest.mark.parametrize("options", [{"criterion": "taylor"}, {"scope": "sensitivity"}])
def test_what_needs_samples_does_not_go_with_training(options):
    with pytest.raises(ValueError, match="do not go with training"):
        qc.Pruner(0.5, **options).for_training(100)


def test_the_report_has_the_score_of_each_layer_where_there_are_labels():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 8)).astype(np.float32)
    y = (X[:, 0] > 0).astype(int)
    net = qc.nn.Sequential([qc.nn.Dense(8, 16, "relu"), qc.nn.Dense(16, 2, "softmax")])
    net.fit(X, y, epochs=20, random_state=0, progress=False)
    pruner = qc.Pruner({"fc1": 0.95, "fc2": 0.1})
    small = pruner.fit(net, X, y).transform(net)
    rows = {row["tensor"]: row for row in pruner.report_.rows}
    alone = net.with_weights({"fc1.weight": small.layers[0].weight})
    assert rows["fc1.weight"]["score"] == alone.score(X, y)
    assert rows["fc1.weight"]["score"] < rows["fc2.weight"]["score"]
    assert pruner.report_.totals["score"] == small.score(X, y) == pruner.scores_["all"]
    assert "score" not in rows["fc1.bias"]
    qc.Pruner(0.5).fit_transform(net, X)  # without labels there are none
