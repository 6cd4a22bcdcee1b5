"""Weights in branches that are chosen at run time: their codes, how they run, and their files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qcore as qc
from qcore.arrays.tensor.tensor import QTensor
from qcore.graph.node import Body, Node
from qcore.graph.value import Value


def normal(*shape: int, seed: int) -> Any:
    values = np.random.default_rng(seed).standard_normal(shape)
    return (values / np.sqrt(shape[0])).astype(np.float32)


def chooser(*, shared: bool = False, nested: bool = False) -> qc.Graph:
    """Two networks of which a flag chooses one at run time; a layer before both."""
    then = Body(
        (
            Node("first", "MatMul", ("h", "w"), ("a",)),
            Node("relu", "Relu", ("a",), ("r",)),
            Node("second", "Gemm", ("r", "v", "b"), ("y1",), {"transB": 1}),
        ),
        ("y1",),
        {
            "w": normal(32, 48, seed=1),
            "v": normal(16, 48, seed=2),
            "b": normal(16, 1, seed=3)[:, 0],
        },
    )
    if nested:
        inner = Node("inner", "If", ("flag",), ("y0",), {"then_branch": then, "else_branch": then})
        then = Body((inner,), ("y0",), {})
    other = Body((Node("only", "MatMul", ("h", "outer"), ("y2",)),), ("y2",), {})
    if shared:
        more = Node("again", "MatMul", ("y3", "square"), ("y2",))
        own = {"square": normal(16, 16, seed=7)}
        other = Body((Node("only", "MatMul", ("h", "outer"), ("y3",)), more), ("y2",), own)
    return qc.Graph(
        [
            Node("before", "MatMul", ("x", "w"), ("h",)),
            Node("if", "If", ("flag",), ("y",), {"then_branch": then, "else_branch": other}),
        ],
        inputs=[Value("x", "float32", ("n", 24)), Value("flag", "bool", ())],
        outputs=[Value("y", "float32")],
        constants={"w": normal(24, 32, seed=4), "outer": normal(32, 16, seed=5)},
    )


def runs(net: qc.Graph) -> list[Any]:
    x = np.random.default_rng(6).standard_normal((9, 24)).astype(np.float32)
    return [net.run({"x": x, "flag": np.array(flag)})["y"] for flag in (True, False)]


def bodies(net: qc.Graph) -> dict[str, Body]:
    found = next(node for node in net.nodes if node.op == "If").attributes
    return {key: body for key, body in found.items() if isinstance(body, Body)}


@pytest.mark.parametrize("nested", [False, True])
def test_branches_answer_as_before_and_are_as_small_as_their_parts(nested: bool) -> None:
    net = chooser(nested=nested)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing stays floats
        small = qc.compress(net, activations="dynamic")
    assert small.nbytes < 0.35 * net.nbytes
    for found, wanted in zip(runs(small), runs(net), strict=True):
        off = np.abs(found - wanted).max() / np.abs(wanted).max()
        assert 0 < off < 0.03  # integers, and close


def test_weights_of_branches_run_on_integers() -> None:
    """Row by row: a row is the same to the bit beside a row of another size."""
    small = qc.compress(chooser(), activations="dynamic")
    x = np.random.default_rng(8).standard_normal((2, 24)).astype(np.float32)
    flag = np.array(True)
    alone = small.run({"x": x[:1], "flag": flag})["y"]
    x[1] *= 1000
    np.testing.assert_array_equal(small.run({"x": x, "flag": flag})["y"][:1], alone)
    # The codes of a branch alone give what the graph gives: int8 rows times int8 weights.
    inner = bodies(small)["then_branch"]
    assert all(isinstance(inner.constants[name], QTensor) for name in "wv")
    assert [node.get("dynamic") for node in inner.nodes] == [1, None, 1]
    fixed = small.fixed({"flag": True})
    assert [node.op for node in fixed.nodes] == ["MatMul", "MatMul", "Gemm"]
    for batch in (x, x[:1]):
        wanted = small.run({"x": batch, "flag": flag})["y"]
        np.testing.assert_array_equal(fixed.run({"x": batch})["y"], wanted)


def test_a_matrix_that_one_branch_alone_reads_becomes_its_own() -> None:
    small = qc.compress(chooser(shared=True), activations="dynamic")
    assert "outer" not in small.constants
    other = bodies(small)["else_branch"].constants
    assert all(isinstance(other[name], QTensor) for name in ("outer", "square"))
    rows = {row["tensor"]: row for row in small.report_.rows}
    assert "outer" not in rows
    wanted = {"w", "if/then_branch/w", "if/then_branch/v", "if/then_branch/b"}
    assert set(rows) == wanted | {"if/else_branch/outer", "if/else_branch/square"}
    assert rows["if/else_branch/outer"]["bytes"] == other["outer"].nbytes
    assert small.report_.totals["bytes"] == small.nbytes
    assert small.report_.totals["float bytes"] == chooser(shared=True).nbytes


def test_codes_of_branches_are_saved_and_read_again(tmp_path: Path) -> None:
    for place, options in enumerate(({}, {"bits": 4, "group_size": 16}, {"bits": 4})):
        small = qc.compress(chooser(), activations="dynamic", **options)
        path = tmp_path / f"{place}.safetensors"
        small.save(path)
        again = qc.load(path)
        assert again.nbytes == small.nbytes
        for found, wanted in zip(runs(again), runs(small), strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_options_reach_branches_by_name() -> None:
    ignore = ("*bias", "if/then_branch/v")
    coder = qc.Quantizer({"if/then*": 4, "*": 8}, ignore=ignore, progress=False)
    inner = bodies(coder.fit_transform(chooser()))["then_branch"].constants
    assert inner["w"].bits == 4
    assert isinstance(inner["v"], np.ndarray)


def test_what_stays_floats_is_told() -> None:
    net = chooser()
    with pytest.warns(UserWarning, match=r"the branches of 'if' .* 12,?\d* bytes|stay floats"):
        qc.compress(net, bits=None, sparsity=0.5)


def test_samples_calibrate_what_is_around_branches() -> None:
    net = chooser()
    rng = np.random.default_rng(9)
    X = [{"x": rng.standard_normal((64, 24)).astype(np.float32), "flag": np.array(flag)}
         for flag in (True, False)]  # fmt: skip
    small = qc.compress(net, X)
    assert isinstance(small.constants["w"], QTensor)
    assert small.nbytes < 0.4 * net.nbytes
    for found, wanted in zip(runs(small), runs(net), strict=True):
        assert np.square(found - wanted).mean() < 0.002 * wanted.var()


def test_branches_with_codes_go_to_onnx_and_back(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    small = qc.compress(chooser(), activations="dynamic")
    path = tmp_path / "small.onnx"
    small.to_onnx(path)
    floats = runs(chooser())
    for found, wanted in zip(runs(qc.load(path)), floats, strict=True):
        assert np.abs(found - wanted).max() / np.abs(wanted).max() < 0.03
