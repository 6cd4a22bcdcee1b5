"""Transposed convolutions whose windows lie side by side, as those that double an image do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import qcore as qc
from qcore.graph.node import Node
from qcore.graph.value import Value


def normal(*shape: int, seed: int) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def network(w: Any, b: Any = None, *, given: bool = False, **attributes: Any) -> qc.Graph:
    """A transposed convolution; `given`: its weights are an input."""
    names = ("x", "w") if b is None else ("x", "w", "b")
    inputs = [Value("x", "float32", ("n", len(w), *(["h", "w"][: w.ndim - 2])))]
    if given:
        inputs.append(Value("w", "float32", w.shape))
    return qc.Graph(
        [Node("up", "ConvTranspose", names, ("y",), {"strides": w.shape[2:], **attributes})],
        inputs=inputs,
        outputs=[Value("y", "float32")],
        constants=({} if given else {"w": w}) | ({} if b is None else {"b": b}),
    )


def reference(x: Any, w: Any, b: Any = 0.0) -> Any:
    """By definition, in float64: each pixel times the window, at its own place."""
    y = np.einsum("nchw,coij->nohiwj", x.astype(np.float64), w.astype(np.float64))
    n, o, h, i, v, j = y.shape
    return y.reshape(n, o, h * i, v * j) + np.reshape(b, (-1, 1, 1))


@pytest.mark.parametrize("outputs", [1, 3, 17])
@pytest.mark.parametrize("kernel", [(1, 1), (2, 2), (3, 1), (2, 5)])
@pytest.mark.parametrize("size", [(1, 1), (4, 7), (3, 40)])
def test_windows_side_by_side(outputs: int, kernel: tuple[int, int], size: tuple[int, int]) -> None:
    x, w = normal(2, 5, *size, seed=1), normal(5, outputs, *kernel, seed=2)
    b = normal(outputs, seed=3)
    found = network(w, b)(x)
    np.testing.assert_allclose(found, reference(x, w, b), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(network(w)(x), reference(x, w), rtol=1e-5, atol=1e-5)
    gated = network(w, b, activation="relu")(x)
    np.testing.assert_array_equal(gated, np.maximum(found, 0))


def test_signals_and_weights_that_are_given() -> None:
    x, w = normal(3, 6, 9, seed=4), normal(6, 2, 4, seed=5)
    found = network(w)(x)
    np.testing.assert_allclose(
        found[:, :, None], reference(x[:, :, None], w[:, :, None]), atol=1e-5
    )
    other = network(w, given=True).run({"x": x, "w": w})["y"]
    np.testing.assert_allclose(other, found, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "attributes", [{"pads": [1, 1, 0, 0]}, {"output_padding": [1, 1]}, {"dilations": [2, 2]}]
)
def test_what_overlaps_or_is_cut_is_as_with_weights_that_are_given(attributes: Any) -> None:
    x, w = normal(2, 4, 5, 6, seed=6), normal(4, 3, 2, 2, seed=7)
    found = network(w, **attributes)(x)
    wanted = network(w, given=True, **attributes).run({"x": x, "w": w})["y"]
    assert found.shape != network(w)(x).shape
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_neither_batch_nor_threads_change_a_bit() -> None:
    x, w = normal(4, 24, 20, 33, seed=8), normal(24, 3, 2, 2, seed=9)
    net = network(w, normal(3, seed=10))
    alone = np.concatenate([net(one[None]) for one in x])
    np.testing.assert_array_equal(net(x), alone)
    sizes = {"n": 4, "h": 20, "w": 33}
    for threads in (1, 2):
        np.testing.assert_array_equal(net.session(sizes, threads).run({"x": x})["y"], alone)
