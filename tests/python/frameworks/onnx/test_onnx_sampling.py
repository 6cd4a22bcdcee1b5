"""GridSample and the functions of angles: what ONNX Runtime computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import qcore as qc
from qcore.frameworks.onnx.read.graph import read_graph
from runtime_models import check, model_of, normal, refused

pytestmark = pytest.mark.filterwarnings("ignore")
node = onnx.helper.make_node


def images(seed: int = 0) -> dict[str, Any]:
    """Places inside, at the edges, far outside and exactly between pixels."""
    grid = 1.5 * normal(2, 5, 7, 2, seed=seed)
    grid[0, 0, :5] = [[-1, -1], [1, 1], [0, 0], [5, -7], [1e6, -1e6]]
    return {"x": normal(2, 3, 4, 6, seed=seed + 1), "grid": grid}


@pytest.mark.parametrize("corners", [0, 1])
@pytest.mark.parametrize("outside", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["linear", "nearest", "cubic"])
def test_grid_sample(mode: str, outside: str, corners: int) -> None:
    feeds = images()
    if mode == "cubic" and outside == "reflection":
        feeds["grid"] = np.clip(feeds["grid"], -4, 4)  # further out their floats have no digits
    one = node(
        "GridSample", ["x", "grid"], ["y"], mode=mode, padding_mode=outside, align_corners=corners
    )
    check(one, feeds, within=1e-4 if outside == "reflection" else 1e-5)


def test_grid_sample_of_a_graph_without_pixels_or_of_volumes_is_refused() -> None:
    one = node("GridSample", ["x", "grid"], ["y"])
    feeds = {"x": np.zeros((1, 2, 0, 3), np.float32), "grid": np.zeros((1, 2, 2, 2), np.float32)}
    assert "no pixel" in str(refused(model_of([one], feeds, {"y": 1}), feeds))
    feeds = {"x": normal(1, 2, 3, 4, 5, seed=0), "grid": normal(1, 2, 2, 2, 3, seed=1)}
    said = refused(model_of([one], feeds, {"y": 1}), feeds)
    assert "GridSample of volumes" in str(said)
    feeds = {"x": normal(1, 2, 3, 4, seed=0), "grid": normal(2, 2, 2, 2, seed=1)}
    assert "must be (n, c, h, w)" in str(refused(model_of([one], feeds, {"y": 1}), feeds))


def test_places_that_are_no_numbers_read_no_memory_outside() -> None:
    feeds = images()
    feeds["grid"][0, 0] = np.nan
    feeds["grid"][1, 0] = [np.inf, -np.inf]
    for mode in ("linear", "nearest", "cubic"):
        for outside in ("zeros", "border", "reflection"):
            one = node("GridSample", ["x", "grid"], ["y"], mode=mode, padding_mode=outside)
            graph = read_graph(model_of([one], feeds, {"y": 1}))
            plain = images()
            found, wanted = graph.run(feeds)["y"], graph.run(plain)["y"]
            np.testing.assert_array_equal(found[:, :, 1:], wanted[:, :, 1:])


@pytest.mark.parametrize(
    "op", ["Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cosh", "Sinh", "Tan"]
)
def test_functions_of_angles(op: str) -> None:
    x = np.linspace(-0.999, 0.999, 301).astype(np.float32)
    x = np.abs(x) * 9 + 1 if op == "Acosh" else x * (1 if op in ("Acos", "Asin", "Atanh") else 5)
    model = model_of([node(op, ["x"], ["y"])], {"x": x}, {"y": 1})
    found = read_graph(model).run({"x": x})["y"]
    exact = getattr(np, {"A": "arc"}.get(op[0], "") + op.lower().removeprefix("a"))(x.astype(float))
    np.testing.assert_allclose(found, exact, rtol=1e-7, atol=0)
    (wanted,) = ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_a_spatial_transformer_is_saved_and_quantized(tmp_path: Any) -> None:
    """Where the grid is computed, and what is sampled goes through a convolution."""
    feeds = {"x": normal(2, 3, 8, 8, seed=3)}
    nodes = [
        node("GlobalAveragePool", ["x"], ["p"]), node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "w", "b"], ["g"]), node("Reshape", ["g", "shape"], ["grid"]),
        node("GridSample", ["x", "grid"], ["s"], align_corners=1), node("Conv", ["s", "k"], ["y"]),
    ]  # fmt: skip
    graph = check(
        nodes, feeds, w=normal(3, 32, seed=4), b=np.tanh(normal(32, 1, seed=5))[:, 0],
        shape=np.int64([0, 4, 4, 2]), k=normal(5, 3, 3, 3, seed=6),
    )  # fmt: skip
    graph.save(tmp_path / "net.safetensors")
    again = qc.load(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(again.run(feeds)["y"], graph.run(feeds)["y"])
    small = qc.compress(graph, feeds["x"].repeat(8, 0))
    off = np.abs(small.run(feeds)["y"] - graph.run(feeds)["y"]).max()
    assert off < 0.1 * np.abs(graph.run(feeds)["y"]).max()
