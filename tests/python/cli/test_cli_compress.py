"""compress, inspect, compare and calibrate: what people type, as they type it."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qcore as qc
from commands import call, check_one_line
from qcore.arrays.tensor.tensor import QTensor

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    X = RNG.standard_normal((300, 12)).astype(np.float32)
    return X, (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)


@pytest.fixture
def folder(tmp_path: Path, data: tuple[np.ndarray, np.ndarray], trained: qc.nn.Sequential) -> Path:
    """A folder with a checkpoint, a network, its arrays, samples and labels."""
    checkpoint = {
        "a.weight": RNG.standard_normal((40, 64)).astype(np.float32),
        "b.weight": RNG.standard_normal((8, 130)).astype(np.float32),
        "a.bias": np.ones(40, np.float32),
        "steps": np.arange(3),
    }
    qc.save(tmp_path / "model.safetensors", checkpoint)
    trained.save(tmp_path / "net.safetensors")
    arrays = {n: w.T if w.ndim == 2 else w for n, w in trained.named_weights().items()}
    np.savez(tmp_path / "arrays.npz", **arrays)
    np.save(tmp_path / "X.npy", data[0])
    np.save(tmp_path / "y.npy", data[1])
    return tmp_path


@pytest.fixture(scope="module")
def trained(data: tuple[np.ndarray, np.ndarray]) -> qc.nn.Sequential:
    layers = [qc.nn.Dense(12, 32, "relu"), qc.nn.Dense(32, 3, "softmax")]
    return qc.nn.Sequential(layers).fit(*data, epochs=30, random_state=0)


def run(folder: Path, *words: str) -> dict[str, Any]:
    """Call a command with --json; words with a dot are files of the folder."""
    result = call(*in_folder(folder, words), "--json")
    assert result.exit_code == 0, result.output
    assert not result.stderr or result.stderr.startswith("Warning: compressed, ")
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def in_folder(folder: Path, words: tuple[str, ...]) -> list[str]:
    ends = (".safetensors", ".npz", ".npy", ".toml", ".json", ".html", ".onnx", ".gguf")
    return [str(folder / word) if word.endswith(ends) else word for word in words]


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


def write_graph(path: Path) -> None:
    """Write an ONNX graph that is no dense network."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = {
        "conv.weight": RNG.standard_normal((16, 3, 3, 3)).astype(np.float32),
        "fc.weight": RNG.standard_normal((64, 10)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight"], ["c"]),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("MatMul", ["f", "fc.weight"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(w, name) for name, w in weights.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)


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


# what is wrong --------------------------------------------------------------------------------

WRONG = [
    (["compress", "missing.safetensors", "-o", "out.safetensors"], 2, ["missing.safetensors"]),
    (["compress", "empty", "-o", "out.safetensors"], 2, ["empty", "a folder"]),
    (["compress", "/dev/null", "-o", "out.safetensors"], 2, ["/dev/null", "a device"]),
    (["compress", "pipe.npy", "-o", "out.safetensors"], 2, ["pipe.npy", "a pipe"]),
    (["compress", "model.safetensors"], 2, ["-o is missing"]),
    (["compress", "model.safetensors", "-o", "model.safetensors"], 2, ["is read"]),
    (["compress", "model.safetensors", "-o", "link.safetensors"], 2, ["is read"]),
    (["compress", "model.safetensors", "-o", "no/out.safetensors"], 2, ["folder that is not"]),
    (["compress", "model.safetensors", "-o", "/dev/full"], 2, ["/dev/full"]),
    (["compress", "model.safetensors", "-o", "out.bin"], 2, [".safetensors"]),
    (["compress", "model.safetensors", "-o", "out.safetensors", "--scheme", "int7"], 2,
     ["int7", "affine"]),
    (["compress", "model.safetensors", "-o", "out.safetensors", "--bits", "many"], 2, ["many"]),
    (["compress", "model.safetensors", "-o", "out.safetensors", "--bits", "99"], 2,
     ["--bits", "99"]),
    (["compress", "model.safetensors", "-o", "out.safetensors", "--bits", "none"], 2, ["nothing"]),
    (["compress", "model.safetensors", "-o", "out.safetensors", "--scope", "layer"], 2,
     ["--scope needs --sparsity"]),
    (["compress", "model.safetensors", "-o", "out.safetensors", "--sparsity", "2"], 2,
     ["--sparsity", "2"]),
    (["compress", "model.safetensors", "-o", "out.safetensors", "--criterion", "x"], 2, ["x"]),
    (["compress", "model.safetensors", "-o", "out.safetensors", "--recipe", "bad.toml"], 2,
     ["bad.toml", "line 2"]),
    (["compress", "model.safetensors", "-o", "out.safetensors", "--recipe", "value.toml"], 2,
     ["value.toml", "line 3", "bits"]),
    (["compress", "model.safetensors", "-o", "out.safetensors", "--recipe", "good.toml", "--bits",
      "4"], 2, ["--bits and --recipe"]),
    (["compress", "model.safetensors", "-o", "out.safetensors", "--data", "X.npy"], 2,
     ["--layout"]),
    (["compress", "corrupt.safetensors", "-o", "out.safetensors"], 1, ["corrupt.safetensors"]),
    (["compress", "nan.safetensors", "-o", "out.safetensors"], 1, ["NaN"]),
    (["compress", "net.safetensors", "-o", "out.safetensors", "--data", "y.npy"], 1, ["X"]),
    (["compress", "net.safetensors", "-o", "out.safetensors", "--labels", "y.npy"], 2, ["--data"]),
    (["compress", "net.safetensors", "-o", "out.safetensors", "--ranges", "bad.json"], 1,
     ["bad.json"]),
    (["inspect", "corrupt.safetensors"], 1, ["corrupt.safetensors"]),
    (["inspect", "model.safetensors", "--tensor", "zzz"], 1, ["zzz"]),
    (["compare", "model.safetensors", "missing.npz"], 2, ["missing.npz"]),
    (["compare", "model.safetensors", "model.safetensors", "--data", "X.npy"], 1, ["no network"]),
    (["compare", "model.safetensors", "model.safetensors", "--also", "net.safetensors"], 1,
     ["--also is for networks"]),
    (["compare", "net.safetensors", "net.safetensors", "--also", "model.safetensors"], 1,
     ["model.safetensors", "no network"]),
    (["calibrate", "model.safetensors", "--data", "X.npy"], 1, ["no network"]),
    (["calibrate", "net.safetensors", "--data", "X.npy", "--observer", "x"], 2, ["x"]),
    (["calibrate", "net.safetensors", "--data", "X.npy", "-o", "net.safetensors"], 2, [".json"]),
    (["compress", "net.safetensors", "-o", "out.safetensors", "--target-ratio", "9"], 2,
     ["--labels"]),
    (["compress", "net.safetensors", "-o", "out.safetensors", "--target-ratio", "9", "--bits", "4"],
     2, ["--bits"]),
    (["compress", "net.safetensors", "-o", "out.safetensors", "--epochs", "9"], 2, ["--epochs"]),
    (["compress", "net.safetensors", "-o", "out.gguf"], 2, ["GGUF holds arrays"]),
    (["compress", "model.safetensors", "-o", "out.onnx"], 2, ["--layout"]),
    (["compress", "graph.onnx", "-o", "out.safetensors"], 2, ["no dense network"]),
    (["compress", "graph.onnx", "-o", "out.onnx", "--data", "X.npy"], 2, ["no dense network"]),
    (["compress", "graph.onnx", "-o", "out.onnx", "--sparsity", "0.5"], 2, ["no dense network"]),
    (["compress", "corrupt.onnx", "-o", "out.onnx"], 1, ["corrupt.onnx"]),
    (["compress", "net.safetensors", "-o", "out.onnx", "--target-ratio", "9", "--data", "X.npy",
      "--labels", "y.npy"], 2, [".safetensors"]),
    (["inspect", "corrupt.onnx"], 1, ["corrupt.onnx"]),
    (["inspect", "corrupt.gguf"], 1, ["corrupt.gguf"]),
    (["compress", "model.safetensors", "-o", "out.safetensors", "--recipe", "X.npy"], 2,
     ["X.npy", "no recipe"]),
    (["compress", "arrays.npz", "-o", "out.safetensors", "--layout", "out_in"], 2,
     ["--layout", "the arrays fit 'in_out'"]),
    (["compress", "arrays.npz", "-o", "out.safetensors", "--layout", "in_out", "--activation", "x"],
     2, ["--activation", "x", "relu"]),
    (["compress", "model.safetensors", "-o", "out.safetensors", "--sparsity", "0.5", "--pattern",
      "zigzag"], 2, ["--pattern", "zigzag", "2:4"]),
    (["completion", "tcsh"], 2, ["tcsh"]),
]  # fmt: skip


@pytest.fixture
def broken(folder: Path) -> Path:
    """The folder, with what can be wrong in it."""
    os.mkfifo(folder / "pipe.npy")
    (folder / "empty").mkdir()
    (folder / "link.safetensors").symlink_to(folder / "model.safetensors")
    (folder / "corrupt.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    (folder / "bad.toml").write_text("[quantize]\nbits = \n")
    (folder / "value.toml").write_text("# widths\n[quantize]\nbits = 77\n")
    (folder / "good.toml").write_text("[quantize]\nbits = 4\n")
    (folder / "bad.json").write_text('{"format": 1, "layers": 3}')
    write_graph(folder / "graph.onnx")
    (folder / "corrupt.onnx").write_bytes(b"nothing")
    (folder / "corrupt.gguf").write_bytes(b"GGUF nothing")
    qc.save(folder / "nan.safetensors", {"w": np.full((4, 4), np.nan, np.float32)})
    return folder


@pytest.mark.parametrize(("words", "status", "found"), WRONG, ids=lambda v: str(v)[:60])
def test_one_clear_line(
    broken: Path, words: list[str], status: int, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(broken)
    before = {path.name: path.stat().st_mtime_ns for path in broken.iterdir()}
    check_one_line(call(*words), status, *found)
    assert {path.name: path.stat().st_mtime_ns for path in broken.iterdir()} == before


def test_missing_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    words = ("compress", "model.safetensors", "-o", "out.safetensors", "--report", "r.html")
    check_one_line(call(*in_folder(folder, words)), 1, "qcore-cpu[report]")
    assert not (folder / "out.safetensors").exists()


def test_disk_that_is_full(folder: Path) -> None:
    """A file may not grow beyond a limit: the errors of a full disk, for everybody."""
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); "
        "from qcore.cli import main; main()"
    )
    words = in_folder(folder, ("compress", "model.safetensors", "-o", "net.safetensors"))
    old = (folder / "net.safetensors").read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", script, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert "net.safetensors" in done.stderr
    assert (folder / "net.safetensors").read_bytes() == old
    assert not list(folder.glob(".qcore-*"))


def test_folder_that_may_not_be_written(folder: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    locked = folder / "locked"
    locked.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    words = in_folder(folder, ("compress", "model.safetensors", "-o", "locked/out.safetensors"))
    check_one_line(call(*words), 1, "out.safetensors")


# what is shown --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", ["demo", "compress", "inspect", "compare", "calibrate", "doctor", "completion"]
)
def test_help_has_an_example(command: str) -> None:
    result = call(command, "--help")
    assert result.exit_code == 0
    assert f"qcore {command}" in result.stdout.partition("Examples:")[2]


def test_nothing_but_the_answer_on_standard_output(folder: Path) -> None:
    words = ("compress", "model.safetensors", "-o", "small.safetensors")
    result = call(*in_folder(folder, words))
    assert result.exit_code == 0
    assert not result.stderr or result.stderr.startswith("Warning: compressed, ")
    assert "smaller" in result.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    script = call("completion", shell)
    assert script.exit_code == 0
    assert "_QCORE_COMPLETE" in script.stdout


def test_completion_knows_the_commands() -> None:
    environment = os.environ | {
        "_QCORE_COMPLETE": "bash_complete", "COMP_WORDS": "qcore com", "COMP_CWORD": "1"
    }  # fmt: skip
    done = subprocess.run(
        [Path(sys.executable).with_name("qcore")],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    words = {line.partition(",")[2] for line in done.stdout.splitlines()}
    assert words == {"compress", "compare", "completion"}


def test_version_loads_nothing_heavy() -> None:
    script = (
        "import sys; from qcore.cli import main\n"
        "try: main(['--version'])\n"
        "except SystemExit: print(*[m for m in ('numpy', 'rich', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [f"qcore {qc.__version__}", ""]


# Ctrl-C ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["qcore.cli", "click", "qcore.cli.doctor", "qcore._core"])
def test_ctrl_c_while_it_starts(module: str) -> None:
    """Ctrl-C comes while a module is looked for."""
    script = (
        "import os, signal, sys\n"
        "from qcore.__main__ import main\n"
        "class Finder:\n"
        "    def find_spec(name, *_):\n"
        f"        if name == '{module}': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder)\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "doctor"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.strip()) == (1, "", "Aborted!")


@pytest.fixture
def slow(folder: Path) -> list[str]:
    """A command that is in one kernel for a long time."""
    qc.save(
        folder / "huge.safetensors", {"w": RNG.standard_normal((2000, 4000)).astype(np.float32)}
    )
    words = ("compress", "huge.safetensors", "-o", "out.safetensors", "--scheme", "kmeans",
             "--levels", "256")  # fmt: skip
    return [str(Path(sys.executable).with_name("qcore")), *in_folder(folder, words)]


@pytest.mark.parametrize(
    ("number", "status", "words"),
    [(signal.SIGINT, 1, "Aborted!\n"), (signal.SIGTERM, -signal.SIGTERM, "")],
)
def test_a_signal_leaves_nothing_behind(
    folder: Path, slow: list[str], number: int, status: int, words: str
) -> None:
    (folder / "out.safetensors").write_bytes(b"old")
    process = subprocess.Popen(slow, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not list(folder.glob(".qcore-*")):  # it is at work
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(number)
    out, error = process.communicate(timeout=60)
    assert process.returncode == status
    assert (out, error) == ("", words)
    assert not list(folder.glob(".qcore-*"))
    assert (folder / "out.safetensors").read_bytes() == b"old"


def test_file_formats(tmp_path: Path) -> None:
    w = np.random.default_rng(0).standard_normal((8, 64)).astype(np.float32)
    qc.save(tmp_path / "a.safetensors", {"fc.weight": w})
    packed = tmp_path / "b.safetensors"
    options = ["--bits", "4", "--group-size", "32", "--file-format", "compressed-tensors"]
    done = call("compress", tmp_path / "a.safetensors", "-o", packed, *options, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["output_bytes"] == packed.stat().st_size
    assert qc.load(packed)["fc.weight"].bits == 4
    index = tmp_path / "c.safetensors.index.json"
    assert call("compress", packed, "-o", index).exit_code == 0
    assert qc.load(index)["fc.weight"] == qc.load(packed)["fc.weight"]
    for wrong, reason in (
        (["-o", tmp_path / "b.gguf", *options], "only GGUF files end in .gguf"),
        (["-o", tmp_path / "d.safetensors", "--file-format", "gguf"], "only GGUF"),
        (["-o", tmp_path / "d.safetensors", "--sparsity", "0.5", "--dask", "local"], "one by one"),
    ):
        refused = call("compress", tmp_path / "a.safetensors", *wrong)
        assert refused.exit_code == 2
        assert reason in refused.stderr
