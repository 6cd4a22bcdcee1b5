"""Dense layers on weights of every kind."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import qcore as qc
from qcore import _core
from qcore.arrays.products.weights import packed_weights

pytestmark = pytest.mark.numerics

ACTIVATIONS = {
    "linear": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "tanh": np.tanh,
    "softmax": lambda z: (
        np.exp(z - z.max(-1, keepdims=True))
        / np.exp(z - z.max(-1, keepdims=True)).sum(-1, keepdims=True)
    ),
}

#: Weights of every kind that `quantize` makes, by how.
KINDS: dict[str, dict[str, Any]] = {
    "int8, by output": {"axis": 0},
    "int8, per tensor": {},
    "int8, by input": {"axis": 1},
    "int8, asymmetric": {"axis": 0, "symmetric": False},
    "uint8": {"signed": False, "symmetric": False},
    "3 bits": {"bits": 3, "axis": 0},
    "4 bits, groups": {"bits": 4, "group_size": 5},
    "4 bits, by output": {"bits": 4, "axis": 0},
    "4 bits, groups of whole lines": {"bits": 4, "group_size": 16},
    "4 bits, one group": {"bits": 4, "group_size": 1000},
    "2 bits, groups": {"bits": 2, "group_size": 8},
    "4 bits, groups with zeros": {"bits": 4, "group_size": 8, "signed": False, "symmetric": False},
    "16 bits": {"bits": 16},
    "floor": {"rounding": "floor", "bits": 6},
    "codebook": {"scheme": "kmeans", "levels": 7},
    "codebook by output": {"scheme": "kmeans", "levels": 5, "axis": 0},
    "codebook by input": {"scheme": "kmeans", "levels": 4, "axis": 1},
}


def sample(outputs: int, inputs: int, rows: int, seed: int = 0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    w = rng.normal(0, 1 / np.sqrt(max(inputs, 1)), (outputs, inputs)).astype(np.float32)
    x = rng.normal(0, 1, (rows, inputs)).astype(np.float32)
    return w, x, rng.normal(0, 1, outputs).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_only_is_the_float_product_of_what_they_decode_to(kind: str) -> None:
    for outputs, inputs, rows in ((1, 1, 1), (16, 7, 6), (17, 300, 13), (70, 33, 1), (65, 520, 7)):
        w, x, bias = sample(outputs, inputs, rows)
        q = qc.quantize(w, **KINDS[kind])
        real = q.dequantize(dtype=np.float64)
        for activation, function in ACTIVATIONS.items():
            wanted = function(x.astype(np.float64) @ real.T + bias)
            found = qc.linear(x, q, bias, activation, activations=None)
            np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("kind", ["int8, by output", "int8, per tensor", "3 bits"])
def test_dynamic_is_exact_on_the_codes(kind: str) -> None:
    for outputs, inputs, rows in ((1, 1, 1), (16, 7, 6), (17, 300, 13), (70, 33, 1), (64, 520, 70)):
        w, x, bias = sample(outputs, inputs, rows)
        q = qc.quantize(w, **KINDS[kind])
        scale = (np.abs(x).max(axis=1) / 127.5).astype(np.float32)
        codes = np.clip(np.rint(x / scale[:, None]), -128, 127).astype(np.int64)
        sums = (codes @ q.values.T.astype(np.int64)).astype(np.float32)
        wanted = sums * (scale[:, None] * q.scale) + bias
        assert np.array_equal(qc.linear(x, q, bias), wanted)
        assert np.array_equal(qc.linear(x, q, bias, "relu"), np.maximum(wanted, 0))


@pytest.mark.parametrize("group", [None, 8, 16, 64, 1000])
def test_four_bits_are_exact_group_by_group(group: int | None) -> None:
    for outputs, inputs, rows in ((1, 1, 1), (16, 7, 6), (17, 300, 1), (70, 33, 1), (64, 520, 9)):
        w, x, bias = sample(outputs, inputs, rows)
        q = qc.quantize(w, bits=4, axis=0 if group is None else None, group_size=group)
        row_scale = (np.abs(x).max(axis=1) / 127.5).astype(np.float32)
        codes = np.clip(np.rint(x / row_scale[:, None]), -128, 127).astype(np.int64)
        total = np.zeros((rows, outputs), np.float32)
        size = group or inputs
        for index, start in enumerate(range(0, inputs, size)):
            part = slice(start, start + size)
            sums = codes[:, part] @ q.values[:, part].T.astype(np.int64)
            total += sums.astype(np.float32) * (q.scale if group is None else q.scale[:, index])
        assert np.array_equal(qc.linear(x, q, bias), total * row_scale[:, None] + bias)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_near_the_float_layer(kind: str) -> None:
    w, x, bias = sample(40, 100, 30)
    q = qc.quantize(w, **KINDS[kind])
    exact = x @ q.dequantize().T + bias
    found = qc.linear(x, q, bias)
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > 0.999


def test_arrays_of_any_layout_are_weights_too() -> None:
    w, x, bias = sample(9, 20, 5)
    wanted = x @ w.T + bias
    for weights in (w, np.asfortranarray(w), w.astype(np.float64), w[::-1][::-1]):
        np.testing.assert_allclose(qc.linear(x, weights, bias), wanted, rtol=1e-5, atol=1e-6)
    softmax = qc.linear(x, w, bias, "softmax")
    np.testing.assert_allclose(softmax.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("activations", ["dynamic", None])
def test_leading_axes_strides_and_out(activations: str | None) -> None:
    w, x, bias = sample(6, 24, 30)
    q = qc.quantize(w, axis=0)
    flat = qc.linear(x, q, bias, activations=activations)
    stack = qc.linear(x.reshape(5, 3, 2, 24), q, bias, activations=activations)
    assert np.array_equal(stack.reshape(30, 6), flat)
    assert np.array_equal(qc.linear(x[4], q, bias, activations=activations), flat[4])
    wide = np.zeros((60, 48), np.float32)
    wide[::2, ::2] = x
    assert np.array_equal(qc.linear(wide[::2, ::2], q, bias, activations=activations), flat)
    assert np.array_equal(qc.linear(x.astype(np.float64), q, bias, activations=activations), flat)
    out = np.empty((30, 6), np.float32)
    assert qc.linear(x, q, bias, activations=activations, out=out) is out
    assert np.array_equal(out, flat)
    assert qc.linear(x[:0], q, bias, activations=activations).shape == (0, 6)


@pytest.mark.parametrize("activations", ["dynamic", None])
def test_no_inputs_give_the_bias(activations: str | None) -> None:
    q = qc.quantize(np.zeros((3, 0), np.float32))
    bias = np.array([1, -2, 3], np.float32)
    found = qc.linear(np.zeros((4, 0), np.float32), q, bias, "relu", activations=activations)
    assert np.array_equal(found, np.tile(np.maximum(bias, 0), (4, 1)))


@pytest.mark.parametrize("activations", ["dynamic", None])
def test_neither_threads_nor_the_batch_change_a_bit(activations: str | None) -> None:
    w, x, bias = sample(300, 700, 800)
    before = _core.num_threads()
    try:
        for options in ({"axis": 0}, {"scheme": "kmeans", "levels": 16}):
            q = qc.quantize(w, **options)
            _core.set_num_threads(1)
            one = qc.linear(x, q, bias, "softmax", activations=activations)
            for threads in (2, 3):
                _core.set_num_threads(threads)
                assert np.array_equal(
                    qc.linear(x, q, bias, "softmax", activations=activations), one
                )
            for rows in (1, 3, 50):
                part = qc.linear(x[:rows], q, bias, "softmax", activations=activations)
                assert np.array_equal(part, one[:rows])
    finally:
        _core.set_num_threads(before)


def test_the_layout_stays_with_the_tensor_and_out_of_the_file() -> None:
    w, x, _ = sample(50, 60, 3)
    q = qc.quantize(w, axis=0)
    size = len(pickle.dumps(q))
    first = qc.linear(x, q)
    assert len(pickle.dumps(q)) == size
    assert np.array_equal(qc.linear(x, pickle.loads(pickle.dumps(q))), first)  # noqa: S301


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"x": np.zeros((2, 4), np.int32)}, TypeError, "x has dtype int32"),
        ({"x": np.zeros((2, 5), np.float32)}, ValueError, r"x has shape \(2, 5\) and w \(3, 4\)"),
        ({"x": np.float32(1)}, ValueError, r"x has shape \(\)"),
        ({"w": np.zeros((3, 4), np.int8)}, TypeError, "w has dtype int8"),
        ({"w": np.zeros(4, np.float32)}, ValueError, r"w has shape \(4,\)"),
        ({"w": qc.quantize(np.ones(4, np.float32))}, ValueError, r"w has shape \(4,\)"),
        ({"bias": np.zeros(4, np.float32)}, ValueError, r"bias has shape \(4,\)"),
        ({"bias": [1, 2, 3]}, TypeError, "bias has dtype int64"),
        ({"activation": "gelu"}, ValueError, "activation is 'gelu'; it must be one of 'linear'"),
        ({"activations": "static"}, ValueError, "activations is 'static'"),
        ({"out": np.zeros((2, 3))}, TypeError, "out has dtype float64"),
        ({"out": np.zeros((3, 2), np.float32).T}, ValueError, "out is not C-contiguous"),
        ({"x": np.full((2, 4), np.nan, np.float32)}, ValueError, "x has a NaN in row 0"),
    ],
)
def test_misuse_is_told_apart(arguments: Any, error: type[Exception], text: str) -> None:
    good = {"x": np.ones((2, 4), np.float32), "w": qc.quantize(np.ones((3, 4), np.float32))}
    with pytest.raises(error, match=text):
        qc.linear(**(good | arguments))


PROGRAM = """
import sys, numpy as np, qcore as qc
sys.path.insert(0, {here!r})
import test_linear as t
for kind in t.KINDS:
    t.test_weights_only_is_the_float_product_of_what_they_decode_to(kind)
w, x, bias = t.sample(70, 300, 9)
for kind in ("int8, by output", "3 bits"):
    q = qc.quantize(w, **t.KINDS[kind])
    for activation in t.ACTIVATIONS:
        sys.stdout.write(qc.linear(x, q, bias, activation).tobytes().hex())
"""


@pytest.mark.each_isa
def test_every_isa_agrees() -> None:
    here = os.path.dirname(__file__)  # noqa: PTH120
    found = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM.format(here=here)],
            env={**os.environ, "QCORE_ISA": isa}, check=True, capture_output=True, text=True,
        ).stdout
        for isa in _core.available_isas()
    }  # fmt: skip
    assert len(found) == 1


@pytest.mark.parametrize("scheme", ["kmeans", "nf4", "fp8_e4m3", "log"])
@pytest.mark.parametrize("group_size", [8, 10, 64])
def test_grouped_codebooks_stay_codes(scheme, group_size):
    rng = np.random.default_rng(0)
    w = rng.standard_normal((19, 40)).astype(np.float32)
    q = qc.quantize(w, scheme=scheme, group_size=group_size)
    packed = packed_weights(q, None)
    assert packed.kernel == "dense codebook to float32"
    assert packed.nbytes < 32 * 40 * 4  # what the panels would take as floats
    for rows in (1, 7):
        x = rng.standard_normal((rows, 40)).astype(np.float32)
        found = qc.linear(x, q)
        np.testing.assert_allclose(found, x @ q.dequantize().T, rtol=1e-5, atol=1e-5)
