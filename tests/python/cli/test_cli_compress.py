"""compress, inspect, compare and calibrate: what people type, as they type it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qcore as qc
from commands import call, check_one_line
from compress_parts import RNG, in_folder, write_graph
from qcore.arrays.tensor.tensor import QTensor


def run(folder: Path, *words: str) -> dict[str, Any]:
    """Call a command with --json; words with a dot are files of the folder."""
    result = call(*in_folder(folder, words), "--json")
    assert result.exit_code == 0, result.output
    assert not result.stderr or result.stderr.startswith("Warning: compressed, ")
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_checkpoint(folder: Path) -> None:
    found = run(folder, "compress", "model.safetensors", "-o", "small.safetensors", "--bits", "4")
    small = qc.load(folder / "small.safetensors")
    expected = qc.compress(qc.load(folder / "model.safetensors"), bits=4)
    for name in ("a.weight", "b.weight"):
        assert small[name] == expected[name]
    assert small["steps"].tolist() == [0, 1, 2]
    assert found["output_bytes"] == (folder / "small.safetensors").stat().st_size
    rows = {row["tensor"]: row for row in found["rows"]}
    assert rows["a.weight"]["after"] == "int4 affine"
    error = expected["a.weight"].error(qc.load(folder / "model.safetensors")["a.weight"])
    assert rows["a.weight"]["sqnr_db"] == pytest.approx(error.sqnr_db)


def test_widths_by_pattern(folder: Path) -> None:
    words = ("--bits", "a=3", "--bits", "8", "--ignore", "nothing")
    run(folder, "compress", "model.safetensors", "-o", "small.safetensors", *words)
    small = qc.load(folder / "small.safetensors")
    assert (small["a.weight"].bits, small["b.weight"].bits) == (3, 8)


def test_pruned_and_clustered(folder: Path) -> None:
    words = ("--sparsity", "0.75", "--scheme", "kmeans", "--levels", "8")
    run(folder, "compress", "model.safetensors", "-o", "small.safetensors", *words)
    small = qc.load(folder / "small.safetensors")
    values = np.concatenate([np.asarray(small[n]).ravel() for n in ("a.weight", "b.weight")])
    assert np.mean(values == 0) >= 0.75
    assert small["a.weight"].levels.size == 8


def test_pruned_floats(folder: Path) -> None:
    words = ("--sparsity", "0.5", "--bits", "none", "--pattern", "2:4")
    run(folder, "compress", "model.safetensors", "-o", "small.safetensors", *words)
    weight = qc.load(folder / "small.safetensors")["a.weight"]
    assert not isinstance(weight, QTensor)
    assert ((weight.reshape(-1, 4) != 0).sum(axis=1) == 2).all()


@pytest.mark.parametrize("source", ["net.safetensors", "arrays.npz"])
def test_network(folder: Path, source: str, data: Any, trained: qc.nn.Sequential) -> None:
    words = () if source.startswith("net") else ("--layout", "in_out")
    found = run(
        folder, "compress", source, "-o", "small.safetensors", *words,
        "--data", "X.npy", "--labels", "y.npy",
    )  # fmt: skip
    small = qc.load(folder / "small.safetensors")
    outputs = found["outputs"]
    assert outputs["before"] == pytest.approx(trained.score(*data))
    assert outputs["after"] == pytest.approx(small.score(*data))
    assert outputs["samples"] == len(data[0])
    assert all(kernel.endswith("int8") for kernel in small.kernels)


RUNS = [
    ["model.safetensors", "--bits", "4", "--group-size", "32"],
    ["model.safetensors", "--sparsity", "0.6", "--bits", "none"],
    [
        "model.safetensors",
        "--sparsity",
        "a=0.6",
        "--sparsity",
        "0.2",
        "--bits",
        "b=5",
        "--bits",
        "6",
    ],
    ["model.safetensors", "--scheme", "kmeans", "--levels", "5"],
    ["net.safetensors", "--data", "X.npy"],
    ["net.safetensors", "--activations", "none", "--axis", "none"],
    ["arrays.npz", "--layout", "in_out", "--activation", "tanh", "--data", "X.npy"],
    ["net.safetensors", "--ranges", "ranges.json"],
]


IN_OTHER_FILES = [
    ("one.gguf", ["model.safetensors"]),
    ("one.gguf", ["model.safetensors", "--bits", "4", "--ignore", "b*"]),
    ("one.onnx", ["graph.onnx"]),
    ("one.onnx", ["graph.onnx", "--bits", "4", "--group-size", "16", "--ignore", "conv*"]),
    ("one.onnx", ["net.safetensors", "--data", "X.npy"]),
    ("one.onnx", ["arrays.npz", "--layout", "in_out", "--scheme", "kmeans"]),
]


@pytest.mark.parametrize("words", RUNS, ids=" ".join)
def test_recipes_give_the_same_bytes(folder: Path, words: list[str]) -> None:
    run(folder, "calibrate", "net.safetensors", "--data", "X.npy", "-o", "ranges.json")
    run(folder, "compress", *words, "-o", "one.safetensors", "--save-recipe", "r.toml")
    model = words[0]
    samples = ["--data", "X.npy"] if "--data" in words else []
    for recipe in ("r.toml", "one.safetensors"):
        run(folder, "compress", model, "-o", "two.safetensors", "--recipe", recipe, *samples)
        assert (folder / "one.safetensors").read_bytes() == (
            folder / "two.safetensors"
        ).read_bytes()
    text = json.loads(call("inspect", folder / "one.safetensors", "--json").stdout)["recipe"]
    assert text == (folder / "r.toml").read_text()


@pytest.mark.parametrize(("output", "words"), IN_OTHER_FILES, ids=str)
def test_recipes_in_other_files(folder: Path, output: str, words: list[str]) -> None:
    write_graph(folder / "graph.onnx")
    run(folder, "compress", *words, "-o", output, "--save-recipe", "r.toml")
    samples = ["--data", "X.npy"] if "--data" in words else []
    for recipe in ("r.toml", output):
        two = f"two{Path(output).suffix}"
        run(folder, "compress", words[0], "-o", two, "--recipe", recipe, *samples)
        assert (folder / output).read_bytes() == (folder / two).read_bytes()
    assert run(folder, "inspect", output)["recipe"] == (folder / "r.toml").read_text()
    assert call(*in_folder(folder, ("inspect", output))).exit_code == 0


def test_graph_in_place(folder: Path) -> None:
    """The weights of any ONNX graph; the runtime gives what the decoded weights give."""
    import onnxruntime

    write_graph(folder / "graph.onnx")
    words = ("--bits", "conv*=8", "--bits", "8")
    plan = run(folder, "compress", "graph.onnx", "-o", "small.onnx", "--dry-run", *words)
    found = run(folder, "compress", "graph.onnx", "-o", "small.onnx", *words)
    assert plan["output_bytes"] == pytest.approx(found["output_bytes"], rel=0.02)
    assert {row["tensor"]: row["after"] for row in found["rows"]} == {
        "conv.weight": "int8 affine", "fc.weight": "int8 affine"
    }  # fmt: skip
    shown = run(folder, "inspect", "small.onnx")
    assert shown["kind"] == "graph"
    assert [row["type"] for row in shown["rows"]] == ["int8 affine"] * 2
    lost = {r["tensor"]: r["sqnr_db"] for r in run(folder, "compare", "graph.onnx", "small.onnx")
            ["rows"]}  # fmt: skip
    for row in found["rows"]:
        assert lost[row["tensor"]] == pytest.approx(row["sqnr_db"])
    x = RNG.standard_normal((5, 3, 4, 4)).astype(np.float32)
    before, after = (
        onnxruntime.InferenceSession(folder / name).run(None, {"x": x})[0]
        for name in ("graph.onnx", "small.onnx")
    )
    np.testing.assert_allclose(after, before, atol=0.05 * np.abs(before).max())
    run(folder, "compress", "graph.onnx", "-o", "blocks.onnx", "--bits", "4", "--group-size", "16",
        "--ignore", "conv*")  # fmt: skip
    found = run(folder, "compare", "graph.onnx", "blocks.onnx")
    [row] = [row for row in found["rows"] if row["tensor"] == "fc.weight"]
    assert 15 < row["sqnr_db"] < 30
    assert row["bytes"] == 64 * 10 // 2 + 64 // 16 * 10 * 4


def test_training_to_a_target(folder: Path, data: Any) -> None:
    words = ("--data", "X.npy", "--labels", "y.npy", "--target-bytes", "1300", "--epochs", "3")
    found = run(folder, "compress", "net.safetensors", "-o", "one.safetensors", *words)
    assert found["output_bytes"] <= 1300
    assert found["outputs"] is None  # it would be the score on what it was trained on
    small = qc.load(folder / "one.safetensors")
    assert small.score(*data) > 0.5
    call(*in_folder(folder, ("compress", "net.safetensors", "-o", "two.safetensors", *words[:4],
                             "--recipe", "one.safetensors")))  # fmt: skip
    assert (folder / "one.safetensors").read_bytes() == (folder / "two.safetensors").read_bytes()
    shown = run(folder, "inspect", "one.safetensors")
    assert [row["tensor"] for row in shown["rows"]] == list(small.named_weights())
    assert "kmeans" in shown["rows"][0]["type"]
    assert all(row["after"] != "missing" for row in found["rows"])
    found = run(folder, "compare", "net.safetensors", "one.safetensors", *words[:4])
    assert found["outputs"]["after"] == small.score(*data)


def test_network_in_onnx(folder: Path, data: Any, trained: qc.nn.Sequential) -> None:
    trained.to_onnx(folder / "net.onnx")
    words = ("--data", "X.npy", "--labels", "y.npy")
    found = run(folder, "compress", str(folder / "net.onnx"), "-o", "small.safetensors", *words)
    assert found["outputs"]["before"] == trained.score(*data)
    found = run(folder, "compare", str(folder / "net.onnx"), "small.safetensors", *words)
    assert found["outputs"]["agreement"] > 0.9
    assert call("inspect", folder / "net.onnx").exit_code == 0


def test_ranges_are_those_of_calibration(
    folder: Path, data: Any, trained: qc.nn.Sequential
) -> None:
    found = run(folder, "calibrate", "net.safetensors", "--data", "X.npy", "-o", "ranges.json")
    assert json.loads((folder / "ranges.json").read_text()) == found
    run(folder, "compress", "net.safetensors", "-o", "one.safetensors", "--ranges", "ranges.json")
    expected = qc.Quantizer(observer="minmax", algorithm=()).partial_fit(trained, data[0])
    for layer in qc.load(folder / "one.safetensors").layers:
        qparams = expected.input_qparams_[layer.name]
        assert layer.input_qparams.scale == qparams.scale
        assert layer.input_qparams.zero_point == qparams.zero_point


@pytest.mark.parametrize("words", [[], ["--bits", "4", "--group-size", "32"], ["--bits", "3"]])
def test_dry_run_knows_the_bytes(folder: Path, words: list[str]) -> None:
    plan = run(folder, "compress", "model.safetensors", "--dry-run", *words)
    assert plan["exact"] is True
    run(folder, "compress", "model.safetensors", "-o", "small.safetensors", *words)
    assert plan["output_bytes"] == (folder / "small.safetensors").stat().st_size


@pytest.mark.parametrize("words", [[], ["--bits", "4", "--group-size", "32"], ["--bits", "3"]])
def test_dry_run_of_a_large_file_reads_its_header(
    folder: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qcore.cli.compressing.planning._DONE_BYTES", 0)
    before = sorted(path.name for path in folder.iterdir())
    plan = run(folder, "compress", "model.safetensors", "--dry-run", *words)
    assert sorted(path.name for path in folder.iterdir()) == before
    assert plan["exact"] == (not words)
    assert plan["seconds"] >= 0
    assert plan["memory_bytes"] > 0
    run(folder, "compress", "model.safetensors", "-o", "small.safetensors", *words)
    size = (folder / "small.safetensors").stat().st_size
    assert plan["output_bytes"] == pytest.approx(size, rel=0.0 if plan["exact"] else 0.02)


@pytest.mark.parametrize("words", RUNS[1:-1], ids=" ".join)
def test_dry_run_is_about_right(
    folder: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qcore.cli.compressing.planning._DONE_BYTES", 0)
    plan = run(folder, "compress", *words, "--dry-run")
    run(folder, "compress", *words, "-o", "small.safetensors")
    size = (folder / "small.safetensors").stat().st_size
    assert plan["output_bytes"] == pytest.approx(size, rel=0.25)


@pytest.mark.parametrize(
    ("flag", "value"), [("--target-bytes", "1300"), ("--target-ratio", "2"), ("--min-score", "0.5")]
)
def test_dry_run_of_a_target(folder: Path, flag: str, value: str) -> None:
    words = ("--data", "X.npy", "--labels", "y.npy", flag, value, "--epochs", "2")
    before = sorted(path.name for path in folder.iterdir())
    plan = run(folder, "compress", "net.safetensors", "--dry-run", *words)
    assert sorted(path.name for path in folder.iterdir()) == before
    least, most = plan["output_bytes_bounds"]
    if flag == "--target-bytes":
        assert most == 1300
    assert 0 < plan["seconds_bounds"][0] <= plan["seconds_bounds"][1]
    assert plan["memory_bytes"] > 0
    assert [step["epochs"] > 0 for step in plan["steps"]]
    made = run(folder, "compress", "net.safetensors", "-o", "one.safetensors", *words)
    assert least <= made["output_bytes"] <= most
    assert plan["recipe"] == made["recipe"]
    shown = call(*in_folder(folder, ("compress", "net.safetensors", "--dry-run", *words)))
    assert "Nothing was written" in shown.stdout
    assert f"{least:,} and {most:,} bytes" in shown.stdout


def test_dry_run_of_a_target_that_cannot_be_met(folder: Path) -> None:
    words = ("--data", "X.npy", "--labels", "y.npy", "--target-bytes", "20", "--dry-run")
    check_one_line(call(*in_folder(folder, ("compress", "net.safetensors", *words))), 1, "not even")


def test_inspect(folder: Path) -> None:
    run(folder, "compress", "model.safetensors", "-o", "small.safetensors", "--bits", "4")
    found = run(folder, "inspect", "small.safetensors")
    rows = {row["tensor"]: row for row in found["rows"]}
    assert rows["a.weight"]["type"] == "int4 affine"
    assert rows["a.weight"]["shape"] == [40, 64]
    assert rows["a.weight"]["bytes"] == 40 * 32 + 40 * 4
    weight = np.asarray(qc.load(folder / "small.safetensors")["a.weight"])
    assert rows["a.weight"]["zeros"] == pytest.approx(np.mean(weight == 0))
    assert rows["a.weight"]["greatest"] == pytest.approx(weight.max())
    assert "bits = 4" in found["recipe"]
    assert (
        run(folder, "inspect", "small.safetensors", "--header")["rows"][0]
        .keys()
        .isdisjoint({"zeros", "histogram"})
    )
    for file in ("model.safetensors", "net.safetensors", "arrays.npz", "X.npy"):
        shown = call("inspect", folder / file)
        assert shown.exit_code == 0, shown.output
    one = call("inspect", folder / "small.safetensors", "--tensor", "a*")
    assert "a.weight" in one.stdout
    assert "b.weight" not in one.stdout


def test_compare(folder: Path, data: Any, trained: qc.nn.Sequential) -> None:
    run(folder, "compress", "model.safetensors", "-o", "small.safetensors", "--bits", "a=3",
        "--bits", "8")  # fmt: skip
    found = run(folder, "compare", "model.safetensors", "small.safetensors", "--worst", "1")
    assert [row["tensor"] for row in found["rows"]] == ["a.weight"]
    run(folder, "compress", "arrays.npz", "--layout", "in_out", "-o", "small.safetensors")
    found = run(folder, "compare", "arrays.npz", "small.safetensors", "--data", "X.npy",
                "--labels", "y.npy")  # fmt: skip
    assert found["outputs"]["before"] == pytest.approx(trained.score(*data))


def test_speed_of_networks(folder: Path, data: Any, trained: qc.nn.Sequential) -> None:
    words = ("--data", "X.npy", "--labels", "y.npy")
    found = run(folder, "compress", "net.safetensors", "-o", "small.safetensors", *words)
    before, after = found["variants"]
    assert [before["name"], after["name"]] == ["net.safetensors", "small.safetensors"]
    assert after["bytes"] == found["output_bytes"]
    assert (before["score"], after["score"]) == (
        found["outputs"]["before"], found["outputs"]["after"]
    )  # fmt: skip
    assert before["batch1_us"] > 0 < after["batch1024_us"]
    assert after["pareto_bytes"] is True
    plain = run(folder, "compress", "net.safetensors", "-o", "four.safetensors", "--bits", "4")
    assert plain["variants"][0]["score"] is None
    assert plain["variants"][0]["batch1_us"] > 0
    assert run(folder, "compress", "model.safetensors", "-o", "m.safetensors")["variants"] == []
    files = ("net.safetensors", "small.safetensors", "--also", "four.safetensors")
    found = run(folder, "compare", *files, *words)
    assert [row["bytes"] for row in found["variants"]] == [
        (folder / name).stat().st_size for name in (files[0], files[1], files[3])
    ]
    shown = call(*in_folder(folder, ("compare", *files, *words))).stdout
    assert "time of a prediction: 1 sample" in shown
    assert "four.safetensors" in shown.partition("unbeaten in")[2]


def test_networks_on_the_way_to_a_target(folder: Path) -> None:
    words = ("--data", "X.npy", "--labels", "y.npy", "--target-bytes", "1300", "--epochs", "2")
    found = run(folder, "compress", "net.safetensors", "-o", "one.safetensors", *words)
    tried = [row for row in found["variants"] if row["batch1_us"] is None]
    assert tried
    assert any(row["pareto_bytes"] for row in tried)
    assert all("values" in row["name"] for row in tried)


def test_biases_that_make_up_for_others_are_not_the_worst(folder: Path) -> None:
    words = ("arrays.npz", "-o", "small.safetensors", "--layout", "in_out", "--bits", "3")
    found = run(folder, "compress", *words, "--data", "X.npy")
    assert "float32, changed" in [row["after"] for row in found["rows"]]
    shown = call(*in_folder(folder, ("compress", *words, "--data", "X.npy"))).stdout
    assert shown.splitlines()[1].split()[0].endswith("weight")
    assert "taken as a network: 12 → 32 → 3, --activation relu" in shown
    worst = run(folder, "compare", "arrays.npz", "small.safetensors", "--worst", "1")["rows"]
    assert worst[0]["tensor"].endswith("weight")


def test_compare_other_tensors(folder: Path) -> None:
    qc.save(folder / "other.safetensors", {"a.weight": np.ones((2, 2)), "new": np.ones(3)})
    found = run(folder, "compare", "model.safetensors", "other.safetensors", "--worst", "0")
    rows = {row["tensor"]: row for row in found["rows"]}
    assert rows["a.weight"]["before"] == "float32 of shape 40x64"
    assert rows["new"]["before"] == "missing"
    assert rows["b.weight"]["after"] == "missing"
