"""What is no argument at all is refused by its name, not by what NumPy or Python make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qcore as qc

W = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
RAGGED: Any = [[1.0], [2.0, 3.0]]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: qc.quantize(RAGGED), "x"),
        (lambda: qc.quantize(W, scale=RAGGED), "scale"),
        (lambda: qc.prune(RAGGED, sparsity=0.5), "w"),
        (lambda: qc.linear(RAGGED, W), "x"),
        (lambda: qc.matmul_integer(RAGGED, np.ones((2, 2), np.int8)), "a"),
        (lambda: qc.pack(RAGGED), "b"),
        (lambda: qc.CsrMatrix.from_dense(RAGGED), "dense"),
        (
            lambda: qc.nn.Sequential.from_arrays([W], [W[:, 0]], layout="out_in").predict(RAGGED),
            "X",
        ),
        (lambda: qc.nn.Sequential([qc.nn.Dense(6, 2)]).fit(W, RAGGED), "y"),
        (lambda: qc.Pruner(0.5).fit({"w": RAGGED}), r"model\['w'\]"),
    ],
)
def test_lists_of_several_lengths_are_refused_by_name(call: Any, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is lists of several lengths"):
        call()


@pytest.mark.parametrize("name", ["signed", "symmetric", "narrow_range"])
@pytest.mark.parametrize("value", [np.ones(2), np.zeros(0), "yes", 0.5])
def test_flags_are_true_or_false(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"{name} is .*; it must be True or False"):
        qc.quantize(W, **{name: value})


@pytest.mark.parametrize("algorithm", [True, 0.5, np.zeros(0), W, object(), slice(1)])
def test_algorithms_are_names(algorithm: Any) -> None:
    with pytest.raises(
        TypeError, match=r"(?s)algorithm is .*; it must be a name or a tuple of names"
    ):
        qc.quantize(W, algorithm=algorithm)
    with pytest.raises(
        TypeError, match=r"(?s)algorithm is .*; it must be a name or a tuple of names"
    ):
        qc.Quantizer(algorithm=algorithm).fit({"w": W})


@pytest.mark.parametrize("bad", [None, 0.5, [], object(), b"a"])
def test_decompress_takes_paths(bad: Any, tmp_path: Path) -> None:
    source = tmp_path / "m.safetensors"
    qc.save(source, {"w": qc.quantize(W)})
    with pytest.raises(TypeError, match=r"path is .*; it must be a text or a path"):
        qc.decompress(bad, tmp_path / "out.safetensors")
    with pytest.raises(TypeError, match=r"output is .*; it must be a text or a path"):
        qc.decompress(source, bad)
    with pytest.raises(ValueError, match="a file's name has no zero byte"):
        qc.decompress(source, "a\0b")
