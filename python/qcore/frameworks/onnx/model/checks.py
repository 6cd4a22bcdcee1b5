"""Whether a model's nodes are such as readers take for granted: once, as the model is opened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qcore.errors import FormatError

__all__ = ["check_graph"]

# The fewest and the most inputs of operators that are read here.
_INPUTS = {
    "Add": (2, 2), "BatchNormalization": (5, 5), "Cast": (1, 1), "Conv": (2, 3),
    "ConvTranspose": (2, 3), "DequantizeLinear": (2, 3), "Div": (2, 2), "Dropout": (1, 3),
    "Flatten": (1, 1), "Gather": (2, 2), "Gemm": (2, 3), "Identity": (1, 1), "MatMul": (2, 2),
    "MatMulNBits": (3, 6), "Mul": (2, 2), "QuantizeLinear": (2, 3), "Relu": (1, 1),
    "Reshape": (1, 2), "Sigmoid": (1, 1), "Softmax": (1, 1), "Sub": (2, 2), "Tanh": (1, 1),
    "Transpose": (1, 1),
}  # fmt: skip
# The types of their attributes, as AttributeProto numbers them.
_FLOAT, _INT, _TENSOR, _GRAPH, _INTS, _GRAPHS = 1, 2, 4, 5, 7, 10
_ATTRIBUTES = {
    "K": _INT, "N": _INT, "alpha": _FLOAT, "axis": _INT, "beta": _FLOAT, "bits": _INT,
    "block_size": _INT, "epsilon": _FLOAT, "group": _INT, "output_dtype": _INT, "perm": _INTS,
    "to": _INT, "training_mode": _INT, "transA": _INT, "transB": _INT, "value": _TENSOR,
}  # fmt: skip
_DOMAINS = ("", "ai.onnx", "com.microsoft")
# Bodies of bodies of bodies: no model has so many.
_DEEPEST = 32


def check_graph(graph: Any, where: str, depth: int = 0) -> None:
    """Refuse a graph whose nodes lack what every node of their operator has.

    Parameters
    ----------
    graph : onnx.GraphProto
    where : str
        The model, for the message.
    depth : int
        Of a body in bodies.

    Raises
    ------
    FormatError
    """
    if depth > _DEEPEST:
        raise FormatError(f"{where} has graphs in graphs, {depth} deep")
    for node in graph.node:
        name = f"{where} is corrupt: node {node.op_type} {node.name!r}"
        if not node.op_type or not len(node.output):
            raise FormatError(f"{name} has no operator, or no output")
        if node.domain not in _DOMAINS:
            continue
        least, most = _INPUTS.get(node.op_type, (0, len(node.input)))
        if not least <= len(node.input) <= most or not all(list(node.input)[:least]):
            raise FormatError(f"{name} has {len(node.input)} inputs; it takes {least} to {most}")
        known = node.op_type in _INPUTS or node.op_type == "Constant"
        for attribute in node.attribute:
            wanted = _ATTRIBUTES.get(attribute.name) if known else None
            if attribute.type != wanted and wanted is not None:
                raise FormatError(f"{name} has {attribute.name} of type {attribute.type}")
    for body in _bodies(graph):
        check_graph(body, where, depth + 1)


def _bodies(graph: Any) -> Iterator[Any]:
    """Yield the graphs in the attributes of a graph's nodes."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == _GRAPH:
                yield attribute.g
            elif attribute.type == _GRAPHS:
                yield from attribute.graphs
