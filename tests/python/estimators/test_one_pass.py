"""Pruning and quantizing in one pass, and what a layer-by-layer pruner does for a network."""

from itertools import pairwise

import numpy as np
import pytest

import qcore as qc
from qcore.graph.node import Node
from qcore.graph.value import Value


def problem(seed=0, rows=900):
    """A network with correlated inputs, samples, and others that it has not seen."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((12, 40))
    X = np.maximum(rng.standard_normal((2 * rows, 12)) @ mix, 0).astype(np.float32)
    widths = (40, 32, 24, 5)
    weights = [rng.standard_normal(s[::-1]) / np.sqrt(s[0]) for s in pairwise(widths)]
    biases = [0.1 * rng.standard_normal(width) for width in widths[1:]]
    net = qc.nn.Sequential.from_arrays(weights, biases, layout="out_in", output="linear")
    return net, X[:rows], X[rows:]


def error(net, other, X):
    before = net.predict_logits(X)
    return float(np.mean((other.predict_logits(X) - before) ** 2) / np.mean(before**2))


def density(net):
    weights = [layer.dense_weight() for layer in net.layers]
    return sum(map(np.count_nonzero, weights)) / sum(w.size for w in weights)


@pytest.mark.parametrize("options", [{"sparsity": 0.5}, {"sparsity": 0.7}, {"pattern": "2:4"}])
@pytest.mark.parametrize("bits", [3, 4, 8])
def test_one_pass_is_better_than_two_on_inputs_that_were_not_seen(bits, options):
    net, X, unseen = problem()
    small = qc.compress(net, X, bits=bits, activations=None, **options)
    scope = "layer" if "pattern" in options else "global"
    pruned = qc.Pruner(scope=scope, **options).fit_transform(net)
    two = qc.Quantizer(bits, activations=None).fit_transform(pruned, X)
    assert error(net, small, unseen) < 0.5 * error(net, two, unseen)
    assert density(small) <= density(pruned) + 1e-9


def test_no_labels_and_the_report_has_density_and_bits():
    net, X, _ = problem()
    small = qc.compress(net, X, bits=4, sparsity=0.5)
    rows = {row["tensor"]: row for row in small.report_.rows}
    assert {rows[f"fc{k}.weight"]["bits"] for k in (1, 2, 3)} == {4}
    assert small.report_.totals["density"] == pytest.approx(density(small))
    kept = [rows[f"fc{k}.weight"]["density"] for k in (1, 2, 3)]
    assert max(kept) > min(kept) + 0.05  # what each layer can spare
    again = qc.compress(net, X, bits=4, sparsity=0.5)
    np.testing.assert_array_equal(small.predict_logits(X), again.predict_logits(X))


@pytest.mark.parametrize("options", [{"scheme": "kmeans", "levels": 8}, {"bits": 16}])
def test_codes_that_no_algorithm_fits_are_pruned_all_the_same(options):
    net, X, _ = problem()
    small = qc.compress(net, X, sparsity=0.6, **options)
    assert density(small) <= 0.4 + 1e-3


@pytest.mark.parametrize("criterion", ["magnitude", "wanda"])
def test_any_criterion_goes_in_one_pass(criterion):
    net, X, unseen = problem()
    pruner = qc.Pruner(0.5, criterion=criterion)
    small = qc.Quantizer(4, activations=None).fit_transform(net, X, prune=pruner)
    for layer in small.layers:
        assert not layer.dense_weight()[~pruner.masks_[f"{layer.name}.weight"]].any()
    two = qc.Quantizer(4, activations=None).fit_transform(pruner.transform(net), X)
    assert error(net, small, unseen) < error(net, two, unseen)


def test_a_network_is_pruned_better_than_layer_by_layer_alone():
    net, X, unseen = problem()
    pruned = qc.Pruner(0.6, criterion="sparsegpt", scope="sensitivity").fit_transform(net, X)
    even = qc.Pruner(0.6, criterion="sparsegpt").fit_transform(net, X)
    alone = net.copy()
    value = X
    for layer, own in zip(net.layers, alone.layers, strict=True):
        stats = qc.InputStats().update(value)
        own.weight = qc.prune(layer.weight, sparsity=0.6, criterion="sparsegpt", stats=stats)
        value = layer.forward(value)
    assert density(pruned) == pytest.approx(0.4, abs=1e-3)
    assert error(net, even, unseen) < error(net, alone, unseen)
    assert error(net, pruned, unseen) < error(net, even, unseen)


def test_what_does_not_go_together_is_refused():
    net, X, _ = problem()
    pruner = qc.Pruner(0.5, criterion="sparsegpt")
    with pytest.raises(ValueError, match="needs a network and samples X"):
        qc.Quantizer(4).fit(net, prune=pruner)
    with pytest.raises(ValueError, match="one width"):
        qc.Quantizer((4, 8), target_bits=5).fit(net, X, prune=pruner)
    with pytest.raises(ValueError, match=r"prune takes fc1\.weight, which is not quantized"):
        qc.Quantizer(4, ignore=["fc1*"]).fit(net, X, prune=pruner)
    with pytest.raises(ValueError, match="scope is 'global'"):
        qc.Pruner(0.5, criterion="sparsegpt", scope="global").fit(net, X)
    with pytest.raises(ValueError, match="pattern is given; a file"):
        qc.compress("net.safetensors", output="o.safetensors", pattern="2:4")


def test_progress_is_told():
    net, X, _ = problem()
    said = []
    pruner = qc.Pruner(
        0.5,
        criterion="sparsegpt",
        scope="sensitivity",
        progress=lambda done, total, text: said.append((done, total, text)),
    )
    pruner.fit(net, X)
    assert [step[:2] for step in said] == 2 * [(0, 3), (1, 3), (2, 3)]


def test_neurons_go_by_what_samples_and_labels_say():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 12)).astype(np.float32)
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    net = qc.nn.Sequential([qc.nn.Dense(12, 48, "relu"), qc.nn.Dense(48, 2, "softmax")])
    net.fit(X, y, epochs=30, random_state=0, progress=False)
    options = {"bits": None, "sparsity": 0.6, "pattern": "neurons"}
    scores = [qc.compress(net, *given, **options).score(X, y) for given in ((X, y), (X,), ())]
    assert scores[0] > scores[2]
    assert scores[1] >= scores[2]
    small = qc.compact(qc.compress(net, X, y, **options))
    assert small.layers[0].out_features == 19


@pytest.mark.parametrize("options", [{"sparsity": 0.5}, {"pattern": "2:4"}])
def test_signs_cannot_be_pruned(options):
    with pytest.raises(ValueError, match="codes of 1 bit are signs"):
        qc.compress({"w": np.ones((4, 8), np.float32)}, bits=1, **options)


def test_shares_of_a_graph_follow_what_its_outputs_bear() -> None:
    """Weights whose outputs hardly count lose more; all together lose what was asked."""
    rng = np.random.default_rng(5)
    loud, quiet = (rng.standard_normal((32, 24)).astype(np.float32) for _ in range(2))
    net = qc.Graph(
        [
            Node("loud", "MatMul", ("x", "w"), ("a",)), Node("quiet", "MatMul", ("x", "v"), ("b",)),
            Node("less", "Mul", ("b", "small"), ("c",)), Node("sum", "Add", ("a", "c"), ("y",)),
        ],
        inputs=[Value("x", "float32", ("n", 32))], outputs=[Value("y", "float32")],
        constants={"w": loud, "v": quiet, "small": np.float32(0.1)},
    )  # fmt: skip
    X = rng.standard_normal((256, 32)).astype(np.float32)
    pruner = qc.Pruner(0.5, criterion="sparsegpt", scope="sensitivity", progress=False).fit(net, X)
    assert pruner.targets_["v"] > pruner.targets_["w"] + 0.2
    assert abs(pruner.sparsity_ - 0.5) < 0.01
    even = qc.Pruner(0.5, criterion="sparsegpt", scope="layer", progress=False)
    errors = [
        np.square(one.fit_transform(net, X).run({"x": X})["y"] - net.run({"x": X})["y"]).mean()
        for one in (pruner, even)
    ]
    assert errors[0] < 0.7 * errors[1]
