"""Raising the opset of a model, where codes need operators that its own does not have."""

from __future__ import annotations

from typing import Any

from qcore._runtime.extras import require
from qcore.frameworks.onnx.model.constants import nbytes_of
from qcore.frameworks.onnx.model.scopes import scan

__all__ = ["opset_of", "raise_opset", "require_domain"]

_MAIN = ("", "ai.onnx")
# Constants that conversion may have to look at; larger ones are weights, and stay out of its way.
_SMALL = 4096
# Operators whose attributes say something else from an opset on, and which the converter, which
# does not go into graphs inside nodes, would leave wrong there without anybody's noticing.
_CHANGED = {"Softmax": 13, "LogSoftmax": 13, "Hardmax": 13}
# The least version of the file format that an opset's types need.
_IR_VERSIONS = {13: 7, 19: 9, 21: 10, 23: 11, 25: 13, 28: 14}


def opset_of(model: Any) -> int:
    """Return the opset of ONNX's own operators; 1 where a model says nothing."""
    return next((int(o.version) for o in model.opset_import if o.domain in _MAIN), 1)


def raise_opset(model: Any, least: int) -> None:
    """Raise the opset of a model to `least`, its nodes as they have to be there.

    Raises
    ------
    ValueError
        If it cannot be; the model is as it was then.
    """
    found = opset_of(model)
    if found < least:
        nodes, tensors = _converted(model, found, least)
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        model.graph.initializer.extend(tensors)
        for opset in model.opset_import:
            if opset.domain in _MAIN:
                opset.version = least
    model.ir_version = max(model.ir_version, _IR_VERSIONS.get(least, 4))


def require_domain(model: Any, domain: str) -> None:
    """Let a model import a domain of operators."""
    if all(opset.domain != domain for opset in model.opset_import):
        model.opset_import.add(domain=domain, version=1)


def _converted(model: Any, found: int, least: int) -> tuple[list[Any], list[Any]]:
    """Return the nodes for another opset, and the constants that came with them."""
    reason = f"the graph is of opset {found}, this needs {least}, and it cannot be raised: "
    for scope in scan(model.graph)[1:]:
        for node in scope.graph.node:
            if found < _CHANGED.get(node.op_type, 0) <= least:
                raise ValueError(f"{reason}{node.op_type} means another thing in {scope.path}")
    light = _without_weights(model)
    known = {t.name for t in model.graph.initializer} | {i.name for i in model.graph.input}
    onnx = require("onnx", "raising the opset")
    from onnx import version_converter

    try:
        raised = version_converter.convert_version(light, least)
        if _is_valid(onnx, light):  # what was not before is not the conversion's fault
            onnx.checker.check_model(raised)
    # The converter raises whatever its C++ does: RuntimeError for the most part.
    except Exception as error:
        text = " ".join(str(error).split())[:120]
        raise ValueError(f"{reason}{text}") from error
    tensors = [t for t in raised.graph.initializer if t.name not in known]
    return list(raised.graph.node), tensors


def _is_valid(onnx: Any, model: Any) -> bool:
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError:
        return False
    return True


def _without_weights(model: Any) -> Any:
    """Return a model whose large constants are inputs of no bytes, which keep their shape."""
    light = type(model)()
    light.ir_version = max(model.ir_version, 4)
    light.opset_import.extend(model.opset_import)
    graph = light.graph
    graph.name = model.graph.name or "graph"
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    named = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if tensor.data_location == 1 or nbytes_of(tensor) > _SMALL:
            if tensor.name not in named:
                value = graph.input.add(name=tensor.name)
                value.type.tensor_type.elem_type = tensor.data_type
                for length in tensor.dims:
                    value.type.tensor_type.shape.dim.add(dim_value=length)
        else:
            graph.initializer.append(tensor)
    graph.node.extend(model.graph.node)
    return light
