"""The inputs and outputs of a model, as those of the model that it was made from."""

from __future__ import annotations

from typing import Any

__all__ = ["keep_interface"]

_FLOAT = 1
_ROWS = 2


def keep_interface(model: Any, source: Any) -> None:
    """Give a network's model the names and shapes that its source's input and output have.

    Images that the source flattens are flattened here. Where the source has several inputs or
    outputs, or takes no float32, the model stays as it is.

    Parameters
    ----------
    model : onnx.ModelProto
        As `to_onnx` made it; changed.
    source : onnx.ModelProto
    """
    from onnx import helper

    graph = model.graph
    constants = {tensor.name for tensor in source.graph.initializer}
    inputs = [value for value in source.graph.input if value.name not in constants]
    ends = [*inputs, *source.graph.output]
    if len(inputs) != 1 or len(ends) != _ROWS:
        return
    taken = {tensor.name for tensor in graph.initializer}
    taken |= {name for node in graph.node for name in (*node.input, *node.output)}
    if any(v.type.tensor_type.elem_type != _FLOAT or v.name in taken - {"input", "output"}
           for v in ends):  # fmt: skip
        return
    rank = len(inputs[0].type.tensor_type.shape.dim)
    names = {"output": source.graph.output[0].name}
    if rank == _ROWS:
        names["input"] = inputs[0].name
    elif inputs[0].name == "input":
        names["input"] = "input_rows"
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    if rank != _ROWS:
        rows = names.get("input", "input")
        flat = helper.make_node("Flatten", [inputs[0].name], [rows], name="flatten", axis=1)
        nodes = [flat, *graph.node]
        del graph.node[:]
        graph.node.extend(nodes)
    graph.input[0].CopyFrom(inputs[0])
    graph.output[0].CopyFrom(source.graph.output[0])
