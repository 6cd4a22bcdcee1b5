"""Any ONNX graph of the ops in the table as a `Graph`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcore._runtime.extras import require
from qcore.errors import FormatError, UnsupportedError
from qcore.frameworks.onnx.model.metadata import CLASSES, read_text
from qcore.frameworks.onnx.model.opset import raise_opset
from qcore.frameworks.onnx.model.source import (
    OPSETS,
    RAISED,
    SourceNode,
    constant_array,
    dtype_name,
    value_of,
)
from qcore.frameworks.onnx.op import Op, Reader
from qcore.frameworks.onnx.read.known import Known
from qcore.frameworks.onnx.table import OPS
from qcore.graph.node import Body
from qcore.graph.passes import prepared
from qcore.graph.passes.loops import refuse_loops
from qcore.graph.passes.quantized import read_codes
from qcore.graph.value import SOURCE_DTYPES, Value
from qcore.nn.graph import Graph

__all__ = ["ModelReader", "read_graph"]


def read_graph(model: Any, path: Path | None = None, exact: str | None = None) -> Graph:
    """Return an onnx.ModelProto as a graph, with constants folded and patterns fused.

    Parameters
    ----------
    model : onnx.ModelProto
    path : Path, optional
        Its file, beside which constants may lie.
    exact : {None, "onnx", "tflite"}
        As in `Graph`.

    Raises
    ------
    ValueError
        If the model is not what ONNX allows.
    UnsupportedError
        If it has ops, or types of values, that there are not; lists each.
    """
    graph = ModelReader(_inlined(_raised(model)), path).graph()
    found = prepared(read_codes(graph.changed(exact=exact)))
    refuse_loops(found)
    return found


def _raised(model: Any) -> Any:
    """Return a model of an old opset as onnx's converter raises it; others as they are."""
    found = next((int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if found not in RAISED:
        return model
    if found < 9 and any(node.op_type == "Scan" for node in model.graph.node):
        raise UnsupportedError("the model is of opset 8, in which Scan takes batches")
    copy = type(model)()
    copy.CopyFrom(model)
    try:
        raise_opset(copy, OPSETS[0])
    except ValueError as error:
        raise UnsupportedError(str(error)) from error
    return copy


def _inlined(model: Any) -> Any:
    """Return a model without functions of its own: their nodes stand where they were called."""
    if not model.functions:
        return model
    require("onnx", "reading ONNX")
    from onnx import inliner

    return inliner.inline_local_functions(model)


class ModelReader(Reader):
    """Takes the nodes of a model, one by one, to what opset 21 calls them.

    Attributes
    ----------
    opset : int
    missing : dict of str to (int, str)
        What there is not: how often, and at which node first.
    """

    def __init__(
        self,
        model: Any,
        path: Path | None = None,
        *,
        missing: dict[str, tuple[int, str]] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.path = path
        self.opset = opset_of(model)
        self.missing: dict[str, tuple[int, str]] = {} if missing is None else missing
        self._known = Known(self, model)

    def graph(self) -> Graph:
        """Return the model's graph."""
        proto = self.model.graph
        self.take_constants(proto)
        inputs = [
            self._value(info, "input") for info in proto.input if info.name not in self.constants
        ]
        self.take_nodes(proto)
        outputs = [self._value(info, "output") for info in proto.output]
        if self.missing:
            found = [(op, count, first) for op, (count, first) in self.missing.items()]
            raise UnsupportedError.of(found)
        classes = read_text(self.model, CLASSES)
        return Graph(
            self.nodes,
            inputs=[value for value in inputs if value is not None],
            outputs=self._typed(outputs),
            constants=self.constants,
            classes=None if classes is None else np.array(json.loads(classes)),
        )

    def _value(self, info: Any, what: str) -> Value | None:
        try:
            if what == "output" and not info.type.WhichOneof("value"):
                return Value(info.name, "float32")  # an output may leave its type to inference
            return value_of(info)
        except TypeError as error:
            self.miss(f"{what} of type {error}", info.name)
            return None

    def _typed(self, outputs: Iterable[Value | None]) -> list[Value]:
        return [value for value in outputs if value is not None]

    # parts of the model ------------------------------------------------------------------------
    def take_constants(self, proto: Any) -> None:
        """Take the initializers of a graph or a branch."""
        for tensor in proto.initializer:
            array = self.array_of(tensor, tensor.name)
            if array is not None:
                self.add_constant(tensor.name, array)
        if proto.sparse_initializer:
            self.miss("sparse initializer", proto.sparse_initializer[0].values.name)

    def take_nodes(self, proto: Any) -> None:
        """Take the nodes of a graph or a branch."""
        for node in proto.node:
            source = SourceNode.of(node, self.opset)
            op: Op | None = OPS.get(source.op)
            if op is None:
                self.miss(source.op, source.name)
                continue
            self.place = source
            try:
                op.take(source, self)
            except FormatError:
                raise
            except ValueError as error:
                if not source.name or source.name in str(error):
                    raise
                raise ValueError(f"node {source.name!r} ({source.op}): {error}") from error

    def array_of(self, tensor: Any, where: str) -> NDArray[Any] | None:
        """Return a TensorProto as an array; None where its type is missing, which is noted."""
        try:
            return constant_array(tensor, self.path)
        except TypeError as error:
            self.miss(f"constant of type {error}", where)
            return None

    def body(self, proto: Any) -> Body:
        """Return a branch, or the step of a loop."""
        inner = ModelReader(self.model, self.path, missing=self.missing)
        inner.names = self.names  # a branch's values have names of their own
        inner.outer = self
        inner._known.note(proto.input)
        inner.take_constants(proto)
        inner.take_nodes(proto)
        outputs = tuple(info.name for info in proto.output)
        inputs = tuple(info.name for info in proto.input)
        return Body(tuple(inner.nodes), outputs, dict(inner.constants), inputs)

    def miss(self, op: str, where: str) -> None:
        """Note that there is no such op."""
        count, first = self.missing.get(op, (0, where))
        self.missing[op] = (count + 1, first)

    def dtype(self, kind: int, node: SourceNode) -> int:
        """Return ONNX's number of the type that runs for one that the model names."""
        name = dtype_name(kind)
        if name not in SOURCE_DTYPES:
            self.miss(f"{node.op} to {name}", node.name)
            return kind
        onnx = require("onnx", "reading ONNX")
        return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(SOURCE_DTYPES[name])))

    def value(self, name: str) -> Value | None:
        """Return a value with its type and shape, as far as inference knows them."""
        return self._known.value(name)


def opset_of(model: Any) -> int:
    """Return the opset of a model's own domain.

    Raises
    ------
    UnsupportedError
        If it is none that is read.
    """
    versions = [int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")]
    opset = versions[0] if versions else 0
    if opset not in OPSETS:
        raise UnsupportedError(
            f"the model is of opset {opset}; {RAISED[0]} to {OPSETS[-1]} are read"
        )
    return opset
