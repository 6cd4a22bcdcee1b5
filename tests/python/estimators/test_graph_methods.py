"""Mixtures, rotations, drift and reports on graphs: every node with a weight takes part."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qcore as qc
from qcore.estimators.equalization.rotated_graph import rotated_graph
from qcore.graph.node import Node
from qcore.graph.value import Value
from small_graphs import images, normal, small_cnn


def lost(small: qc.Graph, net: qc.Graph, x: Any) -> float:
    wanted = net(x)
    return float(np.mean((small(x) - wanted) ** 2) / wanted.var())


# mixtures ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("granularity", ["channel", "layer"])
def test_a_mixture_holds_its_bits_and_beats_fewer(granularity: str) -> None:
    net, x = small_cnn(), images(100)
    coder = qc.Quantizer(
        (2, 3, 4, 6, 8), target_bits=4, granularity=granularity, activations=None, progress=False
    )
    small = coder.fit_transform(net, x)
    weights = {slot.name: slot for slot in net.slots}
    bits = sum(
        int(rows.sum()) * weights[name].shape[1] for name, rows in coder.mixture_.items()
        if not isinstance(rows, str)
    )  # fmt: skip
    assert bits <= 4 * sum(slot.shape[0] * slot.shape[1] for slot in net.slots)
    uniform = qc.Quantizer(3, activations=None, progress=False).fit_transform(net, x)
    assert lost(small, net, x) < lost(uniform, net, x)
    curve = [row["predicted error"] for row in coder.curve_]
    assert all(more >= fewer for more, fewer in pairwise(curve))


def test_a_mixture_holds_its_bytes_and_comes_back_from_a_file(tmp_path: Path) -> None:
    net, x = small_cnn(), images()
    coder = qc.Quantizer((2, 3, 4, 8, "float16", "float32"), target_bytes=700, progress=False)
    small = coder.fit_transform(net, x)
    assert small.nbytes <= 700
    small.save(tmp_path / "small.safetensors")
    again = qc.load(tmp_path / "small.safetensors")
    np.testing.assert_array_equal(again(x), small(x))
    # Rows of several widths lie as a matrix, which is laid out for the node before it runs.
    assert [slot.name for slot in again.slots] == [slot.name for slot in net.slots]
    assert [slot.shape for slot in again.slots] == [slot.shape for slot in net.slots]


def test_a_mixture_reaches_a_score_and_a_time() -> None:
    net, x = small_cnn().changed(classes=np.arange(5)), images(100)
    coder = qc.Quantizer((2, 4, 8), min_score=0.95, progress=False)
    small = coder.fit_transform(net, x, net.predict(x))
    assert small.score(x, net.predict(x)) >= 0.95
    slow = qc.Quantizer((2, 8), target_us=1e6, progress=False).fit(net, x)
    assert set(slow.mixture_) == {slot.name for slot in net.slots}
    with pytest.raises(ValueError, match="the target is too low"):
        qc.Quantizer((2, 8), target_us=0.001, progress=False).fit(net, x)


def test_a_mixture_says_what_it_needs() -> None:
    with pytest.raises(ValueError, match="needs samples"):
        qc.Quantizer((2, 8), target_bits=4, progress=False).fit(small_cnn())
    with pytest.raises(ValueError, match="needs one target"):
        qc.Quantizer((2, 8), progress=False).fit(small_cnn(), images())
    with pytest.raises(ValueError, match="scored on an array"):
        qc.Quantizer((2, 8), min_score=0.5, progress=False).fit(small_cnn(), {"x": images()})


# rotations ---------------------------------------------------------------------------------------
def test_rotated_channels_change_no_output() -> None:
    net, x = small_cnn(), images()
    turned = rotated_graph(net, [slot.name for slot in net.slots])
    # Not the first convolution (3 channels), not the depthwise one, nor the last (6 channels).
    assert [node.name for node in turned.nodes if "rotation" in node.name] == ["point.rotation"]
    np.testing.assert_allclose(turned(x), net(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("op", ["Gemm", "MatMul", "Conv"])
def test_any_product_is_rotated(op: str) -> None:
    weights = {"Gemm": normal(6, 8, seed=0), "MatMul": normal(8, 6, seed=0)}
    weights["Conv"] = normal(6, 8, 3, 3, seed=0)
    shapes: dict[str, tuple[Any, ...]] = {"Gemm": ("n", 8), "MatMul": ("n", 5, 8)}
    shapes["Conv"] = ("n", 8, 7, 7)
    attributes: dict[str, Any] = {"Gemm": {"transB": 1}, "MatMul": {}}
    attributes["Conv"] = {"pads": [1, 1, 1, 1], "strides": [2, 2]}
    net = qc.Graph(
        [Node("product", op, ("x", "w"), ("y",), attributes[op])],
        inputs=[Value("x", "float32", shapes[op])],
        outputs=[Value("y", "float32")],
        constants={"w": weights[op]},
    )
    x = np.random.default_rng(1).standard_normal((4, *shapes[op][1:])).astype(np.float32)
    turned = rotated_graph(net, ["w"])
    assert turned.constants["w.rotation"].bits <= 2
    np.testing.assert_allclose(turned(x), net(x), atol=1e-5)


def test_a_rotation_helps_where_channels_are_outliers() -> None:
    net, x = small_cnn(depthwise=False), images(100)
    loud = np.array(net.constants["point.weight"])
    loud[:, 2] *= 30
    net = net.changed(constants={**net.constants, "point.weight": loud})
    options: dict[str, Any] = {"activations": None, "progress": False}
    plain = qc.Quantizer(4, algorithm=(), ignore=("conv*", "fc*"), **options)
    turned = qc.Quantizer(4, algorithm=("hadamard",), ignore=("conv*", "fc*"), **options)
    assert lost(turned.fit_transform(net), net, x) < lost(plain.fit_transform(net), net, x)


# drift -------------------------------------------------------------------------------------------
def test_drift_of_values_and_a_new_calibration() -> None:
    net, x = small_cnn(), images(100)
    small = qc.Quantizer(8, progress=False).fit_transform(net, x)
    monitor = qc.DriftMonitor(small, tolerance=0.01).update(x)
    assert monitor.samples == 100
    assert monitor.drifted == []
    monitor.update(5 * x)
    assert monitor.drifted == [row["tensor"] for row in monitor.report().rows]
    assert set(monitor.drifted) < set(small.codes)  # not what only goes into a clamp
    again = monitor.recalibrated()
    assert qc.DriftMonitor(again, tolerance=0.01).update(5 * x).drifted == []
    assert isinstance(again, qc.Graph)
    assert lost(again, net, 5 * x) < lost(small, net, 5 * x)
    with pytest.raises(ValueError, match="no static activations"):
        qc.DriftMonitor(net)


# reports -----------------------------------------------------------------------------------------
def test_the_report_has_what_each_weight_alone_costs() -> None:
    net, x = small_cnn().changed(classes=np.arange(5)), images(64)
    coder = qc.Quantizer({"fc*": 2, "*": 8}, activations=None, algorithm=(), progress=False)
    coder.fit_transform(net, x, net.predict(x))
    rows = {row["tensor"]: row for row in coder.report_.rows}
    errors = {name: row["output error"] for name, row in rows.items() if "output error" in row}
    assert set(errors) == {slot.name for slot in net.slots}
    assert max(errors, key=lambda name: errors[name]) == "fc.weight"
    alone = net.with_weights({"fc.weight": qc.quantize(net.constants["fc.weight"], bits=2, axis=0,
                                                       observer="mse").dequantize()})  # fmt: skip
    assert errors["fc.weight"] == pytest.approx(lost(alone, net, x[:16]), rel=1e-3)
    assert coder.report_.totals["float score"] == 1.0


def test_graphs_are_compared_side_by_side(tmp_path: Path) -> None:
    net, x = small_cnn().changed(classes=np.arange(5)), images(64)
    small = qc.Quantizer(4, progress=False).fit_transform(net, x)
    found = qc.compare(net, small, x, net.predict(x))
    assert found.outputs is not None
    assert found.outputs.samples == 64
    assert found.outputs.before == 1.0
    assert found.outputs.agreement == found.outputs.after
    wanted = net(x).astype(np.float64)
    sqnr = 10 * np.log10(np.sum(wanted**2) / np.sum((small(x) - wanted) ** 2))
    assert found.outputs.sqnr_db == pytest.approx(sqnr)
    assert {row["tensor"] for row in found.layers} == {slot.name for slot in net.slots}
    assert [variant.name for variant in found.variants] == ["before", "after"]


# groups ------------------------------------------------------------------------------------------
def test_matmul_weights_go_by_groups_of_inputs(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    w = rng.standard_normal((64, 6)).astype(np.float32)
    w[:16] *= 20  # one scale for each output would be set by these inputs
    net = qc.Graph(
        [Node("m", "MatMul", ("x", "w"), ("y",))],
        inputs=[Value("x", "float32", ("n", 3, 64))],
        outputs=[Value("y", "float32")],
        constants={"w": w},
    )
    x = rng.standard_normal((5, 3, 64)).astype(np.float32)
    x[..., :16] /= 20
    # Its input is made for its weights: int8 rows would lose what is small there.
    grouped = qc.compress(net, bits=4, group_size=16, activations=None)
    assert grouped.constants["w"].group_size == 16
    assert grouped.constants["w"].shape == (6, 64)
    by_hand = x @ qc.quantize(
        np.ascontiguousarray(w.T), bits=4, group_size=16, axis=None, observer="mse"
    ).dequantize().T  # fmt: skip
    np.testing.assert_allclose(grouped(x), by_hand, atol=1e-5)
    assert lost(grouped, net, x) < lost(qc.compress(net, bits=4, activations=None), net, x)
    [slot] = grouped.slots
    assert (slot.name, slot.shape) == ("w", (6, 64))
    np.testing.assert_array_equal(slot.matrix(), grouped.constants["w"].dequantize())
    grouped.save(tmp_path / "grouped.safetensors")
    np.testing.assert_array_equal(qc.load(tmp_path / "grouped.safetensors")(x), grouped(x))
