"""What is known of a value while a model is read: its type and shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from qcore._runtime.extras import require
from qcore.errors import UnsupportedError
from qcore.frameworks.onnx.model.source import dtype_name
from qcore.graph.graph import BaseGraph
from qcore.graph.value import SOURCE_DTYPES, Value

if TYPE_CHECKING:
    from qcore.frameworks.onnx.op import Reader

__all__ = ["Known"]


class Known:
    """Types and shapes of values.

    By ONNX's own inference, and where that ends (it knows nothing of other domains' ops) by that
    of the nodes which have been read.
    """

    def __init__(self, reader: Reader, model: Any) -> None:
        self._reader, self._proto = reader, model
        self._model: dict[str, Value] | None = None
        self._made: dict[str, Value] = {}
        self._seen = 0

    def value(self, name: str) -> Value | None:
        """Return a value with its type and shape; None where nothing is known of it."""
        constant: Any = self._reader.constant_value(name)
        if constant is not None:
            dtype = constant.dtype.name if isinstance(constant, np.ndarray) else "float32"
            return Value(name, dtype, tuple(constant.shape))
        if self._model is None:
            self._model = _inferred(self._proto)
        found = self._made.get(name) or self._model.get(name)
        outer: Any = self._reader.outer
        if found is None and outer is not None:
            around: Value | None = outer.value(name)
            return around
        if (found is None or found.shape is None) and self._reader.outer is None:
            self._infer()
            found = self._made.get(name, found)
        return found

    def note(self, infos: Any) -> None:
        """Note what the inputs of a branch or a step say of themselves."""
        self._made |= _stated(infos)

    def _infer(self) -> None:
        """Infer what the nodes make that came since the last time."""
        nodes = self._reader.nodes[self._seen :]
        self._seen = len(self._reader.nodes)
        made = {name for node in nodes for name in node.outputs if name}
        wanted = {name for node in nodes for name in node.read} - made
        inputs = [
            Value(name, value.running_dtype, value.shape)
            for name in sorted(wanted - set(self._reader.constants))
            if (value := self._made.get(name) or (self._model or {}).get(name)) is not None
        ]
        constants = {n: self._reader.constants[n] for n in wanted if n in self._reader.constants}
        outputs = [Value(name, "float32") for name in sorted(made)]
        if not outputs:
            return
        try:
            graph = BaseGraph(nodes, inputs=inputs, outputs=outputs, constants=constants)
            found = graph.values
        except (UnsupportedError, ValueError, TypeError):
            return  # a hint less; whoever runs the graph is told
        self._made |= {name: found[name] for name in made if found[name].shape is not None}


def _inferred(model: Any) -> dict[str, Value]:
    onnx = require("onnx", "reading ONNX")
    try:
        known = onnx.shape_inference.infer_shapes(model).graph
    except Exception:  # whatever it stumbles over, these are only hints
        known = model.graph
    return _stated([*known.value_info, *known.input, *known.output])


def _stated(infos: Any) -> dict[str, Value]:
    """Return what is said of values that are tensors."""
    kinds: Mapping[str, Any] = {
        info.name: info.type.tensor_type
        for info in infos
        if info.type.WhichOneof("value") == "tensor_type"
    }
    found = {}
    for name, kind in kinds.items():
        try:
            dtype = dtype_name(kind.elem_type)
        except ValueError:
            continue
        if dtype in SOURCE_DTYPES:
            found[name] = Value(name, dtype, _shape(kind))
    return found


def _shape(kind: Any) -> tuple[int | None, ...] | None:
    if not kind.HasField("shape"):
        return None
    dims = (dim.dim_value if dim.HasField("dim_value") else 0 for dim in kind.shape.dim)
    return tuple(dim if dim > 0 else None for dim in dims)
