"""qcore run: networks of files and folders on arrays; inspect names a folder's architecture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import qcore as qc
from commands import call, check_one_line
from pretrained_parts import tokens, write_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    np.savez(tmp_path / "tokens.npz", **tokens())
    return write_folder(tmp_path / "m")


def test_run_a_folder(folder: Path) -> None:
    data, out = folder.parent / "tokens.npz", folder.parent / "y.npz"
    result = call("run", folder, "--input", data, "--output", out)
    assert result.exit_code == 0, result.output
    assert "last_hidden_state: float32 3x9x24" in result.output
    wanted = qc.load(folder).run(tokens())
    found = qc.load_tensors(out)
    assert set(found) == set(wanted)
    np.testing.assert_array_equal(found["pooler_output"], wanted["pooler_output"])


def test_run_inputs_by_name(tmp_path: Path) -> None:
    net = qc.nn.Sequential.from_arrays(
        [np.eye(4, 3, dtype=np.float32)], [np.ones(3, np.float32)], layout="in_out",
        output="linear",
    )  # fmt: skip
    net.save(tmp_path / "net.safetensors")
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    np.save(tmp_path / "x.npy", x)
    for given in ("x.npy", "input=x.npy"):
        name, mark, file = given.rpartition("=")
        words = ("--input", f"{name}{mark}{tmp_path / file}", "--output", tmp_path / "y.npy")
        result = call("run", tmp_path / "net.safetensors", *words)
        assert result.exit_code == 0, result.output
        np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), net.predict(x))


def test_what_does_not_run_is_one_line(folder: Path) -> None:
    data, home = folder.parent / "tokens.npz", folder.parent
    np.save(home / "x.npy", np.zeros((1, 4), np.float32))
    qc.save(home / "w.safetensors", {"w": np.zeros(3, np.float32)})
    for words, status, said in (
        ((folder, "--input", data, "--output", home / "y.npy"), 2, "which a .npz file holds"),
        ((folder, "--input", home / "x.npy", "--output", home / "y.npz"), 2, "has no name"),
        ((folder, "--input", f"z={home / 'x.npy'}", "--output", home / "y.npz"), 1, "no input 'z'"),
        ((folder, "--input", data, "--output", home / "y.txt"), 2, ".npz or .npy"),
        ((home / "w.safetensors", "--input", data, "--output", home / "y.npz"), 2, "no network"),
    ):
        check_one_line(call("run", *words), status, said)


def test_attention_is_chosen_by_a_flag(folder: Path) -> None:
    """What the flag says is what the quantizer does; arrays have no attention."""
    home, kernels = folder.parent, {}
    for attention in ("int8", "float32"):
        out = home / f"{attention}.safetensors"
        result = call(
            "compress", folder, "-o", out, "--data", home / "tokens.npz", "--attention", attention
        )
        assert result.exit_code == 0, result.output
        kernels[attention] = {kernel for _, kernel in qc.load(out).kernels(tokens())}
    assert "attention int8" in kernels["int8"]
    assert "attention int8" not in kernels["float32"]
    np.savez(home / "arrays.npz", w=np.ones((4, 4), np.float32))
    words = ("-o", home / "o.safetensors", "--attention", "int8")
    result = call("compress", home / "arrays.npz", *words)
    assert result.exit_code == 2
    assert "--attention is for networks" in result.output


def test_inspect_names_the_architecture(folder: Path) -> None:
    result = call("inspect", folder, "--header", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["kind"] == "bert encoder"


@pytest.mark.parametrize("words", [("--data", "tokens.npz"), ("--activations", "dynamic")])
def test_compress_a_folder(folder: Path, words: tuple[str, str]) -> None:
    """The command and the function make the same graph of a folder; it loads and runs."""
    home = folder.parent
    data, out = home / "tokens.npz", home / "small.safetensors"
    given = [home / word if word.endswith(".npz") else word for word in words]
    result = call("compress", folder, "-o", out, *given)
    assert result.exit_code == 0, result.output
    options = {"X": tokens()} if "--data" in words else {"activations": "dynamic"}
    qc.compress(folder, **options, output=home / "same.safetensors")
    wanted, small = qc.load(home / "same.safetensors"), qc.load(out)
    assert small.nbytes == wanted.nbytes < qc.load(folder).nbytes / 2
    result = call("run", out, "--input", data, "--output", home / "y.npz")
    assert result.exit_code == 0, result.output
    found = qc.load_tensors(home / "y.npz")["pooler_output"]
    np.testing.assert_array_equal(found, wanted.run(tokens())["pooler_output"])
    exact = qc.load(folder).run(tokens())["pooler_output"]
    assert 0 < np.abs(found - exact).max() < 0.1
