"""A model of which ONNX Runtime runs the parts that qcore does not have."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import ArrayLike, NDArray

from qcore import _core
from qcore._runtime.extras import require
from qcore.errors import UnsupportedError
from qcore.frameworks.onnx.model.source import SourceNode, value_of
from qcore.frameworks.onnx.read.graph import ModelReader, read_graph
from qcore.frameworks.onnx.table import OPS
from qcore.graph.running.inputs import check_inputs
from qcore.graph.value import Value
from qcore.nn.graph import Graph

__all__ = ["MixedGraph", "mixed_graph"]


class _Part(NamedTuple):
    """Nodes that one of the two runs."""

    runs: Any  # a Graph, or an InferenceSession
    inputs: list[str]
    outputs: list[str]


class MixedGraph:
    """A network that runs in parts: in qcore, and in ONNX Runtime where it has to.

    Attributes
    ----------
    inputs, outputs : tuple of Value
    fallback_ops : tuple of (str, int, str)
        Each op that ONNX Runtime runs, how often it is there, and the first node.
    fallback_share_ : float
        The share of the time of all runs so far that ONNX Runtime took.
    """

    def __init__(
        self, parts: list[_Part], inputs: list[Value], outputs: list[Value], ops: Any
    ) -> None:
        self._parts = parts
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self.fallback_ops = tuple(ops)
        self._times = [0.0, 0.0]

    @property
    def fallback_share_(self) -> float:
        """The share of the time of all runs so far that ONNX Runtime took."""
        total = sum(self._times)
        return self._times[1] / total if total else 0.0

    def run(self, inputs: Mapping[str, ArrayLike]) -> dict[str, NDArray[Any]]:
        """Compute the outputs; see `Graph.run`."""
        values: dict[str, Any] = dict(check_inputs(self.inputs, inputs))
        for part in self._parts:
            given = {name: values[name] for name in part.inputs}
            start = time.perf_counter()
            ours = isinstance(part.runs, Graph)
            if ours:
                values |= part.runs.run(given)
            else:
                made = part.runs.run(part.outputs, given)
                values |= dict(zip(part.outputs, made, strict=True))
            self._times[0 if ours else 1] += time.perf_counter() - start
        return {value.name: values[value.name] for value in self.outputs}

    def __call__(self, x: ArrayLike) -> NDArray[Any]:
        """Compute the output of a network with one input and one output."""
        if len(self.inputs) != 1 or len(self.outputs) != 1:
            raise ValueError("the network has several inputs or outputs; use run")
        return self.run({self.inputs[0].name: x})[self.outputs[0].name]

    def __repr__(self) -> str:
        there = sum(not isinstance(part.runs, Graph) for part in self._parts)
        return f"MixedGraph({len(self._parts)} parts, {there} of them in ONNX Runtime)"


def mixed_graph(model: Any, path: Path | None, error: UnsupportedError) -> MixedGraph:
    """Return a model in parts.

    Raises
    ------
    UnsupportedError
        The one that was given, where types are missing or nothing is known of what flows between.
    """
    if not error.ops or any(" of type " in op for op, _, _ in error.ops):
        raise error
    onnx = require("onnx", "reading ONNX")
    runtime = require("onnxruntime", 'fallback="onnxruntime"')
    if any(tensor.data_location == 1 for tensor in model.graph.initializer):
        model = _with_data(onnx, model, path)
    known = onnx.shape_inference.infer_shapes(model).graph
    infos = {i.name: i for i in [*known.value_info, *known.input, *known.output]}
    parts = []
    for ours, nodes in _groups(model, path):
        part = _submodel(onnx, model, nodes, infos, error)
        names = [i.name for i in part.graph.input], [i.name for i in part.graph.output]
        if ours:
            runs: Any = read_graph(part)
        else:
            providers = ["CPUExecutionProvider"]
            runs = runtime.InferenceSession(part.SerializeToString(), providers=providers)
        parts.append(_Part(runs, *names))
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value_of(i) for i in model.graph.input if i.name not in constants]
    return MixedGraph(parts, inputs, [value_of(i) for i in model.graph.output], error.ops)


def _with_data(onnx: Any, model: Any, path: Path | None) -> Any:
    """Return a model whose constants beside the file are in it, read where they are safe."""
    reader = ModelReader(model, path)
    reader.take_constants(model.graph)
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    del whole.graph.initializer[:]
    whole.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in reader.constants.items()
    )
    return whole


def _groups(model: Any, path: Path | None) -> list[tuple[bool, list[Any]]]:
    """Return the nodes in runs of those that there are, and those that there are not."""
    there = {*_core.Graph.ops(), "If"}
    reader = ModelReader(model, path)
    reader.take_constants(model.graph)
    groups: list[tuple[bool, list[Any]]] = []
    for node in model.graph.node:
        source = SourceNode.of(node, reader.opset)
        op = OPS.get(source.op)
        missing, count = dict(reader.missing), len(reader.nodes)
        if op is not None:
            reader.place = source
            op.take(source, reader)
        new = [made.op for made in reader.nodes[count:]]
        ours = op is not None and reader.missing == missing and there.issuperset(new)
        if node.op_type == "Constant":
            continue  # each part takes those that it reads
        if not groups or groups[-1][0] != ours:
            groups.append((ours, []))
        groups[-1][1].append(node)
    return groups


def _submodel(
    onnx: Any, model: Any, nodes: list[Any], infos: Mapping[str, Any], error: UnsupportedError
) -> Any:
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    makers = {node.output[0]: node for node in graph.node if node.op_type == "Constant"}
    made = dict.fromkeys(name for node in nodes for name in node.output if name)
    read = dict.fromkeys(name for node in nodes for name in node.input if name)
    own = {id(node) for node in nodes}
    wanted = {info.name for info in graph.output} | {
        name for node in graph.node if id(node) not in own for name in node.input
    }
    inner = any(a.type in (5, 10) for node in nodes for a in node.attribute)
    outside = [n for n in read if n not in made and n not in constants and n not in makers]
    given = [name for name in made if name in wanted]
    if inner or any(name not in infos for name in (*outside, *given)):
        raise error
    return onnx.helper.make_model(
        onnx.helper.make_graph(
            [*(makers[name] for name in read if name in makers), *nodes],
            "part",
            [infos[name] for name in outside],
            [infos[name] for name in given],
            [constants[name] for name in read if name in constants],
        ),
        ir_version=model.ir_version,
        opset_imports=model.opset_import,
        functions=model.functions,
    )
