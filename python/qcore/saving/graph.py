"""A graph as named tensors and a description of its values and nodes: format 2.

``graph`` of the file's text has ``inputs`` and ``outputs`` (name, dtype, shape), ``nodes`` (name,
op, inputs, outputs, attributes where there are some), ``codes``, the parameters of quantized
values, and ``exact`` where their integers are another project's. Constants are the file's tensors,
under the names that the nodes read. ``classes`` is as in a network.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore.arrays.params.qparams import QParams
from qcore.files.qcore_format.parts import Description, field
from qcore.graph.graph import BaseGraph, G
from qcore.graph.node import Body, Node
from qcore.graph.value import RUNNING, Value
from qcore.saving.network import decode_classes, decode_input, encode_classes, encode_input

__all__ = ["GRAPH_FORMAT", "decode_graph", "encode_graph"]

#: The first format that has graphs.
GRAPH_FORMAT = 2
_NODE_KEYS = {"attributes", "inputs", "name", "op", "outputs"}
_LARGEST_INLINE = 1 << 16


def encode_graph(graph: BaseGraph) -> tuple[dict[str, Any], Description]:
    """Return a graph's constants by name, and what else there is to it."""
    tensors: dict[str, Any] = dict(graph.constants)
    description: Description = {
        "inputs": [_encode_value(value) for value in graph.inputs],
        "outputs": [_encode_value(value) for value in graph.outputs],
        "nodes": [_encode_node(node, tensors) for node in graph.nodes],
    }
    if graph.codes:
        description["codes"] = {
            name: encode_input(params) for name, params in sorted(graph.codes.items())
        }
    if graph.exact is not None:
        description["exact"] = graph.exact
    about: Description = {"graph": description}
    if graph.classes_ is not None:
        about["classes"] = encode_classes(graph.classes_)
    return tensors, about


def decode_graph(tensors: Mapping[str, Any], about: Description, kind: type[G]) -> G:
    """Put a graph together.

    Raises
    ------
    ValueError, TypeError
        If tensors and description do not fit together.
    """
    description = field(about, "graph", dict)
    if description is None:
        raise ValueError("it is a graph and describes none")
    inner: set[str] = set()
    nodes = [_decode_node(node, tensors, inner) for node in field(description, "nodes", list, [])]
    codes = {}
    for name, params in field(description, "codes", dict, {}).items():
        found = decode_input(params)
        if not isinstance(found, QParams):
            raise ValueError(f"the codes of value {name!r} are {params!r}")
        codes[name] = found
    classes = field(about, "classes", dict)
    return kind(
        nodes,
        inputs=_decode_values(field(description, "inputs", list, [])),
        outputs=_decode_values(field(description, "outputs", list, [])),
        constants={name: tensors[name] for name in tensors if name not in inner},
        codes=codes,
        classes=None if classes is None else decode_classes(classes),
        exact=field(description, "exact", str),
    )


def _encode_value(value: Value) -> Description:
    shape = None if value.shape is None else list(value.shape)
    return {"name": value.name, "dtype": value.dtype, "shape": shape}


def _decode_values(values: Iterable[Any]) -> list[Value]:
    found = []
    for value in values:
        if type(value) is not dict or value.keys() != {"name", "dtype", "shape"}:
            raise ValueError(f"a value is described as {value!r}")
        shape = value["shape"]
        if shape is not None and type(shape) is not list:
            raise ValueError(f"value {value['name']!r} has the shape {shape!r}")
        if type(value["dtype"]) is not str:
            raise ValueError(f"value {value['name']!r} has the dtype {value['dtype']!r}")
        found.append(Value(value["name"], value["dtype"], None if shape is None else tuple(shape)))
    return found


def _encode_node(node: Node, tensors: dict[str, Any]) -> Description:
    description: Description = {
        "name": node.name, "op": node.op, "inputs": list(node.inputs),
        "outputs": list(node.outputs),
    }  # fmt: skip
    if node.attributes:
        description["attributes"] = {
            key: _encode_attribute(value, f"{node.name}/{key}", tensors)
            for key, value in node.attributes.items()
        }
    return description


def _decode_node(node: Any, tensors: Mapping[str, Any], inner: set[str]) -> Node:
    if type(node) is not dict or not node.keys() <= _NODE_KEYS:
        raise ValueError(f"a node is described as {node!r}")
    attributes = {
        key: _decode_attribute(value, tensors, inner)
        for key, value in field(node, "attributes", dict, {}).items()
    }
    return Node(
        field(node, "name", str, ""),
        field(node, "op", str, ""),
        tuple(_texts(node, "inputs")),
        tuple(_texts(node, "outputs")),
        attributes,
    )


def _texts(description: Description, key: str) -> list[str]:
    found: list[str] = field(description, key, list, [])
    if not all(type(text) is str for text in found):
        raise ValueError(f"{key!r} is {found!r} in a node's description")
    return found


def _encode_attribute(value: Any, where: str, tensors: dict[str, Any]) -> Any:
    """Return an attribute as JSON has it: what it has no word for is an object with one key."""
    if isinstance(value, np.ndarray):
        if value.nbytes > _LARGEST_INLINE:
            raise ValueError(f"{where} is an array of {value.nbytes} bytes; a file takes fewer")
        values = [_encode_attribute(item, where, tensors) for item in value.reshape(-1).tolist()]
        return {"array": [value.dtype.name, list(value.shape), values]}
    if isinstance(value, Body):
        names = {}
        for name, constant in value.constants.items():
            names[name] = f"{where}/{name}"
            tensors[names[name]] = constant
        nodes = [_encode_node(node, tensors) for node in value.nodes]
        return {"body": {"nodes": nodes, "outputs": list(value.outputs), "constants": names}}
    if isinstance(value, tuple):
        return [_encode_attribute(item, where, tensors) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    return value


def _decode_attribute(value: Any, tensors: Mapping[str, Any], inner: set[str]) -> Any:
    if type(value) is list:
        return [_decode_attribute(item, tensors, inner) for item in value]
    if type(value) is not dict:
        return value
    if value.keys() == {"float"}:
        return float(value["float"])
    if value.keys() == {"array"}:
        return _decode_array(value["array"])
    if value.keys() != {"body"} or type(value["body"]) is not dict:
        raise ValueError(f"an attribute is {value!r}")
    body = value["body"]
    names = field(body, "constants", dict, {})
    missing = [stored for stored in names.values() if stored not in tensors]
    if missing:
        raise ValueError(f"a branch has no tensor {missing[0]!r}")
    inner.update(names.values())
    nodes = tuple(_decode_node(node, tensors, inner) for node in field(body, "nodes", list, []))
    constants = {name: tensors[stored] for name, stored in names.items()}
    return Body(nodes, tuple(_texts(body, "outputs")), constants)


def _decode_array(parts: Any) -> NDArray[Any]:
    if type(parts) is not list or len(parts) != 3 or parts[0] not in RUNNING:
        raise ValueError(f"an attribute is the array {parts!r}")
    dtype, shape, values = parts
    if type(values) is not list or type(shape) is not list:
        raise ValueError(f"an attribute is the array {parts!r}")
    plain = [_decode_attribute(item, {}, set()) for item in values]
    return np.array(plain, dtype).reshape(shape)
