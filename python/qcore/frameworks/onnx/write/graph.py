"""A graph as an ONNX model of opset 21."""

from __future__ import annotations

import json
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qcore._runtime.extras import require
from qcore.files.drafts import write_bytes
from qcore.frameworks.onnx.model.metadata import CLASSES, RECIPE, write_text
from qcore.frameworks.onnx.table import WRITTEN
from qcore.frameworks.onnx.write.qdq import coarse_weight, integer_bias, write_codes, write_weight
from qcore.graph.graph import BaseGraph
from qcore.graph.node import Body, Node
from qcore.graph.value import SOURCE_DTYPES, Value

__all__ = ["write_graph"]

OPSET = 21
IR_VERSION = 10


def write_graph(
    graph: BaseGraph, path: str | PathLike[str] | None = None, *, recipe: str | None = None
) -> Any:
    """Return a graph as an ONNX model, and write it to `path`, if it is given, atomically.

    Inputs and outputs keep their names, layouts and types; inside, floats are float32.

    Returns
    -------
    onnx.ModelProto
        Of opset 21. ``classes_`` are kept as a JSON text under ``metadata_props["qcore.classes"]``.
    """
    model = ModelWriter(graph).model()
    if graph.classes_ is not None:
        write_text(model, CLASSES, json.dumps(graph.classes_.tolist()))
    if recipe is not None:
        write_text(model, RECIPE, recipe)
    if path is not None:
        write_bytes(Path(path), model.SerializeToString())
    return model


class ModelWriter:
    """Adds ONNX nodes for the nodes of a graph.

    Attributes
    ----------
    graph : Graph
    """

    def __init__(self, graph: BaseGraph, taken: set[str] | None = None) -> None:
        self.onnx = require("onnx", "ONNX")
        from onnx import helper, numpy_helper

        self.helper, self.numpy_helper = helper, numpy_helper
        self.graph = graph
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []
        names = {name for node in graph.nodes for name in (*node.outputs, *node.inputs)}
        self.names = names | set(graph.constants) if taken is None else taken
        self.node: Node | None = None
        products = [node for node in graph.nodes if node.input(2)]
        coarse = {node: coarse_weight(graph, node) for node in products}
        self.biases = {node: integer_bias(graph, node, coarse[node]) for node in products}
        self.coarse = {node.inputs[1]: new for node, new in coarse.items() if new is not None}

    def model(self) -> Any:
        """Return the model."""
        # Inputs and outputs of other types are cast on their way.
        renamed = {v.name: self.fresh(f"{v.name}:float32") for v in self._cast(self.graph.inputs)}
        renamed |= {v.name: self.fresh(f"{v.name}:float32") for v in self._cast(self.graph.outputs)}
        for value in self._cast(self.graph.inputs):
            self._add_cast(value.name, renamed[value.name], "float32")
        # Biases that are integers everywhere are not written as floats as well.
        kept = {
            name
            for node in self.graph.nodes
            for name in node.read
            if name != node.input(2) or self.biases.get(node) is None
        }
        unread = set(self.graph.readers) - kept - {value.name for value in self.graph.outputs}
        for name, constant in self.graph.constants.items():
            if name not in unread:
                kind = self.coarse.get(name, constant)
                write_weight(self, renamed.get(name, name), kind)
        renamed |= self._coded_inputs(renamed)
        for node in self.graph.nodes:
            self._take_coded(_renamed(node, renamed), node)
        for value in self._cast(self.graph.outputs):
            self._add_cast(renamed[value.name], value.name, value.dtype)
        made = self.helper.make_graph(
            self.nodes,
            "qcore",
            [self._info(value) for value in self.graph.inputs],
            [self._info(self._shaped(value)) for value in self.graph.outputs],
            self.tensors,
        )
        return self.helper.make_model(
            made,
            producer_name="qcore",
            ir_version=IR_VERSION,
            opset_imports=[self.helper.make_opsetid("", OPSET)],
        )

    def _coded_inputs(self, renamed: dict[str, str]) -> dict[str, str]:
        """Quantize the inputs that are codes; return what they are called then."""
        found = {}
        for value in self.graph.inputs:
            params = self.graph.codes.get(value.name)
            if params is not None:
                found[value.name] = self.fresh(f"{value.name}:codes")
                write_codes(self, renamed.get(value.name, value.name), found[value.name], params)
        return found

    def _take_coded(self, node: Node, own: Node) -> None:
        """Write a node, whose outputs are quantized where they are codes."""
        self.node = own
        bias = self.biases.get(own)
        if bias is not None:
            parts = [self.constant(part) for part in bias]
            real = self.add("DequantizeLinear", parts, axis=0)
            node = node.changed(inputs=(*node.inputs[:2], real, *node.inputs[3:]))
        coded = {
            made: self.graph.codes[name]
            for name, made in zip(own.outputs, node.outputs, strict=True)
            if name in self.graph.codes
        }
        if not coded or node.op == "DequantizeLinear":
            self.take([node])
            return
        floats = {name: self.fresh(f"{name}:real") for name in coded}
        self.take([node.changed(outputs=tuple(floats.get(n, n) for n in node.outputs))])
        for name, params in coded.items():
            write_codes(self, floats[name], name, params)

    def tensor(self, name: str, array: NDArray[Any]) -> None:
        """Add a constant under this name."""
        self._tensor(name, array)

    def take(self, nodes: Iterable[Node]) -> None:
        """Write nodes."""
        for node in nodes:
            self.node = node
            WRITTEN[node.op](node, self)

    def add(
        self, op: str, inputs: Iterable[str], outputs: Iterable[str] | None = None, /,
        **attributes: Any,
    ) -> str:  # fmt: skip
        """Add a node of ONNX; return its first output, which is new where none is given."""
        name = self.node.name if self.node is not None else op
        made = [self.fresh(f"{name}:{op}")] if outputs is None else list(outputs)
        given = {key: self._attribute(value) for key, value in attributes.items()}
        self.nodes.append(self.helper.make_node(op, list(inputs), made, name=made[0], **given))
        return made[0]

    def constant(self, value: ArrayLike) -> str:
        """Add a constant under a new name; return it."""
        name = self.fresh(f"{self.node.name if self.node is not None else 'graph'}:constant")
        self._tensor(name, np.asarray(value))
        return name

    def fresh(self, stem: str) -> str:
        """Return a name that is not taken."""
        name, number = stem, 1
        while name in self.names:
            number += 1
            name = f"{stem}#{number}"
        self.names.add(name)
        return name

    def _tensor(self, name: str, array: NDArray[Any]) -> None:
        self.tensors.append(self.numpy_helper.from_array(array, name))

    def _attribute(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return self.numpy_helper.from_array(value)
        if isinstance(value, Body):
            inner = ModelWriter(self.graph, self.names)
            for name, constant in value.constants.items():
                write_weight(inner, name, constant)
            inner.take(value.nodes)
            outputs = [self.helper.make_empty_tensor_value_info(name) for name in value.outputs]
            return self.helper.make_graph(inner.nodes, "branch", [], outputs, inner.tensors)
        return list(value) if isinstance(value, tuple) else value

    @staticmethod
    def _cast(values: Iterable[Value]) -> list[Value]:
        return [value for value in values if SOURCE_DTYPES[value.dtype] != value.dtype]

    def _add_cast(self, source: str, target: str, dtype: str) -> None:
        self.nodes.append(
            self.helper.make_node("Cast", [source], [target], name=target, to=self._kind(dtype))
        )

    def _kind(self, dtype: str) -> int:
        kinds = {"bfloat16": self.onnx.TensorProto.BFLOAT16}
        return int(kinds.get(dtype) or self.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def _shaped(self, value: Value) -> Value:
        return self.graph.values[value.name] if value.shape is None else value

    def _info(self, value: Value) -> Any:
        shape = None if value.shape is None else list(value.shape)
        return self.helper.make_tensor_value_info(value.name, self._kind(value.dtype), shape)


def _renamed(node: Node, names: dict[str, str]) -> Node:
    if not names or not any(name in names for name in (*node.read, *node.outputs)):
        return node
    return node.changed(
        inputs=tuple(names.get(name, name) for name in node.inputs),
        outputs=tuple(names.get(name, name) for name in node.outputs),
    )
