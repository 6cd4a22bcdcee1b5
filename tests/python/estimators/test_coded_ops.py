"""Ops that go on from codes to codes, in whole networks."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qcore as qc
from qcore import _core
from qcore.graph.node import Node
from qcore.graph.value import Value


def normal(*shape: int, seed: int) -> Any:
    values = np.random.default_rng(seed).standard_normal(shape)
    return (values / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def decoder(mode: str = "linear") -> qc.Graph:
    """Downwards and upwards again: gates, pads, joins, both kinds of transposed convolutions."""
    same = {"pads": [1, 1, 1, 1]}
    nodes = [
        Node("stem", "Conv", ("x", "w0", "b0"), ("s",), same | {"activation": "relu"}),
        Node("half", "Conv", ("s", "w1"), ("h",), same | {"strides": [2, 2], "activation": "relu"}),
        Node("squeeze", "ReduceMean", ("h", "space"), ("q",), {"keepdims": 1}),
        Node("gate", "Conv", ("q", "w2", "b2"), ("a",)),
        Node("sigmoid", "HardSigmoid", ("a",), ("g",)),
        Node("excite", "Mul", ("h", "g"), ("e",)),
        Node("up", "ConvTranspose", ("e", "w3", "b3"), ("u",), {"strides": [2, 2]}),
        Node("wide", "ConvTranspose", ("e", "w4"), ("v",), same | {"strides": [2, 2]}),
        Node("pad", "Pad", ("v", "pads"), ("p",)),
        Node("resize", "Resize", ("h", "", "scales"), ("r",), {"mode": mode}),
        Node("join", "Concat", ("u", "p", "r", "s"), ("j",), {"axis": 1}),
        Node("point", "Conv", ("j", "w5"), ("y",)),
    ]
    return qc.Graph(
        nodes,
        inputs=[Value("x", "float32", ("n", 3, 12, 12))],
        outputs=[Value("y", "float32")],
        constants={
            "w0": normal(8, 3, 3, 3, seed=0), "b0": normal(8, 1, seed=1).ravel(),
            "w1": normal(12, 8, 3, 3, seed=2),
            "w2": normal(12, 12, 1, 1, seed=3), "b2": normal(12, 1, seed=4).ravel(),
            "w3": normal(12, 6, 2, 2, seed=5), "b3": normal(6, 1, seed=6).ravel(),
            "w4": normal(12, 5, 3, 3, seed=7), "w5": normal(4, 31, 1, 1, seed=8),
            "space": np.array([2, 3]), "pads": np.array([0, 0, 0, 0, 0, 0, 1, 1]),
            "scales": np.array([1, 1, 2, 2], np.float32),
        },
    )  # fmt: skip


def samples(count: int = 40) -> Any:
    return np.random.default_rng(9).standard_normal((count, 3, 12, 12)).astype(np.float32)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_a_decoder_runs_on_codes_from_end_to_end(mode: str, tmp_path: Path) -> None:
    net, x = decoder(mode), samples()
    small = qc.Quantizer(8, progress=False).fit_transform(net, x)
    assert set(small.codes) == {value for node in net.nodes for value in node.outputs} - {"y"} | {
        "x"
    }
    kernels = [kernel for _, kernel in small.kernels({"x": x[:2]})]
    assert [kernel for kernel in kernels if "quantize" in kernel] == ["quantize"]
    assert "conv transpose int8 to int8" in kernels
    assert "multiply int8" in kernels
    wanted, found = net(x), small(x)
    assert np.sqrt(np.mean((wanted - found) ** 2)) < 0.03 * wanted.std()
    path = tmp_path / "decoder.safetensors"
    small.save(path)
    np.testing.assert_array_equal(qc.load(path)(x), found)


def test_the_codes_of_a_decoder_are_the_same_everywhere(tmp_path: Path) -> None:
    small = qc.Quantizer(8, progress=False).fit_transform(decoder(), samples())
    small.save(tmp_path / "decoder.safetensors")
    np.save(tmp_path / "x.npy", samples(5))
    code = (
        "import hashlib, sys, numpy as np, qcore as qc\n"
        "net, x = qc.load(sys.argv[1] + '/decoder.safetensors'), np.load(sys.argv[1] + '/x.npy')\n"
        "names = [name for name in net.codes if name in net.producers]\n"
        "values = net.run({'x': x}, names)\n"
        "print(hashlib.sha256(b''.join(values[name].tobytes() for name in names)).hexdigest())\n"
    )
    found = set()
    for isa in ("scalar", "sse2", "avx2", _core.active_isa()):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            env={**os.environ, "QCORE_ISA": isa}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode and isa in done.stderr:
            continue  # the CPU has it not
        assert done.returncode == 0, done.stderr
        found.add(done.stdout.strip())
    assert len(found) == 1
    assert len(found.pop()) == 2 * hashlib.sha256().digest_size


def test_pruned_convolutions_run_sparse() -> None:
    rng = np.random.default_rng(1)
    weights = {"w0": normal(256, 256, 1, 1, seed=1), "w1": normal(64, 256, 3, 3, seed=2)}
    kept = {name: w * (rng.random(w.shape) < 0.1) for name, w in weights.items()}
    net = qc.Graph(
        [
            Node("point", "Conv", ("x", "w0"), ("h",), {"activation": "relu"}),
            Node("around", "Conv", ("h", "w1"), ("y",), {"pads": [1, 1, 1, 1]}),
        ],
        inputs=[Value("x", "float32", ("n", 256, 9, 9))],
        outputs=[Value("y", "float32")],
        constants={name: w.astype(np.float32) for name, w in kept.items()},
    )
    x = rng.standard_normal((4, 256, 9, 9)).astype(np.float32)
    small = qc.Quantizer(8, algorithm=(), progress=False).fit_transform(net, x)
    kernels = [kernel for _, kernel in small.kernels({"x": x})]
    assert "sparse conv 1x1 int8 to int8" in kernels
    assert "sparse conv int8" in kernels
    # The sums are exact: what is multiplied beside zeros makes no difference.
    params = small.codes["h"]
    w, codes = small.constants["w1"], small.run({"x": x}, ["h"])["h"]
    levels = np.rint(codes / params.scale).astype(np.int64)
    padded = np.pad(levels, [(0, 0), (0, 0), (1, 1), (1, 1)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    sums = np.einsum("nchwij,ocij->nohw", windows, w.values.astype(np.int64))
    scale = np.float32(params.scale) * w.scale.reshape(1, -1, 1, 1)
    np.testing.assert_allclose(small(x), sums.astype(np.float32) * scale, rtol=1e-6)
