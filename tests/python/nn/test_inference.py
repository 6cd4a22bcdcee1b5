"""How networks run: on integers, to the bit, whatever the batch, the threads and the ISA."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import qcore as qc
from qcore import _core
from qcore.nn import Sequential

pytestmark = pytest.mark.numerics


def trained(*widths: int, activation: str = "relu", seed: int = 0) -> Sequential:
    rng = np.random.default_rng(seed)
    shapes = list(zip(widths[1:], widths, strict=False))
    weights = [rng.normal(0, 1 / np.sqrt(i), (o, i)).astype(np.float32) for o, i in shapes]
    biases = [rng.normal(0, 0.3, o).astype(np.float32) for o, _ in shapes]
    return Sequential.from_arrays(weights, biases, layout="out_in", activation=activation)


def reference_logits(net: Sequential, x: Any) -> Any:
    """The static integer network as the docs define it, in plain NumPy int64."""
    layers = net.layers
    params = layers[0].input_qparams
    codes = np.clip(np.rint(x / params.scale) + params.zero_point, 0, 255).astype(np.int64)
    for index, layer in enumerate(layers):
        params, weight = layer.input_qparams, layer.weight
        acc = (codes - int(params.zero_point)) @ weight.values.T.astype(np.int64)
        scale = params.scale * weight.scale
        if index == len(layers) - 1:
            return acc.astype(np.float32) * scale + layer.bias
        after = layers[index + 1].input_qparams
        bias = np.rint(layer.bias.astype(np.float64) / scale.astype(np.float64))
        total = (acc + bias.astype(np.int64)).astype(np.float32)
        zero = int(after.zero_point)
        low = zero if layer.activation == "relu" else 0
        levels = np.rint(total * (scale / after.scale)).astype(np.int64)
        codes = np.clip(levels + zero, low, 255)
    raise AssertionError


@pytest.mark.parametrize("activation", ["relu", "linear"])
@pytest.mark.parametrize("widths", [(7, 5), (33, 65, 3), (784, 300, 100, 10)])
def test_a_static_network_computes_exactly_what_the_docs_define(
    widths: tuple[int, ...], activation: str
) -> None:
    net = trained(*widths, activation=activation)
    x = np.random.default_rng(1).normal(0, 1, (70, widths[0])).astype(np.float32)
    small = qc.Quantizer().fit_transform(net, x[:50])
    exact = reference_logits(small, x)
    for rows in (1, 2, 3, 15, 16, 17, 70):
        assert np.array_equal(small.predict_logits(x[:rows]), exact[:rows])
    assert all("int8" in kernel for kernel in small.kernels)


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh", "linear"])
@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_integers_stay_near_the_float_network(activation: str, mode: str) -> None:
    net = trained(40, 30, 20, 6, activation=activation)
    x = np.random.default_rng(2).normal(0, 1, (500, 40)).astype(np.float32)
    small = qc.Quantizer(activations=mode).fit_transform(net, x)
    exact, found = net.predict_logits(x), small.predict_logits(x)
    assert np.corrcoef(exact.ravel(), found.ravel())[0, 1] > 0.999
    np.testing.assert_allclose(small.predict_proba(x).sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_results_do_not_depend_on_the_batch_or_the_threads(mode: str) -> None:
    net = trained(200, 64, 10)
    x = np.random.default_rng(3).normal(0, 1, (3000, 200)).astype(np.float32)
    small = qc.Quantizer(activations=mode).fit_transform(net, x[:100])
    before = _core.num_threads()
    try:
        _core.set_num_threads(1)
        one = small.predict_proba(x)
        _core.set_num_threads(3)
        assert np.array_equal(small.predict_proba(x), one)
        assert np.array_equal(small.predict_proba(x[:1]), one[:1])
        assert np.array_equal(small.predict_proba(x[100:117]), one[100:117])
    finally:
        _core.set_num_threads(before)


PROGRAM = """
import sys, numpy as np, qcore as qc
sys.path.insert(0, {here!r})
from test_inference import trained
x = np.random.default_rng(3).normal(0, 1, (33, 200)).astype(np.float32)
for activation in ("relu", "tanh"):
    net = trained(200, 64, 10, activation=activation)
    for mode in ("static", "dynamic"):
        small = qc.Quantizer(activations=mode).fit_transform(net, x)
        sys.stdout.write(small.predict_proba(x).tobytes().hex())
"""


@pytest.mark.each_isa
@pytest.mark.parametrize("isa", [isa for isa in _core.available_isas() if isa != "scalar"])
def test_every_isa_gives_the_same_bits(isa: str) -> None:
    here = os.path.dirname(__file__)  # noqa: PTH120

    def run(name: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(here=here)],
            env={**os.environ, "QCORE_ISA": name}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout

    # Calibration runs on NumPy's BLAS, the same in both.
    assert run(isa) == run("scalar") != ""


def test_a_bias_too_great_for_int32_is_not_lost() -> None:
    net = trained(8, 4, 2)
    weight, bias = net.layers[0].weight.copy(), net.layers[0].bias.copy()
    weight[1] *= 1e-12
    bias[1] = 0.8
    net = net.with_weights({"fc1.weight": weight, "fc1.bias": bias})
    x = np.random.default_rng(0).normal(0, 1, (100, 8)).astype(np.float32)
    small = qc.Quantizer().fit_transform(net, x)
    np.testing.assert_allclose(small.predict_logits(x), net.predict_logits(x), atol=0.1)


def test_nan_is_refused_by_integers() -> None:
    net = trained(8, 4, 2)
    x = np.zeros((3, 8), np.float32)
    for mode in ("static", "dynamic"):
        small = qc.Quantizer(activations=mode).fit_transform(net, x + 1)
        bad = x.copy()
        bad[1, 2] = np.nan
        with pytest.raises(ValueError, match="NaN"):
            small.predict(bad)


def test_no_rows_give_no_rows() -> None:
    net = trained(8, 4, 2)
    small = qc.Quantizer().fit_transform(net, np.ones((3, 8), np.float32))
    assert small.predict_proba(np.zeros((0, 8), np.float32)).shape == (0, 2)


@pytest.mark.parametrize("threads", [None, 1])
@pytest.mark.parametrize("mode", ["float", "static", "dynamic"])
def test_sessions_run_as_the_network_does(mode: str, threads: int | None) -> None:
    net = trained(20, 12, 5)
    x = np.random.default_rng(1).normal(size=(3, 20)).astype(np.float32)
    if mode != "float":
        net = qc.Quantizer(8, activations=mode, progress=False).fit(net, x).transform(net)
    session = net.session({"batch": 3}, threads=threads)
    found = session.run({"input": x})["output"]
    np.testing.assert_array_equal(found, net(x))
    assert session.run({"input": -x})["output"] is found
    out = np.empty_like(found)
    assert session.run({"input": x}, out={"output": out})["output"] is out
    np.testing.assert_array_equal(out, net(x))
    (step,) = session.times({"input": x}, runs=2)
    assert step.work == 3 * (20 * 12 + 12 * 5)
    assert step.micros > 0
    with pytest.raises(ValueError, match="no size for the named dim 'batch'"):
        net.session()
    with pytest.raises(ValueError, match="dim 0 must be 3"):
        session.run({"input": x[:2]})


def test_threads_are_limited_for_one_call_alone() -> None:
    before = _core.num_threads()
    assert _core.at_most(1, _core.num_threads) == 1
    assert _core.num_threads() == before
    with pytest.raises(ZeroDivisionError):
        _core.at_most(1, lambda: 1 // 0)
    assert _core.num_threads() == before
