"""Algorithms that keep a layer's outputs: against brute force, and against rounding."""

import csv
import io
import itertools

import numpy as np
import pytest

import qcore as qc
from layers import inputs, network, output_error, weights
from qcore import _core
from qcore._display.table import Report
from qcore.arrays.layerwise.bias_correction import corrected_bias
from qcore.arrays.layerwise.layerwise import ALGORITHMS, DAMPING

STEPS = [("gptq",), ("clip_search",), ("coordinate_descent",), ALGORITHMS]


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("steps", STEPS, ids="+".join)
@pytest.mark.parametrize("layout", [{"axis": 0}, {"group_size": 8}, {"group_size": 10}])
def test_outputs_are_nearer_than_by_rounding(bits, steps, layout):
    x, w = inputs(), weights()
    q = qc.quantize(w, bits=bits, algorithm=steps, stats=qc.InputStats().update(x), **layout)
    plain = qc.quantize(w, bits=bits, **layout)
    if "bias_correction" in steps:
        x = x - x.mean(axis=0)
    if bits < 8:  # of 8 bits there is little to gain, and the damping takes it
        assert output_error(w, q, x) < output_error(w, plain, x)
    assert (q.bits, q.axis, q.group_size) == (bits, layout.get("axis"), layout.get("group_size"))
    parts = qc.QTensor.from_parts(
        q.values, q.scale, q.zero_point, axis=q.axis, group_size=q.group_size, bits=q.bits,
        narrow_range=q.narrow_range, scale_dtype=q.scale_dtype,
    )  # fmt: skip
    assert parts == q  # every part fits the others


def test_gptq_is_its_definition():
    x, w = inputs().astype(np.float64), weights().astype(np.float64)
    hessian = x.T @ x / len(x)
    hessian += DAMPING * np.diag(hessian).mean() * np.eye(len(hessian))
    order = np.argsort(-np.diag(hessian), kind="stable")
    upper = np.linalg.cholesky(np.linalg.inv(hessian[np.ix_(order, order)])).T
    scale = np.abs(w).max(axis=1) / 3
    left, codes = w[:, order].copy(), np.zeros(w.shape)
    for j in range(w.shape[1]):
        codes[:, j] = np.clip(np.rint(left[:, j] / scale), -3, 3)
        error = (left[:, j] - codes[:, j] * scale) / upper[j, j]
        left[:, j:] -= np.outer(error, upper[j, j:])
    wanted = np.empty(w.shape)
    wanted[:, order] = codes
    stats = qc.InputStats().update(x)
    q = qc.quantize(w, bits=3, axis=0, algorithm="gptq", stats=stats)
    np.testing.assert_array_equal(q.values, wanted)


def test_no_single_change_improves_what_descent_leaves():
    x, w = inputs(), weights()
    stats = qc.InputStats().update(x)
    q = qc.quantize(w, bits=3, axis=0, algorithm=("gptq", "coordinate_descent"), stats=stats)
    hessian = stats.gram / stats.count
    hessian += DAMPING * np.diag(hessian).mean() * np.eye(len(hessian))

    def lost(row, codes):
        off = w[row].astype(np.float64) - codes * float(q.scale[row])
        return off @ hessian @ off

    worse = 0
    for row, column in itertools.product(range(6), range(24)):
        codes = q.values[row].astype(np.float64)
        best = lost(row, codes)
        for change in (-1, 1):
            codes[column] += change
            if -3 <= codes[column] <= 3:
                worse += lost(row, codes) < best * (1 - 1e-6)
            codes[column] -= change
    # The last step is rounded to float32 and moves a code or two after the last full round.
    assert worse <= 2


def test_a_few_codes_are_as_good_as_brute_force():
    x, w = inputs(columns=6), weights(rows=4, columns=6)
    stats = qc.InputStats().update(x)
    q = qc.quantize(w, bits=2, axis=0, algorithm=ALGORITHMS[:3], stats=stats, narrow_range=True)
    hessian = stats.gram / stats.count
    hessian += DAMPING * np.diag(hessian).mean() * np.eye(6)
    every = np.array(list(itertools.product((-1, 0, 1), repeat=6)), np.float64)
    for row in range(4):
        target = w[row].astype(np.float64)
        gain = every @ hessian @ target
        curve = np.einsum("ij,jk,ik->i", every, hessian, every)
        usable = (gain > 0) & (curve > 0)
        best = target @ hessian @ target - (gain[usable] ** 2 / curve[usable]).max()
        off = target - q.dequantize(dtype=np.float64)[row]
        assert off @ hessian @ off <= best * 1.25


def test_pruned_weights_stay_pruned():
    x, w = inputs(), weights()
    w[np.random.default_rng(0).random(w.shape) < 0.6] = 0
    exact = x + np.float32(0.05)
    for steps in STEPS:
        for bits in (2, 4):
            stats = qc.InputStats().update(x, exact)
            q = qc.quantize(w, bits=bits, axis=0, algorithm=steps, stats=stats)
            assert (q.dequantize()[w == 0] == 0).all()


def test_layers_make_up_for_the_errors_of_those_before():
    exact, w = inputs(2000), weights()
    noisy = (exact * np.float32(0.9)).round(1)
    blind = qc.quantize(
        w, bits=4, axis=0, algorithm=ALGORITHMS, stats=qc.InputStats().update(noisy)
    )
    knowing = qc.quantize(
        w, bits=4, axis=0, algorithm=ALGORITHMS, stats=qc.InputStats().update(noisy, exact)
    )
    off = [np.var(exact @ w.T - noisy @ q.dequantize().T, axis=0).sum() for q in (blind, knowing)]
    assert off[1] < off[0] / 2


def test_a_corrected_bias_leaves_no_mean_error():
    x, w = inputs(), weights()
    stats = qc.InputStats().update(x)
    q = qc.quantize(w, bits=2, axis=0, algorithm=ALGORITHMS, stats=stats)
    for bias in (None, np.arange(6, dtype=np.float32)):
        fixed = corrected_bias(w, q, bias, stats)
        off = x @ q.dequantize().T + fixed - x @ w.T - (0 if bias is None else bias)
        np.testing.assert_allclose(off.mean(axis=0), 0, atol=1e-4)


def test_threads_do_not_change_codes():
    x, w = inputs(), weights(rows=70)
    stats = qc.InputStats().update(x)
    before = _core.num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            _core.set_num_threads(threads)
            found.append(qc.quantize(w, bits=3, axis=0, algorithm=ALGORITHMS, stats=stats))
        assert found[0] == found[1] == found[2]
    finally:
        _core.set_num_threads(before)


@pytest.mark.parametrize("steps", STEPS, ids="+".join)
def test_odd_matrices(steps):
    x = np.zeros((5, 4), np.float32)
    x[:, 0] = 1
    stats = qc.InputStats().update(x)
    for w in (np.zeros((3, 4)), np.full((3, 4), 1e-42), np.full((3, 4), 3e37), np.zeros((0, 4))):
        q = qc.quantize(w.astype(np.float32), bits=3, axis=0, algorithm=steps, stats=stats)
        assert np.isfinite(q.dequantize()).all()
        assert q.shape == w.shape


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"axis": None}, "axis is None; an algorithm needs axis=0"),
        ({"axis": 1}, "axis is 1"),
        ({"bits": 16}, "2 to 8 bits"),
        ({"bits": 1}, "bits is 1"),
        ({"signed": False}, "signed, symmetric"),
        ({"symmetric": False}, "signed, symmetric"),
        ({"scale": np.ones(6)}, "an algorithm has none"),
        ({"stats": None}, "needs stats"),
        ({"stats": qc.InputStats()}, "needs stats"),
        ({"stats": qc.InputStats().update(np.ones((2, 3)))}, r"must be \(out, 3\)"),
    ],
)
def test_what_algorithms_refuse(options, text):
    stats = qc.InputStats().update(inputs())
    with pytest.raises(ValueError, match=text):
        qc.quantize(weights(), **({"axis": 0, "algorithm": "gptq", "stats": stats} | options))


# networks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("activations", ["static", "dynamic", None])
def test_compress_chooses_what_is_nearer_on_inputs_it_did_not_see(bits, activations):
    net, x = network(), inputs(3000)
    rest = x[1000:]
    exact = net.predict_logits(rest)
    small = qc.compress(net, x[:1000], bits=bits, activations=activations)
    plain = qc.Quantizer(bits, algorithm=(), activations=activations).fit_transform(net, x[:1000])
    found = np.mean((small.predict_logits(rest) - exact) ** 2)
    assert found < np.mean((plain.predict_logits(rest) - exact) ** 2) / 2
    assert (small.layers[0].bias != net.layers[0].bias).any()
    np.testing.assert_array_equal(net.predict_logits(rest), exact)  # the model is not changed


def test_a_fitted_quantizer_gives_the_same_again_and_takes_other_weights():
    net, x = network(), inputs(500)
    quantizer = qc.Quantizer(3).fit(net, x)
    first, again = quantizer.transform(net), quantizer.transform(net)
    np.testing.assert_array_equal(first.predict_logits(x), again.predict_logits(x))
    other = network(7)
    moved = quantizer.transform(other)
    assert moved.layers[0].weight != first.layers[0].weight
    assert np.isfinite(moved.predict_logits(x)).all()


def test_options_by_layer_and_a_dict_with_statistics():
    net, x = network(), inputs(500)
    quantizer = qc.Quantizer(
        {"fc1": 2, "*": 4}, algorithm={"fc3": (), "*": "auto"}, group_size={"fc2": 4, "*": None}
    )
    small = quantizer.fit_transform(net, x)
    tensors = small.named_weights()
    assert [tensors[f"fc{i}.weight"].bits for i in (1, 2, 3)] == [2, 4, 4]
    assert tensors["fc2.weight"].group_size == 4
    assert set(quantizer.stats_) == {"fc1.weight", "fc2.weight"}
    arrays = dict(net.named_weights())
    stats = {"fc1.weight": qc.InputStats().update(x)}
    fitted = qc.Quantizer(3).fit_transform(arrays, stats=stats)
    plain = qc.Quantizer(3).fit_transform(arrays)
    assert fitted["fc1.weight"] != plain["fc1.weight"]
    assert fitted["fc2.weight"] == plain["fc2.weight"]
    assert (fitted["fc1.bias"] != arrays["fc1.bias"]).any()


def test_partial_fit_streams():
    net, x = network(), inputs(900)
    streamed = qc.Quantizer(4)
    for batch in np.split(x, 3):
        streamed.partial_fit(net, batch)
    whole = qc.Quantizer(4).partial_fit(net, x)
    for name, params in whole.input_qparams_.items():
        assert streamed.input_qparams_[name] == params
    small = streamed.transform(net)
    exact = net.predict_logits(x)
    assert np.mean((small.predict_logits(x) - exact) ** 2) < 0.05 * exact.var()


def test_progress_is_told():
    told = []
    qc.Quantizer(4, progress=lambda *step: told.append(step)).fit(network(), inputs(100))
    assert [done for done, _, _ in told] == [0, 1, 2]
    assert told[0][1] == 3


def test_the_report_says_what_each_layer_costs_the_output():
    net, x = network(), inputs(600)
    y = net.predict(x)
    quantizer = qc.Quantizer({"fc2": 2, "*": 8})
    small = quantizer.fit_transform(net, x, y)
    rows = {row["tensor"]: row for row in quantizer.report_.rows}
    errors = {name: row["output error"] for name, row in rows.items() if "output error" in row}
    assert list(errors) == ["fc1.weight", "fc2.weight", "fc3.weight"]
    assert max(errors, key=errors.get) == "fc2.weight"
    alone = net.copy()
    alone.layers[1].weight = small.layers[1].weight
    alone.layers[1].bias = small.layers[1].bias
    alone.layers[1].input_qparams = small.layers[1].input_qparams
    exact = net.predict_logits(x)
    wanted = np.mean((alone.predict_logits(x) - exact) ** 2) / exact.var()
    assert errors["fc2.weight"] == pytest.approx(wanted, rel=1e-3)
    totals = quantizer.report_.totals
    assert totals["float score"] == 1.0
    assert totals["score"] == totals["agreement"] == small.score(x, y)
    lines = list(csv.DictReader(io.StringIO(quantizer.report_.to_csv())))
    assert [line["tensor"] for line in lines] == [*rows, "all"]
    assert float(lines[2]["output error"]) == errors["fc2.weight"]
    assert lines[1]["output error"] == ""


def test_the_report_of_a_mixture_has_its_curve():
    quantizer = qc.Quantizer((2, 4, 8), target_bits=4)
    quantizer.fit_transform(network(), inputs(300))
    report = quantizer.report_
    assert list(report.curve) == quantizer.curve_
    assert report.to_dict()["curve"][0]["bits"] == 2
    assert "curve" not in Report("quantized", []).to_dict()


def test_activations_may_differ_by_layer():
    net, x = network(), inputs(300)
    modes = {"fc1": "static", "fc2": "dynamic", "*": None}
    small = qc.Quantizer(8, activations=modes).fit_transform(net, x)
    found = [layer.input_qparams for layer in small.layers]
    assert isinstance(found[0], qc.QParams)
    assert found[1:] == ["dynamic", None]
    exact = net.predict_logits(x)
    assert np.mean((small.predict_logits(x) - exact) ** 2) < 1e-3 * exact.var()
    with pytest.raises(ValueError, match="activations is 'never'"):
        qc.Quantizer(8, activations={"*": "never"}).fit(net, x)
