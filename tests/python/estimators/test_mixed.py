"""Mixtures of widths: the solver against brute force, rows of their own width, networks."""

import copy
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qcore as qc
from layers import inputs, network, weights
from qcore.arrays.layerwise.float_rows import fit_rows
from qcore.arrays.layerwise.layerwise import ALGORITHMS, fit_codes
from qcore.arrays.tensor.options import Options
from qcore.estimators.calibration.calibration import quantized_input
from qcore.estimators.calibration.sensitivity import output_weights
from qcore.estimators.mixed.allocation import LayerChoice, allocate, allocate_each
from qcore.estimators.quantizer.walking import quantize_layers


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_the_allocation_is_the_best_of_all(data):
    errors = st.floats(0, 10, width=16)
    layers = []
    for _ in range(data.draw(st.integers(1, 2))):
        rows = data.draw(st.integers(1, 3))
        table = np.array(data.draw(st.lists(errors, min_size=2 * rows, max_size=2 * rows)))
        costs = sorted(data.draw(st.lists(st.integers(1, 6), min_size=2, max_size=2)))
        layers.append(LayerChoice(costs, table.reshape(rows, 2)))
    budget = data.draw(st.integers(0, 30))
    best = np.inf
    options = [list(itertools.product(range(2), repeat=len(layer.errors))) for layer in layers]
    for pick in itertools.product(*options):
        cost, error = measured(layers, pick)
        if cost <= budget:
            best = min(best, error)
    if not np.isfinite(best):
        with pytest.raises(ValueError, match="too low"):
            allocate(layers, budget)
        return
    found = allocate_each(layers, [budget, 2 * budget])[0]
    cost, error = measured(layers, found)
    assert cost <= budget
    assert error == pytest.approx(best)


def measured(layers, pick):
    cost = error = 0
    for layer, choice in zip(layers, pick, strict=True):
        cost += sum(layer.costs[c] for c in choice)
        error += sum(layer.errors[r, c] for r, c in enumerate(choice))
    return cost, error


def test_rows_of_their_own_width_pack_save_and_come_back(tmp_path):
    stats = qc.InputStats().update(inputs())
    widths = np.array([2, 3, 8, 4, 2, 5], np.uint8)
    q = fit_codes(weights(), stats, ALGORITHMS, Options(8, axis=0), widths)
    np.testing.assert_array_equal(q.row_bits, widths)
    assert q.packed.size == sum(-(-24 * int(b) // 8) for b in widths)
    assert q.nbytes == q.packed.size + 6 + 6 * 4 + 6
    for row, bits in zip(q.values, widths, strict=True):
        half = 2 ** (int(bits) - 1)
        assert -half <= row.min() <= row.max() < half
    qc.save(tmp_path / "q", q)
    back = qc.load(tmp_path / "q")
    assert back == q
    np.testing.assert_array_equal(back.dequantize(), q.dequantize())
    with pytest.raises(ValueError, match="no transpose"):
        _ = q.T
    with pytest.raises(ValueError, match="does not hold"):
        qc.QTensor.from_parts(q.values, q.scale, q.zero_point, axis=0, row_bits=np.full(6, 2))


def test_rows_that_stay_floats_are_stored_counted_and_come_back(tmp_path):
    w, stats = weights(), qc.InputStats().update(inputs())
    widths = np.array([2, 16, 8, 32, 16, 5], np.uint8)
    q = fit_rows(w, stats, ALGORITHMS, Options(8, axis=0), widths)
    real = q.dequantize()
    np.testing.assert_array_equal(real[3], w[3])
    np.testing.assert_array_equal(real[[1, 4]], w[[1, 4]].astype(np.float16))
    assert q.packed.size == sum(-(-24 * int(b) // 8) for b in widths)
    assert q.nbytes == q.packed.size + 6 + 6 * 4 + 6 * q.zero_point.any()
    qc.save(tmp_path / "q", q)
    back = qc.load(tmp_path / "q")
    assert back == q
    assert copy.deepcopy(q) == q
    np.testing.assert_array_equal(back.dequantize(), real)
    x = inputs(9)
    for activations in ("dynamic", None):
        np.testing.assert_allclose(
            qc.linear(x, q, activations=activations), x @ real.T, rtol=1e-4, atol=1e-4
        )
    parts = {"axis": 0, "row_bits": widths}
    with pytest.raises(ValueError, match=r"float_rows has shape \(2, 24\)"):
        qc.QTensor.from_parts(q.values, q.scale, **parts, float_rows=w[:2])
    with pytest.raises(ValueError, match="does not hold exactly"):
        qc.QTensor.from_parts(q.values, q.scale, **parts, float_rows=w[:3])
    with pytest.raises(ValueError, match="not 1 to 8, 16 or 32"):
        qc.QTensor.from_parts(q.values, q.scale, axis=0, row_bits=np.full(6, 9))
    with pytest.raises(ValueError, match="no row has a width"):
        qc.QTensor.from_parts(q.values, q.scale, axis=0, row_bits=np.full(6, 8), float_rows=w)


@pytest.mark.parametrize("activations", ["static", "dynamic", None])
def test_a_network_runs_codes_and_floats_of_one_layer(activations, tmp_path):
    net, x = network(), inputs(1000)
    exact = net.predict_logits(x)
    options = {"target_bits": 14, "activations": activations}
    quantizer = qc.Quantizer((4, 8, "float16", "float32"), **options)
    small = quantizer.fit_transform(net, x)
    split = [layer.float_rows for layer in small.layers if layer.float_rows is not None]
    assert any(rows.any() and not rows.all() for rows in split)
    logits = small.predict_logits(x)
    assert np.mean((logits - exact) ** 2) < 1e-3 * exact.var()
    value = x
    for layer in small.layers:
        value = layer.forward(quantized_input(value, layer.input_qparams), value)
    # The integers are the same; the float reference rounds sums elsewhere.
    assert np.mean((value - small.predict_proba(x)) ** 2) < 1e-13
    small.save(tmp_path / "net")
    back = qc.load(tmp_path / "net")
    assert back.kernels == small.kernels
    np.testing.assert_array_equal(back.predict_logits(x), logits)
    bits = sum(
        layer.in_features * int(layer.weight.row_bits.astype(int).sum())
        if isinstance(layer.weight, qc.QTensor) and layer.weight.row_bits is not None
        else (16 if isinstance(layer.weight, qc.QTensor) else 32) * layer.weight.size
        for layer in small.layers
    )
    assert bits <= 14 * sum(layer.weight.size for layer in small.layers)
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    session = runtime.InferenceSession(small.to_onnx().SerializeToString())
    found = session.run(["output"], {"input": x})[0]
    assert np.mean((found - small.predict_proba(x)) ** 2) < 1e-5


def test_weights_of_outputs_are_squared_derivatives():
    net, x = network(), inputs(20)
    found = output_weights(net, x)
    base = net.predict_logits(x).astype(np.float64)
    step = np.float32(1e-2)
    for index, layer in enumerate(net.layers):
        for row in range(0, layer.out_features, 5):
            bias = layer.bias.copy()
            bias[row] += step
            moved = net.with_weights({f"{layer.name}.bias": bias}).predict_logits(x)
            slope = (moved - base) / step
            wanted = np.mean(np.sum(slope**2, axis=1))
            assert found[index][row] == pytest.approx(wanted, rel=0.1, abs=1e-3)


@pytest.mark.parametrize("granularity", ["channel", "layer"])
def test_a_mixture_keeps_its_budget_and_is_nearer_than_one_width(granularity):
    net, x = network(), inputs(3000)
    exact = net.predict_logits(x[1000:])
    quantizer = qc.Quantizer((2, 3, 4, 8), target_bits=3, granularity=granularity)
    mixed = quantizer.fit_transform(net, x[:1000])
    even = qc.Quantizer(3).fit_transform(net, x[:1000])
    tensors = [layer.weight for layer in mixed.layers]
    bits = sum(int(q.row_bits.sum()) * q.shape[1] for q in tensors)
    assert bits <= 3 * sum(q.size for q in tensors)
    off = [np.mean((n.predict_logits(x[1000:]) - exact) ** 2) for n in (mixed, even)]
    assert off[0] <= off[1] * (1.0 if granularity == "channel" else 1.5)
    errors = [point["predicted error"] for point in quantizer.curve_]
    assert all(a >= b for a, b in itertools.pairwise(errors))


def test_a_target_in_bytes_holds():
    net, x = network(), inputs(500)
    for target in (900, 700):
        small = qc.Quantizer((2, 4, 8, "float32"), target_bytes=target).fit_transform(net, x)
        assert small.nbytes <= target
    with pytest.raises(ValueError, match="too low"):
        qc.Quantizer((2, 4), target_bytes=100).fit(net, x)


def test_time_and_score_are_targets():
    net, x = network(), inputs(500)
    loose = qc.Quantizer((8, "float32"), target_us=1e6).fit_transform(net, x)
    assert all(isinstance(layer.weight, np.ndarray) for layer in loose.layers)
    quantizer = qc.Quantizer((2, 3, 4, 8), min_score=0.97)
    small = quantizer.fit_transform(net, x)
    assert small.score(x, net.predict(x)) >= 0.97
    with pytest.raises(ValueError, match="no mixture"):
        qc.Quantizer((2,), min_score=1.01).fit(net, x)


def test_an_outlier_layer_stays_a_float():
    net, x = network(), inputs(1000)
    middle = net.layers[1].weight.copy()
    # One input of the layer is huge, and meets small weights: its integers leave the rest no steps.
    first, bias = net.layers[0].weight.copy(), net.layers[0].bias.copy()
    first[0], bias[0] = first[0] * 3000, bias[0] * 3000
    middle[:, 0] /= 3000
    net = net.with_weights({"fc1.weight": first, "fc1.bias": bias, "fc2.weight": middle})
    exact = net.predict_logits(x)
    small = qc.Quantizer((4, 8, "float32"), target_bits=20).fit_transform(net, x)
    assert isinstance(small.layers[1].weight, np.ndarray)
    assert small.layers[1].input_qparams is None
    int8 = qc.Quantizer(8).fit_transform(net, x)
    off = [np.mean((n.predict_logits(x) - exact) ** 2) for n in (small, int8)]
    assert off[0] < off[1] / 10


def test_a_network_of_every_type_runs_and_comes_back(tmp_path):
    net, x = network(), inputs(300)
    mixture = {
        "fc1.weight": np.array([2, 8] * 8, np.uint8), "fc2.weight": "float16",
    }  # fmt: skip
    quantizer = qc.Quantizer(8)
    quantizer.begin(net)
    quantizer.take_mixture(mixture)
    quantize_layers(
        quantizer, net, x, {name: quantizer._mode(name, True) for name in quantizer.bits_}
    )
    small = quantizer.transform(net)
    assert [layer.weight.dtype if hasattr(layer.weight, "dtype") else layer.weight.scheme
            for layer in small.layers] == ["affine", "float16", np.float32]  # fmt: skip
    small.save(tmp_path / "net")
    back = qc.load(tmp_path / "net")
    np.testing.assert_array_equal(back.predict_logits(x), small.predict_logits(x))
    assert (
        np.mean((small.predict_logits(x) - net.predict_logits(x)) ** 2)
        < net.predict_logits(x).var()
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"bits": (2, 4)}, "a mixture needs one target, found none"),
        ({"bits": (2, 4), "target_bits": 3, "target_us": 3}, "needs one target"),
        ({"bits": (2, "int8"), "target_bits": 3}, "bits has 'int8'"),
        ({"bits": ("float32",), "target_bits": 3}, "at least one integer width"),
        ({"bits": 4, "target_bits": 3}, "it is for a tuple of bits"),
        ({"bits": (2, 4), "target_bits": 1}, "too low"),
        ({"bits": (2, 4), "target_bits": 3, "granularity": "row"}, "granularity is 'row'"),
        ({"bits": 4, "nested": 4}, "bits must be 8"),
        ({"nested": 2}, "nested is 2"),
    ],
)
def test_what_is_refused(options, text):
    with pytest.raises(ValueError, match=text):
        qc.Quantizer(**options).fit(network(), inputs(100))


def test_a_mixture_needs_a_network_with_samples():
    for model, x in ((network(), None), ({"w": weights()}, None)):
        with pytest.raises(ValueError, match="needs a network and samples"):
            qc.Quantizer((2, 4), target_bits=3).fit(model, x)


# nested ------------------------------------------------------------------------------------------
def test_a_nested_network_runs_at_both_precisions(tmp_path):
    net, x = network(), inputs(3000)
    exact = net.predict_logits(x[1000:])
    both = qc.Quantizer(8, nested=4).fit_transform(net, x[:1000])
    four = qc.Quantizer(4, algorithm=ALGORITHMS[:3], narrow_range=True).fit_transform(net, x[:1000])

    def off(network):
        return float(np.mean((network.predict_logits(x[1000:]) - exact) ** 2))

    whole = off(both)
    both.save(tmp_path / "net")
    half = off(both.set_precision(4))
    assert whole < half / 4
    assert whole < 4 * off(qc.Quantizer(8).fit_transform(net, x[:1000]))
    assert half == pytest.approx(off(four), rel=0.3)
    assert off(both.set_precision(8)) == whole
    back = qc.load(tmp_path / "net").set_precision(4)
    assert off(back) == half
    assert back.copy().precision == 4


def test_precision_needs_codes_to_halve():
    with pytest.raises(ValueError, match="no 8-bit weights"):
        network().set_precision(4)
    with pytest.raises(ValueError, match="bits is 5"):
        qc.Quantizer().fit_transform(network()).set_precision(5)
    with pytest.raises(ValueError, match="has no upper half"):
        qc.Quantizer(4).fit_transform(network()).set_precision(4)


def test_the_curve_starts_at_the_fewest_bits_whatever_the_units(monkeypatch):
    monkeypatch.setattr("qcore.estimators.mixed.mixed.CURVE_CELLS", 5000)
    quantizer = qc.Quantizer((3, 4, 8), target_bits=4).fit(network(), inputs(200))
    assert quantizer.curve_[0]["bits"] == 3
    errors = [point["predicted error"] for point in quantizer.curve_]
    assert all(a >= b for a, b in itertools.pairwise(errors))
