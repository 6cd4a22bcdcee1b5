"""Graphs that are streamed: they stay graphs, and every weight lies as its op reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qcore as qc
from qcore.graph.node import Node
from qcore.graph.value import Value
from qcore.streaming.calibrate import observe_layers
from small_graphs import images, normal, small_cnn


def products() -> qc.Graph:
    return qc.Graph(
        [
            Node("m", "MatMul", ("x", "w"), ("h",)),
            Node("t", "Add", ("h", "table"), ("y",)),
        ],
        inputs=[Value("x", "float32", ("n", 3, 16))],
        outputs=[Value("y", "float32")],
        constants={"w": normal(16, 6, seed=1), "table": normal(3, 6, seed=2)},
    )


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("make", [small_cnn, products])
def test_a_streamed_graph_is_the_graph_compressed_in_memory(
    make: Any, bits: int, tmp_path: Path
) -> None:
    make().save(tmp_path / "g.safetensors")
    done = qc.compress(tmp_path / "g.safetensors", output=tmp_path / "s.safetensors", bits=bits)
    qc.compress(make(), bits=bits).save(tmp_path / "m.safetensors")
    assert (tmp_path / "s.safetensors").read_bytes() == (tmp_path / "m.safetensors").read_bytes()
    small = qc.load(done.path)
    assert isinstance(small, qc.Graph)
    coded = {row["tensor"] for row in done.report_.rows if "scheme" in row}
    assert coded == {slot.name for slot in make().slots}  # a table that is added is no weight


def test_groups_are_of_inputs_that_lie_side_by_side(tmp_path: Path) -> None:
    small_cnn().save(tmp_path / "g.safetensors")
    qc.compress(tmp_path / "g.safetensors", output=tmp_path / "s.safetensors", bits=4, group_size=2)
    small = qc.load(tmp_path / "s.safetensors")
    assert small.constants["fc.weight"].group_size == 2
    assert small.constants["conv.weight"].axis == 0


def test_samples_from_a_file_show_the_ranges_that_weights_read(tmp_path: Path) -> None:
    net, x = small_cnn(), images(100)
    net.save(tmp_path / "g.safetensors")
    np.save(tmp_path / "x.npy", x)
    found = observe_layers(tmp_path / "g.safetensors", tmp_path / "x.npy", progress=False)
    wanted = net.run({"x": x}, list(found))
    assert set(found) == {slot.node.inputs[0] for slot in net.slots}
    for name, seen in found.items():
        value = x if name == "x" else wanted[name]
        assert (seen.min, seen.max) == (float(value.min()), float(value.max()))


def test_a_graph_of_another_format_is_loaded_and_saved(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    small_cnn().to_onnx(tmp_path / "g.onnx")
    qc.compress(tmp_path / "g.onnx", output=tmp_path / "s.safetensors")
    small = qc.load(tmp_path / "s.safetensors")
    x = images(4)
    np.testing.assert_allclose(small(x), small_cnn()(x), atol=0.05)
    assert small.nbytes < 0.5 * small_cnn().nbytes
