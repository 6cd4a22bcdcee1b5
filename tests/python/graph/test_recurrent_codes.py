"""LSTM and GRU on int8 weights: what they compute, their directions, their state, their bits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qcore as qc
from qcore.graph.node import Node
from qcore.graph.value import Value

STEPS, BATCH, INPUTS, HIDDEN = 9, 3, 20, 24
GATES = {"LSTM": 4, "GRU": 3}


def cell(op: str, direction: str = "forward", seed: int = 0, **attributes: Any) -> qc.Graph:
    """Return a cell over (time, batch, inputs) whose states come in and go out."""
    rng = np.random.default_rng(seed)
    ways = 2 if direction == "bidirectional" else 1
    wide = GATES[op] * HIDDEN
    shapes = {"w": (ways, wide, INPUTS), "r": (ways, wide, HIDDEN), "b": (ways, 2 * wide)}
    states = ["h", "c"] if op == "LSTM" else ["h"]
    names = ("y", "hn", "cn")[: 1 + len(states)]
    node = Node(
        "cell", op, ("x", "w", "r", "b", "", *states), names,
        {"hidden_size": HIDDEN, "direction": direction, **attributes},
    )  # fmt: skip
    return qc.Graph(
        [node],
        inputs=[
            Value("x", "float32", ("time", "batch", INPUTS)),
            *(Value(name, "float32", (ways, "batch", HIDDEN)) for name in states),
        ],
        outputs=[Value(name, "float32") for name in names],
        constants={
            name: (rng.standard_normal(shape) / 4).astype(np.float32)
            for name, shape in shapes.items()
        },
    )


def given(net: qc.Graph, steps: int = STEPS, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = {"time": steps, "batch": BATCH}
    return {
        value.name: rng.standard_normal(
            [sizes.get(dim, dim) for dim in value.shape or ()]  # type: ignore[call-overload]
        ).astype(np.float32)
        for value in net.inputs
    }


def coded(rows: np.ndarray) -> np.ndarray:
    """Return rows as their int8 codes have them, each with a scale of its own."""
    scale = (np.abs(rows).max(-1, keepdims=True) / np.float32(127.5)).astype(np.float32)
    scale[scale == 0] = 1
    return np.clip(np.rint(rows / scale), -128, 127) * scale


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def reference(
    net: qc.Graph, x: dict[str, np.ndarray], op: str, way: int, backwards: bool, before: bool
) -> np.ndarray:
    """Return the outputs of one direction by the definition, on the codes of weights and rows."""
    n = HIDDEN
    w, r = (np.asarray(net.constants[name].dequantize(), np.float64)[way] for name in ("w", "r"))
    bias = np.asarray(net.constants["b"], np.float64)[way]
    own, again = bias[: len(bias) // 2], bias[len(bias) // 2 :]
    h = x["h"][way].astype(np.float64)
    c = x["c"][way].astype(np.float64) if op == "LSTM" else h
    out = np.zeros((len(x["x"]), BATCH, n))
    for at in range(len(out))[:: -1 if backwards else 1]:
        sums = coded(x["x"][at]) @ w.T + own
        state = coded(h.astype(np.float32))
        if op == "LSTM":
            sums = sums + state @ r.T + again
            i, o, f, g = (sums[:, k * n : (k + 1) * n] for k in range(4))
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            gates = sigmoid(sums[:, : 2 * n] + state @ r[: 2 * n].T + again[: 2 * n])
            update, reset = gates[:, :n], gates[:, n:]
            if before:
                fresh = sums[:, 2 * n :] + reset * (state @ r[2 * n :].T + again[2 * n :])
            else:
                passed = coded((reset * h).astype(np.float32))
                fresh = sums[:, 2 * n :] + passed @ r[2 * n :].T + again[2 * n :]
            h = (1 - update) * np.tanh(fresh) + update * h
        out[at] = h
    return out


CASES = [
    ("LSTM", "forward", 0), ("LSTM", "reverse", 0), ("LSTM", "bidirectional", 0),
    ("GRU", "forward", 0), ("GRU", "reverse", 1), ("GRU", "bidirectional", 1),
]  # fmt: skip


@pytest.mark.parametrize(("op", "direction", "before"), CASES)
def test_it_is_the_definition_on_codes(op: str, direction: str, before: int) -> None:
    attributes = {"linear_before_reset": before} if op == "GRU" else {}
    net = cell(op, direction, **attributes)
    small = qc.compress(net)
    assert [kernel for _, kernel in small.kernels(given(net))] == [f"{op.lower()} int8"]
    x = given(net)
    found, exact = small.run(x)["y"], net.run(x)["y"]
    ways = {"forward": [0], "reverse": [1], "bidirectional": [0, 1]}[direction]
    for way, backwards in enumerate(ways):
        wanted = reference(small, x, op, way, bool(backwards), bool(before))
        # A code that is rounded the other way moves what follows by its step.
        assert np.abs(found[:, way] - wanted).max() < 5e-3
        assert np.abs(found[:, way] - wanted).mean() < 2e-4
    assert np.abs(found - exact).max() < 0.1


@pytest.mark.parametrize("op", ["LSTM", "GRU"])
def test_chunks_give_the_bits_of_the_whole(op: str) -> None:
    small = qc.compress(cell(op))
    x = given(small)
    whole = small.run(x)
    states = {"hn": "h", "cn": "c"} if op == "LSTM" else {"hn": "h"}
    state = {name: x[name] for name in states.values()}
    for at in range(0, STEPS, 2):
        part = small.run({"x": x["x"][at : at + 2], **state})
        np.testing.assert_array_equal(part["y"], whole["y"][at : at + 2])
        state = {name: part[made] for made, name in states.items()}


def test_a_sequence_is_the_same_in_any_batch(tmp_path: Path) -> None:
    small = qc.compress(cell("LSTM", "bidirectional"))
    x = given(small)
    whole = small.run(x)["y"]
    for row in range(BATCH):
        one = {name: value[:, row : row + 1] for name, value in x.items()}
        np.testing.assert_array_equal(small.run(one)["y"][:, :, 0], whole[:, :, row])
    small.save(tmp_path / "cell.safetensors")
    np.testing.assert_array_equal(qc.load(tmp_path / "cell.safetensors").run(x)["y"], whole)


def test_weights_alone_stay_weights_alone() -> None:
    net = cell("GRU")
    small = qc.compress(net, activations=None)
    assert [kernel for _, kernel in small.kernels(given(net))] == ["gru"]
    some = qc.compress(net, ignore=["r"])
    assert [kernel for _, kernel in some.kernels(given(net))] == ["gru"]


def test_onnx_takes_them_as_floats(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    net = cell("LSTM")
    small = qc.compress(net)
    small.to_onnx(tmp_path / "cell.onnx")
    again, x = qc.load(tmp_path / "cell.onnx"), given(net)
    assert np.abs(again.run(x)["y"] - small.run(x)["y"]).max() < 0.05


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("each", [False, True])
def test_onnx_runtimes_integers_are_read(tmp_path: Path, direction: str, each: bool) -> None:
    pytest.importorskip("onnx")
    tools = pytest.importorskip("onnxruntime.quantization")
    import onnxruntime

    net = cell("LSTM", direction)
    net.to_onnx(tmp_path / "cell.onnx")
    tools.quantize_dynamic(
        tmp_path / "cell.onnx", tmp_path / "small.onnx", per_channel=each,
        op_types_to_quantize=["LSTM"], weight_type=tools.QuantType.QInt8,
    )  # fmt: skip
    small, x = qc.load(tmp_path / "small.onnx"), given(net)
    assert [kernel for _, kernel in small.kernels(x)] == ["lstm int8"]
    session = onnxruntime.InferenceSession(tmp_path / "small.onnx")
    wanted, exact = session.run(["y"], x)[0], net.run(x)["y"]
    found = small.run(x)["y"]
    # Both round inputs and states, each in its way.
    assert np.abs(found - wanted).max() < 0.06
    assert np.abs(found - exact).mean() < 0.02


def test_what_is_not_a_number_is_told() -> None:
    small = qc.compress(cell("LSTM"))
    x = given(small)
    x["x"][2, 1, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        small.run(x)


_HASHES = """
import hashlib, qcore as qc
from test_recurrent_codes import cell, given
for op, direction in (("LSTM", "bidirectional"), ("GRU", "reverse")):
    small = qc.compress(cell(op, direction))
    print(hashlib.sha256(small.run(given(small))["y"].tobytes()).hexdigest())
"""


def test_there_is_one_hash_on_every_isa() -> None:
    found = {}
    for isa in ("scalar", "sse2", "avx2", "avx512"):
        env = {
            **os.environ,
            "QCORE_ISA": isa,
            "PYTHONPATH": str(Path(__file__).parent),
        }
        done = subprocess.run(
            [sys.executable, "-c", _HASHES], env=env, capture_output=True, text=True, check=False
        )
        if done.returncode and "QCORE_ISA" in done.stderr:
            continue  # this CPU has it not
        assert not done.returncode, done.stderr
        found[isa] = done.stdout
    assert "scalar" in found
    assert len(set(found.values())) == 1, found
