"""A graph as the text and the arrays of which the extension makes what runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qcore import _core
from qcore.arrays.products.matrix import SparseMatrix
from qcore.arrays.tensor.tensor import QTensor
from qcore.errors import UnsupportedError
from qcore.graph.lowering.attention import with_attention
from qcore.graph.lowering.operands import Place, floats_laid_out, laid_out, with_coded_rows
from qcore.graph.lowering.padding import padding_mask, without_padding
from qcore.graph.node import Body, Node
from qcore.graph.value import Value

if TYPE_CHECKING:
    from qcore.graph.graph import BaseGraph

__all__ = ["compiled", "dense", "dims_of", "run_nodes", "spec_of"]


def compiled(graph: BaseGraph, *, plain: bool = False) -> _core.Graph:
    """Return what runs a graph.

    `plain`: all of its values are made, none is left out of a pattern.
    """
    codes = {
        name: {
            "scale": np.asarray(params.scale, np.float64).tolist(),
            "zero_point": np.asarray(params.zero_point).tolist(),
            "signed": params.signed,
        }
        for name, params in graph.codes.items()
    }
    codes |= {
        name: {
            "scale": np.asarray(constant.scale, np.float64).reshape(-1).tolist(),
            "axis": constant.axis,
        }
        for name, constant in graph.constants.items()
        if name in graph.readers and runs_as_codes(constant)
    }
    outputs = [value.name for value in graph.outputs]
    nodes, operands = laid_out(graph)
    nodes, gathered = with_coded_rows(graph, nodes)
    if any(node.inner_bytes for node in nodes):
        from qcore.graph.lowering.bodies import branches_laid_out  # which makes graphs of branches

        nodes, inner = branches_laid_out(nodes)
        operands = {**operands, **inner}
    if not plain:
        nodes = with_attention(graph, nodes)
        if padding_mask(graph, nodes):
            linear, floats = floats_laid_out(graph, nodes)
            packed = without_padding(graph, linear)
            if packed is not linear:
                nodes, operands = packed, operands | floats
    constants = {**graph.constants, **gathered}
    return _made(nodes, graph.inputs, outputs, constants, codes, graph.exact, operands)


def run_nodes(
    nodes: Iterable[Node], constants: Mapping[str, Any], wanted: list[str]
) -> dict[str, NDArray[Any]]:
    """Return values that depend on constants only."""
    return _made(tuple(nodes), (), wanted, constants, {}).run({})


def _made(
    nodes: Iterable[Node],
    inputs: Iterable[Value],
    outputs: list[str],
    constants: Mapping[str, Any],
    codes: Mapping[str, Any],
    exact: str | None = None,
    operands: Mapping[Place, _core.PackedWeights] = MappingProxyType({}),
) -> _core.Graph:
    text, tensors = spec_of(nodes, inputs, outputs, constants, codes, exact, list(operands))
    try:
        return _core.Graph(text, tensors, list(operands.values()))
    except NotImplementedError as error:
        raise _unsupported(error) from None


def spec_of(
    nodes: Iterable[Node],
    inputs: Iterable[Value],
    outputs: list[str],
    constants: Mapping[str, Any],
    codes: Mapping[str, Any] | None = None,
    exact: str | None = None,
    operands: Sequence[Place] = (),
) -> tuple[str, list[NDArray[Any]]]:
    """Return the text that describes nodes, and the arrays to which it refers.

    `operands`: what holds the weights that are laid out, in the order of these.
    """
    tensors: list[NDArray[Any]] = []
    nodes = tuple(nodes)
    used = {name for node in nodes for name in node.read} | set(outputs)
    known = used | {name for node in nodes for name in node.outputs} | {v.name for v in inputs}
    spec: dict[str, Any] = {
        "inputs": [{"name": v.name, "dtype": v.running_dtype, "shape": dims_of(v)} for v in inputs],
        **_body(
            nodes, outputs, {k: v for k, v in constants.items() if k in used}, tensors, codes or {}
        ),
        "codes": {name: found for name, found in (codes or {}).items() if name in known},
        "exact": exact,
    }
    named = _by_name(spec["nodes"])
    for place, (name, attribute) in enumerate(operands):
        named[name]["attributes"][attribute] = {"operand": place}
    return json.dumps(spec), tensors


def _by_name(nodes: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the descriptions of nodes by name, those in branches too."""
    found: dict[str, dict[str, Any]] = {}
    for node in nodes:
        for value in node["attributes"].values():
            if isinstance(value, dict) and "nodes" in value:
                found |= _by_name(value["nodes"])
        found[node["name"]] = node
    return found


def dims_of(value: Value) -> list[int | str] | None:
    """Return the dims of an input: those that nothing is known of have names of their own."""
    if value.shape is None:
        return None
    return [f"{value.name}.{axis}" if dim is None else dim for axis, dim in enumerate(value.shape)]


def _body(
    nodes: Iterable[Node],
    outputs: Iterable[str],
    constants: Mapping[str, Any],
    tensors: list[NDArray[Any]],
    codes: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    index = {}
    for name, constant in constants.items():
        index[name] = len(tensors)
        tensors.append(constant.values if name in codes else dense(constant))
    return {
        "outputs": list(outputs),
        "constants": index,
        "nodes": [
            {
                "name": node.name,
                "op": node.op,
                "inputs": list(node.inputs),
                "outputs": list(node.outputs),
                "attributes": {
                    key: _attribute(value, tensors) for key, value in node.attributes.items()
                },
            }
            for node in nodes
        ],
    }


def _attribute(value: Any, tensors: list[NDArray[Any]]) -> Any:
    if isinstance(value, np.ndarray):
        tensors.append(dense(value))
        return {"tensor": len(tensors) - 1}
    if isinstance(value, Body):
        return _body(value.nodes, value.outputs, value.constants, tensors)
    if isinstance(value, tuple):
        return [_attribute(item, tensors) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no infinities
    return value


def runs_as_codes(constant: Any) -> bool:
    """Whether the extension takes a constant as codes: int8, their zero at code 0."""
    return (
        isinstance(constant, QTensor)
        and constant.scheme == "affine"
        and constant.values.dtype == np.int8
        and constant.group_size is None
        and constant.row_bits is None
        and not constant.zero_point.any()
    )


def dense(constant: Any) -> NDArray[Any]:
    """Return a constant as a plain array, whatever it is stored as."""
    if isinstance(constant, QTensor):
        constant = constant.dequantize()
    elif isinstance(constant, SparseMatrix):
        constant = constant.to_dense()
    array: NDArray[Any] = np.ascontiguousarray(constant).reshape(np.shape(constant))
    return array


def _unsupported(error: NotImplementedError) -> UnsupportedError:
    """Return the error for a list of ops: a line for each, fields between tabs."""
    ops = []
    for line in str(error).splitlines():
        op, _, rest = line.partition("\t")
        count, _, first = rest.partition("\t")
        ops.append((op, int(count) if count.isdigit() else 1, first))
    return UnsupportedError.of(ops)
