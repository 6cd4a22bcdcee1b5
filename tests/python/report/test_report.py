"""Reports: numbers that are those of the definition, pages that stand alone, pictures."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qcore as qc
from qcore import _core
from qcore._display.histograms import histogram, zeros_map
from qcore.bench.latency import BATCH, measure_latency
from qcore.report.compare.chance import is_tie
from qcore.report.compare.precision import WIDTHS, mixed_curve, precision_of, uniform_points
from qcore.report.compare.tensors import compare_outputs, compare_tensors, is_adjusted
from qcore.report.compare.variants import measure_variants, speed_rows, variant_rows
from qcore.report.page.labels import place_labels
from qcore.report.page.trade_off import is_numbered, trade_off
from report_parts import RNG, WEIGHTS, samples


def test_errors_are_those_of_the_definition() -> None:
    small = qc.compress(WEIGHTS, bits=3)
    report = compare_tensors(WEIGHTS, small)
    noise = signal = 0.0
    for row in report.rows:
        x = WEIGHTS[row["tensor"]].astype(np.float64)
        y = np.asarray(small[row["tensor"]], np.float64)
        signal, noise = signal + np.sum(x**2), noise + np.sum((x - y) ** 2)
        if row["tensor"].endswith("bias"):
            assert row["SQNR dB"] == math.inf
            continue
        expected = 10 * math.log10(np.sum(x**2) / np.sum((x - y) ** 2))
        assert row["SQNR dB"] == pytest.approx(expected)
        assert row["max error"] == pytest.approx(np.abs(x - y).max())
        assert row["zeros"] == pytest.approx(np.mean(y == 0))
        cosine = np.sum(x * y) / np.sqrt(np.sum(x**2) * np.sum(y**2))
        assert row["cosine"] == pytest.approx(cosine)
    assert report.totals["SQNR dB"] == pytest.approx(10 * math.log10(signal / noise))


def test_what_was_nothing_but_zeros_is_changed_not_lost() -> None:
    before = {"bias": np.zeros(3, np.float32), "broken": np.zeros(3, np.float32)}
    after = {"bias": np.full(3, 1e-9, np.float32), "broken": np.full(3, np.inf, np.float32)}
    rows = {row["tensor"]: row for row in compare_tensors(before, after).rows}
    assert is_adjusted(rows["bias"])
    assert not is_adjusted(rows["broken"])


def test_long_tensors_are_compared_in_blocks() -> None:
    x = {"w": RNG.standard_normal((3, 700_001)).astype(np.float32)}
    y = {"w": x["w"] + np.float32(1e-3)}
    row = compare_tensors(x, y).rows[0]
    error = (x["w"].astype(np.float64) - y["w"]) ** 2
    assert row["SQNR dB"] == pytest.approx(
        10 * math.log10(np.sum(x["w"].astype(np.float64) ** 2) / error.sum())
    )


def test_outputs(net: qc.nn.Sequential) -> None:
    X, y = samples()
    small = qc.compress(net, X, bits=3)
    found = compare_outputs(net, small, X, y)
    assert (found.before, found.after) == (net.score(X, y), small.score(X, y))
    assert found.agreement == np.mean(net.predict(X) == small.predict(X))
    with pytest.raises(ValueError, match="after is no network"):
        compare_outputs(net, WEIGHTS, X)


@pytest.mark.parametrize("size", [0, 1, 5, 65_536, 65_537, 200_000])
def test_histograms_count_everything(size: int) -> None:
    values = RNG.standard_normal(size)
    found = histogram(values, values / 2, bins=7)
    if not size:
        assert found.before == []
        return
    assert sum(found.before) == pytest.approx(1)
    assert sum(found.after) == pytest.approx(1)
    if size <= 65_536:
        edges = np.linspace(found.low, found.high, 8)
        expected = np.histogram(values, edges)[0] / size
        np.testing.assert_allclose(found.before, expected, atol=1.5 / size)


def test_histogram_of_what_is_not_finite() -> None:
    found = histogram(np.array([np.nan, np.inf, 1.0, 1.0]))
    assert (found.low, found.high) == (0.5, 1.5)
    assert sum(found.before) == 1


@pytest.mark.parametrize("shape", [(1, 1), (48, 48), (49, 100), (3, 5, 7), (200, 2)])
def test_map_of_zeros(shape: tuple[int, ...]) -> None:
    values = RNG.random(shape) < 0.3
    found = zeros_map(values)
    flat = values.reshape(shape[0], -1)
    assert found is None or (max(found.shape) <= 48 and found.min() >= 0 and found.max() <= 1)
    if found is not None and found.shape == flat.shape:
        np.testing.assert_array_equal(found, flat)
    assert zeros_map(np.ones((4, 4))) is None
    assert zeros_map(np.zeros(9)) is None


def test_mixed_widths_are_never_worse_than_equal_ones() -> None:
    tensors = [precision_of(n, w) for n, w in WEIGHTS.items() if w.ndim == 2]
    curve = mixed_curve(tensors)
    assert [point["bits"] for point in curve] == sorted(point["bits"] for point in curve)
    assert curve[-1]["sqnr"] == pytest.approx(uniform_points(tensors)[-1]["sqnr"])
    for uniform in uniform_points(tensors):
        reached = np.interp(
            uniform["bits"], *zip(*[(p["bits"], p["sqnr"]) for p in curve], strict=True)
        )
        assert reached >= uniform["sqnr"] - 1e-9


def test_mixed_widths_are_optimal() -> None:
    """Against every mixture of the widths of three tensors."""
    import itertools

    tensors = [precision_of(n, w) for n, w in list(WEIGHTS.items())[:3]]
    for point in mixed_curve(tensors):
        best = min(
            sum(t.noise[place] for t, place in zip(tensors, places, strict=True))
            for places in itertools.product(range(len(WIDTHS)), repeat=3)
            if np.mean([WIDTHS[place] for place in places]) <= point["bits"] + 1e-9
        )
        noise = sum(t.signal for t in tensors) / 10 ** (point["sqnr"] / 10)
        assert noise == pytest.approx(best)


def test_labels_do_not_lie_on_each_other() -> None:
    points = [(100.0 + 3 * i, 100.0 + i) for i in range(6)]
    labels = place_labels(points, [f"name {i}" for i in range(6)], 500, 300)
    boxes = [
        (x + label.dx - (40 if label.align == "right" else 0), y + label.dy)
        for (x, y), label in zip(points, labels, strict=True)
    ]
    for i, (x, y) in enumerate(boxes):
        for other_x, other_y in boxes[:i]:
            assert abs(y - other_y) >= 12 or abs(x - other_x) >= 38


def test_labels_avoid_the_lines_of_errors() -> None:
    points, names = [(50.0, 100.0), (80.0, 100.0)], ["first", "second"]
    plain = place_labels(points, names, 300, 200)
    barred = place_labels(points, names, 300, 200, [(100.0, 100.0), (40.0, 160.0)])
    assert plain[0].align == "right" or plain[0].dy
    assert barred[1].align == "left"
    right = points[0][0] + barred[0].dx + (6.4 * len("first") if barred[0].align == "left" else 0)
    assert right <= 80 - 1


def test_crowded_names_are_numbers_on_a_phone() -> None:
    def variants(count: int) -> list[dict[str, Any]]:
        return [
            {"title": f"a longer name {i}", "accuracy": 97.0, "bytes": 1000 + i,
             "front_bytes": False}
            for i in range(count)
        ]  # fmt: skip

    assert not is_numbered(variants(1), "bytes")
    assert is_numbered(variants(8), "bytes")
    values = trade_off(variants(8), "bytes", "bytes")["data"]["values"]
    assert [value["short"] for value in values] == [str(i) for i in range(1, 9)]


def test_an_axis_of_accuracies_shows_a_point_at_least() -> None:
    close = [
        {"title": f"v{i}", "accuracy": 97.33 + i / 20, "bytes": i + 1, "front_bytes": True}
        for i in range(2)
    ]
    for score, least in (("accuracy, %", 1.0), ("R²", 0.01)):
        spec = trade_off(close, "bytes", "bytes", score)
        low, high = spec["encoding"]["y"]["scale"]["domain"]
        assert high - low >= least - 1e-9


def test_scores_have_the_errors_of_their_samples(net: qc.nn.Sequential) -> None:
    X, y = samples()
    found = measure_variants({"a": net, "b": net.copy()}, (900, 300), X, y, seconds=0.01)
    share = found[0].score
    assert share is not None
    assert found[0].error == pytest.approx((share * (1 - share) / len(y)) ** 0.5)
    assert (found[0].ties, found[1].ties) == (("b",), ("a",))
    rows = variant_rows(found)
    assert [row["pareto_bytes"] for row in rows] == [False, True]


def test_few_samples_make_no_ties_of_what_is_far_apart() -> None:
    assert not is_tie(0.02, 0.03)  # within its error, and yet two points
    assert is_tie(0.004, 0.03)
    assert not is_tie(0.004, 0.001)


def test_variants_are_scored_and_timed(net: qc.nn.Sequential) -> None:
    X, y = samples()
    small = qc.compress(net, X)
    found = measure_variants({"float": net, "small": small}, (900, 300), X, y, seconds=0.05)
    assert [(v.name, v.nbytes, v.score) for v in found] == [
        ("float", 900, net.score(X, y)), ("small", 300, small.score(X, y))
    ]  # fmt: skip
    for row, name in zip(speed_rows(found), ("batch1_us", "batch1024_us"), strict=True):
        before, after = getattr(found[0], name), getattr(found[1], name)
        assert (row["before_us"], row["after_us"]) == (before, after)
        assert row["speedup"] == before / after > 0
    other = qc.nn.Sequential.from_arrays([np.eye(4)], [np.zeros(4)], layout="in_out")
    with pytest.raises(ValueError, match="other takes 4 inputs; float takes 10"):
        measure_variants({"float": net, "other": other}, (1, 1))


def test_networks_that_lost_neurons(net: qc.nn.Sequential, tmp_path: Path) -> None:
    X, y = samples()
    pruned = qc.compact(qc.Pruner(sparsity=0.5, pattern="neurons").fit_transform(net))
    assert pruned.layers[0].out_features < 24
    small = qc.compress(pruned, X, bits=8)
    found = qc.compare(net, small, X, y)
    assert "fc1.weight" not in found.details
    assert found.report.rows[0]["before"] == "float32 of shape 24x10"
    found.save(tmp_path / "report.html")
    assert "smaller" in found._repr_html_()


def test_networks_are_timed_without_samples(net: qc.nn.Sequential) -> None:
    found = qc.compare(net, qc.compress(net))
    assert [(v.score, v.batch1024_us is not None) for v in found.variants] == [(None, True)] * 2
    assert "size" not in [figure.name for figure in found.figures]
    assert "a sample" in found._repr_html_()
    assert not qc.compare(WEIGHTS, qc.compress(WEIGHTS)).variants


def test_little_time_is_little_effort() -> None:
    calls = dict.fromkeys((1, BATCH), 0)

    def predict(x: np.ndarray) -> None:
        calls[len(x)] += 1
        time.sleep(0.002)

    found = measure_latency({"slow": predict}, np.zeros((3, 2), np.float32), seconds=0.01)
    assert 1 <= len(found["slow"].single) <= calls[1] < 50
    assert 1 <= len(found["slow"].batch) <= calls[BATCH] < 10


def test_a_busy_machine_is_measured_with_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that waits for a CPU half of the time is one beside others that have it."""
    seen = set()

    def predict(x: np.ndarray) -> None:
        seen.add(_core.num_threads())
        time.sleep(0.001)  # wall time that is no CPU time

    threads = _core.num_threads()
    try:
        _core.set_num_threads(2)
        measure_latency({"a": predict}, np.zeros((3, 2), np.float32), seconds=0.01)
    finally:
        _core.set_num_threads(threads)
    assert seen == {1}
