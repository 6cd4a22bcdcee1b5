"""One protocol for chains and graphs; sessions of few threads; whose integers a graph gives."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qcore as qc
from layers import inputs, network
from small_graphs import images, small_cnn


@pytest.mark.parametrize("make", [network, small_cnn])
def test_chains_and_graphs_run_by_name_alike(make: Any) -> None:
    net = make()
    assert isinstance(net, qc.Network)
    [given], [made] = net.inputs, net.outputs
    x = inputs(5) if isinstance(net, qc.nn.Sequential) else images(5)
    found = net.run({given.name: x})
    assert list(found) == [made.name]
    np.testing.assert_array_equal(found[made.name], net(x))
    assert len(found[made.name]) == 5
    with pytest.raises(ValueError, match="no input 'other'"):
        net.run({"other": x})
    with pytest.raises(ValueError, match="missing"):
        net.run({})
    with pytest.raises(TypeError, match=r"dtype complex128|complex"):
        net.run({given.name: x.astype(complex)})
    with pytest.raises(ValueError, match="shape"):
        net.run({given.name: x[..., :-1]})


def test_a_chain_gives_by_name_what_it_predicts() -> None:
    net = qc.Quantizer(8, progress=False).fit_transform(network(), inputs(100))
    x = inputs(7)
    np.testing.assert_array_equal(net.run({"input": x})["output"], net.predict_proba(x))
    assert not isinstance(object(), qc.Network)


@pytest.mark.parametrize("threads", [None, 1, 2, 64])
def test_a_session_gives_the_same_bits_with_any_threads(threads: int | None) -> None:
    net, x = small_cnn(), images(8)
    session = net.session({"n": 8}, threads=threads)
    np.testing.assert_array_equal(session.run({"x": x})["y"], net(x))
    np.testing.assert_array_equal(session.run({"x": x})["y"], net(x))


def test_a_session_converts_and_refuses_what_is_not_as_it_runs() -> None:
    net, x = small_cnn(), images(8)
    session, expected = net.session({"n": 8}), net(x)
    first = session.run({"x": x})
    first.clear()  # the dict is the caller's
    spread = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), np.float32)
    spread[..., ::2] = x
    mapped = x.view(np.memmap)
    for given in (x, spread[..., ::2], x.tolist(), x.astype(">f4"), mapped, np.asfortranarray(x)):
        np.testing.assert_array_equal(session.run({"x": given})["y"], expected)
    with pytest.raises(TypeError, match="complex"):
        session.run({"x": x.astype(complex)})
    with pytest.raises(TypeError, match="must be a dict"):
        session.run([x])  # type: ignore[arg-type]
    for wrong in ({}, {"x": x, "z": x}, {"z": x}, {"x": x[:7]}, {"x": x[..., :-1]}):
        with pytest.raises(ValueError, match=r"'x'|'z'"):
            session.run(wrong)


def test_steps_of_a_session_are_timed() -> None:
    net, x = small_cnn(), images(8)
    session = net.session({"n": 8})
    steps = session.times({"x": x}, runs=3)
    assert [(step.node, step.kernel) for step in steps] == net.kernels({"x": x})
    assert all(0 <= step.micros < 1e6 and step.work >= 0 for step in steps)
    assert sum(step.work for step in steps) > 0
    np.testing.assert_array_equal(session.run({"x": x})["y"], net(x))
    with pytest.raises(ValueError, match="runs is 0"):
        session.times({"x": x}, runs=0)


def test_threads_of_a_session_are_checked() -> None:
    with pytest.raises(ValueError, match="threads is 0"):
        small_cnn().session({"n": 1}, threads=0)
    with pytest.raises(TypeError, match="threads"):
        small_cnn().session({"n": 1}, threads=1.5)  # type: ignore[arg-type]


def test_whose_integers_a_graph_gives_is_kept(tmp_path: Path) -> None:
    net = small_cnn()
    assert net.exact is None
    asked = net.changed(exact="onnx")
    assert asked.with_weights({"fc.bias": np.zeros(5, np.float32)}).exact == "onnx"
    assert copy.deepcopy(asked).exact == "onnx"
    asked.save(tmp_path / "g.safetensors")
    assert qc.load(tmp_path / "g.safetensors").exact == "onnx"
    assert qc.load(tmp_path / "g.safetensors", exact="tflite").exact == "tflite"
    with pytest.raises(ValueError, match="exact is 'torch'"):
        net.changed(exact="torch")
    with pytest.raises(ValueError, match="exact is 'torch'"):
        qc.load(tmp_path / "g.safetensors", exact="torch")


def test_graphs_of_onnx_take_it_too(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    small_cnn().to_onnx(tmp_path / "g.onnx")
    assert qc.load(tmp_path / "g.onnx").exact is None
    assert qc.load(tmp_path / "g.onnx", exact="onnx").exact == "onnx"
    assert qc.from_onnx(network().to_onnx(), exact="onnx").exact == "onnx"  # a chain, as a graph
    assert isinstance(qc.from_onnx(network().to_onnx()), qc.nn.Sequential)
