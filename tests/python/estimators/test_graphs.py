"""Estimators on graphs: weights as matrices, scales and channels along seams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qcore as qc
from qcore.arrays.tensor.tensor import QTensor
from qcore.estimators.graphs.batches import SIZE, batches_of
from qcore.estimators.graphs.matrices import with_matrices
from qcore.estimators.graphs.rows import rows_of
from qcore.graph.node import Node
from qcore.graph.value import Value
from small_graphs import images, normal, small_cnn


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"pads": [1, 0, 2, 1]},
        {"strides": [2, 1], "pads": [1, 1, 1, 1]},
        {"dilations": [2, 3]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER"},
        {"auto_pad": "VALID"},
    ],
)
def test_a_convolution_is_its_rows_times_its_matrix(attributes: dict[str, Any]) -> None:
    w = normal(4, 3, 3, 2, seed=0)
    net = qc.Graph(
        [Node("conv", "Conv", ("x", "w"), ("y",), attributes)],
        inputs=[Value("x", "float32", ("n", 3, 11, 10))],
        outputs=[Value("y", "float32")],
        constants={"w": w},
    )
    x = np.random.default_rng(1).standard_normal((2, 3, 11, 10)).astype(np.float32)
    slot = net.slots[0]
    y = rows_of(slot, x).astype(np.float64) @ slot.matrix().T.astype(np.float64)
    wanted = net(x)
    found = y.reshape(2, *wanted.shape[2:], 4).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_matrices_go_back_to_where_they_came_from() -> None:
    net = small_cnn()
    same = with_matrices(net, {slot.name: slot.matrix() for slot in net.slots}, {})
    for name, constant in net.constants.items():
        np.testing.assert_array_equal(same.constants[name], constant)


def test_every_weight_becomes_codes_by_output() -> None:
    net, x = small_cnn(), images()
    small = qc.Quantizer(8, algorithm=(), progress=False).fit_transform(net, x)
    for slot in net.slots:
        q = small.constants[slot.name]
        assert isinstance(q, QTensor)
        assert q.bits == 8
        assert q.scale.shape == (slot.shape[0],)
        np.testing.assert_allclose(q.dequantize(), slot.weight, atol=float(q.scale.max()))
    assert isinstance(net.constants["conv.weight"], np.ndarray)  # the float graph stays
    np.testing.assert_allclose(small(x), net(x), atol=0.05 * float(np.abs(net(x)).max()))


def test_algorithms_beat_rounding_at_few_bits() -> None:
    net, x = small_cnn(), images(200)
    wanted = net(x)

    def error(**options: Any) -> float:
        small = qc.Quantizer(3, activations=None, progress=False, **options).fit_transform(net, x)
        return float(np.mean((small(x) - wanted) ** 2))

    assert error() < 0.5 * error(algorithm=())


def test_widths_and_what_stays_float_go_by_name() -> None:
    coder = qc.Quantizer({"conv*": 4, "*": 8}, ignore=("fc*",), progress=False)
    small = coder.fit_transform(small_cnn(), images())
    assert small.constants["conv.weight"].bits == 4
    assert small.constants["point.weight"].bits == 8
    assert isinstance(small.constants["fc.weight"], np.ndarray)


def test_groups_go_where_inputs_lie_side_by_side() -> None:
    small = qc.Quantizer(4, group_size=2, progress=False).fit_transform(small_cnn())
    assert small.constants["fc.weight"].group_size == 2
    assert small.constants["conv.weight"].axis == 0


@pytest.mark.parametrize("method", ["cross_layer_equalization", "smoothquant", "awq"])
def test_equalization_along_seams_changes_no_output(method: str) -> None:
    net, x = small_cnn(), images()
    loud = np.array(net.constants["conv.weight"])
    loud[2] *= 64
    net = net.changed(constants={**net.constants, "conv.weight": loud})
    from qcore.estimators.equalization.seams import scaled_graph, seam_scales

    scales = seam_scales(net, method, batches_of(net, x), lambda name: {"bits": 8, "axis": 0})
    assert any((scale != 1).any() for scale in scales.values())
    np.testing.assert_allclose(scaled_graph(net, scales)(x), net(x), rtol=1e-5, atol=1e-5)


def test_unstructured_pruning_leaves_the_share_that_was_asked() -> None:
    net, x = small_cnn(), images()
    for criterion in ("magnitude", "wanda", "sparsegpt"):
        pruner = qc.Pruner(
            0.5, criterion=criterion, scope="layer", ignore=("*bias", "depth*"), progress=False
        )
        small = pruner.fit_transform(net, x)
        zeros = [np.mean(small.constants[f"{name}.weight"] == 0) for name in ("conv", "point")]
        assert zeros == pytest.approx([0.5, 0.5], abs=0.02)
        assert (small.constants["depth.weight"] != 0).all()


def test_weights_without_rows_of_their_own_are_left_and_named() -> None:
    pruner = qc.Pruner(0.5, criterion="wanda", progress=False)
    small = pruner.fit_transform(small_cnn(), images())
    assert (small.constants["depth.weight"] != 0).all()
    assert pruner.left_ == ["depth.weight"]
    assert pruner.report_.rows[-1]["tensor"] == "depth.weight"


def test_pruned_channels_leave_the_arrays() -> None:
    net, x = small_cnn(), images()
    pruned = qc.Pruner(0.5, pattern="neurons").fit_transform(net)
    small = qc.compact(pruned)
    assert small.constants["conv.weight"].shape == (4, 3, 3, 3)
    assert small.constants["depth.weight"].shape == (4, 1, 3, 3)
    assert small.constants["point.weight"].shape == (3, 4, 1, 1)
    assert small.constants["fc.weight"].shape == (5, 3)  # outputs stay
    assert small.report_.totals["removed channels"] == 7
    np.testing.assert_allclose(small(x), pruned(x), rtol=1e-5, atol=1e-6)


def test_compress_prunes_and_quantizes_a_graph() -> None:
    net, x = small_cnn(depthwise=False), images()
    small = qc.compress(net, x, bits=8, sparsity=0.5)
    q = small.constants["conv.weight"]
    assert np.mean(q.values == 0) >= 0.5
    assert small.report_.totals["bytes"] < net.nbytes / 2


def test_samples_come_in_every_form() -> None:
    net, x = small_cnn(), images(SIZE + 5)
    whole = list(batches_of(net, x))
    assert [len(batch["x"]) for batch in whole] == [SIZE, 5]
    for given in ({"x": x}, [x[:SIZE], x[SIZE:]], ({"x": part} for part in (x[:SIZE], x[SIZE:]))):
        found = list(batches_of(net, given))
        np.testing.assert_array_equal(np.concatenate([b["x"] for b in found]), x)
    with pytest.raises(TypeError, match="X is int"):
        batches_of(net, 5)
    with pytest.raises(ValueError, match="no samples"):
        batches_of(net, [])


def test_what_a_graph_does_not_take_is_said() -> None:
    with pytest.raises(ValueError, match="stats is given"):
        qc.Quantizer(8).fit(small_cnn(), images(), stats={})
    with pytest.raises(ValueError, match="scope 'sensitivity'"):
        qc.Pruner(0.5, scope="sensitivity", pattern="neurons").fit(small_cnn(), images())


def dense_net() -> qc.Graph:
    constants = {"w1": normal(16, 12, seed=0), "w2": normal(4, 16, seed=1)}
    return qc.Graph(
        [
            Node("fc1", "Gemm", ("x", "w1"), ("a",), {"transB": 1}),
            Node("relu", "Relu", ("a",), ("b",)),
            Node("fc2", "Gemm", ("b", "w2"), ("y",), {"transB": 1}),
        ],
        inputs=[Value("x", "float32", ("n", 12))],
        outputs=[Value("y", "float32")],
        constants=constants,
    )


@pytest.mark.parametrize("axis", [0, None])
def test_dense_layers_run_on_their_codes(axis: int | None) -> None:
    rng = np.random.default_rng(3)
    net = dense_net()
    x = rng.standard_normal((64, 12)).astype(np.float32)
    coder = qc.Quantizer(8, algorithm=(), axis=axis, progress=False)
    small = coder.fit_transform(net, x)
    assert set(small.codes) == {"x", "a", "b"}
    assert small.codes["a"] == small.codes["b"]  # saturates where the Relu does
    # What integers stand for, in float64: quantized inputs times quantized weights.
    value = qc.fake_quantize(x, small.codes["x"]).astype(np.float64)
    hidden = np.maximum(value @ small.constants["w1"].dequantize().T.astype(np.float64), 0)
    hidden = qc.fake_quantize(hidden.astype(np.float32), small.codes["b"]).astype(np.float64)
    wanted = hidden @ small.constants["w2"].dequantize().T.astype(np.float64)
    step = float(small.codes["b"].scale)
    np.testing.assert_allclose(
        small(x), wanted, atol=step * np.abs(net.constants["w2"]).sum(1).max()
    )
    assert np.corrcoef(small(x).ravel(), wanted.ravel())[0, 1] > 0.9999
    names = [kernel for _, kernel in small._executable().kernels({"x": x})]
    assert sum("int8" in name or "i8" in name for name in names) == 2, names


def test_a_path_with_samples_is_a_network_to_calibrate(tmp_path: Path) -> None:
    net, x = small_cnn(), images()
    net.save(tmp_path / "net.safetensors")
    small = qc.compress(tmp_path / "net.safetensors", x, output=tmp_path / "small.safetensors")
    again = qc.load(tmp_path / "small.safetensors")
    assert isinstance(again.constants["conv.weight"], QTensor)
    np.testing.assert_array_equal(again(x), small(x))
    qc.save(tmp_path / "w.safetensors", {"w": normal(4, 4, seed=0)})
    with pytest.raises(ValueError, match="holds tensors, no network"):
        qc.compress(tmp_path / "w.safetensors", x, output=tmp_path / "v.safetensors")


def test_a_ruined_graph_is_said() -> None:
    x = np.random.default_rng(5).standard_normal((200, 12)).astype(np.float32)
    with pytest.warns(qc.AccuracyWarning, match="of the samples another answer"):
        qc.compress(dense_net(), x, bits=8, sparsity=0.95)


def test_weights_make_up_for_the_errors_of_those_before_them(monkeypatch: Any) -> None:
    net, x = small_cnn(), images(200)
    wanted = net(x)

    def error() -> float:
        small = qc.Quantizer(4, activations=None, progress=False).fit_transform(net, x)
        return float(np.mean((small(x) - wanted) ** 2))

    walked = error()
    monkeypatch.setattr("qcore.estimators.graphs.walk.MOST", 0)  # statistics of the float graph
    assert walked < 0.8 * error()
