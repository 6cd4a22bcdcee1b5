"""What `qcore compress` refuses, what it shows, and how it is stopped."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import qcore as qc
from commands import call, check_one_line
from compress_parts import RNG, in_folder, write_graph

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
    (["compress", "graph.onnx", "-o", "out.onnx", "--data", "X.npy"], 1, ["must have 4 dims"]),
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


@pytest.mark.parametrize(
    "command",
    ["demo", "compress", "inspect", "compare", "calibrate", "doctor", "completion", "run"],
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
    out = folder / "out.safetensors"
    for _ in range(5):
        out.write_bytes(b"old")
        process = subprocess.Popen(slow, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while not list(folder.glob(".qcore-*")) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        said = process.communicate(timeout=120)
        # On a machine that is busy with others it may have ended before the signal came.
        if process.returncode != 0:
            break
    assert process.returncode == status
    assert said == ("", words)
    assert not list(folder.glob(".qcore-*"))
    assert out.read_bytes() == b"old"


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
