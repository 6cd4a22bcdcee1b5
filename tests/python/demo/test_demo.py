"""The digit experiment: its parts, then the whole of it on scikit-learn's digits."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import qcore as qc
from qcore._runtime.environment import Environment
from qcore.bench.latency import BATCH, measure_latency
from qcore.demo import report as reports
from qcore.demo.baseline import NumpyNetwork
from qcore.demo.data import FOLDS, load_digits
from qcore.demo.experiment import RECIPES
from qcore.demo.measure import Clock
from qcore.demo.run import Options, run
from qcore.demo.table import markdown
from qcore.report.compare.pareto import TIME_TIE, pareto_front

SEEDS = (0, 3)


# the Pareto front ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("accuracies", "costs", "front"),
    [
        ([], [], []),
        ([0.9], [5], [True]),
        ([0.9, 0.9], [5, 5], [True, True]),
        ([0.9, 0.9], [5, 6], [True, False]),
        ([0.9, 0.8], [5, 5], [True, False]),
        ([0.9, 0.8], [5, 6], [True, False]),
        ([0.9, 0.8], [6, 5], [True, True]),
        ([0.97, 0.99, 0.95, 0.98], [2, 4, 1, 4], [True, True, True, False]),
    ],
)
def test_pareto_front(accuracies: list[float], costs: list[float], front: list[bool]) -> None:
    assert pareto_front(accuracies, costs) == front


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1))
def test_pareto_front_beats_the_rest(points: list[tuple[int, int]]) -> None:
    front = pareto_front(*zip(*points, strict=True))
    best = [point for point, on_front in zip(points, front, strict=True) if on_front]
    assert best
    for index, (accuracy, cost) in enumerate(points):
        beaten = any(a >= accuracy and c <= cost and (a, c) != (accuracy, cost) for a, c in best)
        assert front[index] is not beaten


def test_ties_are_no_victories() -> None:
    tied = [[False, True, False], [True, False, False], [False, False, False]]
    assert pareto_front([0.972, 0.970, 0.90], [9, 5, 1], tied) == [False, True, True]
    assert pareto_front([0.972, 0.970, 0.90], [9, 5, 1]) == [True, True, True]
    # 3 % faster is not faster, so the more accurate one beats it.
    assert pareto_front([0.97, 0.90], [1.03, 1.0], None, 0.05) == [True, False]
    assert pareto_front([0.97, 0.90], [1.08, 1.0], None, 0.05) == [True, True]


def test_pareto_front_wants_pairs() -> None:
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        pareto_front([1.0, 2.0], [1.0])


# measuring -------------------------------------------------------------------------------------
def test_clock_adds_up() -> None:
    clock = Clock()
    for _ in range(2):
        with clock.phase("a"):
            pass
    with pytest.raises(KeyError), clock.phase("b"):
        raise KeyError
    assert set(clock.seconds) == {"a", "b"}
    assert 0 < clock.seconds["a"] <= clock.total()


def test_latency_calls_each_predictor_alike() -> None:
    seen: dict[str, list[tuple[int, ...]]] = {"one": [], "two": []}
    X = np.arange(12, dtype=np.float32).reshape(4, 3)
    predictors = {name: lambda x, name=name: seen[name].append(x.shape) for name in seen}
    found = measure_latency(predictors, X)
    assert seen["one"] == seen["two"]
    assert set(seen["one"]) == {(1, 3), (BATCH, 3)}
    for latency in found.values():
        assert len(latency.single) == 1500
        assert len(latency.batch) == 40
        assert min(latency.single + latency.batch) >= 0


def test_baseline_learns_and_repeats() -> None:
    digits = load_digits(None)
    scores = []
    for _ in range(2):
        net = NumpyNetwork((64, 32, 10), seed=1)
        net.fit(digits.X_train, digits.y_train, epochs=10)
        scores.append(net.score(digits.X_test, digits.y_test))
    assert scores[0] == scores[1] > 0.9
    shares = net.predict_proba(digits.X_test)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)


def test_baseline_gradients_are_the_slopes_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    net = NumpyNetwork((5, 4, 3), seed=0)
    net.parameters = [value.astype(np.float64) for value in net.parameters]
    X, targets = rng.normal(size=(7, 5)), np.eye(3)[rng.integers(0, 3, 7)]

    def loss() -> float:
        return float(-(targets * np.log(net.predict_proba(X))).sum(axis=1).mean())

    for value, gradient in zip(net.parameters, net._gradients(X, targets), strict=True):
        for place in np.ndindex(value.shape):
            before = value[place]
            value[place] = before + 1e-5
            above = loss()
            value[place] = before - 1e-5
            below = loss()
            value[place] = before
            assert gradient[place] == pytest.approx((above - below) / 2e-5, abs=1e-7)


# the data --------------------------------------------------------------------------------------
def test_digits_are_split_without_overlap() -> None:
    test, validation = load_digits(None), load_digits(None, "validation")
    assert (len(test.X_train), len(test.X_test), test.inputs) == (1438, 359, 64)
    assert (len(validation.X_train), len(validation.X_test)) == (1294, 144)
    joined = np.concatenate([validation.X_train, validation.X_test])
    np.testing.assert_array_equal(joined, test.X_train)
    every = np.concatenate([test.X_train, test.X_test])
    assert len(np.unique(every, axis=0)) == 1797
    judged = np.concatenate([load_digits(None, fold=fold).X_test for fold in range(FOLDS)])
    assert np.array_equal(np.unique(judged, axis=0), np.unique(every, axis=0))
    assert every.min() == 0
    assert every.max() == 1


# the whole experiment --------------------------------------------------------------------------
@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[reports.Report, Path]:
    folder = tmp_path_factory.mktemp("demo")
    options = Options(
        out=folder / "new" / "models", save=folder / "report.json", seeds=SEEDS, epochs=3
    )
    return run(options), folder


def test_report_has_every_row_and_key(demo: tuple[reports.Report, Path]) -> None:
    report, _ = demo
    assert [row["name"] for row in report["rows"]] == [recipe.name for recipe in RECIPES]
    wanted: list[tuple[Any, Any]] = [
        (report, reports.Report),
        (report["data"], reports.Data),
        (report["environment"], Environment),
        (report["numpy"], reports.Baseline),
        *[(row, reports.Row) for row in report["rows"]],
        *[(row["accuracy_percent"], reports.Spread) for row in report["rows"]],
    ]
    for found, kind in wanted:
        assert set(found) == set(get_type_hints(kind))
    assert report["seeds"] == list(SEEDS)
    assert set(report["seconds"]) >= {"load", "train", "calibrate", "measure", "save", "total"}


def test_json_is_the_report(demo: tuple[reports.Report, Path]) -> None:
    report, folder = demo
    path = folder / "report.json"
    assert json.loads(path.read_text(encoding="utf-8")) == report
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
    assert sorted(entry.name for entry in folder.iterdir()) == ["new", "report.json"]


def test_files_load_back_and_score_the_same(demo: tuple[reports.Report, Path]) -> None:
    report, _ = demo
    folds = [load_digits(None, fold=seed % FOLDS) for seed in SEEDS]
    assert report["data"]["scored_images"] == sum(len(digits.X_test) for digits in folds)
    for row in report["rows"]:
        sizes = []
        values = row["accuracy_percent"]["values"]
        for file, accuracy, digits in zip(row["files"], values, folds, strict=True):
            net = qc.load(file)
            assert 100 * net.score(digits.X_test, digits.y_test) == accuracy
            assert net.kernels == row["kernels"]
            sizes.append(Path(file).stat().st_size)
        assert row["bytes"] == round(sum(sizes) / len(SEEDS))


def test_report_adds_up(demo: tuple[reports.Report, Path]) -> None:
    report, _ = demo
    rows = {row["name"]: row for row in report["rows"]}
    first = rows["float"]
    assert (first["drop_points"], first["ratio"], first["speedup_batch1"]) == (0, 1, 1)
    for row in rows.values():
        accuracy = row["accuracy_percent"]
        assert accuracy["mean"] == pytest.approx(sum(accuracy["values"]) / 2)
        assert row["drop_points"] == pytest.approx(
            first["accuracy_percent"]["mean"] - accuracy["mean"]
        )
        assert row["batch1_p50_us"] <= row["batch1_p99_us"]
        ratio = first["batch1024_us"] / row["batch1024_us"]
        assert row["speedup_batch1024"] == pytest.approx(ratio)
    accuracies = [row["accuracy_percent"]["mean"] for row in rows.values()]
    sizes = [row["bytes"] for row in rows.values()]
    times = [row["batch1_p50_us"] for row in rows.values()]
    ties = [[other in row["ties"] for other in rows] for row in rows.values()]
    assert [row["pareto_bytes"] for row in rows.values()] == pareto_front(accuracies, sizes, ties)
    front = pareto_front(accuracies, times, ties, TIME_TIE)
    assert [row["pareto_time"] for row in rows.values()] == front
    for row in rows.values():
        tied = abs(row["drop_points"]) <= 2 * row["drop_error_points"]
        tied = tied and abs(row["drop_points"]) <= 0.5
        assert ("float" in row["ties"]) == (tied and row is not first)


def test_the_error_of_a_drop_is_that_of_the_images(demo: tuple[reports.Report, Path]) -> None:
    """Each image is judged once, so it is the spread of right minus wrong over all of them."""
    report, _ = demo
    folds = [load_digits(None, fold=seed % FOLDS) for seed in SEEDS]
    first = report["rows"][0]
    for row in report["rows"]:
        differences = np.concatenate([
            (qc.load(one).predict(d.X_test) == d.y_test).astype(int)
            - (qc.load(other).predict(d.X_test) == d.y_test)
            for one, other, d in zip(first["files"], row["files"], folds, strict=True)
        ])  # fmt: skip
        error = 100 * np.std(differences, ddof=1) / np.sqrt(len(differences))
        assert row["drop_error_points"] == pytest.approx(error)


def test_sizes_are_in_order(demo: tuple[reports.Report, Path]) -> None:
    size = {row["name"]: row["bytes"] for row in demo[0]["rows"]}
    assert size["pruned-90-int8"] < size["pruned-90"] < size["pruned-80"] < size["float"]
    assert size["pruned-90-int8"] < size["kmeans-16"] < size["int8-post"] < size["float"]
    assert size["student-int8"] < size["student"] == size["small"]


def test_rows_run_on_their_kernels(demo: tuple[reports.Report, Path]) -> None:
    for row in demo[0]["rows"]:
        kind = next(recipe.kind for recipe in RECIPES if recipe.name == row["name"])
        wanted = {
            "float": "BLAS float32",
            "int8": "dense int8",
            "csr": "sparse float32",
            "csr-int8": "sparse int8",
            "codebook": "codebook",
        }[kind]
        assert wanted in row["kernels"][0], row["name"]


def test_networks_are_what_their_rows_say(demo: tuple[reports.Report, Path]) -> None:
    nets = {row["name"]: qc.load(row["files"][0]) for row in demo[0]["rows"]}
    for name, sparsity in (("pruned-80", 0.8), ("pruned-90", 0.9), ("pruned-90-int8", 0.9)):
        weights = [layer.dense_weight() for layer in nets[name].layers]
        zeros = sum(int((weight == 0).sum()) for weight in weights)
        assert not any(np.signbit(weight[weight == 0]).any() for weight in weights)
        assert zeros / sum(weight.size for weight in weights) >= sparsity - 1e-4
    for name in ("int8-post", "int8-aware", "pruned-90-int8", "student-int8"):
        for layer in nets[name].layers:
            assert (layer.weight.bits, layer.weight.scheme) == (8, "affine")
            assert layer.input_qparams.dtype == np.uint8
    for layer in nets["kmeans-16"].layers:
        assert layer.weight.scheme == "kmeans"
        assert len(np.unique(layer.dense_weight())) <= 16


def test_table_has_every_row(
    demo: tuple[reports.Report, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from qcore.demo.table import print_report

    report, _ = demo
    print_report(report)
    printed = capsys.readouterr()
    assert printed.err == ""
    for row in report["rows"]:
        assert f"\n{row['title']}" in printed.out
        assert f"{row['bytes']:,}" in printed.out
    assert "time: load" in printed.out
    lines = markdown(report).splitlines()[2:]  # below the headline
    assert len({line.count("|") for line in lines[: 3 + len(RECIPES)]}) == 1
    assert lines[3 + len(RECIPES)] == ""


# MNIST -----------------------------------------------------------------------------------------
@pytest.mark.timeout(900)
def test_mnist(tmp_path: Path) -> None:
    beside = Path(__file__).parents[4] / "shared" / "mnist"
    folder = Path(os.environ.get("QCORE_MNIST", beside))
    if not folder.is_dir():
        pytest.skip("no MNIST: its folder is named by QCORE_MNIST")
    report = run(Options(data=folder, epochs=1))
    rows = {row["name"]: row for row in report["rows"]}
    assert report["network"] == "784-128-10"
    assert report["data"]["scored_images"] == 10_000
    assert rows["float"]["accuracy_percent"]["mean"] > 94
    assert rows["int8-post"]["drop_points"] < 0.3
    assert rows["int8-post"]["ratio"] > 3.9
    assert rows["pruned-90-int8"]["ratio"] > 15
