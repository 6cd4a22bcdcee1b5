"""Deep Compression: shared weights, the packed file, and the search for a size or a score."""

from itertools import pairwise

import numpy as np
import pytest

import qcore as qc
from qcore.deep_compression.codes import choose_codes
from qcore.deep_compression.tidy import as_stored, tidied
from qcore.files.qcore_format.container import Container
from qcore.saving.checkpoint import stored_nbytes
from qcore.saving.packed import PACKED, is_packable, packed_nbytes


def digits():
    datasets = pytest.importorskip("sklearn.datasets")
    X, y = datasets.load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(X))
    train, test = order[:1400], order[1400:]
    return X[train], y[train], X[test], y[test]


def network(*widths, seed=0, classes=True):
    rng = np.random.default_rng(seed)
    weights = [rng.standard_normal((b, a)) for a, b in pairwise(widths)]
    net = qc.nn.Sequential.from_arrays(
        weights, [rng.standard_normal(len(w)) for w in weights], layout="out_in"
    )
    if classes:
        net.classes_ = np.arange(widths[-1])
    return net


def pruned(*widths, sparsity=0.9, seed=0):
    return qc.Pruner(sparsity, scope="global").fit_transform(network(*widths, seed=seed))


def shared(net, levels=6, **options):
    small = net.copy()
    for layer in small.layers:
        layer.weight = choose_codes(layer.weight, levels=levels, **options)
    small.packed = True
    return small


@pytest.fixture(scope="module")
def trained():
    X, y, _, _ = digits()
    layers = [
        qc.nn.Dense(64, 40, "relu"),
        qc.nn.Dense(40, 24, "relu"),
        qc.nn.Dense(24, 10, "softmax"),
    ]
    return qc.nn.Sequential(layers).fit(X, y, epochs=30, random_state=0)


def error(w, q, importance=1.0):
    return float(np.sum(importance * (w - q.dequantize()) ** 2))


def test_codes_without_a_price_are_those_of_k_means():
    w = qc.prune(
        np.random.default_rng(0).standard_normal((30, 40)).astype(np.float32), sparsity=0.8
    )
    q = choose_codes(w, levels=6)
    np.testing.assert_array_equal(q.dequantize() == 0, w == 0)
    assert q.levels.size <= 7
    plain = qc.quantize(w, scheme="kmeans", levels=7)
    assert error(w, q) <= 1.001 * error(w, plain)


def test_a_higher_price_leaves_fewer_bits_and_more_error():
    w = qc.prune(
        np.random.default_rng(1).standard_normal((60, 80)).astype(np.float32), sparsity=0.8
    )
    found = [choose_codes(w, levels=8, rate=rate) for rate in (0.0, 0.01, 0.05)]
    net = network(80, 60)
    net.packed = True
    sizes = [stored_nbytes(net.with_weights({"fc1.weight": q})) for q in found]
    assert sizes[0] > sizes[1] > sizes[2]
    assert error(w, found[0]) < error(w, found[1]) < error(w, found[2])


def test_important_weights_are_kept_more_exactly():
    rng = np.random.default_rng(2)
    w = rng.standard_normal((40, 40)).astype(np.float32)
    importance = np.where(np.arange(40) < 10, 100.0, 1.0) * np.ones((40, 1))
    q, plain = choose_codes(w, importance, levels=5), choose_codes(w, levels=5)
    assert error(w, q, importance) < error(w, plain, importance)


@pytest.mark.parametrize("w", [np.zeros((3, 4)), np.ones((2, 5)), np.diag([1.0, -2.0, 3.0])])
def test_degenerate_matrices_have_codes(w):
    q = choose_codes(w.astype(np.float32), levels=8)
    np.testing.assert_array_equal(q.dequantize(), w)


def test_tidying_keeps_the_function():
    net = pruned(20, 30, 16, 5, sparsity=0.93)
    small = tidied(net)
    X = np.random.default_rng(5).standard_normal((40, 20)).astype(np.float32)
    np.testing.assert_allclose(small.predict_logits(X), net.predict_logits(X), rtol=1e-4, atol=1e-4)
    for layer in small.layers[:-1]:
        counts = np.count_nonzero(layer.weight, axis=1)
        assert (np.diff(counts) <= 0).all()
        assert counts.min() > 0
    assert stored_nbytes(shared(small)) < stored_nbytes(shared(net))


@pytest.mark.parametrize("widths", [(5, 3), (64, 30, 10), (50, 40, 30, 7)])
@pytest.mark.parametrize("rounded", [False, True])
def test_a_packed_file_gives_back_every_bit(tmp_path, widths, rounded):
    net = shared(pruned(*widths))
    if rounded:
        net = as_stored(net, 6)
    assert is_packable(net)
    path = tmp_path / "net.safetensors"
    net.save(path)
    assert path.stat().st_size == stored_nbytes(net)
    loaded = qc.load(path)
    assert loaded.packed
    tensors = qc.load_tensors(path)
    assert list(tensors) == list(net.named_weights())
    np.testing.assert_array_equal(tensors["fc1.weight"], net.layers[0].weight)
    for before, after in zip(net.layers, loaded.layers, strict=True):
        np.testing.assert_array_equal(before.weight.values, after.weight.values)
        np.testing.assert_array_equal(before.weight.levels, after.weight.levels)
        assert before.bias.tobytes() == after.bias.tobytes()
        assert (before.activation, before.name) == (after.activation, after.name)
    np.testing.assert_array_equal(loaded.classes_, net.classes_)
    assert 0 < packed_nbytes(net) < path.stat().st_size


def test_names_labels_and_missing_biases_come_back(tmp_path):
    w = qc.prune(np.random.default_rng(0).standard_normal((6, 8)).astype(np.float32), sparsity=0.8)
    layers = [qc.nn.Dense.from_weights(choose_codes(w), layout="out_in", name="stem")]
    bias = np.float32([-0.0, np.pi, 1e9])
    head = choose_codes(qc.prune(w[:3, :6], sparsity=0.7))
    layers.append(qc.nn.Dense.from_weights(head, bias, layout="out_in", activation="tanh"))
    net = qc.nn.Sequential(layers)
    net.packed = True
    for classes in (None, np.array(["a", "b", "c"]), np.array([2.0, 3.0, 5.0])):
        net.classes_ = classes
        net.save(tmp_path / "n.safetensors")
        loaded = qc.load(tmp_path / "n.safetensors")
        assert [layer.name for layer in loaded.layers] == ["stem", "fc2"]
        assert loaded.layers[0].bias is None
        assert loaded.layers[1].bias.tobytes() == bias.tobytes()
        if classes is None:
            assert loaded.classes_ is None
        else:
            np.testing.assert_array_equal(loaded.classes_, classes)
            assert loaded.classes_.dtype == classes.dtype


def test_what_is_not_pruned_and_shared_is_saved_as_ever(tmp_path):
    plain = shared(pruned(20, 10, 4))
    plain.packed = False
    plain.save(tmp_path / "plain.safetensors")
    assert PACKED not in Container(tmp_path / "plain.safetensors")
    assert not qc.load(tmp_path / "plain.safetensors").packed
    net = network(10, 8, 4)
    net.packed = True
    net.save(tmp_path / "dense.safetensors")
    np.testing.assert_array_equal(
        qc.load(tmp_path / "dense.safetensors").layers[0].weight, net.layers[0].weight
    )
    assert not is_packable(net)
    assert not is_packable(qc.compress(net, bits=8))
    assert not is_packable(shared(qc.Pruner(0.3).fit_transform(net)))


def test_every_changed_byte_is_noticed(tmp_path):
    path = tmp_path / "net.safetensors"
    shared(pruned(20, 10, 4)).save(path)
    assert list(Container(path)) == [PACKED]
    good = path.read_bytes()
    start = 8 + int.from_bytes(good[:8], "little")
    for at in range(start, len(good)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :])
        with pytest.raises(qc.FormatError, match="hash"):
            qc.load(path)
    path.write_bytes(good[:-3])
    with pytest.raises(qc.FormatError):
        qc.load(path)


def test_payloads_that_cannot_be_are_refused(tmp_path):
    """With a hash that is right: what a writer with bad intent would make."""
    from qcore.files.qcore_format import container
    from qcore.saving.packed import _hash, pack_layers

    body = pack_layers(shared(pruned(20, 10, 4))).tobytes()[8:]
    rng = np.random.default_rng(0)
    path = tmp_path / "net.safetensors"
    survived = 0
    for _ in range(300):
        changed = bytearray(body)
        for at in rng.integers(0, len(body), 3):
            changed[at] = rng.integers(256)
        if rng.random() < 0.3:
            del changed[rng.integers(len(changed)) :]
        payload = np.frombuffer(_hash(bytes(changed)) + bytes(changed), np.uint8)
        container.write(path, "network", {PACKED: payload})
        try:
            qc.load(path)
            survived += 1
        except qc.FormatError:
            pass
    assert survived < 300
    huge = b"\xff\xff\xff\xff\x7f" * 2 + bytes(30)
    container.write(path, "network", {PACKED: np.frombuffer(_hash(huge) + huge, np.uint8)})
    with pytest.raises(qc.FormatError):
        qc.load(path)


def test_shared_weights_train_and_stay_shared(trained):
    X, y, _, _ = digits()
    net = shared(qc.Pruner(0.7, scope="global").fit_transform(trained), levels=4)
    before = net.score(X, y)
    codes = [layer.weight.values.copy() for layer in net.layers]
    zeros = [layer.weight.dequantize() == 0 for layer in net.layers]
    net.fit(X, y, epochs=8, random_state=0, quantize=qc.Quantizer(scheme="kmeans"))
    assert net.score(X, y) > before
    for layer, was, zero in zip(net.layers, codes, zeros, strict=True):
        assert layer.weight.scheme == "kmeans"
        assert layer.weight.levels.size <= 5
        weight = layer.weight.dequantize()
        np.testing.assert_array_equal(weight[zero], 0)
        for code in np.unique(was):
            assert np.unique(weight[was == code]).size == 1


def test_shared_weights_have_the_gradient_of_their_level(trained):
    from qcore.training.settings import Settings
    from qcore.training.training import Training

    X, y, _, _ = digits()
    net = shared(qc.Pruner(0.7, scope="global").fit_transform(trained), levels=4)
    quantizer = qc.Quantizer(scheme="kmeans")
    training = Training(
        net, X[:64], y[:64], Settings(batch_size=64, quantize=quantizer, progress=False)
    )
    rows = np.arange(64)
    plain = Training(net.copy(), X[:64], y[:64], Settings(batch_size=64, progress=False))
    plain._step(rows, plain._buffers(64), None, 0)
    training._step(rows, training._buffers(64), None, 0)
    name = "fc1.weight"
    codes, levels = training.shared.start[name].values, training.shared.start[name].levels
    for code, level in enumerate(levels):
        total = 0.0 if level == 0 else plain.gradients[name][codes == code].sum()
        np.testing.assert_allclose(
            training.gradients[name][codes == code], total, rtol=1e-3, atol=1e-6
        )


def test_sharing_excludes_pruning_at_the_same_time(trained):
    X, y, _, _ = digits()
    with pytest.raises(ValueError, match="prune first"):
        trained.copy().fit(
            X, y, quantize=qc.Quantizer(scheme="kmeans"), prune=qc.Pruner(0.5), progress=False
        )


@pytest.mark.parametrize("target", [{"target_ratio": 12}, {"target_bytes": 1500}])
def test_a_size_is_kept(tmp_path, trained, target):
    X, y, Xt, yt = digits()
    small = qc.compress(trained, X, y, epochs=16, random_state=0, **target)
    path = tmp_path / "small.safetensors"
    small.save(path)
    float_bytes = sum(4 * w.size for w in trained.named_weights().values())
    most = target.get("target_bytes", float_bytes / target.get("target_ratio", 1))
    assert 0.8 * most < path.stat().st_size <= most
    assert small.score(Xt, yt) > trained.score(Xt, yt) - 0.06
    assert qc.load(path).score(Xt, yt) == small.score(Xt, yt)
    rows = small.report_.to_dict()["rows"]
    chosen = [row for row in rows if row["network"] == "chosen"]
    assert len(chosen) == 1
    assert chosen[0]["bytes"] == path.stat().st_size
    assert "the best score within" in small.report_.totals["network"]
    assert trained.layers[0].weight.shape == (40, 64)


def test_a_score_is_kept_with_as_few_bytes_as_were_found(trained):
    X, y, Xt, yt = digits()
    small = qc.compress(
        trained, X, y, min_score=0.93, validation_data=(Xt, yt), epochs=16, random_state=0
    )
    assert small.score(Xt, yt) >= 0.93
    rows = small.report_.to_dict()["rows"]
    passing = [row["bytes"] for row in rows if row["score"] >= 0.93]
    assert small.report_.totals["bytes"] == min(passing)
    assert len(rows) > 2


def test_a_stopped_compression_goes_on(tmp_path, trained):
    X, y, _, _ = digits()
    options = {"target_ratio": 12, "epochs": 6, "random_state": 0}
    whole = qc.compress(trained, X, y, **options)
    calls = []

    def stop(done, total, text):
        calls.append(done)
        if len(calls) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        qc.compress(trained, X, y, folder=tmp_path, progress=stop, **options)
    assert list(tmp_path.iterdir())
    resumed = qc.compress(trained, X, y, folder=tmp_path, **options)
    for one, other in zip(whole.layers, resumed.layers, strict=True):
        assert one.weight.dequantize().tobytes() == other.weight.dequantize().tobytes()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target_ratio": 5, "min_score": 0.9}, ValueError, "give one of"),
        ({"target_ratio": 0.5}, ValueError, "target_ratio is 0.5"),
        ({"target_bytes": 50}, ValueError, "the target is 50 bytes"),
        ({"min_score": 1.5}, ValueError, "min_score is 1.5"),
        ({"epochs": 3}, TypeError, "without a target there is no training"),
        ({"target_ratio": 5, "nonsense": 3}, TypeError, "nonsense"),
    ],
)
def test_targets_that_do_not_fit(trained, options, error, message):
    X, y, _, _ = digits()
    with pytest.raises(error, match=message):
        qc.compress(trained, X, y, **options)


def test_targets_need_a_network_and_samples(trained):
    X, _, _, _ = digits()
    with pytest.raises(ValueError, match="needs a network, samples X and labels y"):
        qc.compress(trained, X, target_ratio=10)
    with pytest.raises(ValueError, match="needs a network"):
        qc.compress({"w": np.ones((3, 3), np.float32)}, X, X, target_ratio=10)
