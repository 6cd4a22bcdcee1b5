"""Small ONNX models that tests make, run by qcore and by ONNX Runtime side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

import qcore as qc
from qcore.frameworks.onnx.read.graph import read_graph

RUNTIME = "com.microsoft"
_KINDS = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9}


def model_of(
    nodes: Any, feeds: dict[str, Any], outputs: Any, *, opset: int = 21, dims: Any = None,
    **constants: Any,
) -> Any:  # fmt: skip
    """Return a model that takes arrays like `feeds`, their dims as they are or as `dims` says."""
    dims = {} if dims is None else dims
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info(
                name, _KINDS[array.dtype.name], dims.get(name, array.shape)
            )
            for name, array in feeds.items()
        ],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    domains = [helper.make_opsetid("", opset), helper.make_opsetid(RUNTIME, 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=10 if opset < 23 else 11)


def runtime(model: Any, feeds: dict[str, Any]) -> dict[str, Any]:
    """Return what ONNX Runtime gives, its optimizer off."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(None, feeds), strict=True))


def same_as(
    wanted: dict[str, Any], model: Any, feeds: dict[str, Any], within: float = 1e-5
) -> qc.Graph:
    """Check that qcore gives what is wanted, and return its graph."""
    graph = read_graph(onnx.ModelProto.FromString(model.SerializeToString()))
    found = graph.run(feeds)
    for name, array in wanted.items():
        assert found[name].shape == array.shape, name
        assert found[name].dtype == array.dtype, name
        np.testing.assert_allclose(found[name], array, rtol=within, atol=within, err_msg=name)
    return graph


def normal(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def own(op: str, inputs: Any, outputs: Any, domain: str = RUNTIME, **attributes: Any) -> Any:
    """Return a node of ONNX Runtime's own domain."""
    return helper.make_node(op, inputs, outputs, domain=domain, **attributes)


def check(
    nodes: Any, feeds: dict[str, Any], outputs: Any = None, within: float = 1e-5, dims: Any = None,
    **constants: Any,
) -> qc.Graph:  # fmt: skip
    """Check that qcore gives what ONNX Runtime gives, and return its graph."""
    nodes = nodes if isinstance(nodes, list) else [nodes]
    model = model_of(nodes, feeds, outputs or {"y": 1}, dims=dims, **constants)
    return same_as(runtime(model, feeds), model, feeds, within)


def coded(w: Any, columns: bool) -> tuple[Any, Any]:
    """Return weights as int8, with one scale or one for each column."""
    scale = (np.abs(w).max(0 if columns else None) / 127).astype(np.float32)
    return np.clip(np.rint(w / scale), -127, 127).astype(np.int8), scale


def refused(model: Any, feeds: dict[str, Any]) -> str | None:
    """Return what is said of a model that is not read or does not run; None if it runs."""
    try:
        read_graph(model).run(feeds)
    except (qc.UnsupportedError, ValueError, TypeError) as error:
        return str(error)
    return None
