"""compare on graphs: run here, or in ONNX Runtime; dry runs to the byte; keys of JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qcore as qc
from commands import call, check_one_line

onnx = pytest.importorskip("onnx")

RNG = np.random.default_rng(0)


def write_model(path: Path, *, foreign: bool = False) -> None:
    """Write a graph that classifies images; a foreign one has an op that qcore has not."""
    from onnx import TensorProto, helper, numpy_helper

    weights = {
        "conv.weight": RNG.standard_normal((16, 3, 3, 3)).astype(np.float32),
        "fc.weight": RNG.standard_normal((64, 10)).astype(np.float32) / 8,
    }
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight"], ["c"]),
        helper.make_node("Det" if foreign else "Relu", ["square"] if foreign else ["c"], ["d"]),
        helper.make_node("Flatten", ["c" if foreign else "d"], ["f"]),
        helper.make_node("MatMul", ["f", "fc.weight"], ["logits"]),
        helper.make_node("Add", ["logits", "d"] if foreign else ["logits", "zero"], ["y"]),
    ]
    constants = [numpy_helper.from_array(w, name) for name, w in weights.items()]
    constants += [
        numpy_helper.from_array(np.float32([[[2, 0], [0, 3]]]), "square"),
        numpy_helper.from_array(np.zeros(10, np.float32), "zero"),
    ]
    graph = helper.make_graph(
        nodes, "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
        constants,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)


def told(*words: Any) -> dict[str, Any]:
    result = call(*words, "--json")
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def outputs_of(path: Path, X: np.ndarray) -> np.ndarray:
    runtime = pytest.importorskip("onnxruntime")
    found: np.ndarray = runtime.InferenceSession(path).run(None, {"x": X})[0]
    return found.astype(np.float64)


@pytest.fixture
def graphs(tmp_path: Path) -> tuple[Path, Path, np.ndarray]:
    path, small = tmp_path / "graph.onnx", tmp_path / "small.onnx"
    write_model(path)
    assert call("compress", path, "-o", small).exit_code == 0
    X = RNG.standard_normal((40, 3, 4, 4)).astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", qc.load(path)(X).argmax(axis=1))
    return path, small, X


def test_graphs_are_run_scored_and_timed(graphs: tuple[Path, Path, np.ndarray]) -> None:
    path, small, X = graphs
    labels = path.with_name("y.npy")
    found = told("compare", path, small, "--data", path.with_name("X.npy"), "--labels", labels)
    one, other = (outputs_of(place, X) for place in (path, small))
    expected = 10 * np.log10(np.sum(one**2) / np.sum((one - other) ** 2))
    assert found["outputs"]["sqnr_db"] == pytest.approx(expected, abs=2)
    assert (found["outputs"]["before"], found["outputs"]["samples"]) == (1.0, 40)
    agree = np.mean(other.argmax(axis=1) == np.load(labels))
    assert found["outputs"]["after"] == found["outputs"]["agreement"] == agree
    assert [row["name"] for row in found["variants"]] == ["graph.onnx", "small.onnx"]
    assert all(row["batch1_us"] > 0 for row in found["variants"])


def test_graphs_are_timed_without_samples(graphs: tuple[Path, Path, np.ndarray]) -> None:
    found = told("compare", *graphs[:2])
    assert found["outputs"] is None
    assert all(row["batch1_us"] > 0 and row["score"] is None for row in found["variants"])


def test_a_graph_that_is_not_ours_runs_in_onnx_runtime(tmp_path: Path) -> None:
    path, small = tmp_path / "foreign.onnx", tmp_path / "small.onnx"
    write_model(path, foreign=True)
    with pytest.raises(qc.UnsupportedError, match="Det"):
        qc.load(path)
    assert call("compress", path, "-o", small).exit_code == 0
    X = RNG.standard_normal((40, 3, 4, 4)).astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    found = told("compare", path, small, "--data", tmp_path / "X.npy")
    one, other = (outputs_of(place, X) for place in (path, small))
    expected = 10 * np.log10(np.sum(one**2) / np.sum((one - other) ** 2))
    assert found["outputs"]["engine"] == "ONNX Runtime"
    assert found["outputs"]["sqnr_db"] == pytest.approx(expected, abs=0.1)
    shown = call("compare", path, small, "--data", tmp_path / "X.npy")
    assert "outputs of 40 samples, run in ONNX Runtime: SQNR" in shown.stdout


def test_graphs_of_our_own_files_run_here(tmp_path: Path) -> None:
    write_model(tmp_path / "graph.onnx")
    graph = qc.load(tmp_path / "graph.onnx")
    graph.save(tmp_path / "a.safetensors")
    graph.with_weights({"fc.weight": 2 * graph.constants["fc.weight"]}).save(
        tmp_path / "b.safetensors"
    )
    X = RNG.standard_normal((40, 3, 4, 4)).astype(np.float32)
    np.save(tmp_path / "X.npy", X)
    words = ("compare", tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--data")
    found = told(*words, tmp_path / "X.npy")
    assert found["outputs"]["engine"] == "qcore"
    assert found["outputs"]["sqnr_db"] == pytest.approx(0, abs=1e-5)  # twice as large
    assert found["outputs"]["max_abs"] == pytest.approx(np.abs(graph(X)).max(), rel=1e-6)


def test_samples_that_do_not_fit_are_named(graphs: tuple[Path, Path, np.ndarray]) -> None:
    path, small, _ = graphs
    wrong = path.with_name("wrong.npy")
    np.save(wrong, np.ones((4, 5), np.float32))
    result = call("compare", path, small, "--data", wrong)
    check_one_line(result, 1, "samples have 2 axes; input 'x' has 4")


@pytest.mark.parametrize("output", ["small.onnx", "small.safetensors", "small.gguf"])
@pytest.mark.parametrize("words", [(), ("--bits", "4"), ("--bits", "4", "--group-size", "32")])
@pytest.mark.parametrize("samples", [False, True])
def test_dry_runs_know_every_target_to_the_byte(
    tmp_path: Path, output: str, words: tuple[str, ...], samples: bool
) -> None:
    X = RNG.standard_normal((200, 32)).astype(np.float32)
    net = qc.nn.Sequential([qc.nn.Dense(32, 64, "relu"), qc.nn.Dense(64, 4, "softmax")])
    net.fit(X, (X[:, 0] > 0) + 2 * (X[:, 1] > 0), epochs=2, random_state=0)
    source = tmp_path / "net.safetensors"
    if output.endswith(".gguf"):
        qc.save(source, net.named_weights())
        if samples:
            pytest.skip("arrays are run on no samples")
    else:
        net.save(source)
    np.save(tmp_path / "X.npy", X)
    data = ("--data", tmp_path / "X.npy") if samples else ()
    before = sorted(path.name for path in tmp_path.iterdir())
    plan = told("compress", source, "-o", tmp_path / output, *words, *data, "--dry-run")
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert plan["exact"] is True
    done = call("compress", source, "-o", tmp_path / output, *words, *data)
    assert done.exit_code == 0, done.output
    assert plan["output_bytes"] == (tmp_path / output).stat().st_size


def test_zeros_that_save_nothing_are_said(tmp_path: Path) -> None:
    X = RNG.standard_normal((50, 32)).astype(np.float32)
    net = qc.nn.Sequential([qc.nn.Dense(32, 64, "relu"), qc.nn.Dense(64, 4, "softmax")])
    net.fit(X, X[:, :4].argmax(axis=1), epochs=1, random_state=0).save(tmp_path / "net.safetensors")
    words = ("compress", tmp_path / "net.safetensors", "-o")
    for output, sparsity, said in (
        ("a.onnx", "0.5", "ONNX has a place for every weight"),
        ("b.safetensors", "0.02", "so few of these weights are 0"),
        ("c.safetensors", "0.9", ""),
    ):
        result = call(*words, tmp_path / output, "--sparsity", sparsity)
        assert result.exit_code == 0, result.output
        assert ("the zeros save no bytes" in result.stderr) == bool(said)
        assert said in result.stderr


def keys_of(value: Any) -> Iterator[str]:
    """Yield the keys that commands choose: not the names of tensors and layers."""
    if isinstance(value, dict):
        yield from value
        for key in ("rows", "variants", "totals", "outputs", "results"):
            yield from keys_of(value.get(key))
    elif isinstance(value, list):
        for part in value:
            yield from keys_of(part)


def test_keys_of_json_are_names(graphs: tuple[Path, Path, np.ndarray]) -> None:
    path, small, _ = graphs
    for words in (
        ("doctor",), ("inspect", path), ("compare", path, small),
        ("compress", path, "-o", path.with_name("again.onnx")),
        ("compress", path, "-o", path.with_name("again.onnx"), "--dry-run"),
    ):  # fmt: skip
        found = told(*words)
        keys = set(keys_of(found))
        assert all(re.fullmatch(r"[a-z][a-z0-9_]*", key) for key in keys), (words, keys)
        for row in found.get("rows", ()):
            assert isinstance(row["shape"], list)
            assert "bytes" in row


@pytest.mark.parametrize("words", [(), ("--sparsity", "0.5")])
@pytest.mark.parametrize("shape", [(1, 8, 8), (64,)])
def test_networks_keep_the_interface_of_their_source(
    tmp_path: Path, words: tuple[str, ...], shape: tuple[int, ...]
) -> None:
    """The names and shapes of inputs and outputs; images stay images, flattened or not."""
    runtime = pytest.importorskip("onnxruntime")
    from onnx import helper, numpy_helper

    weight = RNG.standard_normal((64, 10)).astype(np.float32) / 8
    flat = [helper.make_node("Flatten", ["pixels"], ["rows"])] if len(shape) > 1 else []
    first = "rows" if flat else "pixels"
    graph = helper.make_graph(
        [*flat, helper.make_node("MatMul", [first, "w"], ["scores"])], "graph",
        [helper.make_tensor_value_info("pixels", 1, ["n", *shape])],
        [helper.make_tensor_value_info("scores", 1, ["n", 10])],
        [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17)]
    path, small = tmp_path / "net.onnx", tmp_path / "small.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    assert call("compress", path, "-o", small, *words).exit_code == 0
    onnx.checker.check_model(onnx.load(small), full_check=True)
    session = runtime.InferenceSession(small)
    assert [(v.name, v.shape) for v in session.get_inputs()] == [("pixels", ["n", *shape])]
    assert [v.name for v in session.get_outputs()] == ["scores"]
    X = RNG.standard_normal((5, *shape)).astype(np.float32)
    (found,) = session.run(None, {"pixels": X})
    wanted = X.reshape(5, -1) @ weight
    assert np.abs(found - wanted).max() < (1.0 if not words else 8.0)
    if not words:  # what runs with dynamic activations is no chain that is read back
        assert qc.load(small).predict_proba(X.reshape(5, -1)).shape == (5, 10)
