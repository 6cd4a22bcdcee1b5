"""What the tests of cli_compress share."""

from __future__ import annotations

from pathlib import Path

import numpy as np

RNG = np.random.default_rng(0)


def in_folder(folder: Path, words: tuple[str, ...]) -> list[str]:
    ends = (".safetensors", ".npz", ".npy", ".toml", ".json", ".html", ".onnx", ".gguf")
    return [str(folder / word) if word.endswith(ends) else word for word in words]


def write_graph(path: Path) -> None:
    """Write an ONNX graph that is no dense network."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = {
        "conv.weight": RNG.standard_normal((16, 3, 3, 3)).astype(np.float32),
        "fc.weight": RNG.standard_normal((64, 10)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight"], ["c"]),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("MatMul", ["f", "fc.weight"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(w, name) for name, w in weights.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
