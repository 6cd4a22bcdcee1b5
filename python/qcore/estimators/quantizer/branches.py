"""Weights in branches that are chosen at run time: codes for them, too.

No sample shows what every branch takes, so that their products take int8 row by row, with ranges
of their own, and their weights are rounded to the nearest code.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from qcore._display.table import Report
from qcore.arrays.layerwise.algorithms import DATA_FREE
from qcore.estimators.quantizer.report import totals_of
from qcore.graph.graph import BaseGraph
from qcore.graph.lowering.bodies import body_of, graph_of, with_branches
from qcore.graph.node import Body, Node
from qcore.graph.passes.tidy import renamed

if TYPE_CHECKING:
    from qcore.estimators.quantizer.quantizer import Quantizer
    from qcore.graph.value import Value

__all__ = ["float_bytes_of_branches", "with_report_of_branches"]

Rows = list[dict[str, Any]]


def with_report_of_branches(
    quantizer: Quantizer, small: BaseGraph, report: Report
) -> tuple[BaseGraph, Report]:
    """Return a quantized graph with codes in its branches, too, and its report with their rows.

    A constant of a branch is named as in a file: by node, branch and its own name. Of the graph's
    constants those that one branch alone reads become its own.
    """
    if isinstance(quantizer.bits, tuple) or not any(_bodies(node) for node in small.nodes):
        return small, report
    coder = type(quantizer)(**_options(quantizer))
    rows: Rows = []
    small, moved = _with_own_constants(small)
    nodes = [
        with_branches(node, partial(_coded, coder, small.values, node, rows))
        if _bodies(node) else node
        for node in small.nodes
    ]  # fmt: skip
    rows = [row for row in report.rows if row["tensor"] not in moved] + rows
    totals = report.totals | totals_of(rows)
    return small.changed(nodes=nodes), Report(report.title, rows, totals, report.curve)


def float_bytes_of_branches(graph: BaseGraph) -> dict[str, int]:
    """Return the bytes of matrices in branches that are floats, by the node of the branches."""
    found = {}
    for node in graph.nodes:
        count = sum(_float_bytes(body) for body in _bodies(node).values())
        shared = {name for body in _bodies(node).values() for name in body.captured}
        for name in shared & set(graph.constants):
            if all(_bodies(reader) for reader in graph.readers[name]):
                count += _bytes_of(graph.constants[name])
        if count:
            found[node.name] = count
    return found


def _float_bytes(body: Body) -> int:
    own = sum(_bytes_of(constant) for constant in body.constants.values())
    inner = [_float_bytes(one) for node in body.nodes for one in _bodies(node).values()]
    return own + sum(inner)


def _bytes_of(constant: Any) -> int:
    is_matrix = isinstance(constant, np.ndarray) and constant.ndim > 1
    return int(constant.nbytes) if is_matrix and constant.dtype.kind == "f" else 0


def _bodies(node: Node) -> dict[str, Body]:
    return {key: value for key, value in node.attributes.items() if isinstance(value, Body)}


def _options(quantizer: Quantizer) -> dict[str, Any]:
    """Return the options of a quantizer, as far as they can be met without samples."""

    def mode(asked: Any) -> Any:
        return "dynamic" if asked == "static" else asked

    def steps(asked: Any) -> Any:
        names = (asked,) if isinstance(asked, str) else tuple(asked or ())
        return asked if asked == "auto" else tuple(name for name in names if name in DATA_FREE)

    found = quantizer.get_params() | {"progress": False}
    for option, change in (("activations", mode), ("algorithm", steps)):
        asked = found[option]
        is_map = isinstance(asked, Mapping)
        found[option] = (
            {key: change(one) for key, one in asked.items()} if is_map else change(asked)
        )
    return found


def _with_own_constants(graph: BaseGraph) -> tuple[BaseGraph, set[str]]:
    """Return a graph whose branches have the matrices that nothing else reads, and their names."""
    constants = dict(graph.constants)
    nodes = list(graph.nodes)
    for place, node in enumerate(nodes):
        bodies = _bodies(node)
        readers = [name for body in bodies.values() for name in body.captured]
        own = {
            name
            for name in readers
            if name in constants and readers.count(name) == 1 and name not in node.inputs
            and len(graph.readers[name]) == 1 and _bytes_of(constants[name])
        }  # fmt: skip
        if own:
            nodes[place] = with_branches(node, partial(_with_constants, constants, own))
            for name in own:
                del constants[name]
    moved = set(graph.constants) - set(constants)
    return (graph.changed(nodes=nodes, constants=constants) if moved else graph), moved


def _with_constants(constants: Mapping[str, Any], own: set[str], key: str, body: Body) -> Body:
    more = {name: constants[name] for name in body.captured if name in own}
    return Body(body.nodes, body.outputs, {**body.constants, **more}, body.inputs)


def _coded(
    coder: Quantizer, values: Mapping[str, Value], node: Node, rows: Rows, key: str, body: Body
) -> Body:
    """Return a branch whose weights are codes; its constants are named as in a file meanwhile."""
    if not body.nbytes:
        return body
    stem = f"{node.name}/{key}/"
    full = {name: stem + name for name in body.constants}
    named = Body(
        tuple(renamed(one, full) for one in body.nodes),
        tuple(full.get(name, name) for name in body.outputs),
        {full[name]: constant for name, constant in body.constants.items()}, body.inputs,
    )  # fmt: skip
    small = coder.fit_transform(graph_of(named, values))
    rows += coder.report_.rows
    short = {name: name.removeprefix(stem) for name in small.constants}
    found = body_of(small, named)
    return Body(
        tuple(renamed(one, short) for one in found.nodes),
        tuple(short.get(name, name) for name in found.outputs),
        {short[name]: constant for name, constant in found.constants.items()}, found.inputs,
    )  # fmt: skip
