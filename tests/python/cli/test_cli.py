"""The command line: what it prints, and how it says that something is wrong."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import qcore as qc
from commands import call, check_one_line
from qcore import _core
from qcore.demo.run import Options


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """A folder with a small data set in MNIST's form."""
    folder = tmp_path / "mnist"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for part, count in (("train", 60), ("t10k", 20)):
        labels = np.arange(count) % 10
        images = rng.integers(0, 60, (count, 4, 5)) + 19 * labels[:, None, None]
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels)
    return folder


def no_files_in(folder: Path) -> bool:
    return not list(folder.iterdir())


def test_version() -> None:
    result = call("--version")
    assert result.exit_code == 0
    assert result.stdout == f"qcore {qc.__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"], ["doctor", "-h"]])
def test_help(arguments: list[str]) -> None:
    result = call(*arguments)
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")


def test_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qcore", "doctor"], capture_output=True, text=True, check=True
    )
    assert done.stderr in ("", "this is a debug build: nothing measured with it counts\n")
    facts = dict(line.split("  ", 1) for line in done.stdout.splitlines())
    found = {key.strip(): value.strip() for key, value in facts.items()}
    assert found["qcore"] == qc.__version__
    assert found["in force"] == _core.active_isa()
    assert found["instruction sets"].split(", ") == _core.available_isas()
    assert int(found["threads"]) == _core.num_threads()


def test_doctor_shows_what_is_forced() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qcore", "doctor"],
        capture_output=True, text=True, check=True,
        env=os.environ | {"QCORE_ISA": "scalar", "QCORE_NUM_THREADS": "1"},
    )  # fmt: skip
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["in", "force", "scalar"] in lines
    assert ["threads", "1"] in lines


def test_doctor_names_the_kernels() -> None:
    result = call("doctor")
    assert result.exit_code == 0
    assert _core.kernel_id() in result.stdout
    for label in ("caches", "int4 products", "separate cores", "int8 layer faster, batch 64"):
        assert label in result.stdout


def test_doctor_names_kernels_that_never_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_core, "unverified_isas", lambda: ["amx"])
    result = call("doctor")
    line = next(line for line in result.stdout.splitlines() if line.startswith("amx kernels"))
    assert "present, never run on hardware, not selected" in line


@pytest.mark.skipif("amx" in _core.available_isas(), reason="this CPU has AMX")
def test_amx_is_refused_where_the_cpu_lacks_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qcore", "doctor"],
        capture_output=True, text=True, check=False, env=os.environ | {"QCORE_ISA": "amx"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "amx" in done.stderr
    assert "this CPU does not have it" in done.stderr


def test_bench_times_a_network_by_percentile(tmp_path: Path) -> None:
    from qcore.graph.node import Node
    from qcore.graph.value import Value

    net = qc.Graph(
        [Node("conv", "Conv", ("x", "w"), ("a",)), Node("relu", "Relu", ("a",), ("y",))],
        inputs=[Value("x", "float32", ("n", 3, 8, 8))],
        outputs=[Value("y", "float32")],
        constants={"w": np.ones((4, 3, 3, 3), np.float32)},
    )
    path = tmp_path / "net.safetensors"
    net.save(path)
    result = call("bench", path, "--seconds", "0.01", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    ours = report["results"]["qcore"]
    assert 0 < ours["least"] <= ours["p50"] <= ours["p99"] <= ours["p999"]
    shown = call("bench", path, "--seconds", "0.01")
    assert "p99.9 µs" in shown.output
    chain = qc.nn.Sequential.from_arrays([np.eye(3)], [np.ones(3)], layout="in_out")
    chain.save(tmp_path / "chain.safetensors")
    steps = json.loads(call("bench", path, "--nodes", "--seconds", "0.01", "--json").output)[
        "steps"
    ]
    assert steps
    assert {"node", "kernel", "work", "micros"} == set(steps[0])
    assert steps[0]["kernel"][:4] in call("bench", path, "--nodes", "--seconds", "0.01").output
    assert "--nodes needs" in call("bench", "--nodes").output
    dense = call("bench", tmp_path / "chain.safetensors", "--seconds", "0.01", "--json")
    assert json.loads(dense.stdout)["results"]["qcore"]["p50"] > 0
    qc.save(tmp_path / "array.safetensors", {"w": np.eye(3, dtype=np.float32)})
    assert "is no network" in call("bench", tmp_path / "array.safetensors").output


def test_bench_measures_every_case_beside_float32(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    result = call("bench", "--seconds", "0.01", "--threads", "1", "--json", "--save", path)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert json.loads(path.read_text()) == report
    assert report["environment"]["isa"] == _core.active_isa()
    names = {row["name"] for row in report["results"]}
    assert {"matmul_integer, packed", "linear, int8", "quantize", "dequantize"} <= names
    for row in report["results"]:
        assert row["seconds"] > 0
        assert row["plain_seconds"] > 0
        assert row["bytes"] > 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["nonsense"], "nonsense"),
        (["--nonsense"], "--nonsense"),
        (["demo", "--nonsense"], "--nonsense"),
        (["demo", "extra"], "extra"),
        (["demo", "--seeds", "many"], "'many' is neither"),
        (["demo", "--seeds", ""], "neither"),
        (["demo", "--seeds", "0"], "range 1 to 1000"),
        (["demo", "--seeds", "-1"], "neither"),
        (["demo", "--seeds", "1,1"], "twice"),
        (["demo", "--seeds", "0,4294967296"], "2**32"),
        (["demo", "--epochs", "0"], "--epochs"),
        (["demo", "--split", "train"], "--split"),
        (["demo", "--data", "no/such/folder"], "no/such/folder"),
        (["demo", "--save", "."], "--save"),
        (["demo", "--save", "no/such/folder/report.json"], "folder that is not there"),
        (["demo", "--out", "no/such/folder"], "folder that is not there"),
        (["bench", "--save", "report.txt"], ".json"),
        (["bench", "--seconds", "0"], "--seconds"),
    ],
)
def test_wrong_calls(arguments: list[str], word: str) -> None:
    check_one_line(call(*arguments), 2, word, "--help")


def test_missing_data(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    empty = tmp_path / "empty"
    empty.mkdir()
    result = call("demo", "--data", empty, "--out", out, "--save", out / "report.json")
    check_one_line(result, 1, "train-images-idx3-ubyte", str(empty))
    assert no_files_in(out)


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"])
@pytest.mark.parametrize("keep", [0, 3, 25, -1])
def test_truncated_data(mnist: Path, tmp_path: Path, name: str, keep: int) -> None:
    out = tmp_path / "out"
    out.mkdir()
    path = mnist / name
    path.write_bytes(path.read_bytes()[:keep])
    result = call("demo", "--data", mnist, "--out", out, "--save", out / "report.json")
    check_one_line(result, 1, name)
    assert no_files_in(out)


def test_labels_that_are_no_digits(mnist: Path) -> None:
    write_idx(mnist / "train-labels-idx1-ubyte.gz", np.full(60, 10))
    check_one_line(call("demo", "--data", mnist), 1, "label [0] is 10")


def test_too_few_images(mnist: Path) -> None:
    write_idx(mnist / "t10k-images-idx3-ubyte.gz", np.zeros((0, 4, 5)))
    write_idx(mnist / "t10k-labels-idx1-ubyte.gz", np.zeros(0))
    check_one_line(call("demo", "--data", mnist), 1, "0 images")


def test_parts_of_different_size(mnist: Path) -> None:
    write_idx(mnist / "t10k-images-idx3-ubyte.gz", np.zeros((20, 5, 5)))
    check_one_line(call("demo", "--data", mnist), 1, "4 x 5", "5 x 5")


def test_validation_leaves_the_test_images_alone(mnist: Path, tmp_path: Path) -> None:
    for path in mnist.glob("t10k-*"):
        path.unlink()
    report = tmp_path / "report.json"
    arguments = ["--data", mnist, "--split", "validation", "--epochs", "1", "--save", report]
    result = call("demo", *arguments)
    assert result.exit_code == 0, result.output
    data = json.loads(report.read_text())["data"]
    assert (data["train_images"], data["scored_images"]) == (54, 6)


def test_output_that_cannot_be_written(mnist: Path, tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.touch()
    check_one_line(call("demo", "--data", mnist, "--out", occupied), 2, str(occupied))
    nowhere = tmp_path / "nowhere"
    result = call("demo", "--data", mnist, "--save", nowhere / "report.json")
    check_one_line(result, 2, str(nowhere))
    assert not nowhere.exists()


def test_missing_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    check_one_line(call("demo"), 1, "qcore-cpu[demo]", "--data")


@pytest.mark.parametrize(
    ("text", "seeds"), [("1", (0,)), ("3", (0, 1, 2)), ("7,", (7,)), ("4, 0", (4, 0))]
)
def test_seeds(text: str, seeds: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Options] = []
    monkeypatch.setattr("qcore.demo.run.run", asked.append)
    assert call("demo", "--seeds", text, "--json").stdout == "null\n"
    assert asked[0].seeds == seeds


def test_isa_that_is_not_there() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qcore", "doctor"],
        capture_output=True, text=True, check=False,
        env=os.environ | {"QCORE_ISA": "abacus"},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert "abacus" in done.stderr


def test_inspect_shows_a_page_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "many.safetensors"
    qc.save(path, {f"w{i:04}": np.full(2, i, np.float32) for i in range(450)})
    whole = call("inspect", path)
    assert "tensors 1 to 200 of 450; --skip 200 shows the next" in whole.stdout
    assert "w0199" in whole.stdout
    assert "w0200" not in whole.stdout
    last = call("inspect", path, "--skip", "400")
    assert "w0399" not in last.stdout
    assert "w0449" in last.stdout
    assert "shows the next" not in last.stdout
    found = json.loads(call("inspect", path, "--limit", "2", "--skip", "3", "--json").stdout)
    assert [row["tensor"] for row in found["rows"]] == ["w0003", "w0004"]
    assert (found["tensors"], found["elements"], found["skipped"], found["left"]) == (
        450, 900, 3, 445,
    )  # fmt: skip
    assert len(json.loads(call("inspect", path, "--limit", "0", "--json").stdout)["rows"]) == 450
    assert "there are 450" in call("inspect", path, "--skip", "450").stderr
    refused = call("inspect", path, "--max-tensors", "449")
    assert refused.exit_code == 1
    assert "max_tensors is 449" in refused.stderr
    out = tmp_path / "out.safetensors"
    assert call("compress", path, "-o", out, "--max-tensors", "449").exit_code == 1
